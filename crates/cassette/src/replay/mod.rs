//! Playing a cassette.

pub(crate) mod matching;
pub(crate) mod player;
pub(crate) mod response;
pub(crate) mod serve;
