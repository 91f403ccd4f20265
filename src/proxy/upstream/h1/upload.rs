//! A request on its way out: its head, then its body as the client sends it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body, Frame};
use tokio::task::AbortHandle;

use super::{Stream, Wire};
use crate::proxy::body::AttemptBody;
use crate::proxy::upstream::Head;

/// What remains of a large head is not kept for the next one.
const KEPT: usize = 4096;

/// What ends a chunk, a chunked body, and both.
const CHUNK_END: &[u8] = b"\r\n";
const BODY_END: &[u8] = b"0\r\n\r\n";
const BOTH_ENDS: &[u8] = b"\r\n0\r\n\r\n";

/// One sending of a request. No more of its body is taken from the client than has been written.
pub(super) struct Upload<B = AttemptBody> {
    body: B,
    framing: Framing,
    /// What is written next: the head or the line before a chunk, a piece of the body, and what ends it.
    front: Vec<u8>,
    front_at: usize,
    piece: Bytes,
    back: &'static [u8],
    /// The body has been taken to its end.
    ended: bool,
    /// A piece of the body has been taken from the client.
    begun: bool,
    /// How much has been written.
    written: u64,
    /// What has been written may still be in a buffer of TLS.
    unflushed: bool,
}

/// An upload that outlasts the head of its answer, but not the answer.
pub(super) struct UploadTask(AbortHandle);

impl Drop for UploadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Framing {
    /// So many bytes are left.
    Sized(u64),
    Chunked,
}

/// Why a sending stopped.
pub(super) enum Stopped {
    /// The upstream takes no more.
    Unwritable,
    /// The body did not come to its end, or is not as long as it said.
    Body,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    /// Puts the head into `front`, a buffer to be used again.
    pub(super) fn new(head: &Head, own_lines: &[u8], asks: bool, body: B, mut front: Vec<u8>) -> Self {
        let ended = body.is_end_stream();
        front.clear();
        let had_length = write_head(head, own_lines, asks, &mut front);
        let framing = match body.size_hint().exact() {
            None => {
                front.extend_from_slice(b"transfer-encoding: chunked\r\n");
                Framing::Chunked
            }
            Some(length) => {
                if had_length || !ended {
                    // A vector takes everything.
                    let _ = write!(front, "content-length: {length}\r\n");
                }
                Framing::Sized(length)
            }
        };
        front.extend_from_slice(b"\r\n");
        Self {
            body,
            front,
            front_at: 0,
            piece: Bytes::new(),
            // One that turned out empty when it was sent before.
            back: if ended && matches!(framing, Framing::Chunked) { BODY_END } else { b"" },
            framing,
            ended,
            begun: false,
            written: 0,
            unflushed: false,
        }
    }

    /// Whether anything has been written.
    pub(super) fn has_written(&self) -> bool {
        self.written > 0
    }

    /// How many bytes have been written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The body, if nothing of it has been taken.
    pub(super) fn into_untouched_body(self) -> Option<B> {
        (!self.begun).then_some(self.body)
    }

