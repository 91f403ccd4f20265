//! Which recorded request is like one that is asked.
//!
//! A part of an asked request is like a recorded one when it equals the recorded part as it was
//! asked, or as it would be recorded under the cassette's key.

use std::borrow::Cow;

use crate::coding;
use crate::format::{Content, LARGEST_BODY, RecordedRequest, field};
use crate::multipart as boundary;
use crate::percent as canonical;
use crate::record::transcribe;
use crate::redact::json;
use crate::redact::kind::{Kind, is_harmless};
use crate::redact::operations::{self, SegmentKind};
use crate::redact::pseudonyms::{is_hidden, may_be_recorded_as};
use crate::redact::target as uri;
use crate::redact::{Filter, names_secret};

/// How like a recorded request an asked one has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// Method, target, body, and the headers that choose an answer. Credentials do not count.
    #[default]
    Strict,
    /// Method and path, whoever the people in the path are; of several the most similar.
    Lenient,
}

/// Headers by which a server chooses its answer.
const CHOOSING: [&str; 8] = [
    "accept",
    "content-type",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "if-range",
    "range",
];

/// A text as it was asked, and as it would be recorded.
#[derive(Clone, Debug, Default)]
struct Twice {
    asked: String,
    /// `None` for a recorded request, and without a key.
    hidden: Option<String>,
}

impl Twice {
    fn is(&self, recorded: &Self) -> bool {
        self.asked == recorded.asked || self.hidden.as_ref().is_some_and(|hidden| *hidden == recorded.asked)
    }
}

/// A part of a path.
#[derive(Clone, Debug)]
struct Segment {
    text: Twice,
    /// It stands for somebody or something of which other requests may name another.
    is_anybody: bool,
}

impl Segment {
    fn is(&self, recorded: &Self, matching: Matching, has_key: bool) -> bool {
        self.text.is(&recorded.text)
            || matching == Matching::Lenient
                && (self.is_anybody && recorded.is_anybody || !has_key && is_hidden(&recorded.text.asked))
    }
}

/// A parameter of a query.
#[derive(Clone, Debug)]
struct Parameter {
    name: Twice,
    value: Twice,
}

impl Parameter {
    fn is(&self, recorded: &Self) -> bool {
        let is_secret = is_hidden(&recorded.value.asked) && names_secret(&self.name.asked);
        let value =
            || self.value.is(&recorded.value) || may_be_recorded_as(&self.value.asked, &recorded.value.asked);
        self.name.is(&recorded.name) && (is_secret || value())
    }
}

/// A body, as far as it is known.
#[derive(Clone, Debug)]
struct Body {
    /// Without its coding.
    asked: Option<Vec<u8>>,
    hidden: Option<Vec<u8>>,
    hash: Option<String>,
    length: Option<u64>,
}

impl Body {
    /// Whether it may have been any.
    fn is_unknown(&self) -> bool {
        self.asked.is_none() && self.hash.is_none()
    }
}

/// A request as it is compared.
#[derive(Clone, Debug)]
pub(crate) struct ComparableRequest {
    method: Twice,
    has_key: bool,
    /// For people to read, with nobody named.
    target: String,
    path: Vec<Segment>,
    query: Vec<Parameter>,
    headers: Vec<(String, Twice)>,
    body: Body,
}

impl ComparableRequest {
    /// That of a recorded request.
    pub(crate) fn of_recorded(asked: &RecordedRequest) -> Self {
        Self::of(asked, asked, false)
    }

    /// That of a request that is asked. Without a key the filter's pseudonyms are nobody's.
    pub(crate) fn of_asked(asked: &RecordedRequest, filter: &Filter<'_>, has_key: bool) -> Self {
        let (target, place) = uri::target(filter, &asked.method, &asked.target);
        let bytes = asked.body.bytes().unwrap_or_default();
        let (headers, written) =
            transcribe::body(place.scope(filter, ""), asked.headers.clone(), bytes, &[], place.request());
        let body = if asked.body.bytes().is_some() { written.content } else { asked.body.clone() };
        let method = transcribe::method(filter, &asked.method);
        let hidden =
            RecordedRequest { method, target, headers, body, body_hash: written.hash, ..asked.clone() };
        Self::of(asked, &hidden, has_key)
    }

