//! One test binary: real sockets, the real proxy, the simulator or a raw upstream behind it.

// The ban is for what serves people; a test that cannot go on should stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod ambiguity;
mod answers;
mod architecture;
mod bodies;
mod browser;
mod cli;
mod connections;
mod deadlines;
mod dependencies;
mod drain;
mod errors;
mod harness;
mod headers;
mod independent;
mod many;
mod process;
mod restart;
mod retries;
mod retry;
mod secrets;
mod smoke;
mod target;
mod tls;
mod tokens;
mod uploads;
