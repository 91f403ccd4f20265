//! One test binary: real sockets, the real proxy, the simulator or a raw upstream behind it.

// The ban is for what serves people; a test that cannot go on should stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ambiguity;
mod answers;
mod bodies;
mod browser;
mod connections;
mod deadlines;
mod drain;
mod errors;
mod harness;
mod headers;
mod retries;
mod smoke;
mod target;
mod tls;
mod uploads;
