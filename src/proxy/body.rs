//! Bodies on their way through: requests that may have to be sent twice, answers that may have been looked into.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::Instant;

use super::upstream::UpstreamBody;
use crate::headers;
use crate::server::Incoming;

/// An error as hyper takes it.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body that is streamed and, as far as it stays under the limit, kept.
///
/// What the client sends goes to the upstream as it comes; a copy (of references, not of bytes) is kept for the
/// one replay. Over the limit the copy is dropped and the body can be sent only once.
#[derive(Clone)]
pub(super) struct RequestBody(Rc<RefCell<Source>>);

struct Source {
    incoming: Incoming,
    /// What has been read, while it is under the limit.
    kept: Option<Vec<Piece>>,
    kept_bytes: usize,
    limit: usize,
    ended: bool,
    /// When the last piece was handed on, for the deadline of an upload.
    progress: Option<Instant>,
    /// The upstream would take more than the client has sent.
    starved: bool,
    /// Why the client's side failed.
    failure: Option<super::error::Error>,
    /// The attempt that may read on; an older one is dead.
    attempt: u32,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, limit: usize) -> Self {
        let ended = incoming.is_end_stream();
        // A body that announces more than the limit is not kept at all.
        let kept = (incoming.size_hint().lower() <= limit as u64).then(Vec::new);
        let source = Source {
            incoming,
            kept,
            kept_bytes: 0,
            limit,
            ended,
            progress: None,
            starved: false,
            failure: None,
            attempt: 0,
        };
        Self(Rc::new(RefCell::new(source)))
    }

    /// The body for the next attempt, from its first byte; `None` when that is gone.
    pub(super) fn attempt(&self) -> Option<AttemptBody> {
        let mut source = self.0.borrow_mut();
        if source.attempt > 0 && !(source.kept.is_some() && source.failure.is_none()) {
            return None;
        }
        source.attempt += 1;
        let hint = source.incoming.size_hint();
        let exact = hint.exact().filter(|_| source.attempt == 1);
        Some(AttemptBody { source: Rc::clone(&self.0), attempt: source.attempt, next: 0, exact })
    }

    /// Whether it can be sent once more.
    pub(super) fn replayable(&self) -> bool {
        let source = self.0.borrow();
        source.kept.is_some() && source.failure.is_none()
    }

    /// Whether the client has sent it to the end.
    pub(super) fn ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// Whether it is the client that is waited for; the client's connection keeps that deadline.
    pub(super) fn starved(&self) -> bool {
        self.0.borrow().starved
    }

    /// When the upload last moved.
    pub(super) fn progress(&self) -> Option<Instant> {
        self.0.borrow().progress
    }

    /// Why the client's side failed, if it did.
    pub(super) fn take_failure(&self) -> Option<super::error::Error> {
        self.0.borrow_mut().failure.take()
    }
}

impl Source {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BoxError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.starved = polled.is_pending();
        let piece = match ready!(polled) {
            None => {
                self.ended = true;
                self.progress = Some(Instant::now());
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                self.failure = Some(super::error::request_body_error(&error));
                return Poll::Ready(Some(Err(error.into())));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Piece::Data(data),
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    headers::strip_trailers(&mut trailers);
                    Piece::Trailers(trailers)
                }
            },
        };
        self.progress = Some(Instant::now());
        if let Piece::Data(data) = &piece {
            self.kept_bytes += data.len();
        }
        if self.kept_bytes > self.limit {
            self.kept = None;
        }
        if let Some(kept) = &mut self.kept {
            kept.push(piece.clone());
        }
        self.ended = self.incoming.is_end_stream();
        Poll::Ready(Some(Ok(piece)))
    }
}

/// One sending of a request body.
pub(super) struct AttemptBody {
    source: Rc<RefCell<Source>>,
    attempt: u32,
    next: usize,
    exact: Option<u64>,
}

impl Body for AttemptBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut source = this.source.borrow_mut();
        if source.attempt != this.attempt {
            return Poll::Ready(Some(Err("the request is being sent again".into())));
        }
        let kept = source.kept.as_ref().and_then(|kept| kept.get(this.next)).cloned();
        let piece = match kept {
            Some(piece) => piece,
            None if source.ended => return Poll::Ready(None),
            None => match ready!(source.poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(piece)) => piece,
            },
        };
        this.next += 1;
        Poll::Ready(Some(Ok(match piece {
            Piece::Data(data) => Frame::data(data),
            Piece::Trailers(trailers) => Frame::trailers(trailers),
        })))
    }

    fn is_end_stream(&self) -> bool {
        let source = self.source.borrow();
        source.ended && source.kept.as_ref().is_none_or(|kept| self.next >= kept.len())
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The body of an answer.
pub(super) enum AnswerBody {
    /// The upstream's, streamed; what was read to judge a 401 comes first.
    Upstream {
        /// Pieces that were read already.
        prefix: VecDeque<Bytes>,
        /// The rest.
        rest: UpstreamBody,
    },
    /// Ours.
    Own(Full<Bytes>),
    /// None, of this length: hyper drops the `Content-Length` of a 304 whose body is merely empty.
    Absent(u64),
}

impl AnswerBody {
    pub(super) fn own(body: Full<Bytes>) -> Self {
        Self::Own(body)
    }

    pub(super) fn streamed(rest: UpstreamBody) -> Self {
        Self::Upstream { prefix: VecDeque::new(), rest }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Upstream { prefix, rest } => match prefix.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                None => Pin::new(rest).poll_frame(cx).map_err(Into::into),
            },
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never: Infallible| match never {}),
            Self::Absent(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream { prefix, rest } => prefix.is_empty() && rest.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
            Self::Absent(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream { prefix, rest } => {
                let hint = rest.size_hint();
                let read: u64 = prefix.iter().map(|piece| piece.len() as u64).sum();
                hint.exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(read + left))
            }
            Self::Own(body) => body.size_hint(),
            Self::Absent(length) => SizeHint::with_exact(*length),
        }
    }
}
