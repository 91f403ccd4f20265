//! Decides whether a request is forwarded.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use tokio::time::Instant;

use super::connection::{Call, Connection, InFlight};
use super::error::{self, Error};
use super::links::Rewrite;
use super::{gate, page};
use vbc_http::Incoming;
use vbc_http::headers;

/// The shortest time between two warnings about logins of clients.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The decision on a request.
pub(super) enum Admission<'a> {
    /// The request is forwarded.
    Forward(Admitted<'a>),
    /// The proxy itself sends this response.
    Respond(Response<Full<Bytes>>),
}

/// A request that is forwarded.
pub(super) struct Admitted<'a> {
    /// Rewrites the links in the response. `None` if the links stay unchanged.
    pub(super) rewrite: Option<Rewrite<'a>>,
    /// Whether a browser will show the response as a page.
    pub(super) is_navigation: bool,
    pub(super) in_flight: InFlight,
}

impl Connection {
    /// Decides whether a request is forwarded. Checks the drain, then the gate (method, host, loop,
    /// the browser's origin), the limit on requests in flight, and `Max-Forwards`.
    ///
    /// # Errors
    /// The reason why the request is not forwarded.
    pub(super) fn admit(
        &self,
        request: &mut Request<Incoming>,
        call: &mut Call,
    ) -> Result<Admission<'_>, Error> {
        let proxy = &*self.proxy;
        if proxy.drain.has_begun() {
            return Err(Error::Draining);
        }
        let host = request.headers().get(header::HOST);
        let origin = proxy.gate.admit(request, host, call.survey)?;
        if let Some(origin) = &origin
            && gate::is_preflight(request)
        {
            return Ok(Admission::Respond(gate::preflight(origin, request.headers())));
        }
        call.origin = origin;
        if request.method() == Method::POST && is_token_path(request.uri().path()) {
            self.warn_of_login(request.uri().path());
        }
        let in_flight = InFlight::begin(&self.proxy).ok_or(Error::Overloaded)?;
        if call.survey.max_forwards
            && request.method() == Method::OPTIONS
            && headers::max_forwards(request.headers()) == Some(0)
        {
            return Ok(Admission::Respond(error::options()));
        }
        let is_navigation = call.survey.browser && page::is_navigation(request.headers());
        let rewrite = proxy.links.as_ref().and_then(|links| {
            let base = links.base(request.uri(), host, self.scheme)?;
            Some((links, base))
        });
        let rewrite = rewrite.map(|(links, base)| Rewrite::new(links, base, request, call.survey));
        // `Accept-Encoding` is narrowed only if the proxy decodes the body: to rewrite links or to
        // record.
        call.survey.accept_encoding &= rewrite.is_some() || proxy.records;
        Ok(Admission::Forward(Admitted { rewrite, is_navigation, in_flight }))
    }

    /// Warns, at most once a minute for each thread, that a client logs in by itself. VBC counts a
    /// client's failed logins, and enough of them lock the account.
    fn warn_of_login(&self, path: &str) {
        let now = Instant::now();
        let last = self.proxy.warned_of_login.get();
        if last.is_none_or(|last| now.duration_since(last) >= WARN_EVERY) {
            self.proxy.warned_of_login.set(Some(now));
            tracing::warn!(
                peer = %self.peer, path,
                "a client logs in through the proxy; remove the login from the client, because failed ones lock the account"
            );
        }
    }
}

/// Whether a path is a token endpoint of VBC, which the proxy forwards like any other path.
fn is_token_path(path: &str) -> bool {
    path == "/token" || path == "/t/vbc.prod/oauth2/token"
}
