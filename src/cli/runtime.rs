//! The runtime of a command. The data plane has threads of its own.

use tokio::runtime::{Builder, Runtime};

use super::{Exit, complain};

/// How nice these threads are where a data plane runs beside them: enough that the scheduler lets a request go first. They still
/// get a tenth of a core that others want all of; a refresh needs about a millisecond.
const NICE: i32 = 10;

/// For a command that has no data plane, or one that others do not wait for.
pub(super) fn alone() -> Result<Runtime, Exit> {
    build(&mut multi_thread())
}

/// For credentials, store, admin and the simulator beside a data plane: on a machine with fewer cores than threads a refresh does
/// not keep a request waiting. The data plane is to be started by the thread that blocks on it, which is not nice: threads inherit
/// that.
pub(super) fn beside_data_plane() -> Result<Runtime, Exit> {
    build(multi_thread().on_thread_start(be_nice))
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
fn be_nice() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a thread is not nice");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn its_threads_are_nice_and_nobody_else() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let runtime = beside_data_plane().unwrap();
        let (task, blocking) = runtime.block_on(async {
            let task = tokio::spawn(async move { nice() }).await.unwrap();
            (task, tokio::task::spawn_blocking(nice).await.unwrap())
        });
        assert_eq!((task, blocking), (NICE, NICE));
        assert_eq!((nice(), std::thread::spawn(nice).join().unwrap()), (before, before));
        assert_eq!(
            alone().unwrap().block_on(async { tokio::spawn(async move { nice() }).await.unwrap() }),
            before
        );
    }
}
