//! Watches whether the client is still there and reads its responses.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use tokio::io::ReadBuf;

use super::{READ, Wire};
use crate::Stream;
use crate::codec::{MessageWriter, RemainingBody};
use crate::h1::half_close::{HalfClosed, ResetCheck};

/// Whether the client is still there.
pub(super) enum Client {
    /// The client may send more. The check detects a reset once reading ahead has stopped at its
    /// limit.
    Open(Option<Box<ResetCheck>>),
    /// The client has ended its side, and may still read responses to earlier requests.
    HalfClosed(Box<HalfClosed>),
    /// The client has reset the connection, or ended its side in the middle of a body.
    Gone,
}

impl Default for Client {
    fn default() -> Self {
        Self::Open(None)
    }
}

impl<S: Stream> Wire<S> {
    /// Resolves when the client is gone: it has reset the connection, ended its side within a body,
    /// or used up `half_close_grace` after ending its side. `written` is as in
    /// [`HalfClosed::poll_given_up`].
    ///
    /// Up to [`READ`] bytes that the client sends meanwhile are kept: the rest of a body, or
    /// further requests.
    pub(in crate::h1) fn poll_left(&mut self, cx: &mut Context<'_>, written: Option<u64>) -> Poll<()> {
        // A handle that reads the body notices the end too.
        let is_watched = !matches!(self.client, Client::Gone) && self.body.watch(cx);
        if !is_watched && matches!(self.client, Client::Open(_)) {
            self.read_ahead(cx);
        }
        match &mut self.client {
            Client::Gone => Poll::Ready(()),
            Client::Open(_) => Poll::Pending,
            Client::HalfClosed(half_closed) => {
                half_closed.poll_given_up(cx, &self.stream, self.limits.half_close_grace, written)
            }
        }
    }

    /// Reads what the client sends while it waits for the response. Stops after [`READ`] bytes, or
    /// when the client ends its side.
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        while self.input.bytes.len() <= READ {
            let mut buffer = [const { MaybeUninit::uninit() }; READ];
            let mut buf = ReadBuf::uninit(&mut buffer);
            let client = match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.input.bytes.extend_from_slice(buf.filled());
                    continue;
                }
                Poll::Ready(Ok(())) => self.after_end(),
                Poll::Ready(Err(_)) => Client::Gone,
            };
            self.client = client;
            return;
        }
        // A socket that is not being read reports no reset.
        if let Client::Open(check) = &mut self.client
            && check.get_or_insert_default().poll(cx, &self.stream).is_ready()
        {
            self.client = Client::Gone;
        }
    }

    fn after_end(&self) -> Client {
        match self.body.remaining {
            RemainingBody::Sized(left) if left > self.input.bytes.len() as u64 => Client::Gone,
            _ => Client::HalfClosed(Box::default()),
        }
    }

    /// Writes what `message` has ready, as long as the client takes it.
    pub(in crate::h1) fn poll_drain<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut MessageWriter<B>,
    ) -> Poll<io::Result<()>> {
        let before = message.written();
        let polled = message.poll_drain(cx, &mut self.stream);
        if polled.is_ready() || message.written() > before {
            self.writing.clear();
        }
        if polled.is_pending() {
            ready!(self.writing.poll_after(cx, self.limits.body_timeout));
            // After an orderly close the kernel would keep the unread data for minutes.
            self.close_by_reset();
            let error = io::Error::new(io::ErrorKind::TimedOut, "the client does not read its response");
            return Poll::Ready(Err(error));
        }
        polled
    }
}
