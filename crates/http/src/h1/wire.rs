//! The socket of a connection: what is read from it, and the deadlines of reading and writing.

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use parking_lot::Mutex;
use tokio::io::ReadBuf;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::half_close::{HalfClosed, ResetCheck};
use super::head::{HeadReader, Received};
use super::receiving::{MOST_READ, Receiving, Step, UnderWay};
use crate::body::BodyError;
use crate::codec::{Input, Sending, block};
use crate::lazy_timer::LazyTimer;
use crate::{Limits, RawHead, Refusal, Stream};

/// How much a closing connection still reads, and for how long, before the socket is given up: a socket closed
/// with unread input sends a reset, which can overtake the answer.
pub(crate) const LINGER_BYTES: usize = 1 << 20;
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(2);

/// How much of a head is read at once, on the stack: most heads with their bodies. An idle connection keeps no room for it.
const READ: usize = 16 * 1024;

/// After how long without a request a connection gives back what only an exchange needs. To make that anew costs little, but
/// a timer that ends costs as much.
pub(super) const REST: Duration = Duration::from_secs(5);

/// So much of a body that nobody has read is taken off the wire, where it is there already, for the connection to be kept.
const LEFT_OVER: usize = 256 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What an exchange and the body of its request share. The body may be read in another task than the connection's.
pub(super) struct Link<S>(Mutex<Wire<S>>);

pub(super) struct Wire<S> {
    pub(super) stream: S,
    pub(super) limits: Limits,
    pub(super) input: Input,
    head: HeadReader,
    body: Receiving,
    /// How many requests there have been.
    pub(super) requests: u32,
    /// Which body is read: whoever has an older one gets nothing of it.
    turn: u32,
    /// Somebody has asked for that body.
    asked: bool,
    /// What is to be written of a 100 before the body is read, and whether some of it may be in a buffer of TLS.
    interim: &'static [u8],
    unflushed: bool,
    under_way: Option<UnderWay>,
    /// The client is gone, or has ended its side before it sent all of the body.
    left: bool,
    /// The client has ended its side; what it asked before may still be answered.
    half_closed: Option<Box<HalfClosed>>,
    /// Notices a reset while more is at hand than is read ahead.
    reset_check: Option<Box<ResetCheck>>,
    /// Runs while a head or a body is incomplete and nothing arrives.
    reading: LazyTimer,
    /// Runs while a write makes no progress.
    writing: LazyTimer,
    /// Runs across requests, from one on which the connection had not been idle for long.
    idle: LazyTimer,
    idle_since: Option<Instant>,
    /// The connection's task, while it waits for the body to come to its end elsewhere.
    watcher: Option<Waker>,
    /// The coming close is to be a reset.
    pub(super) reset: bool,
    closing: Option<Closing>,
}

/// What came of waiting for a head.
pub(super) enum Waited {
    Head(Bytes),
    Refused(Refusal),
    /// Nothing yet: what only an exchange needs may go.
    Rest,
    /// Nothing: the connection was silent for too long, or is gone.
    Gone,
}

struct Closing {
    deadline: LazyTimer,
    read: usize,
}

impl<S: Stream> Link<S> {
    /// `first` has been read from the stream already.
    pub(super) fn new(stream: S, first: BytesMut, limits: Limits) -> Self {
        let mut input = Input::new();
        input.bytes = first;
        Self(Mutex::new(Wire {
            stream,
            limits,
            input,
            head: HeadReader::default(),
            body: Receiving::Done,
            requests: 0,
            turn: 0,
            asked: false,
            interim: b"",
            unflushed: false,
            under_way: None,
            left: false,
            half_closed: None,
            reset_check: None,
            reading: LazyTimer::default(),
            writing: LazyTimer::default(),
            idle: LazyTimer::default(),
            idle_since: None,
            watcher: None,
            reset: false,
            closing: None,
        }))
    }

    /// Nobody else has it between two polls of the connection's task but a body that is read elsewhere, for a moment.
    pub(super) fn wire(&self) -> parking_lot::MutexGuard<'_, Wire<S>> {
        self.0.lock()
    }
}

/// A frame of a request's body, and whether it was the last one.
pub(crate) type Piece = (Frame<Bytes>, bool);

