//! The page to watch requests on, and to click faults on. It needs nothing from elsewhere, and may load nothing.

use http::header::{HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

use crate::response::{Answer, set, text};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn page() -> Answer {
    asset("text/html; charset=utf-8", include_str!("page.html"))
}

pub(super) fn script() -> Answer {
    asset("text/javascript; charset=utf-8", include_str!("page.js"))
}

pub(super) fn style() -> Answer {
    asset("text/css; charset=utf-8", include_str!("page.css"))
}

fn asset(content_type: &str, content: &'static str) -> Answer {
    let mut answer = text(200, content_type, content);
    set(&mut answer, HeaderName::from_static("content-security-policy"), POLICY);
    set(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut answer, REFERRER_POLICY, "no-referrer");
    answer
}
