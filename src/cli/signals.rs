//! SIGTERM and SIGINT: the first begins a drain, one that follows a second or more later ends the
//! process immediately. SIGHUP, which is reserved for reloading, ends nothing.

use std::future::Future;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::exit::Exit;
use super::output::{fail, report};

/// A signal this soon after the first is the same stop. GNU `timeout` signals the process and then
/// its group, and a supervisor or a double Ctrl-C does likewise.
const SAME_STOP: Duration = Duration::from_secs(1);

/// The meaning of a signal to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopRequest {
    /// The first: stop in order.
    First,
    /// Within [`SAME_STOP`] of the first: changes nothing.
    Repeat,
    /// Later: stop immediately.
    Second,
}

/// Caught signals, from construction on. All are requests to stop, except those that only `run`
/// catches.
///
/// Constructors: [`Signals::new`] for services, [`Signals::for_command`] for commands that end by
/// themselves, [`Signals::catch`] for `run`. A service then waits for [`first`](Self::first) or
/// [`first_of_two`](Self::first_of_two).
pub(super) struct Signals {
    arrived: UnboundedReceiver<Signal>,
    first: Option<Instant>,
}

impl Signals {
    /// Catches SIGTERM and SIGINT. SIGHUP is reported and ends nothing.
    pub(super) fn new() -> Result<Self, Exit> {
        let mut hangup = caught(Signal::HUP)?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::warn!(
                    "SIGHUP: reloading is not available in this version; restart to change the configuration"
                );
            }
        });
        Self::catch(&[Signal::TERM, Signal::INT])
    }

    /// Catches these signals.
    pub(super) fn catch(signals: &[Signal]) -> Result<Self, Exit> {
        // Caught, so that a write beyond the limit of file sizes fails and does not end the
        // process.
        drop(caught(Signal::XFSZ)?);
        let (sender, arrived) = unbounded_channel();
        for &signal in signals {
            let mut caught = caught(signal)?;
            let sender = sender.clone();
            tokio::spawn(
                async move { while caught.recv().await.is_some() && sender.send(signal).is_ok() {} },
            );
        }
        Ok(Self { arrived, first: None })
    }

    /// For a command that ends by itself. The first signal resolves the future, which may be
    /// dropped at any time; the second ends the process. Here SIGHUP is a signal like the others.
    pub(super) fn for_command() -> Result<impl Future<Output = ()>, Exit> {
        let mut signals = Self::catch(&[Signal::TERM, Signal::INT, Signal::HUP])?;
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            signals.first().await;
            report(
                "vbc-proxy: interrupted; an exchange with the token endpoint that is under way is finished and stored, a \
                 second signal ends at once",
            );
            let _ = stop.send(());
            while signals.next_request().await != StopRequest::Second {}
            std::process::exit(Exit::Failed.code().into());
        });
        Ok(async move {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        })
    }

    /// Waits for the first signal.
    pub(super) async fn first(&mut self) {
        while self.next_request().await != StopRequest::First {}
    }

    /// Waits for the first signal, then spawns a task that ends the process at the second.
    pub(super) async fn first_of_two(mut self) {
        self.first().await;
        tokio::spawn(async move {
            while self.next_request().await != StopRequest::Second {}
            tracing::warn!("a second signal: ending at once");
            std::process::exit(Exit::Failed.code().into());
        });
    }

    async fn next_request(&mut self) -> StopRequest {
        self.next().await;
        self.stop_requested()
    }

    /// Waits for a signal.
    pub(super) async fn next(&mut self) -> Signal {
        match self.arrived.recv().await {
            Some(signal) => signal,
            // The senders live as long as the runtime.
            None => std::future::pending().await,
        }
    }

    /// Classifies a request to stop that has just arrived.
    pub(super) fn stop_requested(&mut self) -> StopRequest {
        match self.first {
            None => {
                self.first = Some(Instant::now());
                StopRequest::First
            }
            Some(first) if first.elapsed() < SAME_STOP => StopRequest::Repeat,
            Some(_) => StopRequest::Second,
        }
    }
}

fn caught(signal: Signal) -> Result<unix::Signal, Exit> {
    unix::signal(SignalKind::from_raw(signal.as_raw()))
        .map_err(|error| fail(Exit::Failed, format_args!("signals cannot be caught: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signal_within_a_second_of_the_first_is_the_same_stop() {
        let mut signals = Signals::catch(&[]).unwrap();
        assert_eq!(signals.stop_requested(), StopRequest::First);
        assert_eq!(signals.stop_requested(), StopRequest::Repeat);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(signals.stop_requested(), StopRequest::Repeat);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(signals.stop_requested(), StopRequest::Second);
    }
}
