//! An authenticating proxy for the Vonage Business Communications (VBC) API.
//!
//! [`App`] is the proxy, [`Config`] its configuration, [`TokenStore`] where it keeps tokens, and
//! [`Simulator`] a simulated VBC to test against.
//!
//! The modules below are in reading order. Each uses only modules above it; a test checks that.

mod memory;
mod metrics;

// The authorization server, stored token sets, and a fresh credential.
mod oauth;

pub mod store;

mod credential;

// The configuration, and the trusted certificate authorities.
pub mod config;
mod tls;

// The services of the listeners.
mod admin;
mod doctor;
mod proxy;

// The proxy as a whole, and the command line.
pub mod app;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

// The fuzz targets see internals, so they are modules of what they test. Their files are in
// `fuzz/`.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../fuzz/targets/mod.rs"]
pub mod fuzz;
#[doc(hidden)]
pub mod testing;

pub use app::App;
pub use config::Config;
pub use store::TokenStore;
pub use vbc_simulator::Simulator;

/// The example of the proxy with a simulator, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/simulator.md")]
struct SimulatorPage;

/// The README's example, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The example for Rust, run with the tests.
#[cfg(doctest)]
#[allow(rustdoc::invalid_codeblock_attributes, reason = "blocks of other languages name their file")]
#[doc = include_str!("../docs/testing.md")]
struct TestingPage;
