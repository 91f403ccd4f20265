//! What every part of `vbc-proxy` needs: the clock, secrets, random bytes, and files that are trusted.

pub mod clock;
pub mod encoding;
pub mod random;
pub mod secret;
pub mod trusted;
