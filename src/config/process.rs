//! `[log]` and `[process]`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::kind::{Kind, choice, flag, settings, text};
use vbc_base::trusted::Flaw;

settings! {
    /// The log, on standard error.
    pub struct Log ["log"] {
        /// `"text"`, `"json"`, or `"auto"`: text on a terminal, JSON otherwise.
        format: LogFormat = "auto", choice(&[
            ("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json),
        ]);
        /// `error`, `warn`, `info`, `debug`, `trace` or `off`. A module can have its own level:
        /// `"info,vbc_proxy::oauth=debug"`.
        level: String = "info", log_level();
        /// Logs one line per request. The field `source` is present if the response comes from a
        /// cassette or from `[faults]`.
        access: bool = false, flag();
    }
}

settings! {
    /// The process of the proxy.
    pub struct Process ["process"] {
        /// Allows core dumps, and lets debuggers of the same user read the memory. Both reveal
        /// secrets.
        core_dumps: bool = false, flag();
    }
}

/// The formats of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Readable text.
    Text,
    /// One JSON object on each line.
    Json,
}

fn log_level() -> Kind<String> {
    text("a level, or a `tracing` filter", level, String::clone)
}

/// Reads a level or a filter. A single word that is not a level is rejected, because it is most
/// likely a misspelled level. As a filter it would name a target.
fn level(text: &str) -> Result<String, Flaw> {
    let is_slip = |part: &str| {
        let is_lone = !part.contains(['=', '[', ':']);
        is_lone && part.parse::<LevelFilter>().is_err()
    };
    if text.split(',').map(str::trim).any(is_slip) || EnvFilter::try_new(text).is_err() {
        let remedy =
            "write error, warn, info, debug, trace or off; or for example \"info,vbc_proxy::oauth=debug\"";
        return Err(Flaw::new(format!("{text:?} is not a log level"), remedy));
    }
    Ok(text.to_owned())
}
