//! The journal: recorded requests in order. Secrets and tokens are redacted.

pub(crate) mod redaction;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use parking_lot::Mutex;

use crate::response::{Response, peek};
use crate::tokens::Tokens;
use redaction::{KnownSecrets, REDACTED};
use vbc_base::clock::Timestamp;
use vbc_http::RawHead;
use vbc_http::headers::is_scheme;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// The sequence number. It counts from 1 after the start and after every reset.
    pub sequence: u64,
    /// When its head arrived.
    pub time: Timestamp,
    /// The number of its connection. Connections are numbered by their first requests since the
    /// start or the last reset. 0 means a request without a connection.
    pub connection: u64,
    /// The method.
    pub method: Method,
    /// Path and query as sent, with secret parameters and segments redacted.
    pub target: String,
    /// The head byte for byte, including line ends and the empty line, with secrets redacted.
    pub head: String,
    /// Header names (in lower case) and values, in the received order. A bearer is replaced with
    /// its name, any other secret with `[redacted]`.
    pub headers: Vec<(String, String)>,
    /// The length of the body in bytes; 0 until it has arrived.
    pub body_length: u64,
    /// The SHA-256 of the body in hexadecimal. Empty until the body has arrived, and for a body
    /// that was not read to its end.
    pub body_sha256: String,
    /// A hash of the body's values if it is JSON, for expectations.
    pub(crate) body_json: Option<u64>,
    /// The `grant_type` of a token request.
    pub grant: Option<String>,
    /// The name of its access token: `access-1` is the first one issued, `unknown-1` the first one
    /// that was never issued.
    pub token: Option<String>,
    /// The status of the response. `None` before the response, and after a reset connection.
    pub status: Option<u16>,
}

/// The recorded requests, up to a limit, and the latest responses.
pub(crate) struct Journal {
    entries: VecDeque<RecordedRequest>,
    next: u64,
    limit: usize,
    /// How many connections have sent a request.
    connections: u64,
    /// Counts resets, so that requests from before a reset are not mistaken for later ones.
    epoch: u64,
    /// The latest responses, by sequence number.
    responses: BTreeMap<u64, RecordedResponse>,
}

/// How many responses are kept for the page.
const RESPONSES: usize = 500;
/// Longer bodies are not kept.
const REMEMBERED: usize = 16 * 1024;
/// How many characters of a body are shown.
const BEGINNING: usize = 2_000;

/// A sent response, including its secrets. Only [`RecordedResponse::shown`] may show it.
pub(crate) struct RecordedResponse {
    content_type: Option<HeaderValue>,
    length: u64,
    body: Option<Bytes>,
}

impl RecordedResponse {
    pub(crate) fn of(response: &Response) -> Self {
        let (length, body) = peek(response, REMEMBERED);
        Self { content_type: response.headers().get(CONTENT_TYPE).cloned(), length, body }
    }

    /// Type, length and the beginning of the body, without secrets. An unreadable body is `null`.
    pub(crate) fn shown(&self, known: &KnownSecrets<'_>) -> Value {
        let body = self.body.as_ref().and_then(|body| redaction::shown_body(body, known));
        let beginning = body.map(|body| body.chars().take(BEGINNING).collect::<String>());
        let content_type = self.content_type.as_ref().map(|value| text_of(value.as_bytes()));
        json!({ "content_type": content_type, "length": self.length, "beginning": beginning })
    }
}

/// The journal's number for a connection. It is assigned at the connection's first request, because
/// connections are accepted in random order and some send nothing.
#[derive(Default)]
pub(crate) struct ConnectionNumber {
    /// The journal's epoch, and the number in it.
    known: Mutex<Option<(u64, u64)>>,
}

/// The position of a request in the journal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct JournalPosition {
    sequence: u64,
    epoch: u64,
}

