//! Links to the upstream in its answers point back to us, so that a tool that follows them keeps its bearer.
//!
//! `Location`, `Content-Location` and `Link` are looked into in every response, bodies only where they are JSON. What is
//! not rewritten passes byte for byte, its length and coding too.
//!
//! A strong `ETag` becomes a weak one wherever the body *could* be changed (`validators`), whether it has links or not: GET,
//! HEAD and 304 of one resource must agree, and only the GET has a body.

mod body;
mod decode;
mod scan;
mod share;
mod target;
mod validators;

use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::Full;
use tokio::time::timeout;

use super::body::ResponseBody;
use crate::config::{Config, ListenAddress};
use crate::headers::AnswerSurvey;
use body::Found;
pub(super) use body::RewrittenBody;
pub(super) use decode::Coding;
use scan::Scanner;
use share::Pool;
pub(super) use target::Target;
pub(super) use validators::Asked;

/// A JSON response up to this many bytes is collected, so that it can be sent with its length.
const COLLECTED: usize = 1 << 20;

/// What all answers that are being collected, or were and are on their way out, may take in memory, in bytes, divided
/// among the threads; but a thread has room for a few.
const COLLECTED_IN_ALL: usize = 64 << 20;
const COLLECTED_IN_A_THREAD: usize = 4 * COLLECTED;

/// How long the rest of a response is waited for to be collected; a slow one is passed on as it comes.
const WAIT: Duration = Duration::from_millis(250);

/// What no longer holds once a body has been changed: its digests.
const OF_THE_BYTES: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Rewrites links of one upstream.
pub(super) struct Links {
    target: Rc<Target>,
    /// `listen.public_url`, without a slash at its end.
    public: Option<Rc<str>>,
    /// Where we listen, for clients that name no host.
    listen: Option<Rc<str>>,
    collected: Pool,
}

/// What the links of one response point to.
#[derive(Clone)]
pub(super) enum Base {
    Public(Rc<str>),
    Host(&'static str, HeaderValue),
    Authority(&'static str, Authority),
}

impl Base {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Public(url) => url.to_string(),
            // Nothing else passes than a host and a port.
            Self::Host(scheme, host) => format!("{scheme}://{}", host.to_str().unwrap_or_default()),
            Self::Authority(scheme, authority) => format!("{scheme}://{authority}"),
        }
    }
}

impl Links {
    /// Those of one thread of so many; `None` where the configuration wants none of it.
    pub(super) fn new(config: &Config, listen: &[ListenAddress], workers: usize) -> Option<Self> {
        let public = config.listen.public_url.as_ref();
        let scheme = if config.listen.tls.is_some() { "https" } else { "http" };
        let listen = listen.iter().find_map(|address| match address {
            ListenAddress::Tcp(address) if !address.ip().is_unspecified() => {
                Some(format!("{scheme}://{address}"))
            }
            _ => None,
        });
        config.upstream.rewrite_links.then(|| Self {
            target: Rc::new(Target::new(&config.upstream.url)),
            public: public.map(|url| url.as_str().trim_end_matches('/').into()),
            listen: listen.map(Into::into),
            collected: Pool::new((COLLECTED_IN_ALL / workers.max(1)).max(COLLECTED_IN_A_THREAD)),
        })
    }

    /// What links have to point to for this client; `None` where the upstream's own URLs are what it uses.
    pub(super) fn base(&self, uri: &Uri, host: Option<&HeaderValue>, scheme: &'static str) -> Option<Base> {
        // As an http_proxy we are asked for the upstream's URLs.
        if uri.authority().is_some_and(|named| self.target.is_named_by(uri.scheme(), named.as_str())) {
            return None;
        }
        if let Some(public) = &self.public {
            return Some(Base::Public(Rc::clone(public)));
        }
        match (uri.authority(), host) {
            (Some(authority), _) => Some(Base::Authority(scheme, authority.clone())),
            (None, Some(host)) => Some(Base::Host(scheme, host.clone())),
            (None, None) => self.listen.clone().map(Base::Public),
        }
    }

    /// Rewrites the links in the head of a response, and says in which coding a body is that has to be looked into.
    pub(super) fn rewrite_head(
        &self,
        base: &Base,
        survey: AnswerSurvey,
        asked: &Asked,
        response: &mut Response<ResponseBody>,
    ) -> Option<Option<Coding>> {
        if survey.links {
            self.rewrite_lines(base, response.headers_mut());
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            if (survey.validators || survey.json) && asked.owns_304(survey.json, response.headers()) {
                validators::weaken(response.headers_mut());
                changed(response.headers_mut(), None);
            }
            return None;
        }
        if !survey.json || !may_change(response.headers()) {
            return None;
        }
        let coding = Coding::of(response.headers())?;
        if survey.validators {
            validators::weaken(response.headers_mut());
        }
        if asked.to_head {
            // What the length of a GET's body is depends on its links.
            changed(response.headers_mut(), None);
        }
        (!response.body().is_end_stream()).then_some(coding)
    }

    fn scanner(&self, base: &Base) -> Scanner {
        Scanner::new(Rc::clone(&self.target), base.clone())
    }

