//! HTTP/1.1 on the wire, as both sides of the proxy read and write it (RFC 9112): no sockets, no tasks.
//!
//! [`syntax`] and [`fields`] read the lines of a head, [`chunked`] a body in chunks, out of an [`Input`]; [`Sending`] writes a
//! message, and [`KeptBytes`] are what is kept of a body.

pub mod block;
pub mod chunked;
pub mod fields;
pub mod input;
pub mod kept;
mod scratch;
mod sending;
pub mod syntax;

pub use input::Input;
pub use kept::KeptBytes;
pub use scratch::Scratch;
pub use sending::{Framing, Sending, Stopped, write_decimal, write_line};