impl Journal {
    pub(crate) fn new(limit: usize, epoch: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            next: 1,
            limit: limit.max(1),
            connections: 0,
            epoch,
            responses: BTreeMap::new(),
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of a connection. The connection's first request assigns it.
    pub(crate) fn number(&mut self, line: &ConnectionNumber) -> u64 {
        let mut known = line.known.lock();
        match *known {
            Some((epoch, number)) if epoch == self.epoch => number,
            _ => {
                self.connections += 1;
                *known = Some((self.epoch, self.connections));
                self.connections
            }
        }
    }

    pub(crate) fn add(&mut self, entry: impl FnOnce(u64) -> RecordedRequest) -> JournalPosition {
        let sequence = self.next;
        self.next += 1;
        if self.entries.len() == self.limit {
            self.entries.pop_front();
        }
        self.entries.push_back(entry(sequence));
        JournalPosition { sequence, epoch: self.epoch }
    }

    /// The entry, unless it was dropped or is from before a reset.
    pub(crate) fn entry(&mut self, position: JournalPosition) -> Option<&mut RecordedRequest> {
        let first = self.entries.front()?.sequence;
        let index = usize::try_from(position.sequence.checked_sub(first)?).ok()?;
        (position.epoch == self.epoch).then(|| self.entries.get_mut(index))?
    }

    /// Records the response to a request.
    pub(crate) fn respond(&mut self, position: JournalPosition, status: u16, responded: RecordedResponse) {
        let Some(entry) = self.entry(position) else { return };
        entry.status = Some(status);
        self.responses.insert(position.sequence, responded);
        if self.responses.len() > RESPONSES {
            self.responses.pop_first();
        }
    }

    /// The response to a request, while it is kept.
    pub(crate) fn response(&self, sequence: u64) -> Option<&RecordedResponse> {
        self.responses.get(&sequence)
    }

    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &RecordedRequest> {
        self.entries.iter()
    }

    /// The sequence number of the latest request; 0 before the first one.
    pub(crate) fn latest(&self) -> u64 {
        self.next - 1
    }

    /// The sequence number of the latest dropped request; 0 if no request was dropped.
    pub(crate) fn forgotten(&self) -> u64 {
        self.entries.front().map_or(0, |first| first.sequence - 1)
    }
}

/// Converts bytes to text. Borrows valid UTF-8, which is much faster than a lossy conversion.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Describes the credentials of an `Authorization` header without revealing them. Also returns the
/// name of a bearer token.
pub(crate) fn credentials(value: &[u8], tokens: &Tokens) -> (String, Option<String>) {
    let value = text_of(value);
    let (scheme, rest) = value.split_once(' ').unwrap_or((value.as_ref(), ""));
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        let name = tokens.name_of(rest);
        return (format!("{scheme} {name}"), Some(name));
    }
    if rest.is_empty() {
        // A single word may be a token without its scheme.
        return (format!("[{}]", tokens.name_of(scheme)), None);
    }
    // An invalid scheme may be part of the credential.
    let scheme = if is_scheme(scheme) { scheme } else { "[unknown scheme]" };
    (format!("{scheme} [redacted]"), None)
}

/// The headers in the received order, with secrets redacted.
pub(crate) fn headers(headers: &HeaderMap, known: &KnownSecrets<'_>) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), shown(name.as_str(), value.as_bytes(), known)))
        .collect()
}

/// The value of a header, with secrets redacted. `name` must be in lower case.
fn shown(name: &str, value: &[u8], known: &KnownSecrets<'_>) -> String {
    let text = text_of(value);
    let hidden = match name {
        "authorization" => return credentials(value, known.tokens()).0,
        // The values of these headers are well known, or random but not secret: tags, boundaries,
        // identifiers.
        "host"
        | "accept"
        | "accept-encoding"
        | "accept-language"
        | "connection"
        | "content-length"
        | "content-type"
        | "date"
        | "etag"
        | "expect"
        | "from"
        | "if-match"
        | "if-none-match"
        | "if-modified-since"
        | "if-unmodified-since"
        | "if-range"
        | "origin"
        | "range"
        | "te"
        | "traceparent"
        | "tracestate"
        | "transfer-encoding"
        | "user-agent"
        | "via" => redaction::has_jwt(&text),
        "referer" => return target(&text, known),
        _ => redaction::is_secret_name(name) || redaction::looks_secret(&text),
    };
    if hidden || redaction::names_secret(&text) || known.in_text(&text) {
        REDACTED.to_owned()
    } else {
        text.into_owned()
    }
}

/// The head as it was received, with secrets redacted. For a request without a connection, it is
/// written from method, target and headers.
pub(crate) fn head(head: &Parts, known: &KnownSecrets<'_>) -> String {
    let path = head.uri.path_and_query().map_or("", |target| target.as_str());
    let Some(RawHead(raw)) = head.extensions.get() else {
        let mut text = format!("{} {} {:?}\r\n", head.method, target(path, known), head.version);
        for (name, value) in &head.headers {
            text.push_str(&format!("{name}: {}\r\n", shown(name.as_str(), value.as_bytes(), known)));
        }
        return text + "\r\n";
    };
    let raw = text_of(raw);
    let mut text = String::with_capacity(raw.len());
    for (number, line) in raw.split_inclusive("\r\n").enumerate() {
        let (content, end) = line.split_at(line.trim_end_matches("\r\n").len());
        match content.split_once(':') {
            Some((name, value)) if number > 0 => {
                let space = value.len() - value.trim_start().len();
                text.push_str(&content[..name.len() + 1 + space]);
                text.push_str(&shown(&name.to_ascii_lowercase(), value.trim_start().as_bytes(), known));
            }
            _ => text.push_str(&request_line(content, known)),
        }
        text.push_str(end);
    }
    text
}

