//! Parses any text as a configuration.

#![allow(clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

use super::Config;

/// A text laid out like `proxy.toml`.
///
/// # Panics
///
/// When an invalid configuration passes, or a finding names a line that does not exist.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::from_toml(text) {
        Ok(loaded) => {
            let config = &loaded.config;
            assert!(!config.credentials.is_empty());
            assert!(!config.upstream.connect_timeout.is_zero());
            assert!(!config.redacted().is_empty());
        }
        Err(findings) => {
            let shown = findings.to_string();
            assert!(!shown.is_empty());
        }
    }
}
