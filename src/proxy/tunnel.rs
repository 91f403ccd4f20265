//! A connection that has become a websocket. Its bytes pass in both directions and are not parsed.

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

use super::upstream::Switched;
use vbc_http::Abort;
use vbc_http::LazyTimer;

/// The buffer for each direction, in bytes.
const BUFFER: usize = 16 * 1024;

/// How long a tunnel stays open without traffic in either direction.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) both_open: Duration,
    /// Applies after one side has ended its direction.
    pub(super) half_closed: Duration,
}

/// Passes bytes until both sides have ended, one side fails, or nothing passes for too long.
///
/// # Errors
/// [`Abort`] if one side failed. The other side must not see that as a clean end.
pub(super) async fn run(
    upstream: Switched,
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    patience: Patience,
    open: &Gauge,
) -> Result<(), Abort> {
    open.inc();
    let _open = OpenTunnel(open);
    let activity = Activity { moved: Cell::new(Instant::now()), half_closed: Cell::new(false) };
    // `_connection` keeps the upstream connection counted as open while the tunnel runs.
    let Switched { stream, first, open: _connection } = upstream;
    let mut upstream = Monitored { stream, first, activity: &activity };
    let mut copying = pin!(copy_bidirectional_with_sizes(client, &mut upstream, BUFFER, BUFFER));
    let timer = LazyTimer::default();
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(outcome) = copying.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        let after = if activity.half_closed.get() { patience.half_closed } else { patience.both_open };
        timer.poll_deadline(cx, activity.moved.get() + after).map(|()| None)
    });
    match outcome.await {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => {
            tracing::debug!(%error, "a websocket tunnel failed");
            Err(Abort)
        }
        None => {
            tracing::debug!("closed a websocket tunnel that was idle for too long");
            Ok(())
        }
    }
}

/// Counts a tunnel while it is open.
struct OpenTunnel<'a>(&'a Gauge);

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The state from which a tunnel's deadlines are computed.
struct Activity {
    /// When a byte last passed, in either direction.
    moved: Cell<Instant>,
    /// Whether one side has ended its direction.
    half_closed: Cell<bool>,
}

/// The upstream's side. Every byte of the tunnel passes through it.
struct Monitored<'a, S> {
    stream: S,
    /// Bytes that arrived with the head of the 101. They are read before the stream's next bytes.
    first: Bytes,
    activity: &'a Activity,
}

impl<S> Monitored<'_, S> {
    fn note_moved(&self) {
        self.activity.moved.set(Instant::now());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Monitored<'_, S> {
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
            self.note_moved();
            if buf.filled().len() == before {
                self.activity.half_closed.set(true);
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Monitored<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if polled.is_ready() {
            self.note_moved();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The client has ended its direction.
        if !self.activity.half_closed.replace(true) {
            self.note_moved();
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
