//! Keeps the memory of a command that holds secrets to itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::complain;

/// What holds before [`Privacy::begin`], to be restored where the configuration allows core dumps.
#[must_use]
pub(super) struct Privacy {
    limit: Rlimit,
    dumpable: Dumpable,
}

impl Privacy {
    /// From here on no core dump of this process is written, and no other process of the same user reads its memory.
    pub(super) fn begin() -> Self {
        let before = Self { limit: core_limit(), dumpable: Dumpable::now() };
        // The hard limit stays, so that the soft one can be restored.
        let none = Rlimit { current: Some(0), ..before.limit };
        if let Err(error) = setrlimit(Resource::Core, none).and(Dumpable::NO.set()) {
            complain(format_args!("warning: a core dump of this process would hold secrets: {error}"));
        }
        before
    }

    /// Restores what held before, if the configuration says so (`process.core_dumps`).
    pub(super) fn settle(self, core_dumps: bool) {
        if core_dumps && let Err(error) = setrlimit(Resource::Core, self.limit).and(self.dumpable.set()) {
            complain(format_args!("warning: core dumps stay off in spite of process.core_dumps: {error}"));
        }
    }
}

/// How large a core dump may be.
pub(super) fn core_limit() -> Rlimit {
    getrlimit(Resource::Core)
}

/// Starts a child with this limit: it holds no secret of ours, and keeps the limit that its user has chosen.
pub(super) fn with_core_limit<T>(limit: Rlimit, spawn: impl FnOnce() -> T) -> T {
    let ours = core_limit();
    // Where this fails the child has our limit, and writes no core dump.
    let _ = setrlimit(Resource::Core, limit);
    let spawned = spawn();
    let _ = setrlimit(Resource::Core, ours);
    spawned
}

/// The `dumpable` attribute of the process (prctl(2)); the next `execve` resets it.
#[cfg(target_os = "linux")]
struct Dumpable(rustix::process::DumpableBehavior);

#[cfg(target_os = "linux")]
impl Dumpable {
    const NO: Self = Self(rustix::process::DumpableBehavior::NotDumpable);

    fn now() -> Self {
        rustix::process::dumpable_behavior().map_or(Self::NO, Self)
    }

    fn set(&self) -> rustix::io::Result<()> {
        rustix::process::set_dumpable_behavior(self.0)
    }
}

/// Other systems have the limit alone.
#[cfg(not(target_os = "linux"))]
struct Dumpable;

#[cfg(not(target_os = "linux"))]
impl Dumpable {
    const NO: Self = Self;

    fn now() -> Self {
        Self
    }

    fn set(&self) -> rustix::io::Result<()> {
        Ok(())
    }
}
