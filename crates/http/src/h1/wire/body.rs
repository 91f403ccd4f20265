//! The body of a request, and what happens to it when the response begins.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;

use super::client::Client;
use super::{Link, Wire};
use crate::codec::input::LEAST_READ;
use crate::codec::{Framing, RemainingBody, Step};
use crate::h1::read_budget::{BodyShare, MOST_READ};
use crate::incoming::{BodyError, BodyPiece, BodySource};
use crate::{RequestRejection, Stream};

/// At most this many unread body bytes, if already received, are drained so that the connection can
/// be reused.
const DRAINED: usize = 256 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The body of the current request. Empty between two requests.
pub(super) struct RequestBody {
    pub(super) remaining: RemainingBody,
    /// Numbers the bodies of the connection. A handle with another number gets an error.
    turn: u32,
    interim: Interim,
    reader: Reader,
    /// Present from the first read to the end of the body.
    share: Option<BodyShare>,
}

/// How much of the `100 Continue` has been sent.
#[derive(Clone, Copy)]
enum Interim {
    /// The client does not wait for a `100 Continue`, or all of it has been sent.
    Done,
    /// This many bytes of the `100 Continue` have been written: 0 until the body is first polled.
    Unwritten(u8),
    /// All of it has been written; TLS may still hold buffered output.
    Unflushed,
}

/// Who reads the body.
enum Reader {
    /// No handle has polled the body, so the connection's task reads ahead.
    Connection,
    /// A handle of the body. If the connection's task waits, this waker notifies it that the body
    /// has ended or the client is gone.
    Handle(Option<Waker>),
}

/// What precedes a response, and whether another request can follow.
pub(in crate::h1) struct ResponseStart {
    /// The unwritten rest of a `100 Continue`.
    pub(in crate::h1) interim: &'static [u8],
    /// No request can follow: the limit of requests is reached, or the client may send a body that
    /// nobody will read to its end.
    pub(in crate::h1) last: bool,
}

impl Default for RequestBody {
    fn default() -> Self {
        Self {
            remaining: RemainingBody::NONE,
            turn: 0,
            interim: Interim::Done,
            reader: Reader::Connection,
            share: None,
        }
    }
}

impl RequestBody {
    pub(super) fn begin(&mut self, framing: Framing, expects: bool) {
        self.remaining = RemainingBody::of_request(framing);
        self.turn = self.turn.wrapping_add(1);
        self.reader = Reader::Connection;
        let awaited = expects && !self.is_complete();
        self.interim = if awaited { Interim::Unwritten(0) } else { Interim::Done };
    }

    pub(super) fn is_complete(&self) -> bool {
        self.remaining.is_none()
    }

    /// Registers the connection's task with the handle that reads the body. `false` if no handle
    /// reads it.
    pub(super) fn watch(&mut self, cx: &Context<'_>) -> bool {
        let complete = self.is_complete();
        let Reader::Handle(watcher) = &mut self.reader else { return false };
        if !complete && watcher.as_ref().is_none_or(|watcher| !watcher.will_wake(cx.waker())) {
            *watcher = Some(cx.waker().clone());
        }
        !complete
    }

    fn wake_watcher(&mut self, cx: &Context<'_>) {
        if let Reader::Handle(watcher) = &mut self.reader
            && let Some(watcher) = watcher.take()
            && !watcher.will_wake(cx.waker())
        {
            watcher.wake();
        }
    }
}

impl<S: Stream> BodySource for Link<S> {
    fn poll_frame(&self, turn: u32, cx: &mut Context<'_>) -> Poll<Option<Result<BodyPiece, BodyError>>> {
        let mut wire = self.wire();
        if wire.body.turn != turn {
            // The next bytes belong to another request.
            return Poll::Ready(Some(Err(BodyError::Disconnected)));
        }
        if matches!(wire.body.reader, Reader::Connection) {
            wire.body.reader = Reader::Handle(None);
        }
        let frame = ready!(wire.poll_frame(cx));
        // Checked under the same lock: once the lock is free, the connection may begin the next
        // request.
        let last = wire.body.is_complete();
        Poll::Ready(frame.map(|frame| frame.map(|frame| BodyPiece { frame, last })))
    }
}