    fn of(asked: &RecordedRequest, hidden: &RecordedRequest, has_key: bool) -> Self {
        let twice = |one: &str, other: &str| Twice {
            asked: one.to_owned(),
            hidden: has_key.then(|| other.to_owned()),
        };
        // However a client or an archive has written it.
        let (written, hidden_target) =
            (canonical::comparable(&asked.target), canonical::comparable(&hidden.target));
        let (path, query) = parts(&written);
        let (hidden_path, hidden_query) = parts(&hidden_target);
        let kinds = operations::find(&asked.method, path).parts;
        let segments =
            path.trim_start_matches('/').split('/').zip(hidden_path.trim_start_matches('/').split('/'));
        let path = segments.zip(kinds).map(|((one, other), part)| {
            let text = twice(one, other);
            let is_anybody = matches!(part, SegmentKind::Value(_)) && !is_harmless(Kind::Id, &text.asked);
            Segment { text, is_anybody }
        });
        let pairs = query.split('&').zip(hidden_query.split('&')).filter(|(one, _)| !one.is_empty());
        let query = pairs.map(|(one, other)| {
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            let (other_name, other_value) = other.split_once('=').unwrap_or((other, ""));
            Parameter { name: twice(name, other_name), value: twice(value, other_value) }
        });
        let headers = asked.headers.iter().filter(|(name, _)| CHOOSING.contains(&name.as_str()));
        let headers = headers.map(|(name, value)| {
            let nth = asked.headers.iter().take_while(|pair| !std::ptr::eq(&pair.1, value));
            let nth = nth.filter(|(known, _)| known == name).count();
            let other = hidden.headers.iter().filter(|(known, _)| known == name).nth(nth);
            let hidden = other.map(|(_, value)| value.clone()).filter(|_| has_key);
            (name.clone(), Twice { asked: value.clone(), hidden })
        });
        let codings = field(&asked.headers, "content-encoding");
        let plain = |raw: Vec<u8>| match codings {
            Some(codings) => coding::decode(codings, &raw, LARGEST_BODY).unwrap_or(raw),
            None => raw,
        };
        let raw = asked.body.bytes().map(plain);
        let length = match &asked.body {
            Content::Truncated(length) => Some(*length),
            _ => raw.as_ref().map(|raw| raw.len() as u64),
        };
        let body = Body {
            hidden: hidden.body.bytes().filter(|_| has_key),
            hash: hidden.body_hash.clone(),
            asked: raw,
            length,
        };
        Self {
            method: twice(&asked.method, &hidden.method),
            has_key,
            target: hidden.target.clone(),
            path: path.collect(),
            query: query.collect(),
            headers: headers.collect(),
            body,
        }
    }

    /// Whether this asked request is answered by what was recorded for `recorded`.
    pub(crate) fn is_like(&self, recorded: &Self, matching: Matching) -> bool {
        match matching {
            Matching::Strict => self.differences(recorded).is_empty(),
            Matching::Lenient => self.method.is(&recorded.method) && self.same_path(recorded, matching),
        }
    }

    fn same_path(&self, recorded: &Self, matching: Matching) -> bool {
        self.path.len() == recorded.path.len()
            && self.path.iter().zip(&recorded.path).all(|(own, other)| own.is(other, matching, self.has_key))
    }

    fn same_query(&self, recorded: &Self) -> bool {
        self.query.len() == recorded.query.len()
            && self.query.iter().zip(&recorded.query).all(|(own, other)| own.is(other))
    }

    fn has_equal_headers(&self, recorded: &Self) -> bool {
        let same = |name: &&str| {
            let (own, other) = (all(&self.headers, name), all(&recorded.headers, name));
            own.len() == other.len() && own.iter().zip(other).all(|(own, other)| own.is(other))
        };
        CHOOSING.iter().all(same)
    }

    fn same_header(&self, recorded: &Self, name: &str) -> bool {
        let (own, other) = (all(&self.headers, name), all(&recorded.headers, name));
        let is_same = own.len() == other.len() && own.iter().zip(&other).all(|(own, other)| own.is(other));
        let lines = |values: &[&Twice]| values.iter().map(|value| value.asked.clone()).collect::<Vec<_>>();
        is_same
            || match name {
                "accept" => accepts_alike(&lines(&own), &lines(&other)),
                // Of a body that is not known neither is the type.
                "content-type" if other.is_empty() && recorded.body.is_unknown() => true,
                "content-type" => self.multipart().is_some() && self.multipart() == recorded.multipart(),
                _ => false,
            }
    }

