//! Bodies of requests as handlers get them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
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
    /// What was read of it and put back.
    read: Option<Box<Read>>,
    patience: Option<Duration>,
    waiting: Deadline,
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

    pub(super) fn new(body: hyper::body::Incoming, patience: Option<Duration>) -> Self {
        Self { body, read: None, patience, waiting: Deadline::default() }
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
        self.read.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.size_hint();
        match &self.read {
            None => left,
            Some(read) => {
                let read = read.data.len() as u64;
                left.exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(read + left))
            }
        }
    }
}
