//! File descriptors: how many this process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for everything that is no client connection and no connection to the upstream: listeners, the store, the token
/// endpoint, the admin listener.
const RESERVE: u64 = 64;

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

/// How many client connections so many descriptors are enough for. One in five is left for the upstream: most
/// connections are idle, or wait for a head that is slow in coming, and need none there.
pub fn connections(descriptors: u64) -> usize {
    let most = descriptors.saturating_sub(RESERVE) / 5 * 4;
    usize::try_from(most).unwrap_or(usize::MAX).max(1)
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
    fn some_are_left_for_the_upstream() {
        assert_eq!(connections(1064), 800);
        assert_eq!(connections(10), 1);
        assert!(connections(u64::MAX) > 1 << 40);
    }
}
