//! Record and replay: what clients asked and what they were answered, in a file.
//!
//! A [`Recorder`] stands on the client's side of the proxy, before a token is added: no token can be in what it sees,
//! unless the upstream repeats one, which is taken out. A [`Player`] gives recorded answers to requests that are like
//! the recorded ones; [`Replay`] does so without anything else behind it. [`har`] is the format of browsers.

mod body;
mod canonical;
mod charset;
mod coding;
mod file;
mod format;
mod gate;
pub mod har;
mod har_entry;
mod har_fields;
mod har_form;
mod har_import;
mod har_json;
mod hide;
mod hint;
mod json;
mod labelled;
mod matching;
mod multipart;
mod playback;
mod player;
mod pseudonyms;
mod recorder;
mod redact;
mod serve;
mod tape;
mod transcribe;
mod xml;

pub use file::{Cassette, CassetteError};
pub use format::{Answered, Asked, Content, Header, LARGEST_BODY, PersonalData, Record, VERSION};
pub use matching::Matching;
pub use playback::{CutShort, PlayedBody, answer, asked, response};
pub use player::{Order, Outcome, Player, Summary};
pub use recorder::{RecordOptions, Recorder};
pub use serve::Replay;
pub use tape::{AnswerTap, RequestTap, Tape};
