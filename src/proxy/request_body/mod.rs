//! A request body, and the attempts that send it.

mod copy;
mod loss;
mod spool;

use std::cell::{Ref, RefCell, RefMut};
use std::error::Error as StdError;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::Instant;

use super::BoxError;
use super::continue_gate::ContinueGate;
use copy::{Copy, Piece, Position};
pub(super) use loss::ReplayLoss;
pub(super) use spool::Disk;
use vbc_cassette::RequestTap;
use vbc_http::headers;
use vbc_http::{Incoming, RequestRejection};

/// Why a request body could not be sent to its end.
#[derive(Clone, Copy, Debug, Error)]
pub(super) enum BodyFailure {
    /// The body broke the framing or arrived too late.
    #[error("refused: {0}")]
    Refused(RequestRejection),
    /// The client closed the connection early. Usually nobody reads the response.
    #[error("the request body was cut short")]
    CutShort,
    /// The copy for a retry cannot be read back.
    #[error("the copy of the request body could not be read")]
    CopyUnreadable,
}

/// A request body that is streamed and, within limits, copied for retries.
///
/// The copy is in memory up to `retry.memory`, and in a file up to `retry.disk`. Beyond that it is
/// dropped, and the body can be sent only once. A body from which nothing has been taken needs no
/// copy.
///
/// Clones share one body. [`attempt`](Self::attempt) begins an attempt and ends the one before.
/// [`keep_no_more`](Self::keep_no_more) is called once no retry can follow.
///
/// `None` is a body that was known to be empty from the start.
#[derive(Clone)]
pub(super) struct RequestBody(Option<Rc<RefCell<Source>>>);

struct Source {
    client: Client,
    copy: Copy,
    /// The largest body that is kept in memory.
    memory: u64,
    disk: Rc<Disk>,
    /// Whether a retry may need the copy.
    wanted: bool,
    sending: Sending,
}

/// The client's side of a body.
struct Client {
    incoming: Incoming,
    /// The announced length.
    exact: Option<u64>,
    state: ClientState,
    /// Records what the client sends.
    tap: Option<RequestTap>,
}

/// How much of a body the client has sent.
#[derive(Clone, Copy)]
enum ClientState {
    /// Nothing has been taken from the client.
    Untouched,
    /// A part of the body has been taken.
    Begun,
    /// The whole body has been taken, trailers included.
    Ended,
    /// The rest cannot be read, from the client or from the copy.
    Failed(BodyFailure),
}

/// The latest attempt to send a body.
struct Sending {
    /// The number of the attempt, from 1. Earlier attempts must not read any further.
    number: u32,
    state: SendingState,
    /// When the last piece was handed on or written.
    progress: Option<Instant>,
}

