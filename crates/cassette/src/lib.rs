//! Recording exchanges with the VBC API to a file, and replaying them.
//!
//! A [`Recorder`] sits on the client's side of the proxy, before a token is added. It keeps what a
//! table of the API's operations lists as harmless and replaces everything else by pseudonyms.
//! Secrets that the process knows are removed everywhere. A [`Player`] finds the recorded response
//! to a request; [`Replay`] serves a cassette without an upstream. [`har`] converts to and from the
//! archive format of browsers.

mod coding;
mod file;
mod format;
pub mod har;
mod media;
mod percent;
mod record;
mod redact;
mod replay;
mod text;

pub use file::{Cassette, CassetteError};
pub use format::{Content, Header, LARGEST_BODY, PersonalData, Record, RecordedRequest, RecordedResponse};
pub use record::{RecordOptions, Recorder, RecordingCounts, RequestTap, ResponseTap, SecretSource, Tape};
pub use replay::{
    CutShort, Matching, Order, Outcome, Player, Replay, ReplayedBody, Summary, recorded_request, response,
};
