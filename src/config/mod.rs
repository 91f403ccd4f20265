//! The configuration: checked, plain data.
//!
//! [`Config::load`] reads `proxy.toml` and the environment, and returns a [`Config`] or all
//! findings. A `Config` passed every check, so that nothing that reads it needs to check again.
//!
//! Each section is a table with one line for each key (see `settings!` in `kind.rs`): `listen`,
//! `upstream`, `retry`, `store`, `credential`, `process` and `faults`. To add a key, add its line
//! and use the field; then let the test `the_documents_are_what_the_tables_say` write the
//! documents.

mod address;
mod characters;
mod credential;
mod document;
mod environment;
mod error;
mod faults;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/config.rs"]
pub mod fuzz;
mod keys;
mod kind;
mod listen;
mod load;
mod page;
mod process;
mod retry;
mod schema;
mod secrets;
mod section;
mod sections;
mod store;
#[cfg(test)]
mod tests;
mod tls;
mod units;
mod upstream;
mod urls;
mod variables;

pub use address::ListenAddress;
pub use credential::{Credential, GrantKind};
pub use error::{Finding, Findings, Location};
pub use faults::{FaultEffect, FaultRule, Faults, Route};
pub use keys::KeyFile;
pub use listen::{Admin, Listen, Simulator};
pub use load::{LoadOptions, Loaded};
pub use process::{Log, LogFormat, Process};
pub use retry::Retry;
pub use sections::Config;
pub use store::Store;
pub use tls::{ListenTls, TlsFileError};
pub use upstream::{OAuth, Upstream, UpstreamHttp};
pub use urls::Origin;

/// The `proxy.toml` that ships with the program: every key, with its default and its meaning.
pub const EXAMPLE: &str = include_str!("../../proxy.toml");
