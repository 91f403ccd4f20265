//! From what passed to what is written: codings off, tokens out, credentials and personal data replaced.

use http::{HeaderMap, Version};
use memchr::memmem;

use super::coding;
use super::format::{Answered, Asked, Content, LARGEST_BODY, Record, field};
use super::hide::{Hide, Hint, value};
use super::redact::{self, Form, form, latin1};
use super::tape::{Exchange, Pieces};
use crate::secret::Secret;

/// What stands for a token of ours that the upstream has repeated.
const OURS: &str = "hidden-bearer";

type Fields = Vec<(String, String)>;

/// The record of an exchange, without its number.
pub(super) fn transcribe(exchange: &Exchange, tokens: &[Secret], hide: &mut dyn Hide) -> Record {
    let mut cleaner = Cleaner { tokens, hide };
    let tape = &exchange.tape;
    let request = {
        let pieces = exchange.request();
        let (headers, body, _) = cleaner.message(&tape.headers, &pieces);
        let body = if pieces.ended || pieces.is_truncated() { body } else { Content::Unread };
        Asked {
            method: tape.method.to_string(),
            target: cleaner.target(&tape.target),
            version: version(tape.version).to_owned(),
            headers,
            body,
        }
    };
    let (mut headers, body, pieces) = cleaner.message(&exchange.headers, &exchange.pieces);
    // What hyper would add.
    if let (Some(length), None) = (exchange.length, field(&headers, "content-length")) {
        let length = body.bytes().map_or(length, |bytes| bytes.len() as u64);
        headers.push(("content-length".into(), length.to_string()));
    }
    let answer = Answered {
        status: exchange.status.as_u16(),
        reason: exchange.reason.as_deref().map(|reason| cleaner.words(reason)),
        headers,
        body,
        trailers: cleaner.fields(&exchange.pieces.trailers),
        complete: exchange.pieces.ended,
        pieces,
    };
    Record {
        n: 0,
        at: tape.at,
        millis: tape.begun.elapsed().as_millis() as u64,
        base: tape.base.clone(),
        request,
        answer,
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Hides what is to be hidden in the parts of a message.
pub(super) struct Cleaner<'c> {
    pub(super) tokens: &'c [Secret],
    pub(super) hide: &'c mut dyn Hide,
}

impl Cleaner<'_> {
    fn words(&mut self, text: &str) -> String {
        let text = self.without_tokens(text.to_owned());
        value(&text, Hint::Nothing, self.hide).unwrap_or(text)
    }

    pub(super) fn target(&mut self, target: &str) -> String {
        let target = self.without_tokens(target.to_owned());
        redact::target(&target, self.hide).unwrap_or(target)
    }

    fn fields(&mut self, headers: &HeaderMap) -> Fields {
        let pairs = headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes())));
        self.pairs(pairs.collect())
    }

    pub(super) fn pairs(&mut self, pairs: Fields) -> Fields {
        let clean = |(name, value): (String, String)| {
            let value = self.without_tokens(value);
            let value = redact::header(&name, &value, self.hide).unwrap_or(value);
            (name, value)
        };
        pairs.into_iter().map(clean).collect()
    }

    fn message(&mut self, headers: &HeaderMap, pieces: &Pieces) -> (Fields, Content, Vec<(u64, usize)>) {
        let mut fields = self.fields(headers);
        if pieces.is_truncated() {
            return (fields, Content::Truncated(pieces.length), Vec::new());
        }
        let (body, times) = self.body(&mut fields, pieces.bytes(), &pieces.times);
        (fields, body, times)
    }

    /// A body, and when its pieces came. The fields are made to fit it.
    pub(super) fn body(
        &mut self,
        fields: &mut Fields,
        bytes: Vec<u8>,
        times: &[(u64, usize)],
    ) -> (Content, Vec<(u64, usize)>) {
        if bytes.is_empty() {
            return (Content::Empty, Vec::new());
        }
        let (codings, before) = (field(fields, "content-encoding").map(str::to_owned), bytes.len());
        let mut bytes = bytes;
        if let Some(codings) = codings {
            match coding::decode(&codings, &bytes, LARGEST_BODY) {
                Some(plain) => bytes = plain,
                None => return (Content::Undecodable(codings), Vec::new()),
            }
            fields.retain(|(name, _)| name != "content-encoding");
        }
        let kind = field(fields, "content-type").map(str::to_owned);
        let bytes = self.without_tokens_bytes(bytes);
        let (bytes, times) = match form(kind.as_deref(), &bytes) {
            Form::Lines if bytes.len() == before && !times.is_empty() => {
                self.timed_lines(kind.as_deref(), &bytes, times)
            }
            _ => {
                let new = redact::body(kind.as_deref(), &bytes, self.hide).unwrap_or(bytes);
                let times = stretched(times, before, new.len());
                (new, times)
            }
        };
        // Of a body that was cut short more had been announced.
        for (_, value) in fields.iter_mut().filter(|(name, _)| name == "content-length") {
            let announced = value.parse().unwrap_or(before);
            *value = (announced.max(before) - before + bytes.len()).to_string();
        }
        (Content::of(bytes), times)
    }

    /// Lines are looked at piece by piece, each up to the end of its last line, so that every piece keeps its time.
    fn timed_lines(
        &mut self,
        kind: Option<&str>,
        bytes: &[u8],
        times: &[(u64, usize)],
    ) -> (Vec<u8>, Vec<(u64, usize)>) {
        let (mut whole, mut new_times, mut from, mut passed) = (Vec::new(), Vec::new(), 0, 0);
        for (index, (millis, length)) in times.iter().enumerate() {
            passed += length;
            let is_last = index + 1 == times.len();
            let to = match memchr::memrchr(b'\n', &bytes[from..passed.min(bytes.len())]) {
                _ if is_last => bytes.len(),
                Some(at) => from + at + 1,
                None => continue,
            };
            let piece = &bytes[from..to];
            let new = redact::body(kind, piece, self.hide);
            let new = new.as_deref().unwrap_or(piece);
            new_times.push((*millis, new.len()));
            whole.extend_from_slice(new);
            from = to;
        }
        (whole, new_times)
    }

    fn without_tokens(&self, text: String) -> String {
        let found = self.tokens.iter().filter(|token| text.contains(token.expose()));
        found.fold(text.clone(), |text, token| text.replace(token.expose(), OURS))
    }

    fn without_tokens_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        let mut bytes = bytes;
        for token in self.tokens {
            let token = token.expose().as_bytes();
            if memmem::find(&bytes, token).is_none() {
                continue;
            }
            let mut clean = Vec::with_capacity(bytes.len());
            let mut from = 0;
            for at in memmem::find_iter(&bytes, token) {
                clean.extend_from_slice(&bytes[from..at]);
                clean.extend_from_slice(OURS.as_bytes());
                from = at + token.len();
            }
            clean.extend_from_slice(&bytes[from..]);
            bytes = clean;
        }
        bytes
    }
}

