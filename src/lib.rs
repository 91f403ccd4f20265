//! An authenticating proxy for the Vonage Business Communications (VBC) API, and a simulator of that API.

pub mod clock;
pub mod secret;

pub mod config;

pub mod oauth;

pub mod store;

pub mod server;

pub mod simulator;
