//! Record and replay: what clients asked and what they were answered, in a file.
//!
//! A [`Recorder`] stands on the client's side of the proxy, before a token is added. It keeps what
//! a table of the VBC API's operations names as harmless, and replaces everything else by
//! pseudonyms; the secrets that the process knows are taken out of everything. A [`Player`] gives
//! recorded answers to requests that are like the recorded ones; [`Replay`] does so without an
//! upstream. [`har`] is the format of browsers.

mod boundary;
mod canonical;
mod charset;
mod coding;
mod fields;
mod file;
mod filter;
mod format;
pub mod har;
mod har_entry;
mod har_fields;
mod har_form;
mod har_import;
mod har_json;
mod har_secrets;
mod json;
mod kind;
mod known;
mod matching;
mod operations;
mod packed;
mod playback;
mod player;
mod pseudonyms;
mod recorder;
mod serve;
mod tape;
mod transcribe;
mod uri;
mod words;

pub use file::{Cassette, CassetteError};
pub use format::{Answered, Asked, Content, Header, LARGEST_BODY, PersonalData, Record, VERSION};
pub use matching::Matching;
pub use playback::{CutShort, PlayedBody, answer, asked, response};
pub use player::{Order, Outcome, Player, Summary};
pub use recorder::{RecordOptions, Recorder, RecordingCounts, SecretSource};
pub use serve::Replay;
pub use tape::{AnswerTap, RequestTap, Tape};
