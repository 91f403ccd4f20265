//! A connection that has become a websocket: bytes both ways, which are not read as HTTP.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::Instant;

use super::timer::LazyTimer;
use super::upstream::Open;
use crate::server::Abort;

/// What is held of each direction, in bytes.
const BUFFER: usize = 16 * 1024;

/// The upstream's side.
pub(super) struct Tunnel {
    stream: Box<dyn Both>,
    /// What came after the head of the 101.
    first: Bytes,
    _open: Open,
}

trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Both for S {}

/// How long nothing may pass, in either direction.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) both_open: Duration,
    /// Once one side has said that it sends no more.
    pub(super) half_closed: Duration,
}

impl Tunnel {
    pub(super) fn new(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        first: Bytes,
        open: Open,
    ) -> Self {
        Self { stream: Box::new(stream), first, _open: open }
    }

    /// Passes bytes until both sides have ended, or one is gone, or nothing has passed for too long.
    ///
    /// # Errors
    /// [`Abort`] when one side is gone without an end: then the other should not take it for one.
    pub(super) async fn run(
        self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        patience: Patience,
        open: &Gauge,
    ) -> Result<(), Abort> {
        open.inc();
        let _counted = Counted(open);
        let seen = Seen { moved: Cell::new(Instant::now()), half_closed: Cell::new(false) };
        let mut upstream = Watched { stream: self.stream, first: self.first, seen: &seen };
        let mut copying = pin!(copy_bidirectional_with_sizes(client, &mut upstream, BUFFER, BUFFER));
        let timer = LazyTimer::default();
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = copying.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            let after = if seen.half_closed.get() { patience.half_closed } else { patience.both_open };
            timer.poll_deadline(cx, seen.moved.get() + after).map(|()| None)
        })
        .await;
        match outcome {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => {
                tracing::debug!(%error, "a tunnel broke");
                Err(Abort)
            }
            None => {
                tracing::debug!("a tunnel was silent for too long");
                Ok(())
            }
        }
    }
}

struct Counted<'a>(&'a Gauge);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What the deadlines go by.
struct Seen {
    moved: Cell<Instant>,
    half_closed: Cell<bool>,
}

/// The upstream's side; every byte of the tunnel passes it.
struct Watched<'a> {
    stream: Box<dyn Both>,
    first: Bytes,
    seen: &'a Seen,
}

impl Watched<'_> {
    fn moved(&self) {
        self.seen.moved.set(Instant::now());
    }
}

impl AsyncRead for Watched<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let fits = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..fits]);
            self.first.advance(fits);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled {
            self.moved();
            if buf.filled().len() == before {
                self.seen.half_closed.set(true);
            }
        }
        polled
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if polled.is_ready() {
            self.moved();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The client has ended its side.
        if !self.seen.half_closed.replace(true) {
            self.moved();
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
