//! Rewrites links to the upstream in its responses so that they point to this proxy. Requests that
//! follow such a link then get a bearer too.
//!
//! `Location`, `Content-Location` and `Link` are checked in every response, bodies only if they are
//! JSON. Everything else passes byte for byte, with its length and coding.
//!
//! A strong `ETag` becomes weak wherever the body *could* be changed (`validators`), even if the
//! body has no links. The responses to GET, HEAD and conditional requests must carry the same tag,
//! and only GET has a body to search.

mod body;
mod decode;
mod scan;
mod share;
mod target;
mod validators;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body::Body;
use tokio::time::timeout;

use super::BoxError;
use crate::config::{Config, ListenAddress};
pub(super) use body::RewrittenBody;
use body::Scan;
pub(super) use decode::Coding;
use scan::Scanner;
use share::Pool;
pub(super) use target::Target;
use validators::Conditions;
use vbc_http::headers::{ResponseSurvey, Survey};

/// A JSON response up to this many bytes is collected, so that it can be sent with its length.
const COLLECTED: usize = 1 << 20;

/// The memory for collected bodies of all threads, in bytes. Each thread has an equal part, but at
/// least [`COLLECTED_PER_THREAD`].
const COLLECTED_IN_ALL: usize = 64 << 20;
/// The least memory of one thread for collected bodies, in bytes.
const COLLECTED_PER_THREAD: usize = 4 * COLLECTED;

/// How long collecting a body may take. A slower body is streamed.
const WAIT: Duration = Duration::from_millis(250);

/// Fields with digests, which are wrong for a changed body.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Rewrites links to one upstream.
pub(super) struct Links {
    target: Rc<Target>,
    /// `listen.public_url`, without a slash at its end.
    public: Option<Rc<str>>,
    /// The listener's address, for clients that send no `Host`.
    listen: Option<Rc<str>>,
    collected: Pool,
}

/// The prefix that replaces the upstream's origin in the links of one response.
#[derive(Clone)]
pub(super) enum Base {
    /// `listen.public_url`, or the address of the listener.
    Public(Rc<str>),
    /// A scheme, and the `Host` of the request.
    Host(&'static str, HeaderValue),
    /// A scheme, and the authority of the request's target.
    Authority(&'static str, Authority),
}

impl Base {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Public(url) => url.to_string(),
            // The host check lets only a host with an optional port pass.
            Self::Host(scheme, host) => format!("{scheme}://{}", host.to_str().unwrap_or_default()),
            Self::Authority(scheme, authority) => format!("{scheme}://{authority}"),
        }
    }
}

impl Links {
    /// The rewriter of one of `workers` threads. `None` if the configuration turns rewriting off.
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
            collected: Pool::new((COLLECTED_IN_ALL / workers.max(1)).max(COLLECTED_PER_THREAD)),
        })
    }

    /// The prefix of rewritten links for this client. `None` if the client uses the upstream's own
    /// URLs.
    pub(super) fn base(&self, uri: &Uri, host: Option<&HeaderValue>, scheme: &'static str) -> Option<Base> {
        // A client that uses this proxy as its http_proxy requests the upstream's URLs.
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

    /// Rewrites a line of `Link` (RFC 8288 §3): URLs in angle brackets, but not inside quoted
    /// strings. `None` if nothing changes.
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

/// Rewrites the links of one response.
///
/// Call [`head`](Self::head) first. If it returns a coding, rewrite the body with
/// [`whole`](Self::whole) or [`body`](Self::body).
pub(super) struct Rewrite<'a> {
    links: &'a Links,
    base: Base,
    request: Conditions,
}

impl<'a> Rewrite<'a> {
    /// Notes the conditions of a request, and turns weak tags in `If-Match` into the upstream's
    /// strong tags.
    pub(super) fn new<B>(links: &'a Links, base: Base, request: &mut Request<B>, survey: Survey) -> Self {
        Self { links, base, request: Conditions::take(request, survey) }
    }

