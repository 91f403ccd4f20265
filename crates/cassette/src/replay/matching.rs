//! Decides which recorded request a given one matches.
//!
//! A part of a request matches in one of two forms: as it was sent, or as it would be recorded
//! under the cassette's key. Parameters are compared decoded, because clients encode a query in
//! different ways.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::accept::accept_alike;
use super::body::ComparableBody;
use crate::format::RecordedRequest;
use crate::percent;
use crate::redact::operations::{self, SegmentKind};
use crate::redact::{Filter, Kind, is_harmless, is_hidden, may_be_recorded_as, names_secret};
use crate::text::split_query;

/// How closely a request must match a recorded one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// Method, target, body, and the headers that choose a response. Credentials do not count.
    #[default]
    Strict,
    /// Method and path. Names of users in the path may differ. The most similar record is played.
    Lenient,
}

/// Header fields by which a server chooses its response.
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

/// A text as it was sent, and as it would be recorded.
#[derive(Clone, Debug, Default)]
struct Text {
    sent: String,
    /// `None` for a recorded request, or without a key.
    redacted: Option<String>,
}

impl Text {
    fn matches(&self, recorded: &Self) -> bool {
        self.sent == recorded.sent || self.redacted.as_ref() == Some(&recorded.sent)
    }
}

/// A segment of a path.
#[derive(Clone, Debug)]
struct Segment {
    text: Text,
    /// The segment holds a name, which may differ between requests.
    is_variable: bool,
}

impl Segment {
    fn matches(&self, recorded: &Self, matching: Matching, has_key: bool) -> bool {
        let is_any_name =
            || self.is_variable && recorded.is_variable || !has_key && is_hidden(&recorded.text.sent);
        self.text.matches(&recorded.text) || matching == Matching::Lenient && is_any_name()
    }
}

/// A parameter of a query, decoded.
#[derive(Clone, Debug)]
struct Parameter {
    name: Text,
    value: Text,
}

impl Parameter {
    fn matches(&self, recorded: &Self) -> bool {
        let is_secret = is_hidden(&recorded.value.sent) && names_secret(&self.name.sent);
        self.name.matches(&recorded.name)
            && (is_secret
                || self.value.matches(&recorded.value)
                || may_be_recorded_as(&self.value.sent, &recorded.value.sent))
    }

    fn is_among(&self, recorded: &[Self]) -> bool {
        recorded.iter().any(|other| self.matches(other))
    }
}

/// A request in its form for comparison.
///
/// The comparisons are called on a request that was sent, with a recorded one as their argument.
#[derive(Clone, Debug)]
pub(super) struct ComparableRequest {
    method: Text,
    has_key: bool,
    /// The redacted target, for messages.
    target: String,
    path: Vec<Segment>,
    query: Vec<Parameter>,
    /// The fields of [`CHOOSING`].
    headers: Vec<(String, Text)>,
    body: ComparableBody,
}

impl ComparableRequest {
    /// A recorded request.
    pub(super) fn of_recorded(request: &RecordedRequest) -> Self {
        Self::new(request, request, false)
    }

    /// A request that was sent. Without the cassette's key its redacted form is not compared.
    pub(super) fn of_sent(request: &RecordedRequest, filter: &Filter<'_>, has_key: bool) -> Self {
        Self::new(request, &filter.request(request.clone()), has_key)
    }

