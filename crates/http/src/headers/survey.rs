//! Finds the fields of a message that need attention.

use http::header::{self, HeaderMap, HeaderValue};

use super::strip::{is_hop_by_hop, is_policy, is_the_clients};

/// Which fields of a request need attention. One pass over the names is cheaper than one look-up
/// per field, since most requests have few of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// `Via`
    pub via: bool,
    /// `Origin` or `Sec-Fetch-*`: the client is a browser.
    pub browser: bool,
    /// `If-Match` or `If-None-Match`
    pub tags: bool,
    /// `Max-Forwards`
    pub max_forwards: bool,
    /// `Cookie`
    pub cookie: bool,
    /// `Content-Length`
    pub content_length: bool,
    /// `Expect`
    pub expect: bool,
    /// `Transfer-Encoding`
    pub transfer_encoding: bool,
    /// `X-Request-Id`
    pub request_id: bool,
    /// `Accept-Encoding`
    pub accept_encoding: bool,
    /// A field that [`strip_request`](super::strip_request) removes or changes.
    pub strip: bool,
}

impl Survey {
    /// Surveys the fields of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut survey = Self::default();
        for name in headers.keys() {
            match *name {
                // The most common names.
                header::HOST | header::USER_AGENT | header::ACCEPT => {}
                header::ACCEPT_ENCODING => survey.accept_encoding = true,
                header::CONTENT_TYPE | header::ACCEPT_LANGUAGE | header::CACHE_CONTROL => {}
                header::VIA => survey.via = true,
                header::ORIGIN => survey.browser = true,
                header::IF_MATCH | header::IF_NONE_MATCH => survey.tags = true,
                header::MAX_FORWARDS => survey.max_forwards = true,
                header::COOKIE => survey.cookie = true,
                header::CONTENT_LENGTH => survey.content_length = true,
                header::EXPECT => survey.expect = true,
                header::TRANSFER_ENCODING => {
                    survey.transfer_encoding = true;
                    survey.strip = true;
                }
                _ if is_hop_by_hop(name) || is_the_clients(name) => survey.strip = true,
                _ => match name.as_str() {
                    "x-request-id" => survey.request_id = true,
                    name => survey.browser |= name.starts_with("sec-fetch-"),
                },
            }
        }
        survey
    }
}

/// Which fields of a response need attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseSurvey {
    /// A field that [`strip_response`](super::strip_response) removes.
    pub strip: bool,
    /// `Location`, `Content-Location` or `Link`
    pub links: bool,
    /// The `Content-Type` is JSON.
    pub json: bool,
    /// `ETag` or `Accept-Ranges`
    pub validators: bool,
    /// `X-Request-Id`
    pub request_id: bool,
}

impl ResponseSurvey {
    /// Surveys the fields of a response.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut survey = Self::default();
        let mut typed = false;
        for (name, value) in headers {
            match *name {
                header::DATE | header::SERVER | header::CONTENT_LENGTH | header::CACHE_CONTROL => {}
                header::VARY | header::LAST_MODIFIED | header::CONTENT_ENCODING => {}
                header::ETAG | header::ACCEPT_RANGES => survey.validators = true,
                // Only the first `Content-Type` line counts.
                header::CONTENT_TYPE if typed => {}
                header::CONTENT_TYPE => {
                    typed = true;
                    survey.json = is_json(value);
                }
                header::LOCATION | header::CONTENT_LOCATION | header::LINK => survey.links = true,
                _ if is_hop_by_hop(name) || is_policy(name) => survey.strip = true,
                _ => survey.request_id |= name.as_str() == "x-request-id",
            }
        }
        survey
    }
}

/// Whether a `Content-Type` is JSON, or a type based on it (RFC 6839 §3.1).
fn is_json(content_type: &HeaderValue) -> bool {
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let suffix = essence.last_chunk::<5>();
    essence.eq_ignore_ascii_case(b"application/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json"))
}
