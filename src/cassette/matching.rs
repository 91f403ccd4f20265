//! Which recorded request is like one that is asked.

use super::body;
use super::canonical;
use super::coding;
use super::format::{Asked, Content, LARGEST_BODY, field};
use super::hide::Hide;
use super::multipart;
use super::pseudonyms::{AnyCredential, Remembering, Shapes};
use super::redact;

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

/// A request as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Face {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    /// `None` where it is not known.
    body: Option<Vec<u8>>,
    /// With all people alike.
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    path: String,
    /// Sorted.
    query: Vec<String>,
    body: Option<Vec<u8>>,
}

impl Face {
    /// That of a request; `hide` gives people their pseudonyms, where the request has not been recorded.
    pub(super) fn of(asked: &Asked, mut hide: Option<&mut dyn Hide>) -> Self {
        let mut hide = AnyCredential(hide.as_mut().map(|hide| &mut **hide as &mut dyn Hide));
        let mut hide = Remembering::new(&mut hide);
        let kind = field(&asked.headers, "content-type");
        let known = |text: Option<String>, or: &str| text.unwrap_or_else(|| or.to_owned());
        // However a client or an archive has written it.
        let written = canonical::comparable(&asked.target);
        let target = known(redact::target(&written, &mut hide), &written);
        // All of them, for their credentials.
        let headers = asked.headers.iter().map(|(name, value)| {
            let value = if name == "content-type" { multipart::without_boundary(value) } else { value };
            (name.clone(), known(redact::header(name, value, &mut hide), value))
        });
        let headers: Vec<_> = headers.collect();
        // Recorded bodies have no coding.
        let plain = |raw: Vec<u8>| match field(&asked.headers, "content-encoding") {
            Some(codings) => coding::decode(codings, &raw, LARGEST_BODY).unwrap_or(raw),
            None => raw,
        };
        let raw = asked.body.bytes().map(plain);
        let body_with = |hide: &mut dyn Hide| {
            let raw = raw.as_ref()?;
            let body = body::body(kind, raw, hide).unwrap_or_else(|| raw.clone());
            Some(multipart::with_one_boundary(kind, body))
        };
        let body = body_with(&mut hide);
        let shape_body = body_with(&mut Shapes).map(|body| hide.without(body));
        let body = body.map(|body| hide.without(body));
        let shape_target = known(redact::target(&written, &mut Shapes), &written);
        let shape_target = hide.without_in(shape_target);
        let (path, query) = shape_target.split_once('?').unwrap_or((&shape_target, ""));
        let mut query: Vec<String> =
            query.split('&').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        query.sort();
        let shape = Shape { path: path.to_owned(), query, body: shape_body };
        let target = hide.without_in(target);
        let headers = headers.into_iter().filter(|(name, _)| CHOOSING.contains(&name.as_str()));
        let mut headers: Vec<_> = headers.map(|(name, value)| (name, hide.without_in(value))).collect();
        headers.sort();
        Self { method: asked.method.clone(), target, headers, body, shape }
    }

    /// Whether this asked request is answered by what was recorded for `recorded`.
    pub(super) fn is_like(&self, recorded: &Self, matching: Matching) -> bool {
        match matching {
            Matching::Strict => self.differences(recorded).is_empty(),
            Matching::Lenient => self.method == recorded.method && self.shape.path == recorded.shape.path,
        }
    }

    /// How similar it is: of those that are like it, and of those that are not.
    pub(super) fn similarity(&self, recorded: &Self) -> u32 {
        let is = |holds: bool, worth: u32| if holds { worth } else { 0 };
        let path = strsim::normalized_levenshtein(&self.shape.path, &recorded.shape.path);
        let alike = |one: &[String], other: &[String]| one.iter().filter(|part| other.contains(part)).count();
        let (one, other) = (&self.shape.query, &recorded.shape.query);
        let most = one.len().max(other.len());
        let query = (100 * alike(one, other)).checked_div(most).unwrap_or(100);
        // A path counts most, then the method, then what is asked of it.
        (path * 10_000.0) as u32
            + is(self.method == recorded.method, 3_000)
            + is(self.target == recorded.target, 400)
            + query as u32
            + is(same_body(&self.body, &recorded.body), 150)
            // One that is known to be the same before one that may have been anything.
            + is(self.body == recorded.body, 50)
            + is(same_body(&self.shape.body, &recorded.shape.body), 100)
            + is(self.headers == recorded.headers, 50)
    }

    /// In what they differ, in words; empty where they do not.
    pub(super) fn differences(&self, recorded: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.method != recorded.method {
            found.push(format!("the method was {}", recorded.method));
        }
        if self.target != recorded.target {
            found.push(of_targets(&self.target, &recorded.target));
        }
        for name in CHOOSING {
            let (own, other) = (all(&self.headers, name), all(&recorded.headers, name));
            let is_same = own == other || (name == "accept" && accepts_alike(&own, &other));
            if !is_same {
                let was =
                    if other.is_empty() { "not there".to_owned() } else { format!("`{}`", other.join(", ")) };
                found.push(format!("{name} was {was}"));
            }
        }
        if !same_body(&self.body, &recorded.body) {
            found.push("the body was another".into());
        }
        found
    }

    /// The request in a line, with people and credentials hidden.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// What was not read to its end when it was recorded may have been anything.
fn same_body(one: &Option<Vec<u8>>, other: &Option<Vec<u8>>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// Whether one says no more than `*/*`, which no `Accept` means too, and the other accepts that as well (RFC 9110 §12.5.1).
fn accepts_alike(one: &[&str], other: &[&str]) -> bool {
    let ranges = |lines: &[&str]| {
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

fn all<'h>(headers: &'h [(String, String)], name: &str) -> Vec<&'h str> {
    headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}

fn of_targets(own: &str, recorded: &str) -> String {
    let (path, query) = own.split_once('?').unwrap_or((own, ""));
    let (other_path, other_query) = recorded.split_once('?').unwrap_or((recorded, ""));
    if path != other_path {
        return format!("the path was {other_path}");
    }
    let missing = |from: &str, in_: &str| {
        let parts: Vec<&str> = in_.split('&').collect();
        let left = from.split('&').filter(|part| !part.is_empty() && !parts.contains(part));
        left.map(str::to_owned).collect::<Vec<_>>().join("&")
    };
    match (missing(other_query, query), missing(query, other_query)) {
        (left, new) if left.is_empty() && new.is_empty() => "the query was in another order".into(),
        (left, new) if left.is_empty() => format!("`{new}` was not in the query"),
        (left, new) if new.is_empty() => format!("the query also had `{left}`"),
        (left, _) => format!("the query had `{left}`"),
    }
}

/// Whether an answer to it can be given at all, or why not.
pub(super) fn unplayable(body: &Content) -> Option<String> {
    match body {
        Content::Truncated(bytes) => Some(format!(
            "its body of {bytes} bytes is not in the cassette: bodies up to {} MiB are recorded, and an imported \
             HAR may have left it out",
            LARGEST_BODY >> 20
        )),
        Content::Undecodable(coding) => Some(format!(
            "its body was in a coding ({coding}) that could not be looked into, and was not recorded; \
             record with a client that does not ask for it"
        )),
        Content::Unread => Some("its body was not in the HAR that it was imported from".to_owned()),
        _ => None,
    }
}
