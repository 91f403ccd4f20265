//! HTTP/1 for clients: one exchange after another on a connection (RFC 9112).
//!
//! A connection is one task. While idle it holds only a [`Link`] and the received part of a head.
//! The state of an exchange, above all the handler's future, is allocated once a head is complete.
//! That state is freed when the connection becomes idle. Another task may read the body of a
//! request, and then shares the link.
//!
//! Rejected requests get their response from the handler, after the responses to earlier requests.

mod half_close;
mod read_budget;
mod response;
mod tunnel;
mod wire;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use tokio::task::unconstrained;

use crate::codec::Framing;
use crate::codec::request_head::RequestHead;
use crate::codec::response_head::ResponseContext;
use crate::incoming::{Http1Body, Incoming};
use crate::{Abort, AsksForWebsocket, DrainSignal, Handler, Limits, RequestRejection, Stream};
use response::{ResponseWriter, WriteFailure};
use wire::{HeadOutcome, Link};

/// Drives one connection to its end: requests in order, deadlines, rejections, drain. `first` holds
/// bytes that were already read from the stream.
pub(super) async fn connection<H: Handler>(
    stream: impl Stream,
    first: BytesMut,
    limits: &Limits,
    drain: &mut DrainSignal,
    handler: &H,
) {
    let link = Arc::new(Link::new(stream, first, *limits));
    loop {
        let next = match next_head(&link, drain, false).await {
            // Boxed, so that an idle connection does not hold the handler's large future.
            Ok(head) => Box::pin(exchanges(&link, head, drain, handler)).await,
            Err(next) => next,
        };
        match next {
            Next::Idle => handler.idle(),
            Next::Reject(rejection) => return reject(&link, rejection, handler).await,
            Next::Close { unread } => return close(&link, unread).await,
            Next::Tunnel => return tunnel::run(link, handler).await,
        }
    }
}

/// Rejects a connection over the limit without reading from it, and closes it.
pub(super) async fn turn_away<H: Handler>(stream: impl Stream, limits: Limits, handler: &H) {
    let link = Arc::new(Link::new(stream, BytesMut::new(), limits));
    reject(&link, RequestRejection::TooManyConnections, handler).await;
}

/// What follows one or more exchanges.
enum Next {
    /// The connection has become idle.
    Idle,
    /// The next request is rejected.
    Reject(RequestRejection),
    /// The connection closes. With `unread` the client may have sent more than was read.
    Close { unread: bool },
    /// The connection is a websocket.
    Tunnel,
}

/// Waits for the next head. The error says how to go on without a head. With `may_idle`, a short
/// silence ends the wait. If the drain starts before any byte of a head has arrived, the connection
/// closes.
async fn next_head<S: Stream>(
    link: &Link<S>,
    drain: &mut DrainSignal,
    may_idle: bool,
) -> Result<Bytes, Next> {
    let mut turn = pin!(tokio::task::yield_now());
    let mut draining = false;
    let mut turn_passed = false;
    poll_fn(|cx| {
        draining = draining || drain.poll_begun(cx).is_ready();
        // Requests that have already arrived still get a response. After one turn of the runtime
        // they can be read.
        turn_passed = turn_passed || (draining && turn.as_mut().poll(cx).is_ready());
        let mut wire = link.wire();
        Poll::Ready(match wire.poll_head(cx, may_idle) {
            Poll::Ready(HeadOutcome::Head(head)) => Ok(head),
            Poll::Ready(HeadOutcome::Rejected(rejection)) => Err(Next::Reject(rejection)),
            Poll::Ready(HeadOutcome::Idle) => Err(Next::Idle),
            Poll::Ready(HeadOutcome::Gone) => Err(Next::Close { unread: false }),
            // A head that has started to arrive is read to its end.
            Poll::Pending if turn_passed && !wire.in_head() => Err(Next::Close { unread: false }),
            Poll::Pending => return Poll::Pending,
        })
    })
    .await
}

