//! SIGTERM and SIGINT. The first starts a drain; another one, at least a second later, ends the
//! process immediately. SIGHUP does not end a service: it is reserved for reloading.

use std::future::Future;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::exit::Exit;
use super::output::{fail, report};

/// A signal within this time after the first belongs to the same request to stop. GNU `timeout`
/// signals the process and then its group; supervisors and a double Ctrl-C also send several.
const SAME_STOP: Duration = Duration::from_secs(1);

/// The meaning of a signal to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopRequest {
    /// The first: finish running work, then stop.
    First,
    /// Within [`SAME_STOP`] after the first: ignored.
    Repeat,
    /// Later: stop immediately.
    Second,
}

/// Catches signals from its construction on. Every signal is a request to stop, except in `run`,
/// which also catches other signals.
///
/// Constructors: [`Signals::new`] for services, [`Signals::for_command`] for commands that end on
/// their own, [`Signals::catch`] for `run`. A service then waits for [`first`](Self::first) or
/// [`first_of_two`](Self::first_of_two).
pub(super) struct Signals {
    arrived: UnboundedReceiver<Signal>,
    first: Option<Instant>,
}

impl Signals {
    /// Catches SIGTERM and SIGINT. A SIGHUP is logged and otherwise ignored.
    pub(super) fn new() -> Result<Self, Exit> {
        let mut hangup = caught(Signal::HUP)?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::warn!(
                    "SIGHUP ignored: this version cannot reload its configuration; restart to apply changes"
                );
            }
        });
        Self::catch(&[Signal::TERM, Signal::INT])
    }

    /// Catches these signals.
    pub(super) fn catch(signals: &[Signal]) -> Result<Self, Exit> {
        // SIGXFSZ is caught, so that a write beyond the file size limit fails. Without a handler,
        // the signal would end the process.
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

    /// Catches SIGTERM, SIGINT and SIGHUP for a command that ends on its own. The returned future
    /// resolves at the first signal; the second ends the process. Cancel safe.
    pub(super) fn for_command() -> Result<impl Future<Output = ()>, Exit> {
        let mut signals = Self::catch(&[Signal::TERM, Signal::INT, Signal::HUP])?;
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            signals.first().await;
            report(
                "vbc-proxy: interrupted; a token exchange under way is finished and stored first. A second signal exits \
                 immediately",
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
            tracing::warn!("second signal: exiting immediately");
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
        .map_err(|error| fail(Exit::Failed, format_args!("cannot catch signals: {error}")))
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
