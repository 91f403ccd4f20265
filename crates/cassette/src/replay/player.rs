//! Finds the recorded response to a request that matches a recorded one.

use http::uri::Authority;
use parking_lot::Mutex;

use super::matching::{ComparableRequest, Matching};
use crate::file::Cassette;
use crate::format::{Content, LARGEST_BODY, PersonalData, Record, RecordedRequest, RecordedResponse};
use crate::redact::{Filter, KnownSecrets, Pseudonyms, Retention};

/// The order in which records may be requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// In any order. If several records match, each is played once in turn; then the last one
    /// repeats.
    #[default]
    Any,
    /// In the recorded order.
    Recorded,
}

/// A cassette that is being played.
///
/// [`play`](Self::play) finds and counts; [`summary`](Self::summary) reports the counts.
#[derive(Debug)]
pub struct Player {
    matching: Matching,
    order: Order,
    tracks: Vec<Track>,
    /// The pseudonyms under the cassette's key. Without that key, pseudonyms are never compared.
    pseudonyms: Pseudonyms,
    has_key: bool,
    /// The cassette contains personal data.
    personal: bool,
    state: Mutex<State>,
}

/// A record, and its request in comparable form.
#[derive(Debug)]
struct Track {
    record: Record,
    request: ComparableRequest,
}

impl Track {
    fn is_playable(&self) -> bool {
        why_unplayable(&self.record.response).is_none()
    }
}

#[derive(Debug)]
struct State {
    /// How often each track was played.
    plays: Vec<u64>,
    /// The index after the track that was played last.
    next: usize,
    unmatched: u64,
}

/// The result of a search.
#[derive(Debug)]
pub enum Outcome<'p> {
    /// The record whose response is played.
    Play(&'p Record),
    /// A record matches but has no complete response. The text says why.
    Unplayable(&'p Record, String),
    /// No record matches.
    NoMatch {
        /// The request in one line, redacted.
        request: String,
        /// The nearest record and its differences, in words.
        nearest: String,
    },
}

/// Which part of a cassette was played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records the cassette has.
    pub records: usize,
    /// How many requests matched a record.
    pub played: u64,
    /// How many requests matched no record.
    pub unmatched: u64,
    /// The numbers and requests of records that were never played.
    pub never_asked: Vec<(u64, String)>,
}

impl Player {
    /// Prepares a cassette for playing.
    pub fn new(cassette: Cassette, matching: Matching, order: Order) -> Self {
        let records = cassette.records.into_iter();
        let tracks: Vec<Track> = records
            .map(|record| Track { request: ComparableRequest::of_recorded(&record.request), record })
            .collect();
        let personal = cassette.header.personal_data == PersonalData::Kept;
        let has_key = cassette.key.is_some();
        let pseudonyms = Pseudonyms::new(&cassette.key.unwrap_or_default());
        let state = State { plays: vec![0; tracks.len()], next: 0, unmatched: 0 };
        Self { matching, order, tracks, pseudonyms, has_key, personal, state: Mutex::new(state) }
    }

    /// How many records the cassette has.
    pub fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Whether the cassette has no records.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// The hosts under which clients reached the proxy during the recording.
    pub(super) fn hosts(&self) -> impl Iterator<Item = String> {
        self.tracks.iter().filter_map(|track| host_of(&track.record.base))
    }

