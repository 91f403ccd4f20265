//! File descriptors: how many this process may have, and who may use them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for the store, the token endpoint, name look-ups, certificates, logs and the runtime of the control plane.
const RESERVE: usize = 64;

/// What a thread of the data plane needs besides its listeners: its runtime.
const OF_A_WORKER: usize = 4;

/// Connections to the upstream that each thread may have whatever the others use.
pub const OWN: usize = 2;

/// Connections of the admin listener: a sixteenth of all descriptors, within these bounds.
const ADMIN: (usize, usize) = (8, 256);

/// With fewer than these for connections the process still starts, and says that they are few.
const LEAST: usize = 16;

/// Raises the soft limit to the hard one, and gives what holds now. A failure changes nothing and is logged.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::debug!(from = current, to = maximum, "the limit of file descriptors was raised");
            maximum.unwrap_or(u64::MAX)
        }
        Err(error) => {
            tracing::warn!(%error, "the limit of file descriptors cannot be raised");
            current.unwrap_or(u64::MAX)
        }
    }
}

/// Whether an operation failed because no descriptor was left.
pub fn ran_out(error: &std::io::Error) -> bool {
    let raw = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| raw == Some(errno.raw_os_error()))
}

/// How many threads serve connections where no number is configured: one for each core, while what
/// threads need for themselves stays within a quarter of the limit.
pub fn default_workers(limit: u64, cores: usize, addresses: usize) -> usize {
    let each = OF_A_WORKER + addresses + OWN;
    let most = usize::try_from(limit / 4).unwrap_or(usize::MAX) / each;
    cores.min(most.max(1))
}

/// Who may have how many of the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Connections of the admin listener.
    pub admin: usize,
    /// Connections of clients where nothing else is configured: four in five, since most are idle, or wait for a head
    /// that is slow in coming, and need no connection to the upstream.
    pub clients: usize,
    /// The most client connections that a configuration can ask for. A tenth is left for the
    /// upstream.
    pub most_clients: usize,
    /// Connections of clients and to the upstream, and bodies in files, together; without what each thread
    /// [has anyway](OWN).
    pub shared: usize,
}

impl Division {
    /// Divides this limit among `workers` threads, each of which listens on `addresses` addresses.
    pub fn of(limit: u64, workers: usize, addresses: usize) -> Self {
        // More than any machine has, and no sum overflows.
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(1 << 40);
        let admin = (limit / 16).clamp(ADMIN.0, ADMIN.1);
        let reserve = RESERVE + admin + workers * (OF_A_WORKER + addresses);
        let connections = limit.saturating_sub(reserve).max(LEAST);
        let own = workers * OWN;
        let most = |share: usize| connections.saturating_sub(share.max(own)).max(1);
        Self {
            admin,
            clients: most(connections / 5),
            most_clients: most(connections / 10),
            shared: connections.saturating_sub(own).max(1),
        }
    }
}

/// The descriptors that clients, the upstream and bodies in files share, counted over all threads.
#[derive(Debug)]
pub struct Descriptors {
    left: AtomicUsize,
}

/// The right to one descriptor, until this is dropped. Drop it after what it was taken for.
#[derive(Debug)]
pub struct Descriptor(Arc<Descriptors>);

impl Descriptors {
    /// At most this many.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(most) })
    }

    /// Takes one; `None` when none is left.
    pub fn take(self: &Arc<Self>) -> Option<Descriptor> {
        let one_less = |left: usize| left.checked_sub(1);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        taken.ok().map(|_| Descriptor(Arc::clone(self)))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // Lower it first, where that is allowed: the limit is this process's own.
        let lower = current.map(|current| current - 1);
        setrlimit(Resource::Nofile, Rlimit { current: lower, maximum }).unwrap();
        assert_eq!(raise(), maximum.unwrap_or(u64::MAX));
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }

    #[test]
    fn clients_and_upstream_together_leave_the_reserve() {
        for limit in [200, 256, 1024, 4096, 65_536, 1 << 20, u64::MAX] {
            for (cores, addresses) in [1, 2, 8, 32, 64, 128, 1024].iter().flat_map(|n| [(*n, 1), (*n, 3)]) {
                let workers = default_workers(limit, cores, addresses);
                let division = Division::of(limit, workers, addresses);
                let threads = workers * (OWN + OF_A_WORKER + addresses);
                let used = division.shared + division.admin + threads;
                assert!(used as u64 + RESERVE as u64 <= limit, "{limit}, {cores}: {division:?}");
                assert!(division.clients <= division.most_clients, "{division:?}");
                assert!(division.most_clients <= division.shared, "{division:?}");
                assert!(division.clients > LEAST, "{limit}, {cores}: {division:?}");
            }
        }
    }

    #[test]
    fn there_are_as_many_threads_as_cores_unless_descriptors_are_few() {
        assert_eq!(default_workers(1024, 32, 1), 32);
        assert_eq!(default_workers(u64::MAX, 128, 1), 128);
        assert_eq!(default_workers(256, 32, 1), 9);
        assert_eq!(default_workers(256, 4, 1), 4);
        assert_eq!(default_workers(0, 32, 1), 1);
    }

    #[test]
    fn some_are_left_for_the_upstream() {
        assert_eq!(
            Division::of(1024, 2, 1),
            Division { admin: 64, clients: 709, most_clients: 798, shared: 882 }
        );
        assert!(Division::of(10, 1, 1).clients >= 1);
        assert!(Division::of(u64::MAX, 4, 1).clients > 1 << 38);
    }

    #[test]
    fn a_descriptor_that_is_given_back_can_be_taken_again() {
        let descriptors = Descriptors::new(2);
        let first = descriptors.take().unwrap();
        let _second = descriptors.take().unwrap();
        assert!(descriptors.take().is_none() && descriptors.take().is_none());
        drop(first);
        assert!(descriptors.take().is_some());
    }
}
