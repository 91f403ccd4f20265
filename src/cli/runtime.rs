//! The runtime of a command. The data plane has threads of its own.

use tokio::runtime::{Builder, Runtime};

use super::{Exit, complain};

/// How much nicer these threads are than the data plane beside them: enough that the scheduler lets a request go first. They still
/// get a tenth of a core that others want all of; a refresh needs about a millisecond.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// For a command that has no data plane, or one that others do not wait for.
pub(super) fn alone() -> Result<Runtime, Exit> {
    build(&mut multi_thread())
}

/// For credentials, store, admin and the simulator beside a data plane: on a machine with fewer cores than threads a refresh does
/// not keep a request waiting. The data plane is to be started by the thread that blocks on it, which is not nice: threads inherit
/// that.
pub(super) fn beside_data_plane() -> Result<Runtime, Exit> {
    build(multi_thread().on_thread_start(be_nicer))
}

fn multi_thread() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder
}

fn build(builder: &mut Builder) -> Result<Runtime, Exit> {
    builder.build().map_err(|error| {
        complain(format_args!("vbc-proxy: no runtime: {error}"));
        Exit::Failed
    })
}

/// On Linux that is said of a thread, elsewhere of the whole process (setpriority(2)).
fn be_nicer() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let nice =
            getpriority_process(None).and_then(|nice| setpriority_process(None, (nice + NICER).min(19)));
        if let Err(error) = nice {
            tracing::debug!(%error, "a thread is not nice");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn its_threads_are_nicer_and_nobody_else() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let runtime = beside_data_plane().unwrap();
        let (task, blocking) = runtime.block_on(async {
            let task = tokio::spawn(async move { nice() }).await.unwrap();
            (task, tokio::task::spawn_blocking(nice).await.unwrap())
        });
        let nicer = (before + NICER).min(19);
        assert_eq!((task, blocking), (nicer, nicer));
        assert_eq!((nice(), std::thread::spawn(nice).join().unwrap()), (before, before));
        assert_eq!(
            alone().unwrap().block_on(async { tokio::spawn(async move { nice() }).await.unwrap() }),
            before
        );
    }
}