enum SendingState {
    /// The attempt waits until its gate opens.
    Held(ContinueGate),
    /// The attempt takes pieces as they come.
    Flowing,
    /// The upstream has taken everything that the client has sent so far.
    Starved,
    /// The whole body has been handed to the upstream's connection.
    Sent,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, memory: usize, disk: &Rc<Disk>) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        let (hint, memory) = (incoming.size_hint(), memory as u64);
        let source = Source {
            copy: Copy::new(hint.lower(), memory, disk),
            client: Client { incoming, exact: hint.exact(), state: ClientState::Untouched, tap: None },
            memory,
            disk: Rc::clone(disk),
            wanted: true,
            sending: Sending { number: 0, state: SendingState::Flowing, progress: None },
        };
        Self(Some(Rc::new(RefCell::new(source))))
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn empty() -> Self {
        Self(None)
    }

    fn source(&self) -> Option<Ref<'_, Source>> {
        self.0.as_ref().map(|source| source.borrow())
    }

    fn source_mut(&self) -> Option<RefMut<'_, Source>> {
        self.0.as_ref().map(|source| source.borrow_mut())
    }

    /// Lets a recorder see what the client sends.
    pub(super) fn tap(&self, tap: Option<&RequestTap>) {
        if let Some(mut source) = self.source_mut() {
            source.client.tap = tap.cloned();
        }
    }

    /// Begins an attempt from the first byte. `None` if the beginning of the body is lost.
    pub(super) fn attempt(&self) -> Option<AttemptBody> {
        let Some(shared) = &self.0 else { return Some(AttemptBody(None)) };
        let mut source = shared.borrow_mut();
        if source.sending.number > 0 && !source.is_replayable() {
            return None;
        }
        let number = source.sending.number + 1;
        let is_sent = source.is_handed_on(Position::default());
        let state = if is_sent { SendingState::Sent } else { SendingState::Flowing };
        source.sending = Sending { number, state, progress: source.sending.progress };
        let exact = source.client.exact;
        Some(AttemptBody(Some(Attempt { source: Rc::clone(shared), number, at: Position::default(), exact })))
    }

    /// Holds the latest attempt back until the gate opens. Without a gate the attempt flows, even
    /// if an earlier gate held it.
    pub(super) fn hold_back(&self, gate: Option<ContinueGate>) {
        let Some(mut source) = self.source_mut() else { return };
        if let Some(gate) = gate {
            source.sending.state = SendingState::Held(gate);
        } else if matches!(source.sending.state, SendingState::Held(_)) {
            source.sending.state = SendingState::Flowing;
        }
    }

    /// Whether to send `Expect: 100-continue` before this body. True for a body larger than
    /// `retry.memory`, and for a body of unknown length if the client waits for a 100 too.
    pub(super) fn is_worth_asking(&self, client_waits: bool) -> bool {
        self.source().is_some_and(|source| {
            !source.client.has_ended()
                && source.client.exact.map_or(client_waits, |length| length > source.memory)
        })
    }

    /// Whether the body can be sent once more.
    pub(super) fn is_replayable(&self) -> bool {
        self.source().is_none_or(|source| source.is_replayable())
    }

    /// Why the body cannot be sent once more.
    pub(super) fn loss(&self) -> ReplayLoss {
        self.source().and_then(|source| source.copy.loss()).unwrap_or(ReplayLoss::Done)
    }

    /// Drops the copy, because no retry will follow.
    pub(super) fn keep_no_more(&self) {
        let Some(mut source) = self.source_mut() else { return };
        source.wanted = false;
        // A retry that is under way reads the copy to its end and then drops it.
        if source.sending.number < 2 || source.is_sent() {
            source.copy = Copy::Lost(ReplayLoss::Done);
        }
    }

    /// Whether the whole body has been handed to the upstream's connection.
    pub(super) fn is_sent(&self) -> bool {
        self.source().is_none_or(|source| source.is_sent())
    }

    /// Whether the upstream has taken everything that the client has sent so far. The client
    /// connection's own deadline then limits the wait for more.
    pub(super) fn is_starved(&self) -> bool {
        self.source().is_some_and(|source| matches!(source.sending.state, SendingState::Starved))
    }

    /// Notes that bytes of the body have been written to the upstream.
    pub(super) fn note_progress(&self) {
        if let Some(mut source) = self.source_mut() {
            source.sending.progress = Some(Instant::now());
        }
    }

    /// When a piece was last handed on or written.
    pub(super) fn progress(&self) -> Option<Instant> {
        self.source()?.sending.progress
    }

    /// Why the body could not be sent to its end; `None` if it did not fail.
    pub(super) fn failure(&self) -> Option<BodyFailure> {
        match self.source()?.client.state {
            ClientState::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

impl Client {
    fn has_ended(&self) -> bool {
        matches!(self.state, ClientState::Ended)
    }

    /// The next piece from the client.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BoxError>>> {
        let piece = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            None => None,
            Some(Err(error)) => {
                self.state = ClientState::Failed(client_failure(&error));
                return Poll::Ready(Some(Err(error.into())));
            }
            Some(Ok(frame)) => Some(match frame.into_data() {
                Ok(data) => Piece::Data(data),
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    headers::strip_trailers(&mut trailers);
                    Piece::Trailers(trailers)
                }
            }),
        };
        // Not every sender polls again after trailers.
        let has_ended = !matches!(piece, Some(Piece::Data(_))) || self.incoming.is_end_stream();
        self.state = if has_ended { ClientState::Ended } else { ClientState::Begun };
        if let Some(tap) = &self.tap {
            if let Some(Piece::Data(data)) = &piece {
                tap.data(data);
            }
            if has_ended {
                tap.end();
            }
        }
        Poll::Ready(piece.map(Ok))
    }
}

