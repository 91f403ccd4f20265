//! One test binary: real sockets, the real proxy, the simulator or a raw upstream behind it.

// The ban is for what serves people; a test that cannot go on should stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod architecture;
mod cli;
mod dependencies;
mod harness;
mod process;
mod restart;
mod retry;
mod secrets;
mod smoke;
mod tokens;
