//! The socket under HTTP/2: every byte of a connection passes here, in both directions.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::flood::FloodMeter;
use super::streams::Streams;
use crate::lazy_timer::LazyTimer;
use crate::linger::Linger;
use crate::{Limits, Stream};

/// A stream whose frames are metered and whose writes have a deadline.
pub(super) struct Transport<S: Stream> {
    stream: S,
    limits: Limits,
    streams: Rc<Streams>,
    meter: FloodMeter,
    /// Runs while a write makes no progress.
    writing: LazyTimer,
    /// Present once the sending side has been ended.
    linger: Option<Linger>,
}

impl<S: Stream> Transport<S> {
    pub(super) fn new(stream: S, limits: Limits, streams: Rc<Streams>) -> Self {
        let meter = FloodMeter::new(limits.head_bytes, Instant::now());
        Self { stream, limits, streams, meter, writing: LazyTimer::default(), linger: None }
    }

    /// Fails a write that is pending for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.writing.clear();
            return polled;
        }
        ready!(self.writing.poll_after(cx, self.limits.body_timeout));
        // After an orderly close the kernel would keep the unread data for minutes.
        self.stream.reset_on_close();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: Stream> AsyncRead for Transport<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if let Err(flood) = this.meter.read(&buf.filled()[before..], Instant::now()) {
            // The library gets an error and sends no GOAWAY: a flooding client might not read it.
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::other(flood)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Transport<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            this.meter.sent(written);
            this.streams.written.set(this.streams.written.get().wrapping_add(written as u64));
        }
        this.in_time(cx, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.in_time(cx, polled)
    }

    /// Ends the sending side, then reads on for a while so that the GOAWAY reaches the client.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            let polled = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.in_time(cx, polled))?;
        }
        this.linger.get_or_insert_default().poll(cx, &mut this.stream).map(Ok)
    }
}
