//! The environment of a child process: everything but secrets.

use std::process::Command;

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
