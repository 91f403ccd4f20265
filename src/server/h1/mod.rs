//! HTTP/1 towards clients: one exchange after another on a connection (RFC 9112).
//!
//! A connection is one task. Between two requests it is a [`Link`] and the bytes of a head; what an exchange needs, the
//! handler's future above all, is made when a head is complete and gone when its answer has been written. The body of a
//! request is read by whoever asks for it, which may be another task; so the two share the link.
//!
//! What is refused is answered in its turn, by the handler, behind the answers to earlier requests.

mod answer;
mod head;
mod wire;

use std::any::Any;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::{BodyError, Incoming};
use super::{Abort, AsksForWebsocket, DrainSignal, Handler, Limits, Refusal, Stream};
use crate::http1::{Framing, Stopped};
use answer::{Answering, Asked, Cut};
use head::Received;
pub(super) use head::valid_host;
use wire::{Inflow, Link, Wire};
pub(super) use wire::{LINGER_BYTES, LINGER_TIME};

/// Drives one connection to its end: requests in order, deadlines, refusals, drain. `first` has been read from the stream
/// already.
pub(super) async fn connection<H: Handler>(
    stream: impl Stream,
    first: BytesMut,
    limits: Limits,
    drain: &mut DrainSignal,
    handler: &H,
) {
    let link = Arc::new(Link::new(stream, first, limits));
    let mut unread = false;
    while let Some(received) = next_head(&link, drain).await {
        // Large, as the handler's future is: a connection that asks for nothing does not get one.
        match Box::pin(exchange(&link, received, drain, handler)).await {
            Next::Head => {}
            Next::Close => break,
            Next::CloseUnread => {
                unread = true;
                break;
            }
            Next::Tunnel => return tunnel(link, handler).await,
        }
    }
    close(&link, unread).await;
}

/// Answers a connection that is one too many, without reading from it, and closes it.
pub(super) async fn turn_away<H: Handler>(
    stream: impl Stream,
    limits: Limits,
    drain: &DrainSignal,
    handler: &H,
) {
    let link = Arc::new(Link::new(stream, BytesMut::new(), limits));
    Box::pin(exchange(&link, Err(Refusal::TooManyConnections), drain, handler)).await;
    close(&link, true).await;
}

/// What comes after an exchange.
enum Next {
    Head,
    Close,
    /// The same, and the client may have sent more than was read.
    CloseUnread,
    Tunnel,
}

/// Waits for the next head, or for the refusal of one. `None` when nothing comes of this connection: it was silent for too
/// long, it is gone, or the drain has begun and it has asked for nothing.
async fn next_head<S: Stream>(link: &Link<S>, drain: &mut DrainSignal) -> Option<Result<Received, Refusal>> {
    let mut turn = pin!(tokio::task::yield_now());
    let (mut draining, mut looked) = (false, false);
    poll_fn(|cx| {
        draining = draining || drain.poll_begun(cx).is_ready();
        // What the client has sent by now is still answered: one turn of the runtime brings it in.
        looked = looked || (draining && turn.as_mut().poll(cx).is_ready());
        let mut wire = link.wire();
        match wire.poll_head(cx) {
            // A head that has begun is read to its end.
            Poll::Pending if looked && !wire.in_head() => Poll::Ready(None),
            outcome => outcome,
        }
    })
    .await
}

