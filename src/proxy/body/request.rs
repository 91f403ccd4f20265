//! A request body, and one sending of it.

use std::cell::{Ref, RefCell, RefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::BoxError;
use super::copy::{Copy, Piece, Position, ReplayLoss};
use super::spool::Disk;
use crate::cassette::RequestTap;
use crate::headers;
use crate::proxy::continue_gate::ContinueGate;
use crate::proxy::error::{Error, request_body_error};
use crate::server::Incoming;

/// A request body that is streamed and, as far as it stays under the limits, kept.
///
/// What the client sends goes to the upstream as it comes; a copy is kept for the one replay, of references up to
/// `retry.memory`, in a file up to `retry.disk`. Over the limits the copy is dropped and the body can be sent only
/// once, unless nothing of it has been taken from the client yet.
///
/// `None` is a body that was known to be empty before anything was read.
#[derive(Clone)]
pub(in crate::proxy) struct RequestBody(Option<Rc<RefCell<Source>>>);

struct Source {
    incoming: Incoming,
    copy: Copy,
    memory: u64,
    disk: Rc<Disk>,
    exact: Option<u64>,
    /// The client has sent it to the end.
    ended: bool,
    /// Some of it has been taken from the client.
    begun: bool,
    /// A copy may still be of use.
    wanted: bool,
    /// The sending under way has handed everything on.
    sent: bool,
    /// When the last piece was handed on, for the deadline of an upload.
    progress: Option<Instant>,
    /// The upstream would take more than the client has sent.
    starved: bool,
    /// Keeps the sending back until the upstream wants it.
    hold: Option<ContinueGate>,
    /// Why the client's side failed.
    failure: Option<Error>,
    /// The attempt that may read on; an older one is dead.
    attempt: u32,
    /// Takes note of what the client sends.
    tap: Option<RequestTap>,
}

impl RequestBody {
    pub(in crate::proxy) fn new(incoming: Incoming, memory: usize, disk: &Rc<Disk>) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        let (hint, memory) = (incoming.size_hint(), memory as u64);
        let source = Source {
            copy: Copy::new(hint.lower(), memory, disk),
            incoming,
            memory,
            disk: Rc::clone(disk),
            exact: hint.exact(),
            ended: false,
            begun: false,
            wanted: true,
            sent: false,
            progress: None,
            starved: false,
            hold: None,
            failure: None,
            attempt: 0,
            tap: None,
        };
        Self(Some(Rc::new(RefCell::new(source))))
    }

    #[cfg(any(test, fuzzing))]
    pub(in crate::proxy) fn empty() -> Self {
        Self(None)
    }

    fn source(&self) -> Option<Ref<'_, Source>> {
        self.0.as_ref().map(|source| source.borrow())
    }

    fn source_mut(&self) -> Option<RefMut<'_, Source>> {
        self.0.as_ref().map(|source| source.borrow_mut())
    }

    /// Lets a recorder take note of it.
    pub(in crate::proxy) fn tap(&self, tap: Option<&RequestTap>) {
        if let Some(source) = &self.0 {
            source.borrow_mut().tap = tap.cloned();
        }
    }

    /// The body for the next attempt, from its first byte; `None` when that is gone.
    pub(in crate::proxy) fn attempt(&self) -> Option<AttemptBody> {
        let Some(shared) = &self.0 else { return Some(AttemptBody(None)) };
        let mut source = shared.borrow_mut();
        if source.attempt > 0 && !source.replayable() {
            return None;
        }
        source.attempt += 1;
        source.hold = None;
        source.starved = false;
        source.sent = source.ended && source.copy.is_behind(Position::default());
        let (attempt, exact) = (source.attempt, source.exact);
        Some(AttemptBody(Some(Attempt {
            source: Rc::clone(shared),
            attempt,
            at: Position::default(),
            exact,
        })))
    }

    /// Keeps the sending under way back until the hold is released.
    pub(in crate::proxy) fn hold(&self, hold: Option<ContinueGate>) {
        if let Some(mut source) = self.source_mut() {
            source.hold = hold;
        }
    }

    /// Whether the upstream is to be asked before this body is sent: it is large, or may be and its client waits to
    /// be asked as well.
    pub(in crate::proxy) fn is_worth_asking(&self, client_waits: bool) -> bool {
        self.source().is_some_and(|source| {
            !source.ended && source.exact.map_or(client_waits, |length| length > source.memory)
        })
    }

    /// Whether it can be sent once more.
    pub(in crate::proxy) fn replayable(&self) -> bool {
        self.source().is_none_or(|source| source.replayable())
    }

    /// Why it cannot be sent once more.
    pub(in crate::proxy) fn lost(&self) -> ReplayLoss {
        self.source().and_then(|source| source.copy.lost()).unwrap_or(ReplayLoss::Done)
    }

    /// It will not be sent again: the copy goes, and no more is kept.
    pub(in crate::proxy) fn keep_no_more(&self) {
        let Some(mut source) = self.source_mut() else { return };
        source.wanted = false;
        // A second sending may still need it, and drops it when it has caught up.
        if source.attempt < 2 || source.sent {
            source.copy = Copy::ReplayLoss(ReplayLoss::Done);
        }
    }

    /// Whether all of it has been handed to the upstream's connection.
    pub(in crate::proxy) fn sent(&self) -> bool {
        self.source().is_none_or(|source| source.sent)
    }

    /// Whether it is the client that is waited for; the client's connection keeps that deadline.
    pub(in crate::proxy) fn starved(&self) -> bool {
        self.source().is_some_and(|source| source.starved)
    }

    /// Some of what was handed on has been written.
    pub(in crate::proxy) fn moved(&self) {
        if let Some(mut source) = self.source_mut() {
            source.progress = Some(Instant::now());
        }
    }

    /// When the upload last moved.
    pub(in crate::proxy) fn progress(&self) -> Option<Instant> {
        self.source()?.progress
    }

    /// Why the client's side failed, if it did.
    pub(in crate::proxy) fn take_failure(&self) -> Option<Error> {
        self.source_mut()?.failure.take()
    }
}

