//! The runtime of a command. The data plane runs on its own threads instead.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use super::exit::Exit;
use super::output::fail;

/// Added to the niceness of the runtime's threads, so that the scheduler prefers the data plane. On
/// a busy core the runtime's threads still get a tenth of the time. A refresh needs about a
/// millisecond.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// Runs the work of a command that ends on its own.
pub(super) fn run_to_end<T>(work: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    let runtime = without_data_plane()?;
    let outcome = runtime.block_on(work);
    // Does not wait for the runtime's threads: one that reads from the terminal cannot be stopped.
    runtime.shutdown_background();
    outcome
}

/// A runtime for commands without a data plane, or with one whose latency does not matter.
pub(super) fn without_data_plane() -> Result<Runtime, Exit> {
    build(&mut multi_thread())
}

/// A runtime for credentials, store, admin and simulator in a process with a data plane.
///
/// Its threads have a higher niceness: with fewer cores than threads, a refresh does not delay a
/// request. Threads inherit their niceness. Start the data plane from the thread that blocks on
/// this runtime, which keeps the normal niceness.
pub(super) fn alongside_data_plane() -> Result<Runtime, Exit> {
    let mut builder = multi_thread();
    #[cfg(target_os = "linux")]
    be_nicer(&mut builder);
    build(&mut builder)
}

fn multi_thread() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder
}

fn build(builder: &mut Builder) -> Result<Runtime, Exit> {
    builder.build().map_err(|error| fail(Exit::Failed, format_args!("cannot start the runtime: {error}")))
}

/// Raises the niceness of the runtime's threads. Only on Linux: elsewhere niceness belongs to the
/// whole process (setpriority(2)).
#[cfg(target_os = "linux")]
fn be_nicer(builder: &mut Builder) {
    use rustix::process::{getpriority_process, setpriority_process};
    // The niceness is computed once, in this thread. A thread that a runtime's thread starts
    // inherits the raised niceness, and would otherwise raise it again.
    let nicer = getpriority_process(None).map(|nice| (nice + NICER).min(19));
    builder.on_thread_start(move || {
        if let Err(error) = nicer.and_then(|nicer| setpriority_process(None, nicer)) {
            tracing::debug!(%error, "cannot raise the niceness of a thread");
        }
    });
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn its_threads_are_nicer_and_nobody_else() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let runtime = alongside_data_plane().unwrap();
        let (task, blocking) = runtime.block_on(async {
            // Several calls block at the same time, so that a thread of the runtime starts another.
            let blocking = async move {
                let all: Vec<_> = (0..4).map(|_| tokio::task::spawn_blocking(nice)).collect();
                let mut found = Vec::new();
                for one in all {
                    found.push(one.await.unwrap());
                }
                (nice(), found)
            };
            tokio::spawn(blocking).await.unwrap()
        });
        let nicer = (before + NICER).min(19);
        assert_eq!((task, blocking), (nicer, vec![nicer; 4]));
        assert_eq!((nice(), std::thread::spawn(nice).join().unwrap()), (before, before));
        assert_eq!(
            without_data_plane()
                .unwrap()
                .block_on(async { tokio::spawn(async move { nice() }).await.unwrap() }),
            before
        );
    }
}
