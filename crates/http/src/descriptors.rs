//! File descriptors: how many this process may have, and how they are divided.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Reserved for the store, the token endpoint, name look-ups, certificates, logs and the runtime of
/// the control plane.
const RESERVE: usize = 64;

/// The descriptors that the runtime of a data plane thread needs, without its listeners.
const PER_WORKER: usize = 4;

/// Upstream connections that each thread can always open, however many the others use.
pub const OWN: usize = 2;

/// The bounds for connections of the admin listener, which get a sixteenth of all descriptors.
const ADMIN: (usize, usize) = (8, 256);

/// Connections get at least this many. The process starts even if the limit is too low for that.
const LEAST: usize = 16;

/// Raises the soft limit to the hard one, and returns the limit in force. A failure is logged.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::debug!(from = current, to = maximum, "raised the limit of file descriptors");
            maximum.unwrap_or(u64::MAX)
        }
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of file descriptors; keeping the current limit");
            current.unwrap_or(u64::MAX)
        }
    }
}

/// Whether an operation failed for lack of descriptors.
pub fn ran_out(error: &std::io::Error) -> bool {
    let raw = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| raw == Some(errno.raw_os_error()))
}

/// The default number of worker threads: one for each core, or fewer if their own descriptors would
/// take more than a quarter of the limit.
pub fn default_workers(limit: u64, cores: usize, addresses: usize) -> usize {
    let each = PER_WORKER + addresses + OWN;
    let most = usize::try_from(limit / 4).unwrap_or(usize::MAX) / each;
    cores.min(most.max(1))
}

/// How the descriptors are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Connections of the admin listener.
    pub admin: usize,
    /// The default limit of client connections: four in five descriptors. Most clients are idle or
    /// slow, and need no upstream connection.
    pub clients: usize,
    /// The highest limit of client connections that can be configured. A tenth is left for the
    /// upstream.
    pub most_clients: usize,
    /// The total for client connections, upstream connections and bodies in files, not counting
    /// each thread's [own](OWN).
    pub shared: usize,
}

impl Division {
    /// Divides a limit for `workers` threads, each of which listens on `addresses` addresses.
    pub fn of(limit: u64, workers: usize, addresses: usize) -> Self {
        // The cap exceeds the limit of any machine, and is low enough that no sum overflows.
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(1 << 40);
        let admin = (limit / 16).clamp(ADMIN.0, ADMIN.1);
        let reserve = RESERVE + admin + workers * (PER_WORKER + addresses);
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

/// Counts the descriptors that clients, the upstream and bodies in files share, over all threads.
#[derive(Debug)]
pub struct Descriptors {
    left: AtomicUsize,
}

/// The right to one descriptor, until this is dropped. Drop it after closing the descriptor.
#[derive(Debug)]
pub struct Descriptor(Arc<Descriptors>);

impl Descriptors {
    /// Creates a pool of `most` descriptors.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(most) })
    }

    /// Takes the right to one descriptor; `None` when all are in use.
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
        // Lower it first. The limit belongs to this process alone.
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
                let threads = workers * (OWN + PER_WORKER + addresses);
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
