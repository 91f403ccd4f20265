//! HTTP/1.1 on the wire without sockets and tasks, for both sides of the proxy (RFC 9112).
//!
//! Reading: [`syntax`] and [`fields`] are the lines of a head and [`chunked`] the framing of a
//! body, out of an [`Input`]. Writing: a [`MessageWriter`]. Bodies are kept as [`KeptBytes`].

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
