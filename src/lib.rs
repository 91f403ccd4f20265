//! An authenticating proxy for the Vonage Business Communications (VBC) API.
//!
//! Use this library to run the proxy inside a Rust program, such as a test with a simulated VBC. To
//! run the proxy alone, use the `vbc-proxy` program.
//!
//! # Example
//!
//! The proxy runs in front of a simulator. All tokens are revoked, and the next request succeeds
//! anyway: the proxy gets a new token and retries the request once.
//!
//! ```
//! use std::time::Duration;
//!
//! use vbc_http::client::{Target, send};
//! use vbc_proxy::{App, Config, Simulator};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let sim = Simulator::start().await?;
//!     let text = format!(
//!         r#"
//!         listen.address = "127.0.0.1:0"
//!         admin.address = "127.0.0.1:0"
//!         upstream.url = "{url}"
//!         oauth.token_url = "{url}/token"
//!         store.kind = "memory"
//!         [credentials.default]
//!         client_id = "sim-client"
//!         client_secret = "sim-secret"
//!         username = "alice"
//!         password = "sim-password"
//!         "#,
//!         url = sim.url(),
//!     );
//!     let app = App::bind(Config::from_toml(&text)?.config).await?;
//!     let proxy = Target::Tcp(app.address().ok_or("no TCP listener")?);
//!     let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//!     let running = tokio::spawn(app.run(async { drop(stopped.await) }));
//!
//!     // Any HTTP client will do. This one is part of the workspace.
//!     for _ in 0..2 {
//!         let request = http::Request::get("/t/vbc.prod/provisioning/api/accounts/self");
//!         let response = send(&proxy, request.body(Default::default())?, Duration::from_secs(10));
//!         assert_eq!(response.await?.status(), 200);
//!         sim.revoke_access_tokens();
//!     }
//!
//!     drop(stop);
//!     running.await??;
//!     Ok(())
//! }
//! ```
//!
//! # Main types, in order of use
//!
//! 1. [`Config`] is the configuration, read from TOML or from files and variables ([`config`]).
//! 2. [`App`] is the proxy: [`App::bind`] opens its listeners, [`App::run`] serves until shutdown.
//! 3. [`TokenStore`] is where tokens are kept. [`store`] has one in memory and one in files.
//! 4. [`Simulator`] is a simulated VBC, from the package `vbc-simulator`.
//!
//! # Features
//!
//! `cli` (on by default) is the command line of the `vbc-proxy` program. A program that uses only
//! the library turns it off, and then builds without clap.
//!
//! # What it does not do
//!
//! It proxies the VBC API and no other site. It does not install a tracing subscriber, handle
//! signals or read the command line: the program does. It does not serve without a tokio runtime.
//! It runs on Linux.

// The modules are in reading order. Each uses only modules above it; a test checks that.

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

// The fuzz targets use internals, so they are submodules of the tested modules. Their files are in
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

/// The example for Rust, run with the tests.
#[cfg(doctest)]
#[allow(rustdoc::invalid_codeblock_attributes, reason = "blocks of other languages name their file")]
#[doc = include_str!("../docs/testing.md")]
struct TestingPage;