    /// The buffer, for the next head.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        let buffer = std::mem::take(&mut self.front);
        if buffer.capacity() > KEPT { Vec::new() } else { buffer }
    }

    /// Sends on, until everything has been written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn Stream,
    ) -> Poll<Result<(), Stopped>> {
        let mut body_waits = false;
        loop {
            // The first piece is often there: it goes out with the head.
            if !self.ended && self.piece.is_empty() && self.back.is_empty() && !body_waits {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(frame) => self.take(frame.transpose().map_err(|_| Stopped::Body)?)?,
                    Poll::Pending => body_waits = true,
                }
            }
            if self.is_drained() {
                if self.unflushed {
                    ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(|_| Stopped::Unwritable)?;
                    self.unflushed = false;
                }
                if self.ended {
                    return Poll::Ready(Ok(()));
                }
                if body_waits {
                    return Poll::Pending;
                }
                continue;
            }
            ready!(self.poll_write(cx, stream)).map_err(|_| Stopped::Unwritable)?;
        }
    }

    /// Goes on in a task of its own, behind the head of the answer.
    pub(super) fn go_on(mut self, wire: Rc<RefCell<Wire>>) -> UploadTask
    where
        B: 'static,
    {
        let task = tokio::task::spawn_local(async move {
            let sent = poll_fn(|cx| self.poll(cx, &mut *wire.borrow_mut().stream)).await;
            let mut wire = wire.borrow_mut();
            wire.uploads = sent.is_err();
            wire.broken |= matches!(sent, Err(Stopped::Unwritable));
        });
        UploadTask(task.abort_handle())
    }

    fn is_drained(&self) -> bool {
        self.front_at == self.front.len() && self.piece.is_empty() && self.back.is_empty()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, stream: &mut dyn Stream) -> Poll<io::Result<()>> {
        let front = &self.front[self.front_at..];
        let stream = Pin::new(stream);
        let written = match (self.piece.is_empty() && self.back.is_empty(), front.is_empty()) {
            (true, _) => ready!(stream.poll_write(cx, front))?,
            (false, true) if self.back.is_empty() => ready!(stream.poll_write(cx, &self.piece))?,
            (false, _) => {
                let parts = [IoSlice::new(front), IoSlice::new(&self.piece), IoSlice::new(self.back)];
                ready!(stream.poll_write_vectored(cx, &parts))?
            }
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += written as u64;
        self.unflushed = true;
        let of_front = written.min(front.len());
        self.front_at += of_front;
        let of_piece = (written - of_front).min(self.piece.len());
        self.piece.advance(of_piece);
        self.back = &self.back[written - of_front - of_piece..];
        Poll::Ready(Ok(()))
    }

    /// Puts what came from the client behind what is to be written.
    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), Stopped> {
        self.begun = true;
        let Some(frame) = frame else { return self.end() };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => self.take_data(data)?,
            Err(frame) => return self.take_trailers(&frame.into_trailers().unwrap_or_default()),
        }
        if self.body.is_end_stream() { self.end() } else { Ok(()) }
    }

    fn take_data(&mut self, data: Bytes) -> Result<(), Stopped> {
        match &mut self.framing {
            // More than it said would be the next request to the upstream.
            Framing::Sized(left) => *left = left.checked_sub(data.len() as u64).ok_or(Stopped::Body)?,
            Framing::Chunked => {
                self.make_room();
                let _ = write!(self.front, "{:x}\r\n", data.len());
                self.back = CHUNK_END;
            }
        }
        self.piece = data;
        Ok(())
    }

    fn take_trailers(&mut self, trailers: &HeaderMap) -> Result<(), Stopped> {
        if matches!(self.framing, Framing::Sized(_)) || trailers.is_empty() {
            return self.end();
        }
        self.make_room();
        self.front.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            write_line(name, value, &mut self.front);
        }
        self.front.extend_from_slice(b"\r\n");
        self.ended = true;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stopped> {
        self.ended = true;
        match self.framing {
            Framing::Sized(0) => Ok(()),
            Framing::Sized(_) => Err(Stopped::Body),
            Framing::Chunked => {
                self.back = if self.back.is_empty() { BODY_END } else { BOTH_ENDS };
                Ok(())
            }
        }
    }

    /// What has been written of the front goes.
    fn make_room(&mut self) {
        self.front.drain(..self.front_at);
        self.front_at = 0;
    }
}

/// The head, but for what frames the body, and without the empty line. Whether the client gave a length.
fn write_head(head: &Head, own_lines: &[u8], asks: bool, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.uri.path().as_bytes());
    if let Some(query) = head.uri.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut had_length = false;
    for (name, value) in &head.headers {
        match *name {
            header::CONTENT_LENGTH => had_length = true,
            header::HOST | header::AUTHORIZATION | header::TRANSFER_ENCODING => {}
            _ => write_line(name, value, out),
        }
    }
    // Behind the client's own `Via`.
    out.extend_from_slice(own_lines);
    write_line(&header::AUTHORIZATION, &head.bearer.value, out);
    if asks {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    had_length
}

fn write_line(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
