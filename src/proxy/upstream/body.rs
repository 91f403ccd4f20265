//! The body of an upstream's response.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::error::UpstreamError;
use super::h1::Switched;
use super::{h1, h2};
use vbc_http::LazyTimer;
use vbc_http::headers;

/// The body of an upstream's response. It is small, because it is moved often.
pub(in crate::proxy) enum UpstreamBody {
    /// The whole body, which has been received. Empty once it has been handed on.
    Whole(Bytes),
    /// A body that has not been received completely.
    Streamed(Box<StreamedBody>),
    /// The connection of a 101, which has no body. `None` once it has been taken.
    Switched(Option<Box<Switched>>),
}

/// A body that is read on demand. Each read is limited by `upstream.idle_timeout`.
pub(in crate::proxy) struct StreamedBody {
    pub(super) connection: ConnectionBody,
    pub(super) idle_timeout: Duration,
    /// When the pending read began. `None` if no read is pending.
    pub(super) waiting_since: Option<Instant>,
    pub(super) timer: Rc<LazyTimer>,
}

/// The streamed body, by the HTTP version of its connection.
pub(super) enum ConnectionBody {
    /// Over HTTP/1.1.
    H1(h1::StreamedBody),
    /// Over HTTP/2.
    H2(h2::StreamedBody),
}

impl UpstreamBody {
    /// The whole body, if it has been received. Leaves an empty one.
    pub(in crate::proxy) fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Self::Whole(bytes) => Some(std::mem::take(bytes)),
            Self::Streamed(streamed) => match &mut streamed.connection {
                ConnectionBody::H1(body) => body.take_whole(),
                ConnectionBody::H2(_) => None,
            },
            Self::Switched(_) => None,
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => {
                let whole = std::mem::take(bytes);
                Poll::Ready((!whole.is_empty()).then(|| Ok(Frame::data(whole))))
            }
            Self::Streamed(streamed) => streamed.poll_frame(cx),
            Self::Switched(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Streamed(streamed) => match &streamed.connection {
                ConnectionBody::H1(body) => body.is_end_stream(),
                ConnectionBody::H2(body) => body.is_end_stream(),
            },
            Self::Switched(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(streamed) => match &streamed.connection {
                ConnectionBody::H1(body) => body.size_hint(),
                ConnectionBody::H2(body) => body.size_hint(),
            },
            Self::Switched(_) => SizeHint::with_exact(0),
        }
    }
}

impl StreamedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let polled = match &mut self.connection {
            ConnectionBody::H1(body) => body.poll_frame(cx),
            ConnectionBody::H2(body) => body.poll_frame(cx),
        };
        let Poll::Ready(mut frame) = polled else {
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            ready!(self.timer.poll_deadline(cx, since + self.idle_timeout));
            match &mut self.connection {
                ConnectionBody::H1(body) => body.abandon(),
                ConnectionBody::H2(body) => body.abandon(),
            }
            return Poll::Ready(Some(Err(UpstreamError::ReadTimeout)));
        };
        self.waiting_since = None;
        if let Some(trailers) = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut()) {
            headers::strip_trailers(trailers);
        }
        Poll::Ready(frame)
    }
}
