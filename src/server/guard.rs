//! What stands between the socket and hyper.
//!
//! Every byte a client sends passes [`Messages`] before hyper sees it. A head that is refused is replaced by a
//! small one of ours, so that hyper calls the handler for it in its turn, behind the answers to earlier requests;
//! [`State`] tells the handler's side which call that is. The guard also keeps the deadlines of the connection, and
//! closes it so that an answer in flight is not lost to a reset.

use std::any::Any;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::drowsy::Timer;
use super::head::{Messages, Refusal};
use super::{Abort, DrainSignal, Limits, Stream};

/// Takes the place of a refused head.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// How much a closing connection still reads, and for how long, before the socket is given up: a socket closed
/// with unread input sends a reset, which can overtake the answer.
pub(super) const LINGER_BYTES: usize = 1 << 20;
pub(super) const LINGER_TIME: Duration = Duration::from_secs(2);

/// So much of an answer is written before more of it is asked for.
const LARGE: usize = 64 * 1024;

/// How much of a first head is read at once, on the stack.
const FIRST_READ: usize = 4096;

/// After how long without a request a connection gives back what only an exchange needs, which costs less than a tenth of
/// a request to make anew. Every look whether it is idle costs a timer, so a connection that is found busy looks half as
/// often from then on, up to `SELDOM`, until it has rested.
const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(2);

/// Values of [`State::upgrade`].
const NOT_ASKED: u8 = 0;
const ASKED: u8 = 1;
const SWITCHED: u8 = 2;

/// What the two sides of hyper tell each other about one connection.
pub(super) struct State {
    /// An answer that goes out once the drain has begun says that it is the last.
    pub(super) drain: DrainSignal,
    /// Heads given to hyper, the stand-in included.
    heads: AtomicU32,
    /// Requests that hyper gave to the handler.
    requests: AtomicU32,
    /// Requests whose answer has not been sent to its end.
    in_flight: AtomicU32,
    /// Set together with the stand-in, which is the last head.
    has_refused: AtomicBool,
    refusal: Mutex<Option<Refusal>>,
    /// Heads of requests that hyper has not given to the handler yet, where they are kept.
    kept: Mutex<VecDeque<Bytes>>,
    /// A head has begun and is not complete.
    in_head: AtomicBool,
    /// What becomes of a request for a websocket, which is the last head until it is decided.
    upgrade: AtomicU8,
    /// The guard has begun to close.
    closing: AtomicBool,
    /// The answer to the last request that this connection may have is on its way.
    spent: AtomicBool,
    /// The client does not read what is being written. Whoever has more of it waits.
    blocked: AtomicBool,
    unblocked: AtomicWaker,
    /// The connection is idle, and hyper is to go until the next head.
    rests: AtomicBool,
    reset: AtomicBool,
}

