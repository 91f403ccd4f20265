//! Records exchanges with the VBC API to a file, a cassette, and replays them without the API.
//!
//! Use it to capture real traffic once and to test against it offline. A cassette can be shared:
//! stable pseudonyms replace all values except those known to be harmless, and secrets that the
//! process knows are removed everywhere. `vbc-proxy serve --record` and `vbc-proxy replay` use this
//! library.
//!
//! # Example
//!
//! An exchange is recorded and found again:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{Empty, Full};
//! use vbc_base::clock::Clock;
//! use vbc_cassette::{Cassette, Matching, Order, Outcome, Player};
//! use vbc_cassette::{Recorder, Tape, recorded_request};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("calls.cassette");
//!
//! let request = Request::get("/t/vbc.prod/vis/v1/self/calls/count").body(Empty::<Bytes>::new())?;
//! let body = Bytes::from_static(br#"{"count":2}"#);
//! let response = Response::builder()
//!     .header("content-type", "application/json")
//!     .body(Full::new(body.clone()))?;
//!
//! let recorder = Recorder::start(&path, Default::default(), [], Clock::system())?;
//! let tape = Tape::begin(&recorder, &request, "http://localhost:8080".into());
//! let mut response_tap = tape.response(&response);
//! response_tap.data(&body);
//! drop(response_tap);
//! recorder.finish();
//!
//! let player = Player::new(Cassette::read(&path)?, Matching::Strict, Order::Any);
//! let Outcome::Play(record) = player.play(&recorded_request(&request, Some(Vec::new()))) else {
//!     panic!("no record matches");
//! };
//! assert_eq!(record.response.status, 200);
//! assert_eq!(record.response.body.bytes().unwrap(), body);
//! # Ok(())
//! # }
//! ```
//!
//! # Main types, in order of use
//!
//! 1. [`Recorder`] opens a cassette and writes to it. [`RecordOptions`] chooses what it keeps. The
//!    recorder belongs on the client's side of a proxy, before a token is added.
//! 2. [`Tape`] records one exchange, with a [`RequestTap`] and a [`ResponseTap`] for the bodies.
//! 3. [`Cassette`] reads the file: a [`Header`] and its [`Record`]s.
//! 4. [`Player`] finds the record for a request. [`response`] builds the response to send.
//! 5. [`Replay`] serves a cassette on a listener and returns a [`Summary`].
//! 6. [`har`] converts to and from HAR, the archive format of browsers.
//!
//! # Features
//!
//! None.
//!
//! # What it does not do
//!
//! It sends no requests and is no proxy. It does not record websockets, or bodies over
//! [`LARGEST_BODY`]. It knows the VBC API only: it keeps no values of other requests unless
//! [`RecordOptions::unknown`] is set.

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