    fn new(sent: &RecordedRequest, redacted: &RecordedRequest, has_key: bool) -> Self {
        let text = |sent: &str, redacted: &str| Text {
            sent: sent.to_owned(),
            redacted: has_key.then(|| redacted.to_owned()),
        };
        let (target, redacted_target) =
            (percent::comparable(&sent.target), percent::comparable(&redacted.target));
        let ((path, query), (redacted_path, redacted_query)) = (parts(&target), parts(&redacted_target));
        let kinds = operations::find(&sent.method, path).segments;
        let path = segments(path).zip(segments(redacted_path)).zip(kinds).map(|((one, other), kind)| {
            let is_variable = matches!(kind, SegmentKind::Value(_)) && !is_harmless(Kind::Id, one);
            Segment { text: text(one, other), is_variable }
        });
        let pairs = query.split('&').zip(redacted_query.split('&')).filter(|(pair, _)| !pair.is_empty());
        let query = pairs.map(|(pair, redacted)| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (redacted_name, redacted_value) = redacted.split_once('=').unwrap_or((redacted, ""));
            Parameter {
                name: text(&decoded(name), &decoded(redacted_name)),
                value: text(&decoded(value), &decoded(redacted_value)),
            }
        });
        // Redacting keeps the order and the names of these fields.
        let headers = choosing(sent).zip(choosing(redacted));
        let headers = headers.map(|((name, value), (_, other))| (name.clone(), text(value, other)));
        Self {
            method: text(&sent.method, &redacted.method),
            has_key,
            target: redacted.target.clone(),
            path: path.collect(),
            query: query.collect(),
            headers: headers.collect(),
            body: ComparableBody::new(sent, redacted, has_key),
        }
    }

    /// Whether this request gets the response to `recorded`.
    pub(super) fn is_like(&self, recorded: &Self, matching: Matching) -> bool {
        match matching {
            Matching::Strict => self.differences(recorded).is_empty(),
            Matching::Lenient => self.method.matches(&recorded.method) && self.same_path(recorded, matching),
        }
    }

    fn same_path(&self, recorded: &Self, matching: Matching) -> bool {
        let mut pairs = self.path.iter().zip(&recorded.path);
        self.path.len() == recorded.path.len()
            && pairs.all(|(own, other)| own.matches(other, matching, self.has_key))
    }

    /// Whether the decoded paths are equal. Such paths do not match, because the gateway
    /// distinguishes `%40` from `@` in them.
    fn has_respelled_path(&self, recorded: &Self) -> bool {
        let mut pairs = self.path.iter().zip(&recorded.path);
        self.path.len() == recorded.path.len()
            && pairs.all(|(own, other)| {
                let mut forms = [Some(&own.text.sent), own.text.redacted.as_ref()].into_iter().flatten();
                forms.any(|form| percent_decode_str(form).eq(percent_decode_str(&other.text.sent)))
            })
    }

    fn same_query(&self, recorded: &Self) -> bool {
        self.query.len() == recorded.query.len()
            && self.query.iter().zip(&recorded.query).all(|(own, other)| own.matches(other))
    }

    fn same_body(&self, recorded: &Self) -> bool {
        self.body.is_like(&recorded.body, self.has_key)
    }

    fn same_header(&self, recorded: &Self, name: &str) -> bool {
        let (own, other) = (self.header(name), recorded.header(name));
        own.len() == other.len() && own.iter().zip(other).all(|(own, other)| own.matches(other))
    }

    fn like_header(&self, recorded: &Self, name: &str) -> bool {
        self.same_header(recorded, name)
            || match name {
                "accept" => accept_alike(&self.values(name), &recorded.values(name)),
                // The type of an unknown body is unknown too.
                "content-type" if recorded.header(name).is_empty() && recorded.body.is_unknown() => true,
                "content-type" => {
                    self.body.multipart().is_some() && self.body.multipart() == recorded.body.multipart()
                }
                _ => false,
            }
    }

    fn header(&self, name: &str) -> Vec<&Text> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect()
    }

    fn values(&self, name: &str) -> Vec<&str> {
        self.header(name).into_iter().map(|value| value.sent.as_str()).collect()
    }

    /// How similar this request is to a recorded one, for ranking matches and near misses.
    pub(super) fn similarity(&self, recorded: &Self) -> u32 {
        let path = if self.same_path(recorded, Matching::Lenient) {
            1.0
        } else {
            strsim::normalized_levenshtein(parts(&self.target).0, parts(&recorded.target).0)
        };
        let alike = self.query.iter().filter(|parameter| parameter.is_among(&recorded.query)).count();
        let most = self.query.len().max(recorded.query.len());
        let query = (100 * alike).checked_div(most).unwrap_or(100);
        let same_target = self.same_path(recorded, Matching::Strict) && self.same_query(recorded);
        let same_headers = CHOOSING.iter().all(|name| self.same_header(recorded, name));
        // The path counts most, then the method, then the rest.
        (path * 10_000.0) as u32
            + 3_000 * u32::from(self.method.matches(&recorded.method))
            + 400 * u32::from(same_target)
            + query as u32
            + 250 * u32::from(self.same_body(recorded))
            // A body that is known to be equal is preferred to an unknown one.
            + 50 * u32::from(self.body.equals(&recorded.body))
            + 50 * u32::from(same_headers)
            // The same spelling is preferred to an equal query in another one.
            + 10 * u32::from(self.target == recorded.target)
    }

    /// The differences in words. Empty if this request matches the recorded one strictly.
    pub(super) fn differences(&self, recorded: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.method.matches(&recorded.method) {
            found.push(format!("the recorded method is {}", recorded.method.sent));
        }
        if !self.same_path(recorded, Matching::Strict) {
            let only = if self.has_respelled_path(recorded) {
                ", which differs only in its percent-encoding"
            } else {
                ""
            };
            found.push(format!("the recorded path is {}{only}", parts(&recorded.target).0));
        } else if !self.same_query(recorded) {
            found.push(self.difference_of_queries(recorded));
        }
        for name in CHOOSING.iter().filter(|name| !self.like_header(recorded, name)) {
            let values = recorded.values(name);
            found.push(if values.is_empty() {
                format!("the record has no {name}")
            } else {
                format!("the recorded {name} is `{}`", values.join(", "))
            });
        }
        if !self.same_body(recorded) {
            found.push("the recorded body differs".into());
        }
        found
    }

    fn difference_of_queries(&self, recorded: &Self) -> String {
        let missing = recorded.pairs(|pair| !self.query.iter().any(|own| own.matches(pair)));
        let new = self.pairs(|pair| !pair.is_among(&recorded.query));
        match (missing.is_empty(), new.is_empty()) {
            (true, true) => "the recorded query is in another order".into(),
            (true, false) => format!("the recorded query lacks `{new}`"),
            (false, true) => format!("the recorded query also has `{missing}`"),
            (false, false) => format!("the recorded query has `{missing}`"),
        }
    }

    /// The parameters for which `is_shown` returns true, redacted and joined by `&`.
    fn pairs(&self, is_shown: impl Fn(&Parameter) -> bool) -> String {
        let pairs = parts(&self.target).1.split('&').filter(|pair| !pair.is_empty()).zip(&self.query);
        let shown = pairs.filter(|(_, parameter)| is_shown(parameter)).map(|(pair, _)| pair);
        shown.collect::<Vec<_>>().join("&")
    }

    /// The request in one line, redacted.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method.redacted.as_ref().unwrap_or(&self.method.sent), self.target)
    }
}

fn choosing(request: &RecordedRequest) -> impl Iterator<Item = &(String, String)> {
    request.headers.iter().filter(|(name, _)| CHOOSING.contains(&name.as_str()))
}

/// A name or value of a query without its encoding. Bytes that are not UTF-8 stay encoded.
fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('/').split('/')
}

fn parts(target: &str) -> (&str, &str) {
    let (path, query) = split_query(target);
    (path, query.unwrap_or_default())
}
