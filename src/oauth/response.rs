//! What the token endpoint's answer means. Pure: no I/O, no clock.
//!
//! Reading is lenient where nothing is lost by it, and careful in one direction: an answer that may have used up a
//! refresh token, or counted as a refused login, is never taken for one that did not.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::body::Body;
use super::judge::{self, Evidence};
use super::redact::Redactor;
use super::{AccessToken, Class, Grant, Issued, TokenError, retry_after};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// The largest answer that is read. A token set is a few KB.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// `expires_in` is only recommended (RFC 6749 §5.1). An hour is WSO2's own default and, where the token lives
/// longer, costs no more than an early refresh.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
/// A server that means "for ever" says so with numbers that overflow dates.
const LONGEST_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// An answer of the token endpoint.
pub(super) struct Answer<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// Up to [`MAX_BODY`] bytes; one more says that there was more.
    pub(super) body: &'a [u8],
}

/// Reads `answer`, received at `now`, to the redeeming of `grant`.
pub(super) fn read(
    answer: &Answer<'_>,
    grant: &Grant,
    redactor: &Redactor,
    now: Timestamp,
) -> Result<Issued, TokenError> {
    let body = Body::read(answer.headers, answer.body);
    let reading = Reading { answer, grant, redactor, now, body: &body };
    let failed = if answer.status.is_success() {
        match body.object() {
            Ok(body) if body.get("access_token").is_some_and(|token| !token.is_null()) => {
                match issued(body) {
                    Ok(issued) => return Ok(issued),
                    Err(what) => reading.lost(what),
                }
            }
            _ if reading.throttle_code().is_some() || body.structured_error().is_some() => reading.refused(),
            Ok(_) => reading.lost("no access_token in it"),
            Err(what) => reading.lost(what),
        }
    } else if answer.status.is_redirection() {
        reading.redirected()
    } else {
        reading.refused()
    };
    Err(failed)
}

/// Reads a successful answer (RFC 6749 §5.1).
fn issued(body: &Map<String, Value>) -> Result<Issued, &'static str> {
    let access_token = body.get("access_token").and_then(Value::as_str).unwrap_or_default();
    // It goes into a header: `b68` allows less (RFC 6750 §2.1), but anything visible passes, and nothing else may.
    if access_token.is_empty() || !access_token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("an access_token that cannot be sent");
    }
    // RFC 6749 §7.1: a client must not use a token of a type it does not know; §5.1: in any case.
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

/// The subject of an ID token (OpenID Connect Core §2). A text that is not one is no reason to refuse the tokens beside it.
fn subject(id_token: &str) -> Option<String> {
    // Some servers use the alphabet of plain base64.
    let payload = id_token.split('.').nth(1)?.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    subject_of(&claims)
}

/// The `sub` of claims, from an ID token or the userinfo endpoint, fit to be shown. Some servers give a number.
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

/// `expires_in`: a number by RFC 6749 §5.1, a string with some servers. What has ended already lives one second,
/// so that it is an ordinary token about to expire to those who schedule.
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

/// One answer that is not a token set, being read.
struct Reading<'a> {
    answer: &'a Answer<'a>,
    grant: &'a Grant,
    redactor: &'a Redactor,
    now: Timestamp,
    body: &'a Body,
}

impl Reading<'_> {
    /// A 2xx that cannot be used. The server may have done its work: a refresh token is then used up, and what
    /// replaced it is lost. A login can simply be made again.
    fn lost(&self, what: &str) -> TokenError {
        let class = if self.is_refresh() { Class::Ambiguous } else { Class::NotJudged };
        self.fail(class, format!("not an OAuth answer: {what}"))
    }

    /// A 3xx. Following it would hand the credentials to wherever it points.
    fn redirected(&self) -> TokenError {
        let target = self.answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.map(|target| format!(" to {}", self.redactor.clean(&without_query(target))));
        self.fail(
            Class::NotJudged,
            format!(
                "a redirect{}: redirects are not followed, set token_url to the final address",
                target.unwrap_or_default()
            ),
        )
    }

    /// An error of OAuth, or of whatever stands before the server.
    fn refused(&self) -> TokenError {
        let throttled = self.throttle_code().is_some();
        let error = self.body.error();
        let word = error.as_deref().map(judge::normalized);
        let said = self.redactor.hide_in(&self.body.said());
        let evidence = Evidence {
            status: self.answer.status,
            grant: self.grant,
            error: word.as_deref(),
            throttled,
            words: &said,
        };
        let (class, words) = (evidence.class(), self.words());
        let what = match error {
            _ if throttled || self.answer.status == StatusCode::TOO_MANY_REQUESTS => {
                format!("throttled{words}")
            }
            Some(error) => format!("{}{words}", self.redactor.clean(&error)),
            None if self.answer.status.is_server_error() => format!("the server is in trouble{words}"),
            None if matches!(self.answer.status.as_u16(), 401 | 403 | 404 | 405) => {
                format!("not an OAuth answer{words}; is token_url right?")
            }
            None => format!("not an OAuth answer{words}"),
        };
        self.fail(class, what)
    }

    fn fail(&self, class: Class, what: String) -> TokenError {
        TokenError {
            class,
            message: format!("answered {}, {what}", self.answer.status.as_u16()),
            retry_after: self.retry_after(),
        }
    }

    fn is_refresh(&self) -> bool {
        matches!(self.grant, Grant::RefreshToken { .. })
    }

    /// WSO2's code for an exceeded quota, 9008xx: a string in version 4, a number in `fault` in
    /// version 3, in XML in version 2. A word that refuses the grant outweighs a number in the text
    /// beside it.
    fn throttle_code(&self) -> Option<String> {
        let is_throttle = |word: &str| word.len() == 6 && word.starts_with("9008");
        if let Some(code) = self.body.member("code") {
            return Some(code.trim().to_owned()).filter(|code| is_throttle(code));
        }
        if self.body.error().is_some_and(|error| judge::refuses(&judge::normalized(&error))) {
            return None;
        }
        // Without the name of a user, which may be a number.
        let said = self.redactor.hide_in(&self.body.said());
        let mut words = said.split(|c: char| !c.is_alphanumeric());
        words.find(|word| is_throttle(word) && word.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned)
    }

    fn retry_after(&self) -> Option<Duration> {
        retry_after::from_header(self.answer.headers, self.now)
            .or_else(|| retry_after::from_next_access_time(&self.body.member("nextAccessTime")?, self.now))
    }

    /// What the server says in words, cleaned, with its code.
    fn words(&self) -> String {
        let texts = ["error_description", "description", "message"];
        let text = texts.iter().find_map(|name| self.body.member(name));
        let code = self.body.member("code").or_else(|| self.throttle_code().map(Cow::Owned));
        let parts = [code, text];
        let words: Vec<String> = parts.iter().flatten().map(|part| self.redactor.clean(part)).collect();
        if words.is_empty() { String::new() } else { format!(": {}", words.join(" ")) }
    }
}

/// A URL for the log: no user information, no query, no fragment; each may carry a secret.
pub(super) fn without_query(url: &str) -> String {
    if let Ok(mut url) = Url::parse(url) {
        url.set_query(None);
        url.set_fragment(None);
        // Fails only where there is no host, and then there is no user information either.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        return url.to_string();
    }
    let path = url.split(['?', '#']).next().unwrap_or_default();
    // "//user:password@host/": relative to the scheme.
    path.rsplit_once('@').map_or(path, |(_, rest)| rest).to_owned()
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
