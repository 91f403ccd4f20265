//! Rejects requests with foreign host names, and changes that foreign pages request. The rules of
//! [`host_guard`](vbc_http::host_guard) apply, with two exceptions for forms.

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode, header};
use vbc_http::host_guard::{self, Foreign, HostGuard, SEC_FETCH_SITE};

use super::problem;

/// Decides whether a request is served. A unix socket has no guard, because no browser reaches it.
pub(super) fn admit<B>(guard: Option<&HostGuard>, request: &Request<B>) -> Result<(), Foreign> {
    let headers = request.headers();
    if let Some(guard) = guard {
        guard.check_host(request.uri(), headers)?;
    }
    if is_own_form(headers) || is_confirmation(request) {
        return Ok(());
    }
    host_guard::check_page(request.method(), headers)
}

/// The response to a request that is not served.
pub(super) fn response(foreign: Foreign) -> Response<Body> {
    let (status, kind, title, detail) = match foreign {
        Foreign::Host => (
            StatusCode::MISDIRECTED_REQUEST,
            "foreign-host",
            "Not a host of this proxy",
            "the admin listener does not accept this Host name; use localhost, its address, or a name in listen.hosts",
        ),
        Foreign::Page => (
            StatusCode::FORBIDDEN,
            "cross-site-request",
            "Cross-site request refused",
            "a page of another site requested a change; make the change from the command line or a page of this listener",
        ),
    };
    problem(status, kind, title, detail)
}

/// Whether a page of another site has made the request.
pub(super) fn is_from_foreign_page(headers: &HeaderMap) -> bool {
    !is_own_form(headers) && host_guard::is_from_foreign_page(headers)
}

/// Whether the request submits a form on a page of this listener. These pages send no referrer, so
/// the form's origin is `null` (Fetch §3.2) and `Sec-Fetch-Site` decides.
fn is_own_form(headers: &HeaderMap) -> bool {
    has_null_origin(headers) && headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin")
}

/// Whether the request may submit the confirmation form from a browser without Fetch Metadata. The
/// only hint is the origin `null`. The form also needs the token of its page and a cookie with
/// `SameSite=Strict`, which a page of another site cannot send.
fn is_confirmation<B>(request: &Request<B>) -> bool {
    let name = request.uri().path().strip_prefix("/login/").and_then(|rest| rest.strip_suffix("/confirm"));
    has_null_origin(request.headers())
        && !request.headers().contains_key(SEC_FETCH_SITE)
        && name.is_some_and(|name| !name.contains('/'))
}

fn has_null_origin(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin == "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NULL: (&str, &str) = ("origin", "null");

    fn admitted(path: &str, headers: &[(&str, &str)]) -> Result<(), Foreign> {
        let guard = HostGuard::new([], [[127, 0, 0, 1].into()]);
        let mut request = Request::post(path).header("host", "localhost:8081");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        admit(Some(&guard), &request.body(()).unwrap())
    }

    #[test]
    fn a_unix_socket_goes_by_every_name() {
        let request = || Request::get("/").header("host", "anything.example").body(()).unwrap();
        assert_eq!(admit(None, &request()), Ok(()));
        assert_eq!(admit(Some(&HostGuard::new([], [])), &request()), Err(Foreign::Host));
    }

    #[test]
    fn each_refusal_has_its_status() {
        assert_eq!(response(Foreign::Host).status(), 421);
        assert_eq!(response(Foreign::Page).status(), 403);
    }

    #[test]
    fn a_form_of_our_own_page_needs_no_origin_but_the_same_site() {
        assert_eq!(admitted("/", &[NULL, ("sec-fetch-site", "same-origin")]), Ok(()));
        for foreign in [&[NULL][..], &[NULL, ("sec-fetch-site", "cross-site")]] {
            assert_eq!(admitted("/", foreign), Err(Foreign::Page), "{foreign:?}");
        }
    }

    #[test]
    fn a_confirmation_may_come_from_a_browser_that_tells_no_site() {
        assert_eq!(admitted("/login/default/confirm", &[NULL]), Ok(()));
        for (path, headers) in [
            ("/login/default/confirm", &[NULL, ("sec-fetch-site", "cross-site")][..]),
            ("/login/default/confirm", &[("origin", "http://evil.example")]),
            ("/credentials/default/refresh", &[NULL]),
            ("/login/default", &[NULL]),
            ("/login/a/b/confirm", &[NULL]),
        ] {
            assert_eq!(admitted(path, headers), Err(Foreign::Page), "{path} {headers:?}");
        }
    }
}