/// Handles requests one after another, starting with `head`. Returns what follows them.
///
/// Kept as one `async fn`: nesting futures would copy the inner state into the outer one.
async fn exchanges<S: Stream, H: Handler>(
    link: &Arc<Link<S>>,
    mut head: Bytes,
    drain: &mut DrainSignal,
    handler: &H,
) -> Next {
    loop {
        let request_head = match link.wire().take_head(&head) {
            Ok(request_head) => request_head,
            Err(rejection) => return Next::Reject(rejection),
        };
        drop(head);
        let context = ResponseContext::of(&request_head);
        let asks_for_websocket = request_head.asks_for_websocket;
        let response = {
            let mut handling = pin!(handler.handle(request(link, request_head)));
            let handled = poll_fn(|cx| match handling.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => link.wire().poll_left(cx, Some(0)).map(|()| None),
            });
            match handled.await {
                Some(Ok(response)) => response,
                Some(Err(Abort)) => return reset(link),
                // The client is gone.
                None => return Next::Close { unread: false },
            }
        };
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switches && !asks_for_websocket {
            return reset(link);
        }
        let Some(start) = link.wire().begin_response() else { return Next::Close { unread: false } };
        let last = !switches && (context.last || start.last || drain.has_begun());
        let context = ResponseContext { last, ..context };
        let mut writer = ResponseWriter::new(start.interim, response, context, H::DATE);
        let sent = poll_fn(|cx| match writer.poll(cx, link) {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending => link.wire().poll_left(cx, writer.waits_for_body()).map(|()| None),
        });
        match sent.await {
            Some(Ok(())) if switches => return Next::Tunnel,
            Some(Ok(())) => {}
            Some(Err(failure)) => return writer.cut(failure, link),
            None => return writer.cut(WriteFailure::Left, link),
        }
        let last = writer.last;
        // The response may hold the body of the request, which is skipped below.
        drop(writer);
        // This poll ignores tokio's cooperative budget. With the budget used up, every poll would
        // return `Pending`.
        let skipped = unconstrained(poll_fn(|cx| Poll::Ready(link.wire().skip_body(cx)))).await;
        if last || start.last || !skipped {
            return Next::Close { unread: start.last || !skipped };
        }
        head = match next_head(link, drain, true).await {
            Ok(head) => head,
            Err(next) => return next,
        };
    }
}

fn request<S: Stream>(link: &Arc<Link<S>>, head: RequestHead) -> Request<Incoming> {
    let RequestHead { mut request, framing, asks_for_websocket, .. } = head;
    if asks_for_websocket {
        request.extensions_mut().insert(AsksForWebsocket);
    }
    let length = match framing {
        Framing::Sized(0) | Framing::UntilClose => return request.map(|()| Incoming::empty()),
        Framing::Sized(length) => Some(length),
        Framing::Chunked => None,
    };
    let turn = link.wire().turn();
    request.map(|()| Incoming::http1(Http1Body::new(Arc::<Link<S>>::clone(link), turn, length)))
}

/// Sends the response to a rejected request, and ends the connection.
async fn reject<S: Stream, H: Handler>(link: &Link<S>, rejection: RequestRejection, handler: &H) {
    let response = handler.reject(rejection);
    let mut writer = Box::new(ResponseWriter::new(b"", response, ResponseContext::REJECTED, H::DATE));
    if let Err(WriteFailure::Client(error)) = poll_fn(|cx| writer.poll(cx, link)).await {
        tracing::debug!(%error, "a rejection could not be sent");
    }
    close(link, true).await;
}

fn reset<S: Stream>(link: &Link<S>) -> Next {
    link.wire().close_by_reset();
    Next::Close { unread: false }
}

async fn close<S: Stream>(link: &Link<S>, unread: bool) {
    poll_fn(|cx| link.wire().poll_close(cx, unread)).await;
}

#[cfg(test)]
mod tests;