impl<S: Stream> Wire<S> {
    pub(in crate::h1) fn turn(&self) -> u32 {
        self.body.turn
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !ready!(self.poll_interim(cx)) {
            return Poll::Ready(Some(Err(BodyError::Disconnected)));
        }
        loop {
            let frame = match self.step_body() {
                Ok(Step::Data(data)) => Frame::data(data),
                Ok(Step::Trailers(trailers)) => Frame::trailers(trailers),
                Ok(Step::End) => {
                    self.end_body(cx);
                    return Poll::Ready(None);
                }
                Ok(Step::More) if !matches!(self.client, Client::Open(_)) => break,
                Ok(Step::More) => {
                    match self.poll_body(cx) {
                        Poll::Ready(Ok(0) | Err(_)) => break,
                        Poll::Ready(Ok(_)) => self.reading.clear(),
                        Poll::Pending => {
                            ready!(self.reading.poll_after(cx, self.limits.body_timeout));
                            self.body.remaining = RemainingBody::Rejected(RequestRejection::BodyTimeout);
                        }
                    }
                    continue;
                }
                Err(rejection) => {
                    self.body.remaining = RemainingBody::Rejected(rejection);
                    return Poll::Ready(Some(Err(BodyError::Rejected(rejection))));
                }
            };
            self.reading.clear();
            if self.body.is_complete() {
                self.end_body(cx);
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        self.lose_client(cx);
        Poll::Ready(Some(Err(BodyError::Disconnected)))
    }

    fn step_body(&mut self) -> Result<Step, RequestRejection> {
        let limits = (self.limits.head_bytes, self.limits.headers);
        self.body.remaining.step(&mut self.input.bytes, limits, piece)
    }

    /// Sends the `100 Continue` if the client waits for it. `false` if that failed or took too
    /// long.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        const LENGTH: usize = CONTINUE.len();
        loop {
            let stream = Pin::new(&mut self.stream);
            let polled = match self.body.interim {
                Interim::Done => return Poll::Ready(true),
                Interim::Unflushed => stream.poll_flush(cx).map_ok(|()| Interim::Done),
                Interim::Unwritten(before) => {
                    let polled = stream.poll_write(cx, &CONTINUE[usize::from(before)..]);
                    polled.map_ok(|written| match usize::from(before) + written {
                        LENGTH => Interim::Unflushed,
                        written => Interim::Unwritten(written as u8),
                    })
                }
            };
            match polled {
                Poll::Ready(Ok(interim)) => {
                    self.body.interim = interim;
                    self.writing.clear();
                    continue;
                }
                Poll::Ready(Err(_)) => {}
                Poll::Pending => {
                    ready!(self.writing.poll_after(cx, self.limits.body_timeout));
                    self.close_by_reset();
                }
            }
            self.lose_client(cx);
            return Poll::Ready(false);
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let size = self.body.share.get_or_insert_with(BodyShare::new).read_size();
        let size = match self.body.remaining {
            // Does not read into the next request, so that the last piece is no larger than needed.
            RemainingBody::Sized(left) => size.min(usize::try_from(left).unwrap_or(usize::MAX)),
            _ => size,
        };
        self.input.poll_body(cx, &mut self.stream, size, MOST_READ)
    }

    /// Called when the body has ended. From now on the connection's task reads.
    fn end_body(&mut self, cx: &Context<'_>) {
        self.body.remaining = RemainingBody::NONE;
        if self.input.bytes.len() <= self.input.bytes.capacity() / 4 {
            // Frees the buffer of a long body: neither the beginning of another request nor a long
            // response should keep it.
            self.input.bytes = BytesMut::from(&*self.input.bytes);
        }
        self.body.share = None;
        self.reading.clear();
        self.body.wake_watcher(cx);
    }

    fn lose_client(&mut self, cx: &Context<'_>) {
        self.client = Client::Gone;
        self.body.wake_watcher(cx);
    }

    /// Starts a response. No `100 Continue` is sent after this. A client that still waits for one
    /// may or may not send its body, so no further request is read. `None` if the connection is
    /// being reset, because the client took too long to read the `100 Continue`.
    pub(in crate::h1) fn begin_response(&mut self) -> Option<ResponseStart> {
        if self.closes_by_reset() {
            return None;
        }
        let (interim, awaits_continue): (&[u8], _) = match self.body.interim {
            Interim::Unwritten(0) => (b"", true),
            Interim::Unwritten(written) => (&CONTINUE[usize::from(written)..], false),
            // The response is flushed after it is written.
            Interim::Unflushed | Interim::Done => (b"", false),
        };
        self.body.interim = Interim::Done;
        let unreadable = match (&self.body.remaining, &self.body.reader) {
            (RemainingBody::Rejected(_), _) => true,
            (RemainingBody::Sized(left), Reader::Connection) => {
                *left > (self.input.bytes.len() + DRAINED) as u64
            }
            _ => matches!(self.client, Client::Gone),
        };
        let most = self.limits.requests;
        let spent = most > 0 && self.requests >= most;
        Some(ResponseStart { interim, last: awaits_continue || unreadable || spent })
    }

    /// Drains the received part of a body that nobody has read. Returns whether the connection can
    /// be reused.
    pub(in crate::h1) fn skip_body(&mut self, cx: &mut Context<'_>) -> bool {
        if self.body.is_complete() {
            return true;
        }
        // Invalidates older body handles: they must get an error, not a clean end.
        self.body.turn = self.body.turn.wrapping_add(1);
        let mut skipped = 0;
        while !self.body.is_complete() && skipped <= DRAINED {
            match self.step_body() {
                Err(_) => return false,
                Ok(Step::Data(data)) => skipped += data.len(),
                Ok(Step::Trailers(_) | Step::End) => {}
                Ok(Step::More) => match self.poll_body(cx) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    _ => return false,
                },
            }
        }
        self.body.share = None;
        self.reading.clear();
        self.body.is_complete()
    }
}

/// Takes the first bytes of `input`. Pieces below a quarter of the buffer are copied: a small piece
/// that is kept would otherwise keep the whole buffer.
fn piece(input: &mut BytesMut, length: usize) -> Bytes {
    if length >= LEAST_READ / 4 && length >= input.capacity() / 4 {
        return input.split_to(length).freeze();
    }
    let piece = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_piece_does_not_keep_a_large_buffer() {
        for (length, kept) in [(1, false), (LEAST_READ, false), (MOST_READ / 2, true), (MOST_READ, true)] {
            let mut input = BytesMut::with_capacity(MOST_READ);
            input.resize(length, 1);
            let buffer = input.as_ptr();
            let first = piece(&mut input, length);
            assert_eq!((first.len(), first.as_ptr() == buffer), (length, kept));
        }
    }
}
