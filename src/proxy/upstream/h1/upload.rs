//! Writes a request: its head, then its body as the client sends it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header;
use http_body::Body;

use super::{Stream, Wire};
use crate::proxy::request_body::AttemptBody;
use crate::proxy::upstream::Head;
use crate::proxy::upstream::upload_task::UploadTask;
use vbc_http::codec::{Framing, MessageWriter, Scratch, write_decimal, write_line};

/// One attempt to send a request. It takes the next piece from the client once the previous piece
/// is written.
pub(super) struct Upload<B: Body = AttemptBody>(MessageWriter<B>);

/// Why an upload stopped.
pub(super) enum Stopped {
    /// The upstream accepts no more of the request.
    Unwritable,
    /// The body ended early, or its length differs from the announced one.
    Body,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    /// An upload that has written nothing yet. `asks` adds `Expect: 100-continue`.
    pub(super) fn new(head: &Head, own_lines: &[u8], asks: bool, body: B) -> Self {
        let mut front = Scratch::default();
        let had_length = write_head(head, own_lines, asks, &mut front);
        let framing = match body.size_hint().exact() {
            None => {
                front.extend_from_slice(b"transfer-encoding: chunked\r\n");
                Framing::Chunked
            }
            Some(length) => {
                if had_length || !body.is_end_stream() {
                    front.extend_from_slice(b"content-length: ");
                    write_decimal(length, &mut front);
                    front.extend_from_slice(b"\r\n");
                }
                Framing::Sized(length)
            }
        };
        front.extend_from_slice(b"\r\n");
        Self(MessageWriter::new(front, framing, body))
    }

    /// How many bytes have been written.
    pub(super) fn written(&self) -> u64 {
        self.0.written()
    }

    /// Whether bytes that the client has sent still wait to be written.
    pub(super) fn is_writing(&self) -> bool {
        !self.0.is_drained()
    }

    /// The body, if nothing has been taken from it.
    pub(super) fn into_untouched_body(self) -> Option<B> {
        self.0.into_untouched_body()
    }

    /// Continues until everything has been written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn Stream,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            let filled = self.0.poll_fill(cx);
            // After a failure of the body, buffered bytes are not written either.
            if self.0.take_failure().is_some() {
                return Poll::Ready(Err(Stopped::Body));
            }
            ready!(self.0.poll_drain(cx, stream)).map_err(|_| Stopped::Unwritable)?;
            if self.0.has_ended() {
                return Poll::Ready(Ok(()));
            }
            ready!(filled);
        }
    }

    /// Continues in its own task, after the head of the response.
    pub(super) fn spawn(mut self, wire: Rc<RefCell<Wire>>) -> UploadTask
    where
        B: 'static,
    {
        UploadTask::spawn(async move {
            let sent = poll_fn(|cx| self.poll(cx, &mut *wire.borrow_mut().stream)).await;
            let mut wire = wire.borrow_mut();
            wire.uploads = sent.is_err();
            wire.broken |= matches!(sent, Err(Stopped::Unwritable));
        })
    }
}

/// Writes the head, except for the framing of the body and the empty line. Returns whether the
/// client announced a length.
fn write_head(head: &Head, own_lines: &[u8], asks: bool, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    if let Some(raw) = &head.raw_target {
        out.extend_from_slice(&raw.0);
    } else {
        out.extend_from_slice(head.uri.path().as_bytes());
        if let Some(query) = head.uri.query() {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
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
    // The proxy's own lines follow the client's own `Via`.
    out.extend_from_slice(own_lines);
    write_line(&header::AUTHORIZATION, &head.bearer.value, out);
    if asks {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    had_length
}