impl Source {
    fn is_replayable(&self) -> bool {
        match (self.client.state, &self.sending.state) {
            (ClientState::Failed(_), _) => false,
            // A held attempt has taken nothing from the client.
            (ClientState::Untouched, SendingState::Held(gate)) if gate.is_held() => true,
            _ => self.copy.loss().is_none(),
        }
    }

    fn is_sent(&self) -> bool {
        matches!(self.sending.state, SendingState::Sent)
    }

    /// Whether an attempt at this position has handed on the whole body.
    fn is_handed_on(&self, at: Position) -> bool {
        self.client.has_ended() && self.copy.is_read_to_end(at)
    }

    /// The next piece of an attempt at this position: from the copy, and then from the client.
    fn poll_piece(&mut self, cx: &mut Context<'_>, at: Position) -> Poll<Option<Result<Piece, BoxError>>> {
        match ready!(self.copy.poll_piece(cx, at)) {
            Some(Ok(piece)) => Poll::Ready(Some(Ok(piece))),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot read the copy of a request body; the request is not retried");
                self.client.state = ClientState::Failed(BodyFailure::CopyUnreadable);
                Poll::Ready(Some(Err(error.into())))
            }
            None if self.client.has_ended() => Poll::Ready(None),
            None => self.poll_client(cx),
        }
    }

    /// The next piece from the client. It is added to the copy.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BoxError>>> {
        if !self.wanted {
            self.copy = Copy::Lost(ReplayLoss::Done);
        }
        if let ClientState::Failed(failure) = self.client.state {
            // Polling the client's body again after its failure would look like the end of the
            // body.
            return Poll::Ready(Some(Err(failure.into())));
        }
        self.sending.state = SendingState::Flowing;
        ready!(self.copy.poll_capacity(cx));
        let Poll::Ready(piece) = self.client.poll_piece(cx) else {
            self.sending.state = SendingState::Starved;
            return Poll::Pending;
        };
        if let Some(Ok(piece)) = &piece {
            self.copy.push(piece, self.memory, &self.disk);
        }
        Poll::Ready(piece)
    }
}

/// Why the client's body failed: the [`RequestRejection`] among the causes if there is one, else
/// `CutShort`.
fn client_failure(error: &(dyn StdError + 'static)) -> BodyFailure {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let refusal = inner.and_then(|inner| inner.downcast_ref::<RequestRejection>());
        if let Some(refusal) = refusal.or_else(|| error.downcast_ref::<RequestRejection>()) {
            return BodyFailure::Refused(*refusal);
        }
        cause = error.source();
    }
    BodyFailure::CutShort
}

/// One attempt to send a request body.
pub(super) struct AttemptBody(Option<Attempt>);

struct Attempt {
    source: Rc<RefCell<Source>>,
    number: u32,
    at: Position,
    exact: Option<u64>,
}

impl AttemptBody {
    /// Notes that the last poll asked for more than the upstream needs, so that a pending result
    /// does not count as [`Starved`](SendingState::Starved).
    pub(super) fn has_enough(&self) {
        if let Some(this) = &self.0 {
            this.source.borrow_mut().sending.state = SendingState::Flowing;
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
        if source.sending.number != this.number {
            return Poll::Ready(Some(Err("the request is being sent again".into())));
        }
        if let SendingState::Held(gate) = &source.sending.state {
            ready!(gate.poll_released(cx));
        }
        let piece = ready!(source.poll_piece(cx, this.at)).transpose();
        source.sending.progress = Some(Instant::now());
        let piece = piece?;
        if let Some(piece) = &piece {
            this.at.advance(piece);
        }
        if source.is_handed_on(this.at) {
            source.sending.state = SendingState::Sent;
        }
        Poll::Ready(piece.map(|piece| {
            Ok(match piece {
                Piece::Data(data) => Frame::data(data),
                Piece::Trailers(trailers) => Frame::trailers(trailers),
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|this| this.source.borrow().is_handed_on(this.at))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(this) => this.exact.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
