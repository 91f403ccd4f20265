//! SIGTERM and SIGINT: the first drains, the second ends at once. SIGHUP, which will reload, ends nothing.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Exit;

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
