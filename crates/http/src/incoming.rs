//! Bodies of requests, as handlers receive them.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use crate::RequestRejection;
use crate::lazy_timer::LazyTimer;

/// Why a request's body ended early.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The client closed or reset the connection.
    #[error("the client disconnected")]
    Disconnected,
    /// The client closed or reset the stream (HTTP/2), or broke the framing.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
    /// The body is not framed correctly, or it stopped arriving.
    #[error("{0}")]
    Rejected(#[source] RequestRejection),
}

/// The body of a request, as it arrives.
///
/// Reading fails when the client sends nothing for too long. Time during which nobody reads does
/// not count.
pub struct Incoming {
    source: Source,
    /// Frames that [`peek`](Self::peek) has read. They are returned first.
    peeked: Option<Box<Peeked>>,
}

enum Source {
    /// The request has no body.
    Empty,
    Http1(Http1Body),
    Http2(Box<Http2Body>),
}

#[derive(Debug)]
struct Peeked {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Incoming {
    pub(crate) fn empty() -> Self {
        Self { source: Source::Empty, peeked: None }
    }

    /// For tests: a body that has been received.
    #[cfg(any(test, fuzzing, feature = "testing"))]
    pub fn received(data: Bytes) -> Self {
        Self { source: Source::Empty, peeked: Some(Box::new(Peeked { data, trailers: None })) }
    }

    pub(crate) fn http1(body: Http1Body) -> Self {
        Self { source: Source::Http1(body), peeked: None }
    }

    pub(crate) fn http2(body: hyper::body::Incoming, patience: Duration) -> Self {
        if body.is_end_stream() {
            return Self::empty();
        }
        let body = Http2Body { body, patience, timer: LazyTimer::default() };
        Self { source: Source::Http2(Box::new(body)), peeked: None }
    }

    /// Reads ahead up to `most` bytes, which stay in the body. Returns the whole body, or `None` if
    /// it is longer. Call it before the body is read. Not cancel safe: bytes already read are lost.
    ///
    /// # Errors
    /// The errors of reading the body.
    pub async fn peek(&mut self, most: usize) -> Result<Option<Bytes>, BodyError> {
        let mut data = BytesMut::new();
        let mut trailers = None;
        while !self.is_end_stream() && trailers.is_none() && data.len() <= most {
            let Some(frame) = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await else { break };
            match frame?.into_data() {
                Ok(piece) => data.extend_from_slice(&piece),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let data = data.freeze();
        if !data.is_empty() || trailers.is_some() {
            self.peeked = Some(Box::new(Peeked { data: data.clone(), trailers }));
        }
        Ok((data.len() <= most).then_some(data))
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
        if let Some(peeked) = this.peeked.take() {
            let Peeked { data, trailers } = *peeked;
            if data.is_empty() {
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            if trailers.is_some() {
                this.peeked = Some(Box::new(Peeked { data: Bytes::new(), trailers }));
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut this.source {
            Source::Empty => Poll::Ready(None),
            Source::Http1(body) => body.poll_frame(cx),
            Source::Http2(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.peeked.is_none()
            && match &self.source {
                Source::Empty => true,
                Source::Http1(body) => body.ended,
                Source::Http2(body) => body.body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Http1(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Http2(body) => body.body.size_hint(),
        };
        let Some(peeked) = &self.peeked else { return left };
        let peeked = peeked.data.len() as u64;
        left.exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(peeked + left))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}

/// The connection that an HTTP/1 body comes from.
pub(crate) trait BodySource: Send + Sync {
    /// Polls for the next frame of the body with the number `turn`. Fails for every body except the
    /// current one.
    fn poll_frame(&self, turn: u32, cx: &mut Context<'_>) -> Poll<Option<Result<BodyPiece, BodyError>>>;
}

/// A frame of a body.
pub(crate) struct BodyPiece {
    pub(crate) frame: Frame<Bytes>,
    /// No frame follows.
    pub(crate) last: bool,
}

/// An HTTP/1 body, read from its connection when it is polled.
pub(crate) struct Http1Body {
    source: Arc<dyn BodySource>,
    turn: u32,
    /// How many bytes of the announced length are unread. `None` if the body is chunked.
    left: Option<u64>,
    ended: bool,
}

impl Http1Body {
    pub(crate) fn new(source: Arc<dyn BodySource>, turn: u32, length: Option<u64>) -> Self {
        Self { source, turn, left: length, ended: false }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(piece) = ready!(self.source.poll_frame(self.turn, cx)).transpose()? else {
            self.ended = true;
            return Poll::Ready(None);
        };
        self.ended = piece.last;
        if let (Some(data), Some(left)) = (piece.frame.data_ref(), &mut self.left) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(Some(Ok(piece.frame)))
    }
}

/// An HTTP/2 body, with a deadline for each read.
struct Http2Body {
    body: hyper::body::Incoming,
    patience: Duration,
    timer: LazyTimer,
}

impl Http2Body {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.timer.clear();
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Http2)));
        }
        ready!(self.timer.poll_after(cx, self.patience));
        Poll::Ready(Some(Err(BodyError::Rejected(RequestRejection::BodyTimeout))))
    }
}
