//! HTTP/1 towards clients: one exchange after another on a connection (RFC 9112).
//!
//! A connection is one task. Without a request it is a [`Link`] and the bytes of a head; what an exchange needs, the
//! handler's future above all, is made when a head is complete and goes when nothing has come for a while. The body of a
//! request is read by whoever asks for it, which may be another task; so the two share the link.
//!
//! What is refused is answered in its turn, by the handler, behind the answers to earlier requests.

mod answer;
mod half_close;
mod head;
mod receiving;
mod wire;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;

use super::body::{BodyError, Incoming};
use super::{Abort, AsksForWebsocket, DrainSignal, Handler, Limits, Refusal, Stream};
use crate::codec::Framing;
use answer::{Answering, Asked, Cut};
use head::Received;
pub(super) use head::valid_host;
use wire::{Inflow, Link, Waited};
pub(super) use wire::{LINGER_BYTES, LINGER_TIME};

/// Drives one connection to its end: requests in order, deadlines, refusals, drain. `first` has been read from the stream
/// already.
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
            // Large, as the handler's future is: a connection that asks for nothing does not have it, nor one that rests.
            Waited::Head(head) => Box::pin(exchanges(&link, head, drain, handler)).await,
            Waited::Refused(refusal) => Next::Refuse(refusal),
            Waited::Rest => Next::Rest,
            Waited::Gone => Next::Close { unread: false },
        };
        match next {
            Next::Rest => handler.rest(),
            Next::Refuse(refusal) => return refuse(&link, refusal, handler).await,
            Next::Close { unread } => return close(&link, unread).await,
            Next::Tunnel => return tunnel(link, handler).await,
        }
    }
}

/// Answers a connection that is one too many, without reading from it, and closes it.
pub(super) async fn turn_away<H: Handler>(stream: impl Stream, limits: Limits, handler: &H) {
    let link = Arc::new(Link::new(stream, BytesMut::new(), limits));
    refuse(&link, Refusal::TooManyConnections, handler).await;
}

/// What comes after one or more exchanges.
enum Next {
    /// Maybe more, but not soon.
    Rest,
    Refuse(Refusal),
    /// `unread`: the client may have sent more than was read.
    Close {
        unread: bool,
    },
    Tunnel,
}

/// Waits for the next head, or for the refusal of one. `Gone` too where the drain has begun and nothing has been asked for.
async fn next_head<S: Stream>(link: &Link<S>, drain: &mut DrainSignal, may_rest: bool) -> Waited {
    let mut turn = pin!(tokio::task::yield_now());
    let (mut draining, mut looked) = (false, false);
    poll_fn(|cx| {
        draining = draining || drain.poll_begun(cx).is_ready();
        // What the client has sent by now is still answered: one turn of the runtime brings it in.
        looked = looked || (draining && turn.as_mut().poll(cx).is_ready());
        let mut wire = link.wire();
        match wire.poll_head(cx, may_rest) {
            // A head that has begun is read to its end.
            Poll::Pending if looked && !wire.in_head() => Poll::Ready(Waited::Gone),
            waited => waited,
        }
    })
    .await
}

/// Requests and their answers, one after another.
///
/// One function for all of an exchange, since each that waits is moved as a whole into the one that waits for it.
async fn exchanges<S: Stream, H: Handler>(
    link: &Arc<Link<S>>,
    mut head: Bytes,
    drain: &mut DrainSignal,
    handler: &H,
) -> Next {
    loop {
        let received = link.wire().take_head(&head);
        let received = match received {
            Ok(received) => received,
            Err(refusal) => return Next::Refuse(refusal),
        };
        drop(head);
        let (asked, asks_for_websocket) = (Asked::of(&received), received.asks_for_websocket);
        let response = {
            let mut handling = pin!(handler.handle(request(link, received)));
            let answer = poll_fn(|cx| match handling.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                // Nobody is left to be answered.
                Poll::Pending => link.wire().poll_left(cx, Some(0)).map(|()| None),
            });
            match answer.await {
                Some(Ok(response)) => response,
                Some(Err(Abort)) => return reset(link),
                None => return Next::Close { unread: false },
            }
        };
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switches && !asks_for_websocket {
            return reset(link);
        }
        let (interim, spent) = {
            let mut wire = link.wire();
            if wire.reset {
                // It does not take what it has been sent by now.
                return Next::Close { unread: false };
            }
            wire.begin_answer()
        };
        // A client that waits for a 100 may or may not send its body now; what it sends behind its last request is not read.
        let unread = interim.is_none() || spent;
        let last = !switches && (asked.last || unread || drain.has_begun());
        let interim = interim.unwrap_or_default();
        let mut answering = Answering::new(interim, response, Asked { last, ..asked }, H::DATE);
        let sent = poll_fn(|cx| match answering.poll(cx, link) {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending => link.wire().poll_left(cx, answering.waits_for_body()).map(|()| None),
        });
        match sent.await {
            Some(Ok(())) if switches => return Next::Tunnel,
            Some(Ok(())) => {}
            Some(Err(cut)) => return answering.cut(cut, link),
            None => return answering.cut(Cut::Left, link),
        }
        let last = answering.last;
        // With it goes whoever may still read the request.
        drop(answering);
        // A task that has used up its turn would be told that there is nothing.
        let skipped = unconstrained(poll_fn(|cx| Poll::Ready(link.wire().skip_body(cx)))).await;
        if last || unread || !skipped {
            return Next::Close { unread: unread || !skipped };
        }
        head = match next_head(link, drain, true).await {
            Waited::Head(head) => head,
            Waited::Refused(refusal) => return Next::Refuse(refusal),
            Waited::Rest => return Next::Rest,
            Waited::Gone => return Next::Close { unread: false },
        };
    }
}

