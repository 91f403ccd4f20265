//! Reads message heads before hyper does, and refuses what RFC 9112 does not allow.

/// Why a request was refused before it became one.
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
}