fn request_line(line: &str, known: &KnownSecrets<'_>) -> String {
    let Some((method, rest)) = line.split_once(' ') else { return line.to_owned() };
    let (path, version) = rest.rsplit_once(' ').unwrap_or((rest, ""));
    format!("{method} {} {version}", target(path, known))
}

/// The target as it was received, with secret parameters and segments redacted.
pub(crate) fn target(target: &str, known: &KnownSecrets<'_>) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let secret = |text: &str| redaction::has_jwt(text) || known.in_text(&decoded(text));
    let mut shown = String::with_capacity(target.len());
    let mut before = "";
    for (number, segment) in path.split('/').enumerate() {
        let hidden = !segment.is_empty() && redaction::is_secret_name(before);
        shown.push_str(if number == 0 { "" } else { "/" });
        let hidden = hidden || secret(segment) || redaction::has_random(segment);
        shown.push_str(if hidden { REDACTED } else { segment });
        before = segment;
    }
    for (number, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if number == 0 { '?' } else { '&' });
        let (name, value) = pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
        let plain = decoded(name);
        let hidden = redaction::is_secret_name(&plain) || plain.eq_ignore_ascii_case("code");
        match value {
            Some(value) if hidden || secret(value) || is_random(&plain, value) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(REDACTED);
            }
            // The secret is in the name, or the pair is only a value.
            _ if secret(pair) => shown.push_str(REDACTED),
            _ => shown.push_str(pair),
        }
    }
    shown
}

/// Whether a parameter's value may be random, and so a secret. `false` for OAuth's public
/// parameters.
fn is_random(name: &str, value: &str) -> bool {
    const PLAIN: &[&str] = &["client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge"];
    !PLAIN.contains(&name) && redaction::has_random(&decoded(value))
}

/// Decodes percent-encoded text.
fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains(['%', '+']) {
        percent_encoding::percent_decode_str(text).decode_utf8_lossy()
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    #[test]
    fn targets_keep_their_bytes_but_not_their_secrets() {
        let state = State::seeded(std::sync::Arc::default(), Timestamp::UNIX_EPOCH, 0);
        let known = state.known_secrets();
        for (given, shown) in [
            ("/a%40b?start:gte=x+y&z=%20", "/a%40b?start:gte=x+y&z=%20"),
            ("/token?Password=hunter2&a", "/token?Password=[redacted]&a"),
            ("/authorize?code=1&state=b", "/authorize?code=[redacted]&state=b"),
            ("/a?client%5Fsecret=x&sid=y", "/a?client%5Fsecret=[redacted]&sid=[redacted]"),
            ("/a?note=sim%2Dpassword&sim-secret", "/a?note=[redacted]&[redacted]"),
            ("/by/eyJhbGciOiJ.x/calls", "/by/[redacted]/calls"),
            ("/token/hunter2/a", "/token/[redacted]/a"),
            ("/a/ghp_16C7e42F292c6912E7710c838347Ae178B4a/b", "/a/[redacted]/b"),
            ("/a?b=ghp_16C7e42F292c6912E7710c838347Ae178B4a", "/a?b=[redacted]"),
            ("/a?id=3f0c2d1e-5a6b-4c7d-8e9f-001122334455", "/a?id=3f0c2d1e-5a6b-4c7d-8e9f-001122334455"),
            ("/t/vbc.prod/oauth2/token", "/t/vbc.prod/oauth2/token"),
            ("/authorize?state=ghp_16C7e42F292c6912E771", "/authorize?state=ghp_16C7e42F292c6912E771"),
        ] {
            assert_eq!(target(given, &known), shown);
        }
    }

    #[test]
    fn credentials_are_named_not_shown() {
        let tokens = Tokens::default();
        for value in [
            "Bearer s3cret-token",
            "Basic czNjcmV0",
            "s3cret-token",
            "bearer  s3cret-token",
            "s3cret x",
            "token=s3cret; realm=x",
        ] {
            let (shown, _) = credentials(value.as_bytes(), &tokens);
            assert!(!shown.contains("s3cret") && !shown.contains("czNjcmV0"), "{shown}");
        }
        assert_eq!(credentials(b"Digest s3cret", &tokens).0, "Digest [redacted]");
    }
}
