//! The log: its filter, its format and its destination.
//!
//! A separate thread writes the lines, so that a blocked standard error does not stop requests.
//! Lines that do not fit the thread's queue are dropped. The log states how many were dropped.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::output::{is_colourful, report};
use crate::config::{Log, LogFormat};

/// At most this many lines wait to be written.
const QUEUE: usize = 8192;

/// The program waits at most this long for the last lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Hands each log line to the writing thread.
#[derive(Clone)]
struct Queue {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn start(out: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&dropped);
        std::thread::Builder::new().name("log".into()).spawn(move || write_lines(out, &receiver, &count))?;
        Ok(Self { sender, dropped })
    }
}

fn write_lines(mut out: Box<dyn Write + Send>, receiver: &Receiver<Message>, dropped: &AtomicU64) {
    while let Ok(message) = receiver.recv() {
        // A failed write is ignored: standard error may be closed.
        let _ = match message {
            Message::Line(line) => out.write_all(&line),
            Message::Flush(done) => done.try_send(()).map_err(|_| std::io::ErrorKind::BrokenPipe.into()),
        };
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "vbc-proxy: dropped {lost} log lines, because they are read too slowly");
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Queue {
    /// Queues one line. The formatter writes each event with one call.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps the log open. Dropping it waits until all lines are written, for at most [`FLUSH`].
pub(super) struct Logging(Option<Queue>);

impl Drop for Logging {
    fn drop(&mut self) {
        let Some(queue) = &self.0 else { return };
        let (done, written) = sync_channel(1);
        if queue.sender.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH);
        }
    }
}

/// Starts to log to standard error. Called once per process. The caller holds the result until the
/// process ends.
///
/// A level without a target applies to this program alone. Libraries log warnings only, so that no
/// level makes them log the bytes that pass through them.
pub(super) fn start(log: &Log) -> Logging {
    let stderr = std::io::stderr();
    let is_terminal = stderr.is_terminal();
    let is_colourful = is_colourful(&stderr);
    start_with(log, Box::new(stderr), is_terminal, is_colourful)
}

/// Starts to log to a file, as text by default. Otherwise like [`start`].
pub(super) fn start_in(log: &Log, file: File) -> Logging {
    start_with(log, Box::new(file), true, false)
}

/// `for_people` decides what `log.format = "auto"` means.
fn start_with(log: &Log, out: Box<dyn Write + Send>, for_people: bool, ansi: bool) -> Logging {
    // The configuration has already checked the filter.
    let filter = EnvFilter::try_new(directives(&log.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let queue = match Queue::start(out) {
        Ok(queue) => queue,
        Err(error) => {
            report(format_args!("vbc-proxy: cannot start the log, so nothing is logged: {error}"));
            return Logging(None);
        }
    };
    // Internal errors are not logged. Otherwise the subscriber would report a failed write on the
    // same stream, with a macro that panics if this report fails too.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue.clone())
        .with_ansi(ansi)
        .log_internal_errors(false);
    let json = match log.format {
        LogFormat::Auto => !for_people,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let outcome = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    if outcome.is_err() {
        report("vbc-proxy: the log was already started; its settings stay");
    }
    Logging(Some(queue))
}

/// The filter of a level. Directives for `vbc_proxy` apply to all crates of this program.
fn directives(level: &str) -> String {
    if level.chars().all(|c| c.is_ascii_alphabetic()) {
        return format!("warn,vbc_={level},access=info");
    }
    level.replace("vbc_proxy=", "vbc_=")
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_level_applies_to_every_crate_of_this_program_and_to_no_library() {
        for (level, ours, of_libraries) in [
            ("debug", true, false),
            ("info", false, false),
            ("vbc_proxy=debug", true, false),
            ("debug,h2=info", true, false),
        ] {
            let filter = EnvFilter::try_new(directives(level)).unwrap();
            let subscriber = tracing_subscriber::registry().with(filter);
            tracing::subscriber::with_default(subscriber, || {
                assert_eq!(
                    tracing::enabled!(target: "vbc_proxy::cli", tracing::Level::DEBUG),
                    ours,
                    "{level}"
                );
                assert_eq!(
                    tracing::enabled!(target: "vbc_http::tls", tracing::Level::DEBUG),
                    ours,
                    "{level}"
                );
                assert_eq!(tracing::enabled!(target: "h2", tracing::Level::DEBUG), of_libraries, "{level}");
            });
        }
    }
}