/// The times of pieces of a body whose length has changed.
fn stretched(times: &[(u64, usize)], before: usize, after: usize) -> Vec<(u64, usize)> {
    let (mut passed, mut given) = (0_usize, 0_usize);
    let mut new = Vec::with_capacity(times.len());
    for (index, (millis, length)) in times.iter().enumerate() {
        passed += length;
        let is_last = index + 1 == times.len();
        let until =
            if is_last { after } else { (passed * after).checked_div(before).unwrap_or(after).min(after) };
        new.push((*millis, until.saturating_sub(given)));
        given = until;
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassette::pseudonyms::Shapes;

    #[test]
    fn a_token_of_ours_is_nowhere_whatever_it_looks_like() {
        let tokens = [Secret::new("0ca5a1e0-opaque")];
        let mut cleaner = Cleaner { tokens: &tokens, hide: &mut Shapes };
        let mut fields = vec![
            ("content-type".to_owned(), "audio/mpeg".to_owned()),
            ("www-authenticate".to_owned(), "OAuth2 token=0ca5a1e0-opaque".to_owned()),
            ("content-length".to_owned(), "17".to_owned()),
        ];
        let (body, _) = cleaner.body(&mut fields, b"\xff0ca5a1e0-opaque\xff".to_vec(), &[]);
        assert_eq!(body.bytes().unwrap(), b"\xffhidden-bearer\xff");
        assert_eq!(field(&fields, "content-length"), Some("15"));
        assert_eq!(cleaner.pairs(fields)[1].1, "OAuth2 token=hidden-bearer");
        assert_eq!(cleaner.target("/a/0ca5a1e0-opaque"), "/a/hidden-bearer");
    }

    #[test]
    fn events_keep_their_times_when_their_lengths_change() {
        let mut cleaner = Cleaner { tokens: &[], hide: &mut Shapes };
        let mut fields = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
        let body = b"data: {\"to\":\"15551234567\"}\n\ndata: {\"to\":\"15551234567\"}\n\n".to_vec();
        // The first piece ends within the second event.
        let (body, times) = cleaner.body(&mut fields, body, &[(5, 30), (9, 26)]);
        let event = "data: {\"to\":\"phone\"}\n\n";
        assert_eq!(body, Content::Text(event.repeat(2)));
        assert_eq!(times, [(5, event.len()), (9, event.len())]);
        assert_eq!(stretched(&[(1, 10), (2, 10)], 20, 10), [(1, 5), (2, 5)]);
        assert_eq!(stretched(&[(1, 10)], 0, 10), [(1, 10)]);
    }
}
