//! Bodies of requests as handlers get them.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use super::Refusal;
use super::h1::RequestBody;
use super::lazy_timer::LazyTimer;

/// Why a request's body ended before its end.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The client broke off.
    #[error("the client broke off")]
    Left,
    /// The same on HTTP/2, or it broke the framing.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It is not framed as it should be, or it stopped arriving.
    #[error("{0}")]
    Refused(#[source] Refusal),
}

/// The body of a request, as it arrives.
///
/// It has a deadline while it is asked for more and nothing comes.
pub struct Incoming {
    source: Source,
    /// What was read of it and put back.
    read: Option<Box<Read>>,
}

enum Source {
    /// There is none.
    Empty,
    Http1(RequestBody),
    Http2(Box<Http2>),
}

struct Http2 {
    body: hyper::body::Incoming,
    patience: Duration,
    waiting: LazyTimer,
}

#[derive(Debug)]
struct Read {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Incoming {
    /// Reads up to `most` bytes ahead of whoever will read the body, from its first byte on; gives the whole of it, or
    /// `None` where it is longer.
    ///
    /// # Errors
    /// As reading.
    pub async fn peek(&mut self, most: usize) -> Result<Option<Bytes>, BodyError> {
        let (mut data, mut trailers) = (BytesMut::new(), None);
        let mut whole = true;
        while !self.is_end_stream() && trailers.is_none() {
            let Some(frame) = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await else { break };
            match frame?.into_data() {
                Ok(piece) => data.extend_from_slice(&piece),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
            if data.len() > most {
                whole = false;
                break;
            }
        }
        let data = data.freeze();
        if !data.is_empty() || trailers.is_some() {
            self.read = Some(Box::new(Read { data: data.clone(), trailers }));
        }
        Ok(whole.then_some(data))
    }

    pub(super) fn http1(body: Option<RequestBody>) -> Self {
        Self { source: body.map_or(Source::Empty, Source::Http1), read: None }
    }

    pub(super) fn http2(body: hyper::body::Incoming, patience: Duration) -> Self {
        let source = match body.is_end_stream() {
            true => Source::Empty,
            false => Source::Http2(Box::new(Http2 { body, patience, waiting: LazyTimer::default() })),
        };
        Self { source, read: None }
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
        if let Some(read) = this.read.take() {
            let Read { data, trailers } = *read;
            if data.is_empty() {
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            if trailers.is_some() {
                this.read = Some(Box::new(Read { data: Bytes::new(), trailers }));
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
        self.read.is_none()
            && match &self.source {
                Source::Empty => true,
                Source::Http1(body) => body.is_end_stream(),
                Source::Http2(body) => body.body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Http1(body) => body.size_hint(),
            Source::Http2(body) => body.body.size_hint(),
        };
        match &self.read {
            None => left,
            Some(read) => {
                let read = read.data.len() as u64;
                left.exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(read + left))
            }
        }
    }
}

impl Http2 {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.waiting.clear();
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
            }
            Poll::Pending => {
                ready!(self.waiting.poll_after(cx, self.patience));
                Poll::Ready(Some(Err(BodyError::Refused(Refusal::BodyTimeout))))
            }
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}
