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
    builder.build().map_err(|error| {
        complain(format_args!("vbc-proxy: no runtime: {error}"));
        Exit::Failed
    })
}

/// On Linux that is said of a thread, elsewhere of the whole process (setpriority(2)).
#[cfg(target_os = "linux")]
fn be_nicer(builder: &mut Builder) {
    use rustix::process::{getpriority_process, setpriority_process};
    // Reckoned here and once: a thread that is started by a nice one is as nice from the beginning.
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
        let runtime = beside_data_plane().unwrap();
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
            alone().unwrap().block_on(async { tokio::spawn(async move { nice() }).await.unwrap() }),
            before
        );
    }
}
