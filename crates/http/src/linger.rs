//! Reads on after the last write, so that the last response reaches the client.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use crate::lazy_timer::LazyTimer;

/// The most bytes that a closing connection still reads, and for how long.
const BYTES: usize = 1 << 20;
const TIME: Duration = Duration::from_secs(2);

/// A connection whose sending side has been ended.
///
/// Closing a socket with unread input sends a reset, which can overtake the last response. The
/// input is therefore read for a while.
#[derive(Default)]
pub(crate) struct Linger {
    timer: LazyTimer,
    read: usize,
}

impl Linger {
    /// Resolves when the client has ended its side, or when it has sent too much or taken too long.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut (impl AsyncRead + Unpin)) -> Poll<()> {
        let mut scratch = [const { MaybeUninit::uninit() }; 4096];
        while self.read < BYTES {
            let mut buf = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.read += buf.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(self.timer.poll_after(cx, TIME));
                    break;
                }
            }
        }
        Poll::Ready(())
    }
}
