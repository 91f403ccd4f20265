//! Interprets a token endpoint's response. Pure: no I/O, no clock.
//!
//! Reading is lenient, but errs in one direction only. A response that may have spent a refresh
//! token is never read as one that did not. A response that may count as a refused login is never
//! read as one that does not count.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::error_body::ErrorBody;
use super::judge::{self, Evidence};
use super::redact::Redactor;
use super::response_body::ResponseBody;
use super::{AccessToken, Class, Grant, Issued, TokenError, retry_after};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

/// The lifetime of a token without `expires_in`, which servers may omit (RFC 6749 §5.1). An hour is
/// WSO2's default. If the token lives longer, it is merely refreshed too early.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
/// The longest lifetime. Servers that mean "forever" send numbers that overflow dates.
const LONGEST_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A response of the token endpoint.
pub(super) struct TokenResponse<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// The body as received. [`ResponseBody::read`] decodes it.
    pub(super) body: &'a [u8],
}

/// Reads the response to redeeming `grant`, received at `now`.
pub(super) fn read(
    response: &TokenResponse<'_>,
    grant: &Grant,
    redactor: &Redactor,
    now: Timestamp,
) -> Result<Issued, TokenError> {
    let body = ResponseBody::read(response.headers, response.body);
    let reader = FailureReader { response, grant, redactor, now, body: &body.error };
    if response.status.is_redirection() {
        return Err(reader.redirected());
    }
    if !response.status.is_success() {
        return Err(reader.refused());
    }
    match body.object() {
        Ok(object) if object.get("access_token").is_some_and(|token| !token.is_null()) => {
            issued(object).map_err(|reason| reader.lost(reason))
        }
        _ if reader.throttle_code().is_some() || body.error.structured_oauth_error().is_some() => {
            Err(reader.refused())
        }
        Ok(_) => Err(reader.lost("it has no access_token")),
        Err(reason) => Err(reader.lost(reason)),
    }
}

/// Reads a successful response (RFC 6749 §5.1).
fn issued(body: &Map<String, Value>) -> Result<Issued, &'static str> {
    let access_token = body.get("access_token").and_then(Value::as_str).unwrap_or_default();
    // A header may contain any visible ASCII character, although RFC 6750 §2.1 allows fewer.
    if access_token.is_empty() || !access_token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("an access_token that cannot be sent");
    }
    // A client must not use a token of an unknown type (RFC 6749 §7.1). The type is case
    // insensitive (§5.1).
    match body.get("token_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind.trim().eq_ignore_ascii_case("bearer") || kind.is_empty() => {}
        Some(_) => return Err("a token_type other than Bearer"),
    }
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    Ok(Issued {
        access_token: AccessToken::new(access_token),
        refresh_token: text("refresh_token").map(Secret::new),
        expires_in: lifetime(body.get("expires_in")),
        scope: text("scope").map(str::to_owned),
        subject: text("id_token").and_then(subject),
    })
}

/// The subject of an ID token (OpenID Connect Core §2). An unreadable ID token does not invalidate
/// the other tokens.
fn subject(id_token: &str) -> Option<String> {
    // Some servers use the alphabet of plain base64 instead of base64url.
    let payload = id_token.split('.').nth(1)?.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    subject_of(&claims)
}

/// The `sub` of an ID token or of the userinfo endpoint, if it is safe to show: 1 to 255 bytes
/// without control characters. Some servers send a number.
pub(super) fn subject_of(claims: &Map<String, Value>) -> Option<String> {
    let number;
    let subject = match claims.get("sub")? {
        Value::String(subject) => subject.trim(),
        Value::Number(value) => {
            number = value.to_string();
            &number
        }
        _ => return None,
    };
    let fit = !subject.is_empty() && subject.len() <= 255 && !subject.chars().any(char::is_control);
    fit.then(|| subject.to_owned())
}

/// `expires_in`: a number in RFC 6749 §5.1, but a string from some servers. A token that has
/// already expired gets one second, so that the schedule treats it as an ordinary token.
fn lifetime(value: Option<&Value>) -> Duration {
    let seconds = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds < 1.0 => Duration::from_secs(1),
        Some(seconds) if seconds >= LONGEST_LIFETIME.as_secs_f64() => LONGEST_LIFETIME,
        Some(seconds) if !seconds.is_nan() => Duration::from_secs(seconds as u64),
        _ => DEFAULT_LIFETIME,
    }
}

