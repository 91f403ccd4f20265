//! Record and replay: what clients asked and what they were answered, in a file.
//!
//! A [`Recorder`] stands on the client's side of the proxy, before a token is added. It keeps what
//! a table of the VBC API's operations names as harmless, and replaces everything else by
//! pseudonyms; the secrets that the process knows are taken out of everything. A [`Player`] gives
//! recorded answers to requests that are like the recorded ones; [`Replay`] does so without an
//! upstream. [`har`] is the format of browsers.

mod coding;
mod file;
mod format;
pub mod har;
mod multipart;
mod percent;
mod record;
mod redact;
mod replay;

pub use file::{Cassette, CassetteError};
pub use format::{
    Content, Header, LARGEST_BODY, PersonalData, Record, RecordedRequest, RecordedResponse, VERSION,
};
pub use record::tape::{RequestTap, ResponseTap, Tape};
pub use record::{RecordOptions, Recorder, RecordingCounts, SecretSource};
pub use replay::matching::Matching;
pub use replay::player::{Order, Outcome, Player, Summary};
pub use replay::response::{CutShort, ReplayedBody, answer, asked, response};
pub use replay::serve::Replay;
