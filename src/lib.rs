//! An authenticating proxy for the Vonage Business Communications (VBC) API, and a simulator of that API.

// Ground: pure, no I/O, no tasks.
pub mod clock;
pub mod headers;
pub mod metrics;
pub mod problem;
pub mod random;
pub mod secret;

// 1: what the operator asked for.
pub mod config;

// 2: protocols.
pub mod oauth;
pub mod server;

// 3: where token sets rest.
pub mod store;

// 4: one fresh credential.
pub mod credential;
