//! Why a request is refused, in whichever version of HTTP.

use std::error::Error;
use std::fmt;

use crate::codec::chunked::Broken;

/// Why a request was refused before it became one, or in the middle of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not valid RFC 9112; the text says what is wrong, and quotes nothing.
    Malformed(&'static str),
    /// The request target is over the limit.
    TargetTooLong,
    /// The head is over the limit, in bytes or in lines.
    HeadTooLarge,
    /// The head was not complete in time.
    HeadTimeout,
    /// The body stopped arriving.
    BodyTimeout,
    /// There are as many connections as there may be; nothing was read of this one.
    TooManyConnections,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(what) => what,
            Self::TargetTooLong => "the request target is too long",
            Self::HeadTooLarge => "the request head is too large",
            Self::HeadTimeout => "the request head did not arrive in time",
            Self::BodyTimeout => "the request body stopped arriving",
            Self::TooManyConnections => "there are too many connections; nothing was read from this one",
        })
    }
}

impl Error for Refusal {}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Malformed(what) => Self::Malformed(what),
            Broken::TooLarge => Self::HeadTooLarge,
        }
    }
}