    /// Rewrites the links in a head. `None`: the body stays as it is. `Some(None)`: the body has no
    /// coding and must be rewritten, too. `Some(Some(coding))`: it must be decoded first.
    pub(super) fn head<B: Body>(
        &self,
        survey: ResponseSurvey,
        response: &mut Response<B>,
    ) -> Option<Option<Coding>> {
        if survey.links {
            self.links.rewrite_lines(&self.base, response.headers_mut());
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            if (survey.validators || survey.json) && self.request.owns_304(survey.json, response.headers()) {
                validators::weaken(response.headers_mut());
                drop_body_fields(response.headers_mut(), None);
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
        if self.request.is_head() {
            // The body of a GET would be rewritten, so its length is unknown.
            drop_body_fields(response.headers_mut(), None);
        }
        (!response.body().is_end_stream()).then_some(coding)
    }

    fn scanner(&self) -> Scanner {
        Scanner::new(Rc::clone(&self.links.target), self.base.clone())
    }

    /// Rewrites a body that has no coding and has been received.
    pub(super) fn whole(&self, whole: Bytes, headers: &mut HeaderMap) -> Bytes {
        let Some(rewritten) = self.scanner().rewrite(&whole) else { return whole };
        drop_body_fields(headers, None);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(rewritten.len()));
        rewritten.into()
    }

    /// Rewrites a body that has not been received completely, or has a coding.
    ///
    /// Cancel safe: dropping the future ends the upstream's response.
    pub(super) async fn body<B>(
        &self,
        coding: Option<Coding>,
        response: Response<B>,
    ) -> Response<RewrittenBody<B>>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        let (mut head, body) = response.into_parts();
        let collectable = match body.size_hint().exact() {
            Some(length) => length <= COLLECTED as u64,
            // A chunked body stays chunked, so it is not collected for its length. A body with a
            // coding is collected anyway: only the whole body shows whether it has links, and its
            // coding must be removed.
            None => coding.is_some(),
        };
        let mut body = RewrittenBody::new(body, self.links.collected.share());
        if collectable {
            // After the timeout, the body is streamed without a length.
            let _late = timeout(WAIT, body.collect(COLLECTED)).await;
        }
        let outcome = if body.is_whole() {
            body.scan(coding, self.scanner(), COLLECTED).await
        } else if body.is_broken() {
            Scan::Unchanged
        } else {
            Scan::Large
        };
        match outcome {
            Scan::Unchanged => {}
            Scan::Rewritten(bytes) => {
                drop_body_fields(&mut head.headers, coding);
                head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
                body.replace(bytes);
            }
            Scan::Large => {
                drop_body_fields(&mut head.headers, coding);
                body.pass_through(coding, self.scanner());
            }
        }
        Response::from_parts(head, body)
    }
}

fn set(value: &mut HeaderValue, bytes: Vec<u8>) {
    if let Ok(rewritten) = HeaderValue::from_bytes(&bytes) {
        *value = rewritten;
    }
}

/// Removes fields that are wrong for a body that is changed or sent without its coding.
fn drop_body_fields(headers: &mut HeaderMap, coding: Option<Coding>) {
    headers.remove(header::CONTENT_LENGTH);
    for name in &DIGESTS {
        headers.remove(name);
    }
    if coding.is_some() {
        headers.remove(header::CONTENT_ENCODING);
    }
}

/// Whether a JSON body may be changed: it is not a range, and no field forbids it.
fn may_change(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::CONTENT_RANGE) && !is_final(headers)
}

/// Whether `no-transform` forbids changes (RFC 9111 §5.2.2.6, RFC 9110 §7.7).
fn is_final(headers: &HeaderMap) -> bool {
    let mut directives =
        headers.get_all(header::CACHE_CONTROL).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// Rewrites a text that is given in pieces. For tests, benchmarks and fuzzing.
///
/// `upstream` is an origin as in `upstream.url`. If it is invalid, nothing is rewritten.
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
            Some(scanner) => out.extend_from_slice(&scanner.feed(Bytes::copy_from_slice(piece))),
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
