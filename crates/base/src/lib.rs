//! What every part of `vbc-proxy` needs: the clock, secrets, random bytes, trusted files, and texts: encodings, lines, units.

pub mod clock;
pub mod encoding;
pub mod lines;
pub mod random;
pub mod secret;
pub mod trusted;
pub mod units;
