//! HTTP/1.1 on the wire (RFC 9112), without sockets and tasks, for both sides of the proxy.
//!
//! Reading: an [`Input`] holds received bytes. [`syntax`] and [`fields`] parse the lines of a head,
//! [`RemainingBody`] and [`chunked`] read a body. Writing: a [`MessageWriter`]. [`KeptBytes`] keeps
//! bodies in memory.

pub mod block;
mod body;
pub mod chunked;
pub mod fields;
pub mod input;
pub mod kept;
mod message;
pub(crate) mod request_head;
mod request_line;
pub(crate) mod response_head;
mod scratch;
pub mod syntax;

pub use body::{RemainingBody, Step};
pub use input::Input;
pub use kept::KeptBytes;
pub use message::{BodyFailure, Framing, MessageWriter, write_decimal, write_line};
pub(crate) use request_line::valid_host;
pub use scratch::Scratch;
