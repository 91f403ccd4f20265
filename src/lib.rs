//! An authenticating proxy for the Vonage Business Communications (VBC) API, and a simulator of that API.
//!
//! Modules in reading order, ground floor first: a module uses lower floors only, never its own (a test keeps it so).

// Ground: pure, no I/O, no tasks.
pub mod memory;
pub mod metrics;

// 1 to 3: the authorization server, stored token sets, one fresh credential.
pub mod credential;
pub mod oauth;
pub mod store;

// 4: what the operator asked for.
pub mod config;

// 5: which certificate authorities are trusted.
pub mod tls;

// 6: the services behind the listeners.
pub mod admin;
pub mod doctor;
pub mod proxy;

// 7: all of it as one thing.
pub mod app;

// 8: the command line.
#[cfg(feature = "cli")]
pub mod cli;

// The fuzz targets see internals, so they are modules of what they test. Their files are in `fuzz/`.
#[cfg(any(test, fuzzing))]
#[path = "../fuzz/targets/mod.rs"]
pub mod fuzz;

pub(crate) use vbc_base::{clock, encoding, random, secret, trusted};
pub(crate) use vbc_cassette as cassette;
pub(crate) use vbc_http::{self as server, client, codec as http1, headers, problem};
pub(crate) use vbc_simulator as simulator;

pub use app::App;
pub use config::Config;
pub use store::TokenStore;
pub use vbc_simulator::Simulator;

/// The README's example, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The example for Rust, run with the tests.
#[cfg(doctest)]
#[allow(rustdoc::invalid_codeblock_attributes, reason = "blocks of other languages name their file")]
#[doc = include_str!("../docs/testing.md")]
struct TestingPage;
