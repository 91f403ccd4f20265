//! Protects the secrets of a command from other processes: in its memory, in core dumps, and in the
//! environment of its children.

use std::process::Command;

#[cfg(target_os = "linux")]
use rustix::process::DumpableBehavior;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::output::report;

/// The settings before [`Privacy::begin`]. [`Privacy::settle`] restores them if the configuration
/// allows core dumps.
#[must_use]
pub(super) struct Privacy {
    limit: Rlimit,
    /// Whether other processes may read the memory (prctl(2)). An `execve` resets it.
    #[cfg(target_os = "linux")]
    dumpable: DumpableBehavior,
}

impl Privacy {
    /// Forbids core dumps, and keeps other processes of the same user from reading the memory.
    /// Called before the first secret is read.
    pub(super) fn begin() -> Self {
        let before = Self {
            limit: core_limit(),
            #[cfg(target_os = "linux")]
            dumpable: rustix::process::dumpable_behavior().unwrap_or(DumpableBehavior::NotDumpable),
        };
        let private = Self {
            // The hard limit is unchanged, so that the soft one can be restored.
            limit: Rlimit { current: Some(0), ..before.limit },
            #[cfg(target_os = "linux")]
            dumpable: DumpableBehavior::NotDumpable,
        };
        if let Err(error) = private.set() {
            report(format_args!(
                "warning: cannot turn off core dumps, so a core dump of this process would contain secrets: {error}"
            ));
        }
        before
    }

    /// Restores the settings if `process.core_dumps` is set.
    pub(super) fn settle(self, core_dumps: bool) {
        if core_dumps && let Err(error) = self.set() {
            report(format_args!(
                "warning: cannot turn core dumps on (process.core_dumps), so they stay off: {error}"
            ));
        }
    }

    fn set(&self) -> rustix::io::Result<()> {
        let outcome = setrlimit(Resource::Core, self.limit);
        // The second protection is set even if the first one fails.
        #[cfg(target_os = "linux")]
        let outcome = outcome.and(rustix::process::set_dumpable_behavior(self.dumpable));
        outcome
    }
}

pub(super) fn core_limit() -> Rlimit {
    getrlimit(Resource::Core)
}

/// Spawns a child with the limit that this process inherited: a child holds no secret.
pub(super) fn with_core_limit<T>(limit: Rlimit, spawn: impl FnOnce() -> T) -> T {
    let ours = core_limit();
    // If this fails, the child keeps the limit of this process and writes no core dump.
    let _ = setrlimit(Resource::Core, limit);
    let spawned = spawn();
    let _ = setrlimit(Resource::Core, ours);
    spawned
}

/// The variables that hold credentials by convention. A child never inherits them, even if this
/// process does not use them.
const CREDENTIALS: [&str; 4] = ["VBC_CLIENT_ID", "VBC_CLIENT_SECRET", "VBC_USERNAME", "VBC_PASSWORD"];

/// The prefix of variables that override the configuration. Some of them are secrets.
const OVERRIDES: &str = "VBC_PROXY_";

/// Removes possible secrets from the environment of `command`: the four credentials, every
/// `VBC_PROXY_*`, and `secret_variables`, which the `*_env` keys of the configuration name.
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
