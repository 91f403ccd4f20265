//! Keeps the secrets of a command from other processes: its memory, core dumps, and the environment
//! of its children.

use std::process::Command;

#[cfg(target_os = "linux")]
use rustix::process::DumpableBehavior;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::output::report;

/// The settings before [`Privacy::begin`]. [`Privacy::settle`] restores them where core dumps are
/// allowed.
#[must_use]
pub(super) struct Privacy {
    limit: Rlimit,
    /// Whether other processes may read the memory (prctl(2)); the next `execve` resets it.
    #[cfg(target_os = "linux")]
    dumpable: DumpableBehavior,
}

impl Privacy {
    /// Begins, before a secret is read: this process writes no core dump, and other processes of
    /// its user cannot read its memory.
    pub(super) fn begin() -> Self {
        let before = Self {
            limit: core_limit(),
            #[cfg(target_os = "linux")]
            dumpable: rustix::process::dumpable_behavior().unwrap_or(DumpableBehavior::NotDumpable),
        };
        let private = Self {
            // The hard limit stays, so that the soft one can be restored.
            limit: Rlimit { current: Some(0), ..before.limit },
            #[cfg(target_os = "linux")]
            dumpable: DumpableBehavior::NotDumpable,
        };
        if let Err(error) = private.set() {
            report(format_args!("warning: a core dump of this process would hold secrets: {error}"));
        }
        before
    }

    /// Restores the settings if the configuration says so (`process.core_dumps`).
    pub(super) fn settle(self, core_dumps: bool) {
        if core_dumps && let Err(error) = self.set() {
            report(format_args!("warning: core dumps stay off in spite of process.core_dumps: {error}"));
        }
    }

    fn set(&self) -> rustix::io::Result<()> {
        let outcome = setrlimit(Resource::Core, self.limit);
        // The other protection is set even if the first one fails.
        #[cfg(target_os = "linux")]
        let outcome = outcome.and(rustix::process::set_dumpable_behavior(self.dumpable));
        outcome
    }
}

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

/// The variables that hold credentials by convention. A child never gets them, used or not.
const CREDENTIALS: [&str; 4] = ["VBC_CLIENT_ID", "VBC_CLIENT_SECRET", "VBC_USERNAME", "VBC_PASSWORD"];

/// The beginning of overrides of the configuration, which may be secrets too.
const OVERRIDES: &str = "VBC_PROXY_";

/// Removes what may be a secret from the environment of `command`: the four credentials, every
/// `VBC_PROXY_*`, and `secret_variables`, which the configuration names by `*_env`.
pub(super) fn without_secrets(command: &mut Command, secret_variables: &[String]) {
    for name in CREDENTIALS {
        command.env_remove(name);
    }
    for name in secret_variables {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(OVERRIDES.as_bytes()) {
            command.env_remove(name);
        }
    }
}
