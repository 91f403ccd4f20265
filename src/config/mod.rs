//! The configuration: plain data that has passed all checks.
//!
//! [`Config::load`] reads `proxy.toml` and the environment, and returns a [`Config`] or all
//! findings. Code that uses a `Config` need not check it again.
//!
//! Each section is a table with one line per key (see `settings!` in `kind.rs`). The tables are in
//! `listen`, `upstream`, `retry`, `store`, `credential`, `process` and `faults`. To add a key, add
//! its line to a table and use the field. Then run
//! `VBC_PROXY_WRITE_DOCUMENTS=1 cargo test --lib config::tests::documents`, which writes
//! `proxy.toml` and `docs/configuration.md`.

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

/// The `proxy.toml` that `vbc-proxy init` writes: every key with its meaning and its default.
pub const EXAMPLE: &str = include_str!("../../proxy.toml");