impl State {
    pub(super) fn new(drain: DrainSignal) -> Self {
        Self {
            drain,
            heads: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            has_refused: AtomicBool::new(false),
            refusal: Mutex::new(None),
            kept: Mutex::default(),
            in_head: AtomicBool::new(false),
            upgrade: AtomicU8::new(NOT_ASKED),
            closing: AtomicBool::new(false),
            spent: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            unblocked: AtomicWaker::new(),
            rests: AtomicBool::new(false),
            reset: AtomicBool::new(false),
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Why the request whose turn it is was refused, if it was.
    pub(super) fn refusal_of_this_request(&self) -> Option<Refusal> {
        let is_last = self.requests.load(Ordering::Relaxed) == self.heads.load(Ordering::Relaxed);
        if !self.has_refused.load(Ordering::Relaxed) || !is_last {
            return None;
        }
        *self.refusal.lock()
    }

    /// The head of the request whose turn it is, where heads are kept and it is not a stand-in.
    pub(super) fn head_of_this_request(&self) -> Option<Bytes> {
        self.kept.lock().pop_front()
    }

    /// Whether this many requests, where there is such a limit, have been begun: the answer is to be the last.
    pub(super) fn is_spent(&self, most: u32) -> bool {
        let spent = most > 0 && self.requests.load(Ordering::Relaxed) >= most;
        if spent {
            self.spent.store(true, Ordering::Relaxed);
        }
        spent
    }

    pub(super) fn reset_on_close(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// Whether the request whose turn it is asks for a websocket.
    pub(super) fn is_to_decide(&self) -> bool {
        let is_last = self.requests.load(Ordering::Relaxed) == self.heads.load(Ordering::Relaxed);
        is_last && self.is_undecided()
    }

    /// Whether a request for a websocket has been read and not been answered.
    pub(super) fn is_undecided(&self) -> bool {
        self.upgrade.load(Ordering::Relaxed) == ASKED
    }

    pub(super) fn decide(&self, switches: bool) {
        self.upgrade.store(if switches { SWITCHED } else { NOT_ASKED }, Ordering::Relaxed);
    }

    /// Whether the connection has become a websocket.
    pub(super) fn has_switched(&self) -> bool {
        self.upgrade.load(Ordering::Relaxed) == SWITCHED
    }

    /// Whether the connection has been idle for so long that hyper is to go until the next head.
    pub(super) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Whether a write waits for the client; then this is told when it no longer does.
    fn is_blocked(&self, cx: &Context<'_>) -> bool {
        // Only this connection's own task writes, polls and sleeps: nothing happens between the two.
        let blocked = self.blocked.load(Ordering::Relaxed);
        if blocked {
            self.unblocked.register(cx.waker());
        }
        blocked
    }

    fn set_blocked(&self, blocked: bool) {
        if self.blocked.load(Ordering::Relaxed) != blocked {
            self.blocked.store(blocked, Ordering::Relaxed);
            self.unblocked.wake();
        }
    }

    fn refuse(&self, refusal: Refusal) {
        *self.refusal.lock() = Some(refusal);
        self.has_refused.store(true, Ordering::Relaxed);
        self.heads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn in_head(&self) -> bool {
        self.in_head.load(Ordering::Relaxed)
    }

    /// Whether every head was given to the handler, and every answer was sent.
    fn idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
            && self.heads.load(Ordering::Relaxed) == self.requests.load(Ordering::Relaxed)
    }
}

/// A request that is being answered.
pub(super) struct InFlight(Arc<State>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// An answer's body that knows when it has been sent or dropped.
    pub(super) struct Tracked<B> {
        #[pin]
        body: B,
        in_flight: InFlight,
        ends_by_close: bool,
        // How much was handed on since there was nothing more.
        unwritten: usize,
    }
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, in_flight: InFlight, ends_by_close: bool) -> Self {
        Self { body, in_flight, ends_by_close, unwritten: 0 }
    }
}

impl<B: Body<Error: 'static>> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        // hyper would collect tens of kilobytes more for a client that reads nothing.
        if this.in_flight.0.is_blocked(cx) {
            return Poll::Pending;
        }
        // Nor for any other, before it has written what it has: it has room for as much as is read of requests at once.
        if *this.unwritten >= LARGE {
            *this.unwritten = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = this.body.poll_frame(cx);
        match &frame {
            Poll::Pending => *this.unwritten = 0,
            Poll::Ready(Some(Ok(frame))) => *this.unwritten += frame.data_ref().map_or(0, Buf::remaining),
            Poll::Ready(_) => {}
        }
        if let Poll::Ready(Some(Err(error))) = &frame
            && (*this.ends_by_close || (error as &dyn Any).is::<Abort>())
        {
            this.in_flight.0.reset_on_close();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A deadline that costs a timer only while something is really waited for.
#[derive(Debug, Default)]
pub(super) struct Deadline(Option<Timer>);

impl Deadline {
    /// Waits until `after` from the first call since the last `clear`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        self.0.get_or_insert_with(|| Timer::until(Instant::now() + after)).poll(cx)
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }
}

/// The socket, guarded.
pub(super) struct Guard<S: Stream> {
    stream: S,
    state: Arc<State>,
    limits: Limits,
    messages: Messages,
    /// Bytes read and not given to hyper: `ready` of them are checked and wait for room, the rest is the beginning
    /// of a head.
    held: Vec<u8>,
    ready: usize,
    /// Nothing more is read: something was refused.
    ended: bool,
    /// What the body under way fails with, once what precedes it has been given to hyper.
    body_failure: Option<Refusal>,
    /// Runs while a head or a body is incomplete and nothing arrives.
    reading: Deadline,
    /// Runs lazily across requests; `idle_since` tells whether there was one since it was set.
    idle: Deadline,
    /// How many heads there had been when `idle` was set, if all were answered.
    idle_since: Option<u32>,
    /// What `idle` is set to.
    look_after: Duration,
    /// Runs while a write makes no progress.
    writing: Deadline,
    closing: Option<Closing>,
    /// hyper has gone: everything passes.
    tunnel: bool,
}

struct Closing {
    deadline: Deadline,
    read: usize,
}

impl<S: Stream> Guard<S> {
    pub(super) fn new(stream: S, limits: Limits, state: Arc<State>) -> Self {
        Self {
            stream,
            state,
            limits,
            messages: Messages::new(limits),
            held: Vec::new(),
            ready: 0,
            ended: false,
            body_failure: None,
            reading: Deadline::default(),
            idle: Deadline::default(),
            idle_since: None,
            look_after: OFTEN,
            writing: Deadline::default(),
            closing: None,
            tunnel: false,
        }
    }

    /// Passes everything from now on, both ways and without deadlines; what was held comes first.
    pub(super) fn become_tunnel(&mut self) {
        self.tunnel = true;
        self.ready = self.held.len();
    }

    /// Gives hyper what has been checked and fits.
    fn release(&mut self, buf: &mut ReadBuf<'_>) {
        let fits = self.ready.min(buf.remaining());
        buf.put_slice(&self.held[..fits]);
        self.ready -= fits;
        self.held.drain(..fits);
        if self.held.is_empty() {
            // A kept-alive connection should not keep the room of its largest head.
            self.held = Vec::new();
        }
    }

    /// Waits until there is something for hyper: the first head, the first one after a rest, or the refusal of one. False
    /// when nothing comes of this connection: it was silent for too long, it is gone, or the drain has begun before its
    /// first byte.
    ///
    /// Until then a connection is this guard and the bytes of its head.
    pub(super) async fn first_head(&mut self, drain: &mut DrainSignal) -> bool {
        let mut turn = pin!(tokio::task::yield_now());
        let (mut draining, mut looked) = (false, false);
        poll_fn(|cx| {
            draining = draining || drain.poll_begun(cx).is_ready();
            // What the client has sent by now is still read: one turn of the runtime brings it in.
            looked = looked || (draining && turn.as_mut().poll(cx).is_ready());
            match self.poll_first_head(cx) {
                Poll::Pending if looked && !self.messages.in_head() => Poll::Ready(false),
                outcome => outcome,
            }
        })
        .await
    }

    fn poll_first_head(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut room = [const { MaybeUninit::uninit() }; FIRST_READ];
        loop {
            if self.ready > 0 {
                return Poll::Ready(true);
            }
            let mut buf = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => return Poll::Ready(false),
                Poll::Ready(Ok(())) => {
                    let in_head = self.messages.in_head();
                    self.held.extend_from_slice(buf.filled());
                    let (released, heads, outcome) = self.messages.read(&self.held);
                    self.judge(in_head, released, heads, outcome);
                }
                Poll::Pending if self.messages.in_head() => {
                    ready!(self.reading.poll(cx, self.limits.header_timeout));
                    self.stand_in(Refusal::HeadTimeout);
                }
                Poll::Pending => {
                    let silence = if self.state.rests() {
                        self.limits.idle_timeout.saturating_sub(self.look_after)
                    } else {
                        self.limits.first_byte_timeout
                    };
                    ready!(self.reading.poll(cx, silence));
                    return Poll::Ready(false);
                }
            }
        }
    }

    /// hyper is there again.
    pub(super) fn wake(&mut self) {
        self.look_after = OFTEN;
        self.state.rests.store(false, Ordering::Relaxed);
    }

    /// Whether every answer has been sent, to the last byte that the socket has to take.
    fn has_answered(&self) -> bool {
        self.state.idle() && !self.writing.is_set()
    }

    /// Refuses the connection before anything is read: hyper is given the stand-in.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.stand_in(refusal);
    }

    /// Checks what was just read into `buf` behind `before`; what may not pass yet is held back.
    fn check(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let in_head = self.messages.in_head();
        let (released, heads, outcome) = if self.held.is_empty() {
            let (released, heads, outcome) = self.messages.read(&buf.filled()[before..]);
            self.held.extend_from_slice(&buf.filled()[before + released..]);
            buf.set_filled(before + released);
            (0, heads, outcome)
        } else {
            self.held.extend_from_slice(&buf.filled()[before..]);
            buf.set_filled(before);
            self.messages.read(&self.held)
        };
        self.judge(in_head, released, heads, outcome);
    }

    /// Acts on what [`Messages`] made of the latest bytes; the first `released` held ones may pass.
    fn judge(&mut self, was_in_head: bool, released: usize, heads: u32, outcome: Result<(), Refusal>) {
        // A head that drips has the same time as one that stands still.
        let same_head = was_in_head && heads == 0 && self.messages.in_head();
        if !same_head {
            self.reading.clear();
        }
        self.ready = released;
        self.state.in_head.store(self.messages.in_head(), Ordering::Relaxed);
        self.state.heads.fetch_add(heads, Ordering::Relaxed);
        if self.limits.keep_heads {
            self.state.kept.lock().extend(self.messages.kept());
        }
        if heads > 0 && self.messages.undecided() {
            self.state.upgrade.store(ASKED, Ordering::Relaxed);
        }
        let Err(refusal) = outcome else { return };
        self.held.truncate(released);
        if self.messages.in_body() {
            // The handler has this request, or is about to: its body fails, behind what was good of it.
            self.ended = true;
            self.body_failure = Some(refusal);
        } else {
            self.stand_in(refusal);
        }
    }

    fn stand_in(&mut self, refusal: Refusal) {
        self.ended = true;
        self.held.truncate(self.ready);
        self.held.extend_from_slice(STAND_IN);
        self.ready = self.held.len();
        self.state.in_head.store(false, Ordering::Relaxed);
        self.state.refuse(refusal);
    }

    /// Behind a request for a websocket nothing is read but to see the client leave, until it is decided. Whether there is
    /// nothing to be done but wait.
    fn waits_for_decision(&mut self) -> bool {
        if !self.messages.undecided() {
            return false;
        }
        if self.state.has_switched() || self.state.is_undecided() {
            return self.state.has_switched() || !self.held.is_empty();
        }
        self.messages.go_on();
        let (released, heads, outcome) = self.messages.read(&self.held);
        self.judge(false, released, heads, outcome);
        false
    }

    /// Fails a write that is pending when it has been so for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() || self.tunnel {
            self.writing.clear();
            self.state.set_blocked(false);
            return polled;
        }
        self.state.set_blocked(true);
        ready!(self.writing.poll(cx, self.limits.body_timeout));
        // Closed politely, the socket would keep what was not read for minutes more.
        self.state.reset_on_close();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }

    /// Nothing to read now: see whether that has lasted too long.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.messages.in_body() {
            ready!(self.reading.poll(cx, self.limits.body_timeout));
            self.ended = true;
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Refusal::BodyTimeout)));
        }
        if self.messages.in_head() {
            ready!(self.reading.poll(cx, self.limits.header_timeout));
            self.stand_in(Refusal::HeadTimeout);
            return Poll::Ready(Ok(()));
        }
        // While a request is being answered hyper reads ahead, to see the client leave, and does not look again when it
        // has answered: the timer has to run by then.
        let heads = self.state.heads.load(Ordering::Relaxed);
        loop {
            if !self.idle.is_set() {
                self.idle_since = self.has_answered().then_some(heads);
            }
            ready!(self.idle.poll(cx, self.limits.idle_timeout.min(self.look_after)));
            self.idle.clear();
            if self.has_answered() && self.idle_since == Some(heads) {
                self.state.rests.store(true, Ordering::Relaxed);
                return Poll::Pending;
            }
            self.look_after = (2 * self.look_after).min(SELDOM);
        }
    }
}

