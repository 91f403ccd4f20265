//! Bodies of requests as handlers get them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use super::Refusal;
use super::guard::Deadline;
use super::hush::poll_body;

/// Why a request's body ended before its end.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The client broke off, or broke the framing; the guard's refusal is among the sources if it is one.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It stopped arriving.
    #[error("{0}")]
    Refused(#[source] Refusal),
}

/// The body of a request, as it arrives.
///
/// On HTTP/1 the guard keeps the deadline between two reads. A stream of HTTP/2 has its own: while it is asked for
/// more and nothing comes.
#[derive(Debug)]
pub struct Incoming {
    body: hyper::body::Incoming,
    patience: Option<Duration>,
    waiting: Deadline,
}

impl Incoming {
    pub(super) fn new(body: hyper::body::Incoming, patience: Option<Duration>) -> Self {
        Self { body, patience, waiting: Deadline::default() }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match poll_body(&mut this.body, cx) {
            Poll::Ready(frame) => {
                this.waiting.clear();
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
            }
            Poll::Pending => {
                let Some(patience) = this.patience else { return Poll::Pending };
                ready!(this.waiting.poll(cx, patience));
                Poll::Ready(Some(Err(BodyError::Refused(Refusal::BodyTimeout))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