/// One request and its answer.
async fn exchange<S: Stream, H: Handler>(
    link: &Arc<Link<S>>,
    received: Result<Received, Refusal>,
    drain: &DrainSignal,
    handler: &H,
) -> Next {
    let refused = received.is_err();
    let (response, asked, asks_for_websocket) = match received {
        Err(refusal) => (handler.refuse(refusal), Asked::REFUSED, false),
        Ok(received) => {
            let asked = Asked::of(&received);
            let Received { mut request, framing, asks_for_websocket, .. } = received;
            if asks_for_websocket {
                request.extensions_mut().insert(AsksForWebsocket);
            }
            let request = request.map(|()| Incoming::http1(body(link, framing)));
            let mut handling = pin!(handler.handle(request));
            let answer = poll_fn(|cx| match handling.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                // Nobody is left to be answered.
                Poll::Pending => link.wire().poll_left(cx).map(|()| None),
            });
            match answer.await {
                Some(Ok(response)) => (response, asked, asks_for_websocket),
                Some(Err(Abort)) => return reset(link),
                None => return Next::Close,
            }
        }
    };
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches && !asks_for_websocket {
        return reset(link);
    }
    let (interim, spent) = {
        let mut wire = link.wire();
        let most = wire.limits.requests;
        (wire.end_interim(), most > 0 && wire.requests >= most)
    };
    // A client that waits for a 100 may or may not send its body now; what it sends behind its last request is not read.
    let unread = refused || interim.is_none() || spent;
    let last = !switches && (asked.last || unread || drain.has_begun());
    let (parts, body) = response.into_parts();
    let asked = Asked { last, ..asked };
    let mut answering = Answering::new(interim.unwrap_or_default(), &parts, body, asked, H::DATE);
    drop(parts);
    let sent = poll_fn(|cx| match answering.poll(cx, link) {
        Poll::Ready(sent) => Poll::Ready(Some(sent)),
        Poll::Pending => link.wire().poll_left(cx).map(|()| None),
    });
    match sent.await {
        None => Next::Close,
        Some(Ok(())) if switches => Next::Tunnel,
        Some(Ok(())) => {
            let last = answering.last;
            // With it goes whoever may still read the request.
            drop(answering);
            let skipped = poll_fn(|cx| Poll::Ready(link.wire().skip_body(cx))).await;
            match (last, unread || !skipped) {
                (false, false) => Next::Head,
                (_, true) => Next::CloseUnread,
                (true, false) => Next::Close,
            }
        }
        Some(Err(Cut::Client(error))) => {
            tracing::debug!(%error, "a connection ended");
            Next::Close
        }
        Some(Err(Cut::Body(stopped))) => {
            let aborted = matches!(&stopped, Stopped::Failed(error) if (error as &dyn Any).is::<Abort>());
            // To HTTP/1.0 an end of unknown length is the end of the connection, and a cut has to look different from one.
            if aborted || answering.to_the_end {
                return reset(link);
            }
            Next::Close
        }
    }
}

/// The connection is to end by a reset.
fn reset<S: Stream>(link: &Link<S>) -> Next {
    link.wire().reset = true;
    Next::Close
}

async fn close<S: Stream>(link: &Link<S>, unread: bool) {
    poll_fn(|cx| link.wire().poll_close(cx, unread)).await;
}

/// The connection has become a websocket.
async fn tunnel<S: Stream, H: Handler>(link: Arc<Link<S>>, handler: &H) {
    // Nobody else has it, since the request has no body.
    let Some(link) = Arc::into_inner(link) else { return };
    let mut tunnelled = Tunnelled(link.into_wire());
    if let Err(Abort) = Box::pin(handler.tunnel(&mut tunnelled)).await {
        tunnelled.0.stream.reset_on_close();
    }
}

/// A connection on which everything passes, both ways and without deadlines; what was read behind the request comes first.
struct Tunnelled<S>(Wire<S>);

impl<S: Stream> AsyncRead for Tunnelled<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut self.get_mut().0;
        let early = &mut wire.input.bytes;
        if early.is_empty() {
            return Pin::new(&mut wire.stream).poll_read(cx, buf);
        }
        let fits = early.len().min(buf.remaining());
        buf.put_slice(&early.split_to(fits));
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Tunnelled<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0.stream).poll_shutdown(cx)
    }
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
        let frame = self.link.poll_frame(self.turn, cx);
        match &frame {
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Ok(frame))) => match (frame.data_ref(), &mut self.left) {
                (Some(data), Some(left)) => {
                    *left = left.saturating_sub(data.len() as u64);
                    self.ended = *left == 0;
                }
                (Some(_), None) => self.ended = self.link.has_ended(self.turn),
                (None, _) => self.ended = true,
            },
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        frame
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
