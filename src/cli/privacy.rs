//! Keeps the memory of a command with secrets from other processes and from core dumps.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::output::report;

/// The settings before [`Privacy::begin`]. [`Privacy::settle`] restores them where core dumps are
/// allowed.
#[must_use]
pub(super) struct Privacy {
    limit: Rlimit,
    dumpable: Dumpable,
}

impl Privacy {
    /// Begins, before a secret is read: this process writes no core dump, and other processes of
    /// its user cannot read its memory.
    pub(super) fn begin() -> Self {
        let before = Self { limit: core_limit(), dumpable: Dumpable::now() };
        // The hard limit stays, so that the soft one can be restored.
        let none = Rlimit { current: Some(0), ..before.limit };
        if let Err(error) = setrlimit(Resource::Core, none).and(Dumpable::NO.set()) {
            report(format_args!("warning: a core dump of this process would hold secrets: {error}"));
        }
        before
    }

    /// Restores the settings if the configuration says so (`process.core_dumps`).
    pub(super) fn settle(self, core_dumps: bool) {
        if core_dumps && let Err(error) = setrlimit(Resource::Core, self.limit).and(self.dumpable.set()) {
            report(format_args!("warning: core dumps stay off in spite of process.core_dumps: {error}"));
        }
    }
}

/// The limit of the size of core dumps.
pub(super) fn core_limit() -> Rlimit {
    getrlimit(Resource::Core)
}

/// Spawns a child with `limit`, the one that its user has chosen: the child holds no secret.
pub(super) fn with_core_limit<T>(limit: Rlimit, spawn: impl FnOnce() -> T) -> T {
    let ours = core_limit();
    // If this fails, the child keeps the limit of this process and writes no core dump.
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

/// Other systems have only the limit.
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
