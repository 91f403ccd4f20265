//! HTTP/1.1 on the wire, as both sides of the proxy read and write it (RFC 9112): no sockets, no tasks.
//!
//! [`syntax`] and [`fields`] read the lines of a head, [`chunked`] a body in chunks, out of an [`Input`]; [`Sending`] writes a
//! message, and [`KeptBytes`] are what is kept of a body.

pub(crate) mod block;
pub(crate) mod chunked;
pub(crate) mod fields;
pub(crate) mod input;
pub(crate) mod kept;
mod scratch;
mod sending;
pub(crate) mod syntax;

pub(crate) use input::Input;
pub(crate) use kept::KeptBytes;
pub(crate) use scratch::Scratch;
pub(crate) use sending::{Framing, Sending, Stopped, write_decimal, write_line};
