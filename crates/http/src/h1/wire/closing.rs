//! The end of a connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::task::unconstrained;

use super::Wire;
use super::client::Client;
use crate::Stream;
use crate::linger::Linger;

/// How the connection is closed.
#[derive(Default)]
pub(super) enum Close {
    /// The connection ends in order: everything written reaches the client.
    #[default]
    Orderly,
    /// Like [`Orderly`](Self::Orderly), in progress: the sending side has ended, and input is read
    /// for a while.
    Lingering(Linger),
    /// The connection ends by a reset, which shows the client that its response is not complete.
    Reset,
}

impl<S: Stream> Wire<S> {
    pub(in crate::h1) fn close_by_reset(&mut self) {
        self.close = Close::Reset;
    }

    pub(super) fn closes_by_reset(&self) -> bool {
        matches!(self.close, Close::Reset)
    }

    /// Ends the sending side, and reads on for a while if input may be on its way. With `unread`,
    /// the client may have sent more than was read.
    pub(in crate::h1) fn poll_close(&mut self, cx: &mut Context<'_>, unread: bool) -> Poll<()> {
        if self.closes_by_reset() {
            self.stream.reset_on_close();
            return Poll::Ready(());
        }
        let unread = unread
            || !self.input.bytes.is_empty()
            || !self.body.is_complete()
            || matches!(self.close, Close::Orderly) && self.has_unread_input(cx);
        if !unread && !self.stream.sends_close_notify() {
            // Dropping the socket also ends the sending side.
            return Poll::Ready(());
        }
        if matches!(self.close, Close::Orderly) {
            if Pin::new(&mut self.stream).poll_shutdown(cx).is_pending() {
                ready!(self.writing.poll_after(cx, self.limits.body_timeout));
                self.stream.reset_on_close();
                return Poll::Ready(());
            }
            self.close = Close::Lingering(Linger::default());
        }
        match &mut self.close {
            Close::Lingering(linger) if unread => linger.poll(cx, &mut self.stream),
            _ => Poll::Ready(()),
        }
    }

    /// Whether input has arrived while nobody was reading. Unread input would turn a close into a
    /// reset.
    fn has_unread_input(&mut self, cx: &mut Context<'_>) -> bool {
        if matches!(self.client, Client::Gone) {
            return false;
        }
        let mut scratch = [0; 512];
        let mut buf = ReadBuf::new(&mut scratch);
        // This poll ignores tokio's cooperative budget. With the budget used up, every poll would
        // return `Pending`.
        let look = unconstrained(poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut buf)));
        let found = pin!(look).poll(cx).is_ready() && !buf.filled().is_empty();
        self.input.bytes.extend_from_slice(buf.filled());
        found
    }
}