    /// The same as [`rewrite_body`](Self::rewrite_body) for a body without a coding that is there already, as most are.
    /// Whether that was so.
    pub(super) fn rewrite_at_hand(&self, base: &Base, response: &mut Response<ResponseBody>) -> bool {
        let Some(whole) = response.body_mut().take_whole() else { return false };
        let bytes = match self.scanner(base).rewrite(&whole) {
            None => whole,
            Some(rewritten) => {
                changed(response.headers_mut(), None);
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(rewritten.len()));
                rewritten.into()
            }
        };
        *response.body_mut() = ResponseBody::own(Full::new(bytes));
        true
    }

    /// The response with the links in its body rewritten. Cancel safe: dropped, it ends the upstream's response.
    pub(super) async fn rewrite_body(
        &self,
        base: &Base,
        coding: Option<Coding>,
        response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        let (mut head, body) = response.into_parts();
        let announced = body.size_hint().exact();
        let collectable = match announced {
            Some(length) => length <= COLLECTED as u64,
            // Chunked stays chunked; but whether a coding has to be taken off is only known at the end.
            None => coding.is_some(),
        };
        let scanner = || self.scanner(base);
        let mut looked = RewrittenBody::new(body, self.collected.share());
        if collectable {
            // A client is better served by what there is in time than by its length.
            let _late = timeout(WAIT, looked.collect(COLLECTED)).await;
        }
        let found = match looked.is_whole() {
            true => looked.find(coding, scanner(), COLLECTED).await,
            false if looked.is_broken() => Found::Nothing,
            false => Found::Large,
        };
        match found {
            Found::Nothing => {}
            Found::Links(bytes) => {
                changed(&mut head.headers, coding);
                head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
                looked.become_bytes(bytes);
            }
            Found::Large => {
                changed(&mut head.headers, coding);
                looked.pass_through(coding, scanner());
            }
        }
        Response::from_parts(head, ResponseBody::RewrittenBody(Box::new(looked)))
    }

    fn rewrite_lines(&self, base: &Base, headers: &mut HeaderMap) {
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            if let Some(value) = headers.get_mut(name)
                && let Some(end) = self.target.in_header(value.as_bytes())
            {
                set(value, [base.text().as_bytes(), &value.as_bytes()[end..]].concat());
            }
        }
        if let header::Entry::Occupied(mut lines) = headers.entry(header::LINK) {
            for line in lines.iter_mut() {
                if let Some(rewritten) = self.link_line(base, line.as_bytes()) {
                    set(line, rewritten);
                }
            }
        }
    }

    /// A line of `Link` (RFC 8288 §3): URLs in angle brackets, and quoted strings that may hold any.
    fn link_line(&self, base: &Base, line: &[u8]) -> Option<Vec<u8>> {
        let (mut out, mut copied, mut quoted, mut at) = (Vec::new(), 0, false, 0);
        while let Some(byte) = line.get(at) {
            at += 1;
            match byte {
                b'\\' if quoted => at += 1,
                b'"' => quoted = !quoted,
                b'<' if !quoted => {
                    let rest = &line[at..];
                    let url = &rest[..rest.iter().position(|byte| *byte == b'>').unwrap_or(rest.len())];
                    if let Some(end) = self.target.in_header(url) {
                        out.extend_from_slice(&line[copied..at]);
                        out.extend_from_slice(base.text().as_bytes());
                        copied = at + end;
                    }
                    at += url.len();
                }
                _ => {}
            }
        }
        (copied > 0).then(|| {
            out.extend_from_slice(&line[copied..]);
            out
        })
    }
}

fn set(value: &mut HeaderValue, bytes: Vec<u8>) {
    if let Ok(rewritten) = HeaderValue::from_bytes(&bytes) {
        *value = rewritten;
    }
}

/// Takes out of a head what is no longer true of a body that is sent decoded, or changed.
fn changed(headers: &mut HeaderMap, coding: Option<Coding>) {
    headers.remove(header::CONTENT_LENGTH);
    for name in &OF_THE_BYTES {
        headers.remove(name);
    }
    if coding.is_some() {
        headers.remove(header::CONTENT_ENCODING);
    }
}

/// Whether a body of JSON is not a part of one, and nobody forbids to change it.
fn may_change(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::CONTENT_RANGE) && !is_final(headers)
}

/// `no-transform` (RFC 9111 §5.2.2.6), which no proxy may overlook (RFC 9110 §7.7).
fn is_final(headers: &HeaderMap) -> bool {
    let mut directives =
        headers.get_all(header::CACHE_CONTROL).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// Rewrites a whole text that comes in these pieces: for tests, benchmarks and fuzzing.
///
/// `upstream` is an origin as `upstream.url` has it; one that is none rewrites nothing.
#[doc(hidden)]
pub fn rewrite_pieces<'a>(upstream: &str, base: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let (tls, authority) = match upstream.split_once("://") {
        Some((scheme, authority)) => (scheme == "https", Authority::try_from(authority).ok()),
        None => (false, None),
    };
    let mut scanner = authority.map(|authority| {
        let target = Target::new(&crate::config::Origin { tls, authority });
        Scanner::new(Rc::new(target), Base::Public(base.into()))
    });
    for piece in pieces {
        match &mut scanner {
            Some(scanner) => out.extend_from_slice(&scanner.feed(bytes::Bytes::copy_from_slice(piece))),
            None => out.extend_from_slice(piece),
        }
    }
    if let Some(scanner) = &mut scanner {
        out.extend_from_slice(&scanner.finish());
    }
    out
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