/// A request as the handler gets it.
fn request<S: Stream>(link: &Arc<Link<S>>, received: Received) -> Request<Incoming> {
    let Received { mut request, framing, asks_for_websocket, .. } = received;
    if asks_for_websocket {
        request.extensions_mut().insert(AsksForWebsocket);
    }
    request.map(|()| Incoming::http1(body(link, framing)))
}

/// Answers what is refused, and ends the connection.
async fn refuse<S: Stream, H: Handler>(link: &Link<S>, refusal: Refusal, handler: &H) {
    let mut answering = Box::new(Answering::new(b"", handler.refuse(refusal), Asked::REFUSED, H::DATE));
    if let Err(Cut::Client(error)) = poll_fn(|cx| answering.poll(cx, link)).await {
        tracing::debug!(%error, "a refusal could not be sent");
    }
    close(link, true).await;
}

/// The connection is to end by a reset.
fn reset<S: Stream>(link: &Link<S>) -> Next {
    link.wire().reset = true;
    Next::Close { unread: false }
}

async fn close<S: Stream>(link: &Link<S>, unread: bool) {
    poll_fn(|cx| link.wire().poll_close(cx, unread)).await;
}

/// The connection has become a websocket.
async fn tunnel<S: Stream, H: Handler>(link: Arc<Link<S>>, handler: &H) {
    let mut tunnelled = Tunnelled(link);
    if let Err(Abort) = Box::pin(handler.tunnel(&mut tunnelled)).await {
        tunnelled.0.wire().stream.reset_on_close();
    }
}

/// A connection on which everything passes, both ways and without deadlines; what was read behind the request comes first.
struct Tunnelled<S>(Arc<Link<S>>);

impl<S: Stream> AsyncRead for Tunnelled<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.wire();
        let early = &wire.input.bytes;
        if early.is_empty() {
            return Pin::new(&mut wire.stream).poll_read(cx, buf);
        }
        let fits = early.len().min(buf.remaining());
        buf.put_slice(&early[..fits]);
        wire.input.advance(fits);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Tunnelled<S> {
    crate::write_through!(
        this => this.0.wire().stream;
        poll_write, poll_write_vectored, poll_flush, poll_shutdown
    );
}

/// The body of a request, which is read from its connection when it is asked for. `None` where there is none.
fn body<S: Stream>(link: &Arc<Link<S>>, framing: Framing) -> Option<RequestBody> {
    let left = match framing {
        Framing::Sized(0) | Framing::ToTheEnd => return None,
        Framing::Sized(length) => Some(length),
        Framing::Chunked => None,
    };
    let turn = link.wire().turn();
    Some(RequestBody { link: Arc::<Link<S>>::clone(link), turn, left, ended: false })
}

/// The body of a request.
pub(super) struct RequestBody {
    link: Arc<dyn Inflow>,
    /// Which request of its connection it belongs to.
    turn: u32,
    /// What is left of a length that was announced.
    left: Option<u64>,
    ended: bool,
}

impl RequestBody {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Some((frame, last)) = ready!(self.link.poll_frame(self.turn, cx)).transpose()? else {
            self.ended = true;
            return Poll::Ready(None);
        };
        self.ended = last;
        if let (Some(data), Some(left)) = (frame.data_ref(), &mut self.left) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.ended
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests;
