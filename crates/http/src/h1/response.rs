//! Writes responses to the client.

use std::any::Any;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::Next;
use super::wire::Link;
use crate::codec::response_head::{ResponseContext, write_response_head};
use crate::codec::{BodyFailure, Framing, MessageWriter, Scratch, fields};
use crate::{Abort, Stream};

/// A response that is being written.
pub(super) struct ResponseWriter<B: Body> {
    message: MessageWriter<B>,
    /// The connection ends with the response.
    pub(super) last: bool,
    /// The end of the connection is the end of the body.
    until_close: bool,
}

/// Why a response was not written to its end.
pub(super) enum WriteFailure<E> {
    /// Writing to the client failed.
    Client(io::Error),
    /// The response's body failed.
    Body(BodyFailure<E>),
    /// The client is gone, or ended its side too long ago.
    Left,
}

impl<B: Body<Data = Bytes> + Unpin> ResponseWriter<B> {
    /// `front` is written before the response. With `date`, a missing `Date` is added.
    pub(super) fn new(front: &[u8], response: Response<B>, context: ResponseContext, date: bool) -> Self {
        let (parts, body) = response.into_parts();
        let mut out = Scratch::default();
        out.extend_from_slice(front);
        let plan = write_response_head(&parts, body.size_hint().exact(), context, date, &mut out);
        fields::recycle(parts.headers);
        let mut message = MessageWriter::new(out, plan.framing, body);
        if !context.trailers {
            message = message.without_trailers();
        }
        if plan.bodiless {
            message = message.without_body();
        }
        Self { message, last: plan.last, until_close: plan.framing == Framing::UntilClose }
    }

    /// The number of bytes written so far, while the writer waits for the body. `None` while it
    /// waits for the client.
    pub(super) fn waits_for_body(&self) -> Option<u64> {
        (!self.message.is_blocked()).then(|| self.message.written())
    }

    /// Writes the response to its end. If the body fails, everything before the failure is sent
    /// first.
    pub(super) fn poll<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        link: &Link<S>,
    ) -> Poll<Result<(), WriteFailure<B::Error>>> {
        loop {
            // Called without the lock of the wire: this may read the body of the request, which
            // takes that lock.
            let filled = self.message.poll_fill(cx);
            ready!(link.wire().poll_drain(cx, &mut self.message)).map_err(WriteFailure::Client)?;
            if let Some(failure) = self.message.take_failure() {
                return Poll::Ready(Err(WriteFailure::Body(failure)));
            }
            if self.message.has_ended() {
                return Poll::Ready(Ok(()));
            }
            ready!(filled);
        }
    }
}

impl<B: Body<Error: 'static>> ResponseWriter<B> {
    /// Chooses how the connection ends after a response that was not written to its end.
    pub(super) fn cut<S: Stream>(&self, failure: WriteFailure<B::Error>, link: &Link<S>) -> Next {
        // A client that reads until the close must be able to tell a cut from the end.
        let resets = match failure {
            WriteFailure::Client(error) => {
                tracing::debug!(%error, "a connection ended");
                false
            }
            WriteFailure::Left => self.until_close,
            WriteFailure::Body(BodyFailure::Failed(error)) => {
                self.until_close || (&error as &dyn Any).is::<Abort>()
            }
            WriteFailure::Body(BodyFailure::Length) => self.until_close,
        };
        if resets {
            link.wire().close_by_reset();
        }
        Next::Close { unread: false }
    }
}
