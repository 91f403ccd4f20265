//! Recorded answers for requests that are like the recorded ones.

use http::uri::Authority;
use parking_lot::Mutex;

use crate::file::Cassette;
use crate::format::{Record, RecordedRequest};
use crate::redact::pseudonyms::Pseudonyms;
use crate::redact::secrets::KnownSecrets;
use crate::redact::{Filter, Retention};
use crate::replay::matching::{ComparableRequest, Matching, unplayable};

/// In which order recorded requests may be asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Any. Of several that match each is played once, in their order, and the last of them from then on.
    #[default]
    Any,
    /// As they were recorded.
    Recorded,
}

/// A cassette that is being played.
#[derive(Debug)]
pub struct Player {
    matching: Matching,
    order: Order,
    tracks: Vec<Track>,
    /// Those of the cassette; without its key, nobody's.
    pseudonyms: Pseudonyms,
    has_key: bool,
    /// Whether people are named in the cassette.
    personal: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Track {
    record: Record,
    face: ComparableRequest,
}

impl Track {
    /// Whether it has an answer that can be played.
    fn is_whole(&self) -> bool {
        unplayable(&self.record.response.body, self.record.response.body_hash.as_deref()).is_none()
    }
}

#[derive(Debug)]
struct State {
    plays: Vec<u64>,
    next: usize,
    unmatched: u64,
}

/// What was found for a request.
#[derive(Debug)]
pub enum Outcome<'p> {
    /// The record whose answer it gets.
    Play(&'p Record),
    /// The record that matches has no whole answer; and why.
    Unplayable(&'p Record, String),
    /// Nothing; and what was nearest, in words.
    NoMatch {
        /// The request, with nobody named.
        asked: String,
        /// The nearest record and in what it differs; empty where there is none.
        nearest: String,
    },
}

/// What became of a cassette.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records there are.
    pub records: usize,
    /// Requests that were answered.
    pub played: u64,
    /// Requests that found no match.
    pub unmatched: u64,
    /// What was never asked for: numbers and requests.
    pub never_asked: Vec<(u64, String)>,
}

impl Player {
    /// Takes a cassette in.
    pub fn new(cassette: Cassette, matching: Matching, order: Order) -> Self {
        let records = cassette.records.into_iter();
        let tracks: Vec<Track> = records
            .map(|record| Track { face: ComparableRequest::of_recorded(&record.request), record })
            .collect();
        let personal = cassette.header.personal_data == crate::PersonalData::Kept;
        let has_key = cassette.key.is_some();
        let pseudonyms = Pseudonyms::new(&cassette.key.unwrap_or_default());
        let state = State { plays: vec![0; tracks.len()], next: 0, unmatched: 0 };
        Self { matching, order, tracks, pseudonyms, has_key, personal, state: Mutex::new(state) }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Whether there is nothing to be played.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// The hosts under which the proxy was found when it was recorded.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = String> {
        self.tracks.iter().filter_map(|track| host_of(&track.record.base))
    }

    /// Finds the record for a request, and counts it as played.
    pub fn play(&self, asked: &RecordedRequest) -> Outcome<'_> {
        let retention = Retention { personal: self.personal, ..Retention::default() };
        let face = self.face(asked, retention);
        // One with a whole answer goes before one without: a recording of everything may follow
        // another.
        let found = self.find(&face, true).or_else(|| {
            // As a recording of everything and an import have hidden it.
            let more = [
                Retention { unknown: true, ..retention },
                Retention { unknown: true, unlisted: true, ..retention },
            ];
            let faces =
                more.into_iter().filter(|_| self.has_key).map(|retention| self.face(asked, retention));
            let faces: Vec<ComparableRequest> = faces.collect();
            let any = || std::iter::once(&face).chain(&faces);
            faces
                .iter()
                .find_map(|face| self.find(face, true))
                .or_else(|| any().find_map(|face| self.find(face, false)))
        });
        let Some(track) = found else {
            let mut state = self.state.lock();
            state.unmatched += 1;
            let next = state.next;
            drop(state);
            return Outcome::NoMatch { asked: face.name(), nearest: self.nearest(&face, next) };
        };
        let answer = &track.record.response;
        match unplayable(&answer.body, answer.body_hash.as_deref()) {
            Some(why) => Outcome::Unplayable(&track.record, why),
            None => Outcome::Play(&track.record),
        }
    }

    /// Takes the record that matches. Others need not wait while requests are read.
    fn find(&self, face: &ComparableRequest, is_whole: bool) -> Option<&Track> {
        let mut state = self.state.lock();
        let index = match self.order {
            Order::Any => self.best(face, &state.plays, is_whole),
            Order::Recorded => {
                let next = self.tracks.get(state.next);
                next.filter(|track| face.is_like(&track.face, self.matching)).map(|_| state.next)
            }
        }?;
        let track = self.tracks.get(index)?;
        state.plays[index] += 1;
        state.next = index + 1;
        Some(track)
    }

    fn face(&self, asked: &RecordedRequest, retention: Retention) -> ComparableRequest {
        let known = KnownSecrets::default();
        let filter = Filter { pseudonyms: &self.pseudonyms, known: &known, retention };
        ComparableRequest::of_asked(asked, &filter, self.has_key)
    }

    /// Of the most similar ones the first that has not been played, or the last.
    fn best(&self, face: &ComparableRequest, plays: &[u64], is_whole: bool) -> Option<usize> {
        let alike =
            self.tracks.iter().enumerate().filter(|(_, track)| {
                (!is_whole || track.is_whole()) && face.is_like(&track.face, self.matching)
            });
        let mut best: Option<(u32, usize)> = None;
        for (index, track) in alike {
            let similarity = face.similarity(&track.face);
            best = match best {
                Some((most, _)) if similarity < most => best,
                Some((most, old)) if similarity == most && plays.get(old) == Some(&0) => best,
                _ => Some((similarity, index)),
            };
        }
        best.map(|(_, index)| index)
    }

    fn nearest(&self, face: &ComparableRequest, next: usize) -> String {
        let describe = |what: &str, track: &Track| {
            let differences = face.differences(&track.face).join("; ");
            format!("{what} is record {}, {}: {differences}", track.record.n, track.face.name())
        };
        if self.order == Order::Recorded {
            return match self.tracks.get(next) {
                Some(track) => describe("next in order", track),
                None => "all records have been played".into(),
            };
        }
        let nearest = self.tracks.iter().rev().max_by_key(|track| face.similarity(&track.face));
        nearest.map(|track| describe("nearest", track)).unwrap_or_else(|| "the cassette is empty".into())
    }

    /// What has been played so far.
    pub fn summary(&self) -> Summary {
        let state = self.state.lock();
        let unplayed = self.tracks.iter().zip(&state.plays).filter(|(_, plays)| **plays == 0);
        Summary {
            records: self.tracks.len(),
            played: state.plays.iter().sum(),
            unmatched: state.unmatched,
            never_asked: unplayed.map(|(track, _)| (track.record.n, track.face.name())).collect(),
        }
    }
}

/// The host of a recording's scheme and authority.
fn host_of(base: &str) -> Option<String> {
    let authority = Authority::try_from(base.split_once("://")?.1).ok()?;
    Some(authority.host().to_owned())
}

#[cfg(test)]
#[path = "player_tests.rs"]
mod tests;