    fn content_type(&self) -> &str {
        all(&self.headers, "content-type").first().map_or("", |value| &value.asked)
    }

    fn multipart(&self) -> Option<String> {
        boundary::multipart(self.content_type()).map(str::to_ascii_lowercase)
    }

    /// What was not read to its end when it was recorded may have been anything.
    fn same_body(&self, recorded_face: &Self) -> bool {
        let (own, other) = (&self.body, &recorded_face.body);
        if let (Some(hash), true) = (&other.hash, own.length.is_some()) {
            // Each has a boundary of its own, and so another hash.
            if self.multipart().is_some() {
                return true;
            }
            return if self.has_key { own.hash.as_ref() == Some(hash) } else { own.length == other.length };
        }
        let (Some(asked), Some(recorded)) = (&own.asked, &other.asked) else { return true };
        let without = |face: &Self, body: &[u8]| boundary::without(face.content_type(), body);
        let parts = without(recorded_face, recorded);
        // Of a form whole values were replaced.
        let is_form = recorded_face.content_type().starts_with("application/x-www-form-urlencoded");
        let is_like = |body: &Vec<u8>| body == recorded || parts.is_some() && without(self, body) == parts;
        is_like(asked)
            || own.hidden.as_ref().is_some_and(is_like)
            || same_text(asked, own.hidden.as_deref(), recorded, is_form)
    }

    /// How similar it is: of those that are like it, and of those that are not.
    pub(crate) fn similarity(&self, recorded: &Self) -> u32 {
        let is = |holds: bool, worth: u32| if holds { worth } else { 0 };
        let path = if self.same_path(recorded, Matching::Lenient) {
            1.0
        } else {
            strsim::normalized_levenshtein(parts(&self.target).0, parts(&recorded.target).0)
        };
        let alike = self.query.iter().filter(|own| recorded.query.iter().any(|other| own.is(other))).count();
        let most = self.query.len().max(recorded.query.len());
        let query = (100 * alike).checked_div(most).unwrap_or(100);
        // A path counts most, then the method, then what is asked of it.
        (path * 10_000.0) as u32
            + is(self.method.is(&recorded.method), 3_000)
            + is(self.same_path(recorded, Matching::Strict) && self.same_query(recorded), 400)
            + query as u32
            + is(self.same_body(recorded), 250)
            // One that is known to be the same before one that may have been anything.
            + is(self.body.asked.is_some() && self.body.asked == recorded.body.asked, 50)
            + is(self.has_equal_headers(recorded), 50)
    }

    /// In what they differ, in words; empty where they do not.
    pub(crate) fn differences(&self, recorded: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.method.is(&recorded.method) {
            found.push(format!("the method was {}", recorded.method.asked));
        }
        if !self.same_path(recorded, Matching::Strict) {
            found.push(format!("the path was {}", parts(&recorded.target).0));
        } else if !self.same_query(recorded) {
            found.push(of_queries(self, recorded));
        }
        for name in CHOOSING.iter().filter(|name| !self.same_header(recorded, name)) {
            let other = all(&recorded.headers, name);
            let was = match other.is_empty() {
                true => "not there".to_owned(),
                false => {
                    let values: Vec<&str> = other.iter().map(|value| value.asked.as_str()).collect();
                    format!("`{}`", values.join(", "))
                }
            };
            found.push(format!("{name} was {was}"));
        }
        if !self.same_body(recorded) {
            found.push("the body was another".into());
        }
        found
    }

    /// The request in a line, with people and credentials hidden.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method.hidden.as_ref().unwrap_or(&self.method.asked), self.target)
    }
}