/// Where the body of a request comes from.
pub(crate) trait Inflow: Send + Sync {
    /// The next frame of the body whose [turn](Wire::turn) it is.
    fn poll_frame(&self, turn: u32, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>>;
}

impl<S: Stream> Inflow for Link<S> {
    fn poll_frame(&self, turn: u32, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let mut wire = self.wire();
        if wire.turn != turn {
            // What comes now is of another request.
            return Poll::Ready(Some(Err(BodyError::Left)));
        }
        wire.asked = true;
        let frame = ready!(wire.poll_frame(cx));
        // Said under the same lock: when it is free the connection may go on to the next request.
        let last = wire.has_whole_body();
        Poll::Ready(frame.map(|frame| frame.map(|frame| (frame, last))))
    }
}

impl<S: Stream> Wire<S> {
    /// Whether a head has begun and is not complete.
    pub(super) fn in_head(&self) -> bool {
        self.head.has_begun()
    }

    /// Waits for the next head; for a short silence only where it `may_rest`.
    ///
    /// Until it comes a connection is the bytes of its head.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>, may_rest: bool) -> Poll<Waited> {
        if !self.input.bytes.is_empty()
            && let Some(waited) = self.read_head()
        {
            return Poll::Ready(waited);
        }
        let mut room = [const { MaybeUninit::uninit() }; READ];
        loop {
            let mut buf = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Err(_)) => return Poll::Ready(Waited::Gone),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => return Poll::Ready(Waited::Gone),
                Poll::Ready(Ok(())) => {
                    if !self.in_head() {
                        // That was for the silence before.
                        self.reading.clear();
                    }
                    let waited = if self.input.bytes.is_empty() {
                        self.read_head_in(buf.filled())
                    } else {
                        self.input.bytes.extend_from_slice(buf.filled());
                        self.read_head()
                    };
                    if let Some(waited) = waited {
                        return Poll::Ready(waited);
                    }
                }
                Poll::Pending if self.in_head() => {
                    // A head that drips has the same time as one that stands still.
                    ready!(self.reading.poll_after(cx, self.limits.header_timeout));
                    return Poll::Ready(Waited::Refused(Refusal::HeadTimeout));
                }
                Poll::Pending => return self.poll_silence(cx, may_rest),
            }
        }
    }

    /// Waits until there has been nothing for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>, may_rest: bool) -> Poll<Waited> {
        self.input.rest();
        if self.requests == 0 {
            ready!(self.reading.poll_after(cx, self.limits.first_byte_timeout));
            return Poll::Ready(Waited::Gone);
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        let longest = self.limits.idle_timeout;
        let after = if may_rest { longest.min(REST) } else { longest };
        // Most requests come long before: the timer of an earlier silence is left to end.
        ready!(self.idle.poll_deadline(cx, since + after));
        self.idle.clear();
        Poll::Ready(if since.elapsed() >= longest { Waited::Gone } else { Waited::Rest })
    }

    /// Reads on in the head whose first bytes are at hand.
    fn read_head(&mut self) -> Option<Waited> {
        match self.head.read(&self.input.bytes, &self.limits) {
            Ok(None) => None,
            Ok(Some(length)) => {
                let head = block::keep(&self.input.bytes[..length]);
                self.input.advance(length);
                Some(Waited::Head(head))
            }
            Err(refusal) => Some(Waited::Refused(refusal)),
        }
    }

    /// The same where nothing is at hand but these bytes: almost always a whole head, of which one copy is made.
    fn read_head_in(&mut self, bytes: &[u8]) -> Option<Waited> {
        match self.head.read(bytes, &self.limits) {
            Ok(None) => {
                self.input.bytes.extend_from_slice(bytes);
                None
            }
            Ok(Some(length)) => {
                let (head, rest) = bytes.split_at(length);
                if !rest.is_empty() {
                    self.input.bytes = block::keep_body(rest);
                }
                Some(Waited::Head(block::keep(head)))
            }
            Err(refusal) => Some(Waited::Refused(refusal)),
        }
    }

    /// The request whose head this is, the last one that was waited for.
    pub(super) fn take_head(&mut self, head: &Bytes) -> Result<Received, Refusal> {
        let mut received = self.head.take(head)?;
        self.reading.clear();
        self.idle_since = None;
        self.requests = self.requests.saturating_add(1);
        self.turn = self.turn.wrapping_add(1);
        self.asked = false;
        if let Some(half_closed) = &mut self.half_closed {
            half_closed.restart();
        }
        self.body = received.framing.into();
        self.interim = if received.expects && !self.has_whole_body() { CONTINUE } else { b"" };
        if self.limits.keep_heads {
            received.request.extensions_mut().insert(RawHead(head.clone()));
        }
        Ok(received)
    }

    /// Tells the body of the last request from those of others.
    pub(super) fn turn(&self) -> u32 {
        self.turn
    }

    /// Whether the request's body has been read to its end.
    pub(super) fn has_whole_body(&self) -> bool {
        matches!(self.body, Receiving::Done)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !ready!(self.poll_interim(cx)) {
            return Poll::Ready(Some(Err(BodyError::Left)));
        }
        loop {
            match self.body.step(&mut self.input.bytes, &self.limits) {
                Err(refusal) => {
                    self.body = Receiving::Refused(refusal);
                    return Poll::Ready(Some(Err(BodyError::Refused(refusal))));
                }
                Ok(Step::Frame(frame)) => {
                    self.reading.clear();
                    if self.has_whole_body() {
                        self.end_body(cx);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Step::End) => {
                    self.end_body(cx);
                    return Poll::Ready(None);
                }
                Ok(Step::More) if self.left || self.half_closed.is_some() => {
                    self.leave(cx);
                    return Poll::Ready(Some(Err(BodyError::Left)));
                }
                Ok(Step::More) => {}
            }
            match self.poll_body(cx) {
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.leave(cx);
                    return Poll::Ready(Some(Err(BodyError::Left)));
                }
                Poll::Ready(Ok(_)) => self.reading.clear(),
                Poll::Pending => {
                    ready!(self.reading.poll_after(cx, self.limits.body_timeout));
                    self.body = Receiving::Refused(Refusal::BodyTimeout);
                }
            }
        }
    }

    /// Writes a 100 where one is waited for. Whether the client takes it.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while !self.interim.is_empty() || self.unflushed {
            let stream = Pin::new(&mut self.stream);
            let polled = match self.interim.is_empty() {
                true => stream.poll_flush(cx).map_ok(|()| self.unflushed = false),
                false => stream.poll_write(cx, self.interim).map_ok(|written| {
                    self.interim = &self.interim[written..];
                    self.unflushed = true;
                }),
            };
            match polled {
                Poll::Ready(Ok(())) => self.writing.clear(),
                Poll::Ready(Err(_)) => {
                    self.leave(cx);
                    return Poll::Ready(false);
                }
                Poll::Pending => {
                    ready!(self.writing.poll_after(cx, self.limits.body_timeout));
                    self.reset = true;
                    self.leave(cx);
                    return Poll::Ready(false);
                }
            }
        }
        Poll::Ready(true)
    }

    /// Reads more of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.under_way.get_or_insert_with(UnderWay::begin).room();
        let room = match self.body {
            // Nothing of the next request, then the last piece is no larger than it is.
            Receiving::Sized(left) => room.min(usize::try_from(left).unwrap_or(usize::MAX)),
            _ => room,
        };
        self.input.poll_body(cx, &mut self.stream, room, MOST_READ)
    }

    /// The body has come to its end: from now on the connection's task is the one that reads.
    fn end_body(&mut self, cx: &Context<'_>) {
        self.body = Receiving::Done;
        if self.input.bytes.len() <= self.input.bytes.capacity() / 4 {
            // The beginning of another request should not keep the room of a long body, nor should nothing, however long the
            // answer is.
            self.input.bytes = BytesMut::from(&*self.input.bytes);
        }
        self.under_way = None;
        self.reading.clear();
        self.tell_watcher(cx);
    }

    fn leave(&mut self, cx: &Context<'_>) {
        self.left = true;
        self.tell_watcher(cx);
    }

    fn tell_watcher(&mut self, cx: &Context<'_>) {
        if let Some(watcher) = self.watcher.take()
            && !watcher.will_wake(cx.waker())
        {
            watcher.wake();
        }
    }

    /// Resolves when the client is gone: by a reset, by an end before all of the body, or by an end that came
    /// `half_close_grace` ago. `written` is as in [`HalfClosed::poll_given_up`].
    ///
    /// What the client sends meanwhile is kept: up to [`READ`] bytes, which may be the rest of a body or further requests.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>, written: Option<u64>) -> Poll<()> {
        if self.left {
            return Poll::Ready(());
        }
        if self.asked && !self.has_whole_body() {
            // Who reads the body sees it too.
            if self.watcher.as_ref().is_none_or(|watcher| !watcher.will_wake(cx.waker())) {
                self.watcher = Some(cx.waker().clone());
            }
        } else if self.half_closed.is_none() {
            self.read_ahead(cx);
        }
        match &mut self.half_closed {
            _ if self.left => Poll::Ready(()),
            None => Poll::Pending,
            Some(half_closed) => {
                half_closed.poll_given_up(cx, &self.stream, self.limits.half_close_grace, written)
            }
        }
    }

    /// Reads what the client sends while it waits, up to its end.
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        while self.input.bytes.len() <= READ {
            let mut room = [const { MaybeUninit::uninit() }; READ];
            let mut buf = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(Err(_)) => self.left = true,
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    self.left =
                        matches!(self.body, Receiving::Sized(left) if left > self.input.bytes.len() as u64);
                    self.half_closed = Some(Box::default());
                }
                Poll::Ready(Ok(())) => {
                    self.input.bytes.extend_from_slice(buf.filled());
                    continue;
                }
            }
            return;
        }
        // A socket that is not read from reports nothing.
        let check = self.reset_check.get_or_insert_default();
        self.left = check.poll(cx, &self.stream).is_ready();
    }

    /// An answer begins: no 100 any more. Gives what has to be written of one that has begun, or `None` where the client
    /// still waits for one, and may or may not send the body; and whether nothing can come behind this request: it was the last
    /// one there may be, or its body will not be read to its end.
    pub(super) fn begin_answer(&mut self) -> (Option<&'static [u8]>, bool) {
        let interim = std::mem::take(&mut self.interim);
        let most = self.limits.requests;
        let last = match self.body {
            Receiving::Refused(_) => true,
            Receiving::Sized(left) if !self.asked => left > (self.input.bytes.len() + LEFT_OVER) as u64,
            _ => self.left,
        };
        let last = last || most > 0 && self.requests >= most;
        ((interim.len() < CONTINUE.len()).then_some(interim), last)
    }

    /// Writes what has been taken of an answer, as long as that goes on.
    pub(super) fn poll_drain<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sending: &mut Sending<B>,
    ) -> Poll<io::Result<()>> {
        let before = sending.written();
        let polled = sending.poll_drain(cx, &mut self.stream);
        if polled.is_ready() || sending.written() > before {
            self.writing.clear();
        }
        if polled.is_pending() {
            ready!(self.writing.poll_after(cx, self.limits.body_timeout));
            // Closed politely, the socket would keep what was not read for minutes more.
            self.reset = true;
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not read its answer",
            )));
        }
        polled
    }

    /// Takes off the wire what is there of a body that nobody has read. Whether the connection can be used again.
    pub(super) fn skip_body(&mut self, cx: &mut Context<'_>) -> bool {
        if self.has_whole_body() {
            return true;
        }
        // Whoever still has that body is not to take its end for a good one.
        self.turn = self.turn.wrapping_add(1);
        let mut skipped = 0;
        while !self.has_whole_body() && skipped <= LEFT_OVER {
            match self.body.step(&mut self.input.bytes, &self.limits) {
                Err(_) => return false,
                Ok(Step::Frame(frame)) => skipped += frame.data_ref().map_or(0, Bytes::len),
                Ok(Step::End) => {}
                Ok(Step::More) => match self.poll_body(cx) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    _ => return false,
                },
            }
        }
        self.under_way = None;
        self.reading.clear();
        self.has_whole_body()
    }

    /// Ends the sending side, then reads on for a moment where input may be on its way. `unread`: more may have been sent
    /// than was read.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>, unread: bool) -> Poll<()> {
        if self.reset {
            self.stream.reset_on_close();
            return Poll::Ready(());
        }
        let mut unread = unread || !self.input.bytes.is_empty() || !self.has_whole_body();
        if !unread && !self.left && self.closing.is_none() {
            // It may have come while nobody was reading: a close would become a reset.
            let mut scratch = [0; 512];
            let mut buf = ReadBuf::new(&mut scratch);
            // A task that has used up its turn would be told that there is nothing.
            let look = unconstrained(poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut buf)));
            let read = pin!(look).poll(cx);
            unread = read.is_ready() && !buf.filled().is_empty();
            self.input.bytes.extend_from_slice(buf.filled());
        }
        if !unread && !self.stream.takes_leave() {
            // It is closed at once, which tells as much.
            return Poll::Ready(());
        }
        if self.closing.is_none() {
            if Pin::new(&mut self.stream).poll_shutdown(cx).is_pending() {
                ready!(self.writing.poll_after(cx, self.limits.body_timeout));
                self.stream.reset_on_close();
                return Poll::Ready(());
            }
            self.closing = Some(Closing { deadline: LazyTimer::default(), read: 0 });
        }
        let Some(closing) = self.closing.as_mut().filter(|_| unread) else { return Poll::Ready(()) };
        let mut scratch = [const { MaybeUninit::uninit() }; 4096];
        while closing.read < LINGER_BYTES {
            let mut buf = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => closing.read += buf.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(closing.deadline.poll_after(cx, LINGER_TIME));
                    break;
                }
            }
        }
        Poll::Ready(())
    }
}
