//! Basics for every part of `vbc-proxy`: the clock, secrets, random bytes, trusted files, and text.

pub mod clock;
pub mod encoding;
pub mod lines;
pub mod random;
pub mod secret;
pub mod trusted;
pub mod units;