/// Reads a response that is not a token set.
struct FailureReader<'a> {
    response: &'a TokenResponse<'a>,
    grant: &'a Grant,
    redactor: &'a Redactor,
    now: Timestamp,
    body: &'a ErrorBody<'static>,
}

impl FailureReader<'_> {
    /// The error of an unusable 2xx. The server may have spent the refresh token, whose successor
    /// is then lost. A login can simply be repeated.
    fn lost(&self, what: &str) -> TokenError {
        let class = if self.grant.is_refresh() { Class::Ambiguous } else { Class::NotJudged };
        self.fail(class, format!("not an OAuth response: {what}"))
    }

    /// The error of a 3xx. Following the redirect would send the credentials to its target.
    fn redirected(&self) -> TokenError {
        let target = self.response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.map(|target| format!(" to {}", self.redactor.clean(&without_query(target))));
        self.fail(
            Class::NotJudged,
            format!(
                "a redirect{}: redirects are not followed; set token_url to the final address",
                target.unwrap_or_default()
            ),
        )
    }

    /// The error of a response in which the server or an intermediary reports a failure.
    fn refused(&self) -> TokenError {
        let throttled = self.throttle_code().is_some();
        let error = self.body.oauth_error();
        let word = error.as_deref().map(judge::normalized);
        let said = self.redactor.hide_in(&self.body.words());
        let evidence = Evidence {
            status: self.response.status,
            grant: self.grant,
            error: word.as_deref(),
            throttled,
            words: &said,
        };
        let (class, words) = (evidence.class(), self.words());
        let what = match error {
            _ if throttled || self.response.status == StatusCode::TOO_MANY_REQUESTS => {
                format!("throttled{words}")
            }
            Some(error) => format!("{}{words}", self.redactor.clean(&error)),
            None if self.response.status.is_server_error() => format!("the server failed{words}"),
            None if matches!(self.response.status.as_u16(), 401 | 403 | 404 | 405) => {
                format!("not an OAuth response{words}; check token_url")
            }
            None => format!("not an OAuth response{words}"),
        };
        self.fail(class, what)
    }

    fn fail(&self, class: Class, what: String) -> TokenError {
        TokenError {
            class,
            message: format!("status {}, {what}", self.response.status.as_u16()),
            retry_after: self.retry_after(),
        }
    }

    /// WSO2's code for an exceeded quota, 9008xx: the `code` in JSON, else any such number in the
    /// text. An error that refuses the grant outweighs a number in the text.
    fn throttle_code(&self) -> Option<String> {
        let is_throttle = |word: &str| word.len() == 6 && word.starts_with("9008");
        if let Some(code) = self.body.find_member("code") {
            return Some(code.trim().to_owned()).filter(|code| is_throttle(code));
        }
        if self.body.oauth_error().is_some_and(|error| judge::refuses(&judge::normalized(&error))) {
            return None;
        }
        // User names are hidden first, because they may be numbers.
        let said = self.redactor.hide_in(&self.body.words());
        let mut words = said.split(|c: char| !c.is_alphanumeric());
        words.find(|word| is_throttle(word) && word.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned)
    }

    fn retry_after(&self) -> Option<Duration> {
        retry_after::from_header(self.response.headers, self.now).or_else(|| {
            retry_after::from_next_access_time(&self.body.find_member("nextAccessTime")?, self.now)
        })
    }

    /// The server's error code and text, without secrets and user names.
    fn words(&self) -> String {
        let texts = ["error_description", "description", "message"];
        let text = texts.iter().find_map(|name| self.body.find_member(name));
        let code = self.body.find_member("code").or_else(|| self.throttle_code().map(Cow::Owned));
        let parts = [code, text];
        let words: Vec<String> = parts.iter().flatten().map(|part| self.redactor.clean(part)).collect();
        // A full stop would end the sentence that continues after the words.
        let words = words.join(" ");
        let words = words.trim_end_matches('.');
        if words.is_empty() { String::new() } else { format!(": {words}") }
    }
}

/// A URL for the log, without user information, query and fragment, which may carry secrets.
pub(super) fn without_query(url: &str) -> String {
    if let Ok(mut url) = Url::parse(url) {
        url.set_query(None);
        url.set_fragment(None);
        // Fails only for a URL without a host, which has no user information either.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        return url.to_string();
    }
    let path = url.split(['?', '#']).next().unwrap_or_default();
    // A URL relative to the scheme may have a password: "//user:password@host/".
    path.rsplit_once('@').map_or(path, |(_, rest)| rest).to_owned()
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
