//! The page that shows requests and injects faults. Its content security policy forbids loading
//! anything from other servers.

use http::header::{HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

use crate::response::{Response, set, text};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn page() -> Response {
    asset("text/html; charset=utf-8", include_str!("page.html"))
}

pub(super) fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("page.js"))
}

pub(super) fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("page.css"))
}

fn asset(content_type: &str, content: &'static str) -> Response {
    let mut response = text(200, content_type, content);
    set(&mut response, HeaderName::from_static("content-security-policy"), POLICY);
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut response, REFERRER_POLICY, "no-referrer");
    response
}