impl<S: Stream> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                this.release(buf);
                return Poll::Ready(Ok(()));
            }
            if this.tunnel {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            if this.waits_for_decision() {
                // The decision wakes.
                return Poll::Pending;
            }
            if this.ready > 0 {
                continue;
            }
            if let Some(refusal) = this.body_failure.take() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
            }
            if this.ended {
                // To hyper an end while it answers is a client that left. It looks again when it has answered.
                return if this.has_answered() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.stream).poll_read(cx, buf) {
                Poll::Ready(outcome) => {
                    outcome?;
                    if buf.filled().len() == before {
                        return Poll::Ready(Ok(()));
                    }
                    this.check(buf, before);
                    if buf.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Pending => {
                    ready!(this.poll_deadlines(cx))?;
                }
            }
        }
    }
}

impl<S: Stream> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.in_time(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.in_time(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// A socket has nothing to flush; TLS above it has.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.in_time(cx, polled)
    }

    /// Ends the sending side, then reads on for a moment where input may be on its way.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.tunnel {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        this.state.closing.store(true, Ordering::Relaxed);
        let spent = this.state.spent.load(Ordering::Relaxed);
        let mut unread = spent || this.ended || !this.held.is_empty() || !this.messages.between_messages();
        if !unread && this.closing.is_none() {
            // It may have come while nobody was reading: a close would become a reset.
            let mut scratch = [0; 512];
            let mut buf = ReadBuf::new(&mut scratch);
            let read = Pin::new(&mut this.stream).poll_read(cx, &mut buf);
            unread = read.is_ready() && !buf.filled().is_empty();
            this.ended |= unread;
        }
        if !unread && !this.stream.takes_leave() {
            // It is closed at once, which tells as much.
            return Poll::Ready(Ok(()));
        }
        if this.closing.is_none() {
            let polled = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.in_time(cx, polled))?;
            this.closing = Some(Closing { deadline: Deadline::default(), read: 0 });
        }
        let Some(closing) = this.closing.as_mut().filter(|_| unread) else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; 4096];
        while closing.read < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => closing.read += buf.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(closing.deadline.poll(cx, LINGER_TIME));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> Drop for Guard<S> {
    fn drop(&mut self) {
        if self.state.reset.load(Ordering::Relaxed) {
            self.stream.reset_on_close();
        }
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
