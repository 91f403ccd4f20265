//! The socket of a connection, with its reading and writing state and all deadlines.

mod body;
mod client;
mod closing;

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::ReadBuf;
use tokio::time::Instant;

use crate::codec::request_head::{HeadReader, RequestHead};
use crate::codec::{Input, block};
use crate::lazy_timer::LazyTimer;
use crate::{Limits, RawHead, RequestRejection, Stream};
use body::RequestBody;
use client::Client;
use closing::Close;

/// The size of the buffer that heads are read into. Most requests fit, with their bodies. It is on
/// the stack, so that an idle connection holds no buffer.
const READ: usize = 16 * 1024;

/// A connection counts as idle after this time without a request, and frees the state of an
/// exchange. A shorter time would not pay: the timer that expires costs as much as recreating that
/// state.
pub(in crate::h1) const IDLE_AFTER: Duration = Duration::from_secs(5);

/// A [`Wire`] that the connection's task shares with the body of the current request, which another
/// task may read.
pub(super) struct Link<S>(Mutex<Wire<S>>);

impl<S: Stream> Link<S> {
    /// `first` holds bytes that were already read from the stream.
    pub(super) fn new(stream: S, first: BytesMut, limits: Limits) -> Self {
        let mut input = Input::default();
        input.bytes = first;
        Self(Mutex::new(Wire {
            stream,
            limits,
            input,
            head: HeadReader::default(),
            requests: 0,
            body: RequestBody::default(),
            client: Client::default(),
            reading: LazyTimer::default(),
            writing: LazyTimer::default(),
            silence: Silence::default(),
            close: Close::default(),
        }))
    }

    /// Locks the wire. The lock is contended only while another task reads the body, and only for a
    /// moment.
    pub(super) fn wire(&self) -> MutexGuard<'_, Wire<S>> {
        self.0.lock()
    }
}

/// The state of a connection. An exchange goes through these methods in order:
///
/// [`poll_head`](Self::poll_head) and [`take_head`](Self::take_head) receive a request. Its body is
/// read through the [`BodySource`](crate::incoming::BodySource) of the link, while
/// [`poll_left`](Self::poll_left) watches the client. [`begin_response`](Self::begin_response) and
/// [`poll_drain`](Self::poll_drain) send the response, and [`skip_body`](Self::skip_body) makes way
/// for the next request. [`poll_close`](Self::poll_close) ends the connection, at any point.
pub(super) struct Wire<S> {
    pub(super) stream: S,
    limits: Limits,
    pub(super) input: Input,
    head: HeadReader,
    /// Requests received so far.
    requests: u32,
    body: RequestBody,
    client: Client,
    /// Runs while a head or a body is incomplete and nothing arrives.
    reading: LazyTimer,
    /// Runs while a write makes no progress.
    writing: LazyTimer,
    silence: Silence,
    close: Close,
}

/// The time without a request.
#[derive(Default)]
struct Silence {
    /// Keeps running across requests, so that a short silence registers no timer.
    timer: LazyTimer,
    /// When the current silence started; `None` during an exchange.
    since: Option<Instant>,
}

/// How waiting for a head ended.
pub(super) enum HeadOutcome {
    /// A complete head has arrived. These are its bytes.
    Head(Bytes),
    /// The head is rejected.
    Rejected(RequestRejection),
    /// The connection has become idle; a head may still come.
    Idle,
    /// The client is gone, or has been silent for too long.
    Gone,
}

impl<S: Stream> Wire<S> {
    /// Whether a head has been received in part.
    pub(super) fn in_head(&self) -> bool {
        self.head.has_begun()
    }

    /// Waits for the next head. With `may_idle`, a short silence ends the wait too.
    ///
    /// Until a head is complete, the connection holds nothing but the bytes of that head.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>, may_idle: bool) -> Poll<HeadOutcome> {
        if !self.input.bytes.is_empty()
            && let Some(outcome) = self.read_head()
        {
            return Poll::Ready(outcome);
        }
        let mut buffer = [const { MaybeUninit::uninit() }; READ];
        loop {
            let mut buf = ReadBuf::uninit(&mut buffer);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Err(_)) => return Poll::Ready(HeadOutcome::Gone),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => return Poll::Ready(HeadOutcome::Gone),
                Poll::Ready(Ok(())) => {
                    if !self.in_head() {
                        // The timer was set for the silence before the head.
                        self.reading.clear();
                    }
                    let outcome = if self.input.bytes.is_empty() {
                        self.read_head_in(buf.filled())
                    } else {
                        self.input.bytes.extend_from_slice(buf.filled());
                        self.read_head()
                    };
                    if let Some(outcome) = outcome {
                        return Poll::Ready(outcome);
                    }
                }
                Poll::Pending if self.in_head() => {
                    // A head that trickles in has the same deadline as one that stalls.
                    ready!(self.reading.poll_after(cx, self.limits.header_timeout));
                    return Poll::Ready(HeadOutcome::Rejected(RequestRejection::HeadTimeout));
                }
                Poll::Pending => return self.poll_silence(cx, may_idle),
            }
        }
    }

    /// Ready when the client has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>, may_idle: bool) -> Poll<HeadOutcome> {
        self.input.take_buffer();
        if self.requests == 0 {
            ready!(self.reading.poll_after(cx, self.limits.first_byte_timeout));
            return Poll::Ready(HeadOutcome::Gone);
        }
        let since = *self.silence.since.get_or_insert_with(Instant::now);
        let longest = self.limits.idle_timeout;
        let after = if may_idle { longest.min(IDLE_AFTER) } else { longest };
        ready!(self.silence.timer.poll_deadline(cx, since + after));
        self.silence.timer.clear();
        let gone = since.elapsed() >= longest;
        Poll::Ready(if gone { HeadOutcome::Gone } else { HeadOutcome::Idle })
    }

    /// Continues the head that `input` begins with.
    fn read_head(&mut self) -> Option<HeadOutcome> {
        match self.head.read(&self.input.bytes, &self.limits) {
            Ok(None) => None,
            Ok(Some(length)) => {
                let head = block::keep(&self.input.bytes[..length]);
                self.input.advance(length);
                Some(HeadOutcome::Head(head))
            }
            Err(rejection) => Some(HeadOutcome::Rejected(rejection)),
        }
    }

    /// Like [`read_head`](Self::read_head), for an empty `input`. The bytes are almost always a
    /// whole head, which is then copied only once.
    fn read_head_in(&mut self, bytes: &[u8]) -> Option<HeadOutcome> {
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
                Some(HeadOutcome::Head(block::keep(head)))
            }
            Err(rejection) => Some(HeadOutcome::Rejected(rejection)),
        }
    }

    /// Takes the request whose head [`poll_head`](Self::poll_head) returned last.
    pub(super) fn take_head(&mut self, head: &Bytes) -> Result<RequestHead, RequestRejection> {
        let mut taken = self.head.take(head)?;
        self.reading.clear();
        self.silence.since = None;
        self.requests = self.requests.saturating_add(1);
        self.body.begin(taken.framing, taken.expects);
        if let Client::HalfClosed(half_closed) = &mut self.client {
            half_closed.restart();
        }
        if self.limits.keep_heads {
            taken.request.extensions_mut().insert(RawHead(head.clone()));
        }
        Ok(taken)
    }
}
