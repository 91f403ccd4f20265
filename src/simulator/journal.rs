//! What arrived, in order, for assertions. No secret and no token enters it.

use std::borrow::Cow;
use std::collections::VecDeque;

use http::request::Parts;
use http::{HeaderMap, Method};

use parking_lot::Mutex;

use super::tokens::Tokens;
use crate::clock::Timestamp;
use crate::headers::is_scheme;
use crate::server::RawHead;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Counts up from 1 at the start and at every reset.
    pub sequence: u64,
    /// When its head arrived.
    pub time: Timestamp,
    /// Which connection it came on: 1 is the one of the first request since the start or the last reset, 2 the next one
    /// that a request came on. 0 is a request that came without one.
    pub connection: u64,
    /// The method.
    pub method: Method,
    /// Path and query as sent, but for the values of parameters that carry secrets.
    pub target: String,
    /// The head to the byte, line ends and empty line included, but for what carries secrets.
    pub head: String,
    /// Names in lower case and values, in the order received. Credentials are replaced by what they are.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body; 0 until it has arrived.
    pub body_length: u64,
    /// SHA-256 of the body, in hexadecimal; empty until it has arrived.
    pub body_sha256: String,
    /// The `grant_type` of a token request.
    pub grant: Option<String>,
    /// Which access token it bore: `access-1` is the first one issued.
    pub token: Option<String>,
    /// The status answered; `None` while unanswered, and for good when the connection was reset.
    pub status: Option<u16>,
}

pub(super) struct Journal {
    entries: VecDeque<Recorded>,
    next: u64,
    limit: usize,
    /// How many connections have brought a request.
    connections: u64,
    /// Tells requests from before a reset from those after it.
    epoch: u64,
}

/// A connection as the journal knows it: by its first request, since who is accepted first depends on chance, and some
/// bring nothing.
#[derive(Default)]
pub(super) struct Line {
    /// The journal's epoch, and the number in it.
    known: Mutex<Option<(u64, u64)>>,
}

/// A request's place in the journal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    sequence: u64,
    epoch: u64,
}

impl Journal {
    pub(super) fn new(limit: usize, epoch: u64) -> Self {
        Self { entries: VecDeque::new(), next: 1, limit: limit.max(1), connections: 0, epoch }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the connection that a request came on.
    pub(super) fn number(&mut self, line: &Line) -> u64 {
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

    pub(super) fn add(&mut self, entry: impl FnOnce(u64) -> Recorded) -> Place {
        let sequence = self.next;
        self.next += 1;
        if self.entries.len() == self.limit {
            self.entries.pop_front();
        }
        self.entries.push_back(entry(sequence));
        Place { sequence, epoch: self.epoch }
    }

    /// The entry, unless it was pushed out or belongs to before a reset.
    pub(super) fn entry(&mut self, place: Place) -> Option<&mut Recorded> {
        let first = self.entries.front()?.sequence;
        let index = usize::try_from(place.sequence.checked_sub(first)?).ok()?;
        (place.epoch == self.epoch).then(|| self.entries.get_mut(index))?
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Recorded> {
        self.entries.iter()
    }

    /// The sequence number of the latest request; 0 where there was none.
    pub(super) fn latest(&self) -> u64 {
        self.next - 1
    }

    /// The sequence number of the latest request that was pushed out; 0 where none was.
    pub(super) fn forgotten(&self) -> u64 {
        self.entries.front().map_or(0, |first| first.sequence - 1)
    }
}

/// Bytes as text. Most are text as they are, which is seen much faster than it is made good.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// What an `Authorization` header carried, without carrying it.
pub(super) fn credentials(value: &[u8], tokens: &Tokens) -> (String, Option<String>) {
    let value = text_of(value);
    let (scheme, rest) = value.split_once(' ').unwrap_or((value.as_ref(), ""));
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        let name = tokens.name_of(rest);
        return (format!("{scheme} {name}"), Some(name));
    }
    if rest.is_empty() {
        // A lone word may be a token that lost its scheme.
        return (format!("[{}]", tokens.name_of(scheme)), None);
    }
    // What is no scheme may be a part of the credential.
    let scheme = if is_scheme(scheme) { scheme } else { "[unknown scheme]" };
    (format!("{scheme} [redacted]"), None)
}

/// The headers as they came, with credentials replaced.
pub(super) fn headers(headers: &HeaderMap, tokens: &Tokens) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), shown(name.as_str(), value.as_bytes(), tokens)))
        .collect()
}

/// The value of a header, its name in lower case, with credentials replaced.
fn shown(name: &str, value: &[u8], tokens: &Tokens) -> String {
    match name {
        "authorization" => credentials(value, tokens).0,
        "proxy-authorization" | "cookie" | "x-api-key" | "apikey" | "internal-key" => "[redacted]".to_owned(),
        _ => {
            let text = text_of(value);
            // A token where none belongs.
            if text.contains("eyJ") { "[redacted]".to_owned() } else { text.into_owned() }
        }
    }
}

/// The head as it came or, without a connection, as it would have come, with credentials replaced.
pub(super) fn head(head: &Parts, tokens: &Tokens) -> String {
    let path = head.uri.path_and_query().map_or("", |target| target.as_str());
    let Some(RawHead(raw)) = head.extensions.get() else {
        let mut text = format!("{} {} {:?}\r\n", head.method, target(path), head.version);
        for (name, value) in &head.headers {
            text.push_str(&format!("{name}: {}\r\n", shown(name.as_str(), value.as_bytes(), tokens)));
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
                text.push_str(&shown(&name.to_ascii_lowercase(), value.trim_start().as_bytes(), tokens));
            }
            _ => text.push_str(&request_line(content)),
        }
        text.push_str(end);
    }
    text
}

fn request_line(line: &str) -> String {
    let Some((method, rest)) = line.split_once(' ') else { return line.to_owned() };
    let (path, version) = rest.rsplit_once(' ').unwrap_or((rest, ""));
    format!("{method} {} {version}", target(path))
}

/// The target as it came, with the values of secret parameters replaced.
pub(super) fn target(target: &str) -> String {
    const SECRET: &[&str] = &[
        "access_token",
        "refresh_token",
        "id_token",
        "token",
        "password",
        "client_secret",
        "code",
        "code_verifier",
        "assertion",
        "client_assertion",
        "apikey",
    ];
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if SECRET.contains(&name.to_ascii_lowercase().as_str()) => {
            format!("{name}=[redacted]")
        }
        _ => pair.to_owned(),
    });
    format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_keep_their_bytes_but_not_their_secrets() {
        assert_eq!(target("/a%40b?start:gte=x+y&z=%20"), "/a%40b?start:gte=x+y&z=%20");
        assert_eq!(target("/token?Password=hunter2&a"), "/token?Password=[redacted]&a");
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
