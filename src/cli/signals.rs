//! SIGTERM and SIGINT: the first drains, the second ends at once. SIGHUP, which will reload, ends nothing.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::{Exit, complain};

/// The two signals, caught from the moment this is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                tracing::warn!(
                    "SIGHUP: reloading is not available in this version; restart to change the configuration"
                );
            }
        });
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// For a command that ends by itself: the first signal ends the future, which may be dropped at any time, and the
    /// second ends the process at once. A terminal that is gone is a signal like the others here.
    pub(super) fn for_command() -> Result<impl Future<Output = ()>, Exit> {
        let caught = |kind| {
            signal(kind).map_err(|error| {
                complain(format_args!("vbc-proxy: signals cannot be caught: {error}"));
                Exit::Failed
            })
        };
        let mut hangup = caught(SignalKind::hangup())?;
        let (terminate, interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
        let mut signals = Self { terminate, interrupt };
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                () = signals.next() => {}
                _ = hangup.recv() => {}
            }
            complain(
                "vbc-proxy: interrupted; an exchange with the token endpoint that is under way is finished and stored, a \
                 second signal ends at once",
            );
            let _ = stop.send(());
            tokio::select! {
                () = signals.next() => {}
                _ = hangup.recv() => {}
            }
            std::process::exit(Exit::Failed as i32);
        });
        Ok(async move {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the first, then leaves a watch behind that ends the process at the second.
    pub(super) async fn first_of_two(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("a second signal: ending at once");
            std::process::exit(Exit::Failed as i32);
        });
    }
}
