//! Where log lines go, and which.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Sends log lines to standard error. Called once, by the subcommands that serve.
///
/// A bare level is ours alone: libraries stay at warnings, so that no level makes them write down what passes
/// through them.
pub(super) fn start(log: &Log) {
    let bare = log.level.chars().all(|c| c.is_ascii_alphabetic());
    let directives = match bare {
        true => format!("warn,vbc_proxy={level},access=info", level = log.level),
        false => log.level.clone(),
    };
    // The configuration has checked it.
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let outcome = match json {
        true => builder.json().flatten_event(true).try_init(),
        false => builder.with_target(false).try_init(),
    };
    if outcome.is_err() {
        super::complain("vbc-proxy: logging was set up before");
    }
}
