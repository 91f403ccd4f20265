//! Plays a cassette: finds the record for a request and sends its response.

mod accept;
mod body;
mod matching;
mod player;
mod response;
mod serve;

pub use matching::Matching;
pub use player::{Order, Outcome, Player, Summary};
pub use response::{CutShort, ReplayedBody, recorded_request, response};
pub use serve::Replay;