impl Source {
    fn replayable(&self) -> bool {
        // While it is held back nobody takes anything from the client.
        let untouched = !self.begun && self.hold.as_ref().is_some_and(ContinueGate::is_held);
        self.failure.is_none() && (self.copy.lost().is_none() || untouched)
    }

    /// The next piece from the client, which is kept as well.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BoxError>>> {
        if !self.wanted {
            self.copy = Copy::ReplayLoss(ReplayLoss::Done);
        }
        if self.failure.is_some() {
            // What comes behind a failure would be taken for the end.
            return Poll::Ready(Some(Err("the request's body has failed".into())));
        }
        self.starved = false;
        ready!(self.copy.poll_room(cx));
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.starved = polled.is_pending();
        let piece = match ready!(polled) {
            None => {
                self.ended = true;
                self.note(None);
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                self.failure = Some(request_body_error(&error));
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
        self.begun = true;
        self.copy.push(&piece, self.memory, &self.disk);
        // Nothing comes behind trailers, and nobody asks whether.
        self.ended = matches!(piece, Piece::Trailers(_)) || self.incoming.is_end_stream();
        self.note(Some(&piece));
        Poll::Ready(Some(Ok(piece)))
    }

    fn note(&self, piece: Option<&Piece>) {
        let Some(tap) = &self.tap else { return };
        if let Some(Piece::Data(data)) = piece {
            tap.data(data);
        }
        if self.ended {
            tap.end();
        }
    }

    /// The next piece of a sending that has come to `at`.
    fn poll_piece(&mut self, cx: &mut Context<'_>, at: Position) -> Poll<Option<Result<Piece, BoxError>>> {
        match ready!(self.copy.poll_piece(cx, at)) {
            Some(Ok(piece)) => Poll::Ready(Some(Ok(piece))),
            Some(Err(error)) => {
                tracing::warn!(%error, "a request body could not be read back for a replay");
                self.failure = Some(Error::CopyUnreadable);
                Poll::Ready(Some(Err(error.into())))
            }
            None if self.ended => Poll::Ready(None),
            None => self.poll_client(cx),
        }
    }
}

/// One sending of a request body.
pub(in crate::proxy) struct AttemptBody(Option<Attempt>);

struct Attempt {
    source: Rc<RefCell<Source>>,
    attempt: u32,
    at: Position,
    exact: Option<u64>,
}

impl AttemptBody {
    /// It was asked for more than is needed yet: the client is not waited for.
    pub(in crate::proxy) fn is_fed(&self) {
        if let Some(this) = &self.0 {
            this.source.borrow_mut().starved = false;
        }
    }
}

impl Body for AttemptBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(this) = &mut self.get_mut().0 else { return Poll::Ready(None) };
        let mut source = this.source.borrow_mut();
        if source.attempt != this.attempt {
            return Poll::Ready(Some(Err("the request is being sent again".into())));
        }
        if let Some(hold) = &source.hold {
            ready!(hold.poll_released(cx));
        }
        let piece = ready!(source.poll_piece(cx, this.at));
        source.progress = Some(Instant::now());
        match piece {
            None => {
                source.sent = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            Some(Ok(piece)) => {
                this.at.advance(&piece);
                source.sent = source.ended && source.copy.is_behind(this.at);
                Poll::Ready(Some(Ok(match piece {
                    Piece::Data(data) => Frame::data(data),
                    Piece::Trailers(trailers) => Frame::trailers(trailers),
                })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|this| {
            let source = this.source.borrow();
            source.ended && source.copy.is_behind(this.at)
        })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(this) => this.exact.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
