//! From what passed to what is written: codings off, tokens out, credentials and personal data replaced.

use http::{HeaderMap, Version};
use memchr::memmem;

use super::body::{self, Form, form};
use super::coding;
use super::format::{Answered, Asked, Content, LARGEST_BODY, Record, field};
use super::hide::{Depth, Hide, value};
use super::hint::Hint;
use super::pseudonyms::{OURS, Remembering, replaced};
use super::redact::{self, latin1};
use super::tape::{Exchange, Pieces};
use crate::secret::Secret;

type Fields = Vec<(String, String)>;

/// The record of an exchange, without its number.
pub(super) fn transcribe(exchange: &Exchange, tokens: &[Secret], hide: &mut dyn Hide) -> Record {
    let mut cleaner = Cleaner::new(tokens, hide);
    let tape = &exchange.tape;
    let request = {
        let pieces = exchange.request();
        let target = cleaner.target(&tape.target);
        let (headers, body, _) = cleaner.message(&tape.headers, &pieces);
        let body = if pieces.ended || pieces.is_truncated() { body } else { Content::Unread };
        let (method, version) = (tape.method.to_string(), version(tape.version).to_owned());
        cleaner.asked(Asked { method, target, version, headers, body })
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

/// Hides what is to be hidden in the parts of an exchange: of the request first, whose credentials may be repeated.
pub(super) struct Cleaner<'c> {
    tokens: &'c [Secret],
    hide: Remembering<'c>,
}

impl<'c> Cleaner<'c> {
    /// One that takes out these tokens, and hides the rest so.
    pub(super) fn new(tokens: &'c [Secret], hide: &'c mut dyn Hide) -> Self {
        Self { tokens, hide: Remembering::new(hide) }
    }

    fn words(&mut self, text: &str) -> String {
        let text = self.without_tokens(text.to_owned());
        let text = value(&text, Hint::Nothing, Depth::default(), &mut self.hide).unwrap_or(text);
        self.hide.without_in(text)
    }

    pub(super) fn target(&mut self, target: &str) -> String {
        let target = self.without_tokens(target.to_owned());
        redact::target(&target, &mut self.hide).unwrap_or(target)
    }

    /// A request of which everything has been seen: what its body calls a credential may be in its head.
    pub(super) fn asked(&mut self, asked: Asked) -> Asked {
        let target = self.hide.without_in(asked.target);
        let headers = asked.headers.into_iter().map(|(name, value)| (name, self.hide.without_in(value)));
        let headers = headers.collect();
        self.hide.is_full = true;
        Asked { target, headers, ..asked }
    }

    fn fields(&mut self, headers: &HeaderMap) -> Fields {
        let pairs = headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes())));
        self.pairs(pairs.collect())
    }

    pub(super) fn pairs(&mut self, pairs: Fields) -> Fields {
        let clean = |(name, value): (String, String)| {
            let value = self.without_tokens(value);
            let value = redact::header(&name, &value, &mut self.hide).unwrap_or(value);
            let value = self.hide.without_in(value);
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
        let is_file = form(kind.as_deref(), &bytes) == Form::Gzip;
        if is_file && coding::decode("gzip", &bytes, LARGEST_BODY).is_none() {
            return (Content::Undecodable("gzip".into()), Vec::new());
        }
        let bytes = self.without_tokens_bytes(bytes);
        let (bytes, times) = match form(kind.as_deref(), &bytes) {
            Form::Lines if bytes.len() == before && !times.is_empty() => {
                self.timed_lines(kind.as_deref(), &bytes, times)
            }
            _ => {
                let new = body::body(kind.as_deref(), &bytes, &mut self.hide).unwrap_or(bytes);
                let new = self.hide.without(new);
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
            let new = body::body(kind, piece, &mut self.hide).unwrap_or_else(|| piece.to_owned());
            let new = self.hide.without(new);
            new_times.push((*millis, new.len()));
            whole.extend_from_slice(&new);
            from = to;
        }
        (whole, new_times)
    }

    fn without_tokens(&self, text: String) -> String {
        let found = self.tokens.iter().filter(|token| text.contains(token.expose()));
        found.fold(text.clone(), |text, token| text.replace(token.expose(), OURS))
    }

    fn without_tokens_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        let tokens = self.tokens.iter().map(|token| token.expose().as_bytes());
        tokens.fold(bytes, |bytes, token| match memmem::find(&bytes, token) {
            Some(_) => replaced(&bytes, token, OURS.as_bytes()),
            None => bytes,
        })
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
    use crate::cassette::pseudonyms::{Pseudonyms, Shapes};

    #[test]
    fn a_token_of_ours_is_nowhere_whatever_it_looks_like() {
        let tokens = [Secret::new("0ca5a1e0-opaque")];
        let mut hide = Pseudonyms::new(&[1; 32], true);
        let mut cleaner = Cleaner::new(&tokens, &mut hide);
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
    fn a_file_that_cannot_be_unpacked_is_not_recorded() {
        let mut cleaner_of = Shapes;
        let packed = coding::gzip(b"{\"token\":\"s3cret\"}").unwrap();
        for bytes in [&packed[..packed.len() - 4], &[&packed[..], b"trailing"].concat()] {
            let mut fields = vec![("content-type".to_owned(), "application/gzip".to_owned())];
            let (body, _) = Cleaner::new(&[], &mut cleaner_of).body(&mut fields, bytes.to_vec(), &[]);
            assert_eq!(body, Content::Undecodable("gzip".into()));
        }
    }

    #[test]
    fn what_repeats_a_credential_of_the_request_does_not_give_it_away() {
        let mut hide = Shapes;
        let mut cleaner = Cleaner::new(&[], &mut hide);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let target = cleaner.target("/of/s3cret-in-body");
        let mut fields = cleaner.pairs(vec![
            pair("authorization", "Bearer s3cret-in-head"),
            pair("x-note", "s3cret-in-body"),
            pair("cookie", "a=word"),
        ]);
        let (body, _) = cleaner.body(&mut fields, b"token=s3cret-in-body".to_vec(), &[]);
        let (method, version) = ("GET".to_owned(), "HTTP/1.1".to_owned());
        let asked = cleaner.asked(Asked { method, target, version, headers: fields, body });
        assert_eq!(
            (asked.target.as_str(), field(&asked.headers, "x-note")),
            ("/of/credential", Some("credential"))
        );

        let mut fields = cleaner.pairs(vec![
            pair("x-got", "s3cret-in-head."),
            pair("x-session", "an0ther-value"),
            pair("content-length", "46"),
        ]);
        assert_eq!(fields[0].1, "credential.");
        let answer = b"no s3cret-in-head, but a word, an0ther-value: \xff".to_vec();
        let (body, _) = cleaner.body(&mut fields, answer, &[]);
        // A word, and what the answer alone calls a credential, may be anything.
        let expected = b"no credential, but a word, an0ther-value: \xff";
        assert_eq!(body.bytes().unwrap(), expected);
        assert_eq!(field(&fields, "content-length"), Some("43"));
    }

    #[test]
    fn events_keep_their_times_when_their_lengths_change() {
        let mut hide = Shapes;
        let mut cleaner = Cleaner::new(&[], &mut hide);
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