/// Whether one says no more than `*/*`, which no `Accept` means too, and the other accepts that as
/// well (RFC 9110 §12.5.1).
fn accepts_alike(one: &[String], other: &[String]) -> bool {
    let ranges = |lines: &[String]| {
        lines
            .iter()
            .flat_map(|line| line.split(','))
            .filter(|range| !range.trim().is_empty())
            .map(accepted)
            .collect::<Vec<_>>()
    };
    let (one, other) = (ranges(one), ranges(other));
    let is_anything = |ranges: &[Accepted]| ranges.iter().all(|range| *range == Accepted::Anything);
    let has_anything = |ranges: &[Accepted]| ranges.is_empty() || ranges.contains(&Accepted::Anything);
    (is_anything(&one) && has_anything(&other)) || (is_anything(&other) && has_anything(&one))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepted {
    /// `*/*`, or `*` as some clients write it.
    Anything,
    Some,
}

fn accepted(range: &str) -> Accepted {
    let mut parts = range.split(';').map(str::trim);
    let is_any = matches!(parts.next(), Some("*/*" | "*"));
    let is_refused = parts.filter_map(|part| part.split_once('=')).any(|(name, weight)| {
        name.trim().eq_ignore_ascii_case("q")
            && weight.trim().parse::<f64>().is_ok_and(|weight| weight <= 0.0)
    });
    if is_any && !is_refused { Accepted::Anything } else { Accepted::Some }
}

fn parts(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

fn all<'h>(headers: &'h [(String, Twice)], name: &str) -> Vec<&'h Twice> {
    headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect()
}

fn of_queries(asked: &ComparableRequest, recorded: &ComparableRequest) -> String {
    let shown = |own: &[Parameter], is_there: &dyn Fn(&Parameter) -> bool, target: &str| {
        let written = parts(target).1.split('&').filter(|pair| !pair.is_empty());
        let left = written.zip(own).filter(|(_, parameter)| !is_there(parameter)).map(|(pair, _)| pair);
        left.collect::<Vec<_>>().join("&")
    };
    let left = shown(&recorded.query, &|other| asked.query.iter().any(|own| own.is(other)), &recorded.target);
    let new = shown(&asked.query, &|own| recorded.query.iter().any(|other| own.is(other)), &asked.target);
    match (left.is_empty(), new.is_empty()) {
        (true, true) => "the query was in another order".into(),
        (true, false) => format!("`{new}` was not in the query"),
        (false, true) => format!("the query also had `{left}`"),
        (false, false) => format!("the query had `{left}`"),
    }
}

/// Whether each string and number of a document is the recorded one, as it was asked or as it would
/// be recorded. Cassettes of earlier versions have some of both. Of other text pieces were
/// replaced.
fn same_text(asked: &[u8], hidden: Option<&[u8]>, recorded: &[u8], is_form: bool) -> bool {
    let tokens = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(json::tokens);
    let Some(recorded) = tokens(recorded) else {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        return !is_form
            && text(asked)
                .zip(text(recorded))
                .is_some_and(|(asked, recorded)| may_be_recorded_as(asked, recorded));
    };
    let Some(asked) = tokens(asked) else { return false };
    let hidden = hidden.and_then(tokens).filter(|hidden| hidden.len() == asked.len());
    let hidden = hidden.unwrap_or_else(|| asked.clone());
    let mut name: Cow<'_, str> = "".into();
    asked.len() == recorded.len()
        && asked.iter().zip(&hidden).zip(&recorded).enumerate().all(|(at, ((own, other), recorded))| {
            if asked.get(at + 1).is_some_and(|next| next == ":") {
                name = own.as_str().into();
            }
            let is_secret = is_hidden(recorded) && names_secret(&name);
            other == recorded || is_secret || may_be_recorded_as(own, recorded)
        })
}

/// Whether an answer to it can be given at all, or why not.
pub(crate) fn unplayable(body: &Content, hash: Option<&str>) -> Option<String> {
    match body {
        Content::Truncated(bytes) if hash.is_some() => Some(format!(
            "its body of {bytes} bytes was not recorded, since it belongs to no operation of the VBC API \
             or is of another type; record with --record-unknown to keep such bodies"
        )),
        Content::Truncated(bytes) => Some(format!(
            "its body of {bytes} bytes is not in the cassette: bodies up to {} MiB are recorded, and an \
             imported HAR may have left it out",
            LARGEST_BODY >> 20
        )),
        Content::Undecodable(coding) => Some(format!(
            "its body was in a coding ({coding}) that could not be decoded, and was not recorded; record \
             with a client that does not ask for it"
        )),
        Content::Unread => Some("its body was not in the HAR that it was imported from".to_owned()),
        _ => None,
    }
}
