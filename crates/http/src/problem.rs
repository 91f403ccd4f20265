//! Responses of the proxy itself: problem details (RFC 9457) and `Proxy-Status` (RFC 9209).

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

/// The name of this proxy in `Proxy-Status` and `Via`.
pub const NAME: &str = "vbc-proxy";

/// A response of the proxy itself.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The status of the response.
    pub status: StatusCode,
    /// The last part of `type`, for programs.
    pub kind: &'static str,
    /// A short text for the kind. All problems of one kind have the same title.
    pub title: &'static str,
    /// What happened and what to do, for a human reader. Contains no secrets.
    pub detail: String,
    /// The error type for `Proxy-Status` (RFC 9209 §2.3). `None` if no proxying was involved.
    pub error: Option<&'static str>,
    /// How long to wait before a retry makes sense, for `Retry-After`.
    pub retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
}

impl Problem {
    /// The response to the request with this id.
    pub fn response(&self, request_id: &str) -> Response<Full<Bytes>> {
        let wire = Wire {
            r#type: format!("urn:{NAME}:{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: request_id,
        };
        let mut body = serde_json::to_vec(&wire).unwrap_or_default();
        body.push(b'\n');
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // Errors describe a moment and must not be cached.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(error) = self.error {
            headers.insert("proxy-status", proxy_status(&[("error", Param::Token(error))], &self.detail));
        }
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds(after)));
        }
        response
    }
}

/// A parameter of a `Proxy-Status` member.
#[derive(Clone, Copy, Debug)]
pub enum Param {
    /// A token, bare.
    Token(&'static str),
    /// A number.
    Number(u16),
}

/// A `Proxy-Status` value for this proxy (RFC 9209 §2), with `details` last unless it is empty.
pub fn proxy_status(params: &[(&str, Param)], details: &str) -> HeaderValue {
    let mut text = String::from(NAME);
    for (name, param) in params {
        // Writing to a string cannot fail.
        let _ = match param {
            Param::Token(token) => write!(text, "; {name}={token}"),
            Param::Number(number) => write!(text, "; {name}={number}"),
        };
    }
    if !details.is_empty() {
        text.push_str("; details=\"");
        // An sf-string is printable ASCII with `"` and `\` escaped (RFC 8941 §3.3.3).
        for c in details.chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                ' '..='~' => text.push(c),
                _ => text.push('?'),
            }
        }
        text.push('"');
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(NAME))
}

/// Whole seconds, rounded up, at least 1: an immediate retry would only fail again.
fn retry_after_seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_problem_says_what_why_and_when() {
        let problem = Problem {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "no-usable-token",
            title: "No usable token",
            detail: "say \"please\"\n".into(),
            error: Some("proxy_internal_error"),
            retry_after: Some(Duration::from_millis(1001)),
        };
        let response = problem.response("id-1");
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(
            response.headers()["proxy-status"],
            r#"vbc-proxy; error=proxy_internal_error; details="say \"please\"?""#
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["type"], "urn:vbc-proxy:no-usable-token");
        assert_eq!(json["status"], 503);
        assert_eq!(json["instance"], "id-1");
    }
}