    /// Finds the record for a request, and counts it as played.
    pub fn play(&self, request: &RecordedRequest) -> Outcome<'_> {
        let retention = Retention { personal: self.personal, ..Retention::default() };
        let mut forms = vec![self.comparable(request, retention)];
        // A cassette may have several records of a request. Records with a complete response are
        // preferred.
        let mut found = self.find(&forms[0], true);
        if found.is_none() && self.has_key {
            // Also compares the request as `--record-unknown` and an import would have redacted it.
            let unknown = Retention { unknown: true, ..retention };
            let imported = Retention { unlisted: true, ..unknown };
            forms.extend([unknown, imported].map(|retention| self.comparable(request, retention)));
            found = forms[1..].iter().find_map(|form| self.find(form, true));
        }
        let found = found.or_else(|| forms.iter().find_map(|form| self.find(form, false)));
        let Some(track) = found else {
            let next = {
                let mut state = self.state.lock();
                state.unmatched += 1;
                state.next
            };
            return Outcome::NoMatch { request: forms[0].name(), nearest: self.nearest(&forms[0], next) };
        };
        match why_unplayable(&track.record.response) {
            Some(why) => Outcome::Unplayable(&track.record, why),
            None => Outcome::Play(&track.record),
        }
    }

    /// Finds a matching track and counts it. Requests are prepared before the lock is taken.
    fn find(&self, request: &ComparableRequest, must_be_playable: bool) -> Option<&Track> {
        let mut state = self.state.lock();
        let index = match self.order {
            Order::Any => self.best(request, &state.plays, must_be_playable)?,
            Order::Recorded => state.next,
        };
        let track = self.tracks.get(index)?;
        if self.order == Order::Recorded && !request.is_like(&track.request, self.matching) {
            return None;
        }
        state.plays[index] += 1;
        state.next = index + 1;
        Some(track)
    }

    fn comparable(&self, request: &RecordedRequest, retention: Retention) -> ComparableRequest {
        let known = KnownSecrets::default();
        let filter = Filter { pseudonyms: &self.pseudonyms, known: &known, retention };
        ComparableRequest::of_sent(request, &filter, self.has_key)
    }

    /// The index of a track: the first of the most similar tracks that has not been played. If all
    /// of these have been played, the last one.
    fn best(&self, request: &ComparableRequest, plays: &[u64], must_be_playable: bool) -> Option<usize> {
        let mut best: Option<(u32, usize)> = None;
        for (index, track) in self.tracks.iter().enumerate() {
            if must_be_playable && !track.is_playable() || !request.is_like(&track.request, self.matching) {
                continue;
            }
            let similarity = request.similarity(&track.request);
            let is_better = match best {
                Some((most, old)) => similarity > most || similarity == most && plays[old] > 0,
                None => true,
            };
            if is_better {
                best = Some((similarity, index));
            }
        }
        best.map(|(_, index)| index)
    }

    fn nearest(&self, request: &ComparableRequest, next: usize) -> String {
        let (label, track) = match self.order {
            Order::Recorded => match self.tracks.get(next) {
                Some(track) => ("the next in order", track),
                None => return "all records have been played".into(),
            },
            Order::Any => {
                let tracks = self.tracks.iter().rev();
                match tracks.max_by_key(|track| request.similarity(&track.request)) {
                    Some(track) => ("the nearest", track),
                    None => return "the cassette is empty".into(),
                }
            }
        };
        let differences = request.differences(&track.request).join("; ");
        format!("{label} is record {}, {}: {differences}", track.record.n, track.request.name())
    }

    /// What has been played so far.
    pub fn summary(&self) -> Summary {
        let state = self.state.lock();
        let unplayed = self.tracks.iter().zip(&state.plays).filter(|(_, plays)| **plays == 0);
        Summary {
            records: self.tracks.len(),
            played: state.plays.iter().sum(),
            unmatched: state.unmatched,
            never_asked: unplayed.map(|(track, _)| (track.record.n, track.request.name())).collect(),
        }
    }
}

/// The host in the base URL of a record, which consists of a scheme and an authority.
fn host_of(base: &str) -> Option<String> {
    let authority = Authority::try_from(base.split_once("://")?.1).ok()?;
    Some(authority.host().to_owned())
}

/// Why a response cannot be played. `None` if it can.
fn why_unplayable(response: &RecordedResponse) -> Option<String> {
    match &response.body {
        Content::Truncated(bytes) if response.body_hash.is_some() => Some(format!(
            "its body of {bytes} bytes was not recorded, because it belongs to no operation of the VBC API \
             or its content type is not recorded; --record-unknown keeps bodies outside the VBC API"
        )),
        Content::Truncated(bytes) => Some(format!(
            "its body of {bytes} bytes is not in the cassette: only bodies up to {} MiB are recorded, and an \
             imported HAR may lack bodies",
            LARGEST_BODY >> 20
        )),
        Content::Undecodable(coding) => Some(format!(
            "its body was not recorded, because its content coding ({coding}) could not be decoded; record \
             with a client that does not accept this coding"
        )),
        Content::Unread => Some(
            "its body is not in the HAR that the record was imported from; save the HAR again with bodies, and \
             import it"
                .to_owned(),
        ),
        Content::Empty | Content::Text(_) | Content::Base64(_) => None,
    }
}

#[cfg(test)]
#[path = "player_tests.rs"]
mod tests;
