//! The runtime of a command. The data plane has threads of its own.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};

use super::exit::Exit;
use super::output::fail;

/// How much the niceness of these threads exceeds the data plane's: the scheduler then lets
/// requests go first. On a core that is fully used they still get a tenth; a refresh needs about
/// a millisecond.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// Runs the work of a command that ends by itself.
pub(super) fn run_to_end<T>(work: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    let runtime = without_data_plane()?;
    let outcome = runtime.block_on(work);
    // A thread that reads from the terminal cannot be stopped, and is not waited for.
    runtime.shutdown_background();
    outcome
}

/// For a command without a data plane, or with one whose latency does not matter.
pub(super) fn without_data_plane() -> Result<Runtime, Exit> {
    build(&mut multi_thread())
}

/// For credentials, store, admin and simulator in a process with a data plane. Its threads are
/// nicer: with fewer cores than threads, a refresh does not delay a request. Threads inherit
/// niceness, so the thread that blocks on this runtime has to start the data plane.
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
    builder.build().map_err(|error| fail(Exit::Failed, format_args!("no runtime: {error}")))
}

/// On Linux niceness belongs to a thread, elsewhere to the whole process (setpriority(2)).
#[cfg(target_os = "linux")]
fn be_nicer(builder: &mut Builder) {
    use rustix::process::{getpriority_process, setpriority_process};
    // Computed once, in this thread: a thread that a nicer thread starts inherits its niceness.
    let nicer = getpriority_process(None).map(|nice| (nice + NICER).min(19));
    builder.on_thread_start(move || {
        if let Err(error) = nicer.and_then(|nicer| setpriority_process(None, nicer)) {
            tracing::debug!(%error, "a thread is not nicer");
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
            // Several at once, so that a thread has to be started for one of them, by a nice one.
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
