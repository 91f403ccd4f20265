//! SIGTERM and SIGINT: the first begins a drain, one that follows a second or more later ends the
//! process immediately. SIGHUP, which is reserved for reloading, ends nothing.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::exit::Exit;
use super::output::{fail, report};

/// A signal this soon after the first is the same stop. GNU `timeout` signals the process and then
/// its group, and a supervisor or a double Ctrl-C does likewise.
const SAME_STOP: Duration = Duration::from_secs(1);

/// Tells a repeated signal from a second one.
#[derive(Debug, Default)]
pub(super) struct StopRequests {
    first: Option<Instant>,
}

/// The meaning of a signal to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopRequest {
    /// Stop in order.
    First,
    /// A repetition of the first; changes nothing.
    Repeat,
    /// Stop immediately.
    Second,
}

impl StopRequests {
    /// Classifies a signal that has just arrived.
    pub(super) fn arrived(&mut self) -> StopRequest {
        let now = Instant::now();
        match self.first {
            None => {
                self.first = Some(now);
                StopRequest::First
            }
            Some(first) if now.duration_since(first) < SAME_STOP => StopRequest::Repeat,
            Some(_) => StopRequest::Second,
        }
    }
}

/// The signals that stop, caught from construction on.
///
/// Constructors: [`Signals::new`] for services, [`Signals::for_command`] for commands that end by
/// themselves. A service then waits for [`first`](Self::first) or
/// [`first_of_two`](Self::first_of_two).
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Set where the loss of the terminal stops the command.
    hangup: Option<Signal>,
    requests: StopRequests,
}

impl Signals {
    /// Catches SIGTERM and SIGINT. SIGHUP is reported and ends nothing.
    pub(super) fn new() -> Result<Self, Exit> {
        let mut hangup = caught(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::warn!(
                    "SIGHUP: reloading is not available in this version; restart to change the configuration"
                );
            }
        });
        Self::catch(None)
    }

    fn catch(hangup: Option<Signal>) -> Result<Self, Exit> {
        survive_file_size_limit()?;
        Ok(Self {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
            hangup,
            requests: StopRequests::default(),
        })
    }

    /// For a command that ends by itself. The first signal resolves the future, which may be
    /// dropped at any time; the second ends the process. Here SIGHUP is a signal like the others.
    pub(super) fn for_command() -> Result<impl Future<Output = ()>, Exit> {
        let mut signals = Self::catch(Some(caught(SignalKind::hangup())?))?;
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            signals.first().await;
            report(
                "vbc-proxy: interrupted; an exchange with the token endpoint that is under way is finished and stored, a \
                 second signal ends at once",
            );
            let _ = stop.send(());
            signals.second().await;
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
        while self.next().await != StopRequest::First {}
    }

    /// Waits for a signal that follows the first by a second or more.
    async fn second(&mut self) {
        while self.next().await != StopRequest::Second {}
    }

    async fn next(&mut self) -> StopRequest {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hangup => {}
        }
        self.requests.arrived()
    }

    /// Waits for the first signal, then spawns a task that ends the process at the second.
    pub(super) async fn first_of_two(mut self) {
        self.first().await;
        tokio::spawn(async move {
            self.second().await;
            tracing::warn!("a second signal: ending at once");
            std::process::exit(Exit::Failed.code().into());
        });
    }
}

/// Makes a write beyond the limit of file sizes fail. By default SIGXFSZ ends the process.
pub(super) fn survive_file_size_limit() -> Result<(), Exit> {
    caught(SignalKind::from_raw(libc::SIGXFSZ)).map(drop)
}

/// Catches one kind of signal.
pub(super) fn caught(kind: SignalKind) -> Result<Signal, Exit> {
    signal(kind).map_err(|error| fail(Exit::Failed, format_args!("signals cannot be caught: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signal_within_a_second_of_the_first_is_the_same_stop() {
        let mut requests = StopRequests::default();
        assert_eq!(requests.arrived(), StopRequest::First);
        assert_eq!(requests.arrived(), StopRequest::Repeat);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(requests.arrived(), StopRequest::Repeat);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(requests.arrived(), StopRequest::Second);
    }
}
