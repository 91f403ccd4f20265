//! Clients that have ended their side of the connection and may still read.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::Stream;
use crate::lazy_timer::LazyTimer;

/// How often a connection is checked for a reset that the runtime does not report. Such resets
/// happen after the client has ended its side, or while nothing is read.
const CHECK: Duration = Duration::from_millis(250);

/// The time that is left to a half-closed connection.
#[derive(Default)]
pub(super) struct HalfClosed {
    /// Runs while the response has nothing to write, although the client would take more.
    grace: LazyTimer,
    /// Bytes of the response that had been written when `grace` began.
    written: u64,
    check: ResetCheck,
}

/// Detects that the client has reset a connection that is not being read.
#[derive(Default)]
pub(super) struct ResetCheck(LazyTimer);

impl ResetCheck {
    /// Resolves when the connection has been reset. Checks every [`CHECK`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &impl Stream) -> Poll<()> {
        loop {
            if !self.0.is_set() && stream.has_been_reset() {
                return Poll::Ready(());
            }
            ready!(self.0.poll_after(cx, CHECK));
            self.0.clear();
        }
    }
}

impl HalfClosed {
    /// Restarts the grace for the next response.
    pub(super) fn restart(&mut self) {
        self.grace.clear();
    }

    /// Resolves when the client has reset the connection, or when nothing could be written for
    /// `grace`.
    ///
    /// `written` counts the bytes of the response so far; `None` means that a write waits for the
    /// client, which stops the grace.
    pub(super) fn poll_given_up(
        &mut self,
        cx: &mut Context<'_>,
        stream: &impl Stream,
        grace: Duration,
        written: Option<u64>,
    ) -> Poll<()> {
        if self.check.poll(cx, stream).is_ready() {
            return Poll::Ready(());
        }
        let Some(written) = written else {
            self.grace.clear();
            return Poll::Pending;
        };
        if written != self.written {
            self.written = written;
            self.grace.clear();
        }
        self.grace.poll_after(cx, grace)
    }
}

#[cfg(test)]
#[path = "half_close_tests.rs"]
mod tests;
