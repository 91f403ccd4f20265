//! Judges the response of a suite. Pure.
//!
//! The gateway's code decides if there is one: it is the same in every wrapping and with every
//! status. Without a code, the text of the response decides if it is a known rejection by a suite.
//! Otherwise the status decides.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};

use super::error_text::{self, ErrorText};
use super::report::{Check, Quota};
use super::skew::rounded;
use super::suite::Suite;
use super::{host, quota};
use vbc_base::clock::Timestamp;

/// The token of the request.
#[derive(Clone, Copy, Debug)]
pub struct PresentedToken {
    /// Whether `openid` is in its scope.
    pub openid: bool,
    /// Its age.
    pub age: Duration,
}

/// The meaning of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The check of the suite.
    pub check: Check,
    /// The exhausted quota, if that is the cause.
    pub quota: Option<Quota>,
}

/// A failed check; [`judge`] sets its name and status.
fn fail(code: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check::fail("", code, found, remedy)
}

fn warn(code: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check::warn("", code, found, remedy)
}

/// Judges the response of `suite`, received at `now`, to a request with this token.
pub fn judge(suite: Suite, response: &Response<Bytes>, token: PresentedToken, now: Timestamp) -> Judgement {
    let text = error_text::read(response.headers(), response.body());
    let quota = quota::exceeded(response, &text, now);
    let trouble = match &quota {
        Some(quota) => Some(throttled(quota, response.status())),
        None => by_code(suite, &text, token.openid)
            .or_else(|| by_text(suite, &text, token))
            .or_else(|| by_status(suite, response, &text, token)),
    };
    let mut check = trouble.unwrap_or_else(|| Check::ok("", "responds"));
    check.name = suite.name().into();
    check.status = Some(response.status().as_u16());
    Judgement { check, quota }
}

fn throttled(quota: &Quota, status: StatusCode) -> Check {
    let what = quota::describe(quota);
    let details = quota::details(quota);
    let disguise =
        if status.is_success() { format!(", with status {}", status.as_u16()) } else { String::new() };
    if quota::is_block(quota) {
        let found = format!("{what}{details}{disguise}");
        return fail("blocked", found, "ask Vonage for the reason; only Vonage can end the block");
    }
    let found = format!("throttled: {what}{details}{disguise}");
    let wait = if quota.until.is_some() { "wait until then" } else { "wait a minute" };
    let remedy = match &*quota.of {
        "application" => {
            format!(
                "{wait}. By default an application has 10 requests a minute for all suites together. Request a higher \
                 quota in the developer portal, or send fewer requests"
            )
        }
        _ => format!("{wait}, then send fewer requests, or ask Vonage for a higher quota"),
    };
    warn("throttled", found, remedy)
}

/// The code for a token that the gateway rejects.
pub(super) const TOKEN_REFUSED: &str = "token-refused";

const ADD_OPENID: &str = "add openid to the credential's scope; the next login gets a token that has it";
const SET_MAX_AGE: &str = "set max_age for /t/vbc.prod/reports";
const OTHER_SERVICES: &str =
    "If the problem persists, oauth.token_url and upstream.url may belong to different services";
const NOT_YOURS: &str = "try again later; your configuration is not the cause";
const NOTHING_TO_DO: &str = "nothing to do; your own requests may succeed";

/// No suite is known to reject tokens up to this age because of their age.
const YOUNG: Duration = Duration::from_secs(3 * 60);

const GET_A_NEW_ONE: &str =
    "get a new token; a running proxy does so at the next request that is rejected like this";

fn by_code(suite: Suite, text: &ErrorText, openid: bool) -> Option<Check> {
    let title = suite.title();
    Some(match text.code? {
        900_901 => fail(
            TOKEN_REFUSED,
            "the gateway rejects the token (900901): expired, revoked, or issued by another service",
            format!("{GET_A_NEW_ONE}. {OTHER_SERVICES}"),
        ),
        900_902 => fail(
            "token-missing",
            "the gateway received no token (900902)",
            "look for a firewall or a proxy that removes the Authorization header on the way",
        ),
        900_903 => fail(
            TOKEN_REFUSED,
            "the gateway reports that the token has expired (900903)",
            format!("{GET_A_NEW_ONE}. Compare the clocks above too"),
        ),
        900_904 => fail(
            TOKEN_REFUSED,
            "the gateway reports that the token was revoked or replaced (900904)",
            format!(
                "{GET_A_NEW_ONE}. Another program with the same application and user may be replacing the proxy's tokens"
            ),
        ),
        900_905 => fail(
            "token-type",
            "the suite does not accept this type of token (900905)",
            "use the application's Production Keys, with the grant password or authorization_code",
        ),
        900_906 => fail(
            "forbidden",
            "the gateway has no such resource for this token (900906)",
            format!("check that the application is subscribed to {title}, and check upstream.url"),
        ),
        900_907 => {
            fail("blocked", "the suite is blocked at the gateway (900907)", "ask Vonage for the reason")
        }
        900_908 => unsubscribed(suite, " (900908)"),
        900_909 => fail(
            "subscription-inactive",
            format!("the application's subscription to {title} is not active (900909)"),
            "renew the subscription in the developer portal, or ask Vonage to approve it",
        ),
        900_910 if !openid => {
            fail("scope", "the suite requires the scope openid, which the token lacks (900910)", ADD_OPENID)
        }
        900_910 => fail(
            "scope",
            "the scope of the token is not sufficient for this suite (900910)",
            "ask Vonage for the required scope, and add it to the credential's scope",
        ),
        900_911 => fail(
            "client-certificate",
            "the gateway requires a client certificate (900911)",
            "this proxy cannot send a client certificate: ask Vonage for access without one",
        ),
        700_700 => fail("blocked", "the suite is blocked or in maintenance (700700)", "try again later"),
        900_900 => fail(
            "gateway-trouble",
            "the gateway could not check the token (900900)",
            format!("try again later. {OTHER_SERVICES}"),
        ),
        code @ 101_500..=101_599 => {
            fail("backend-down", format!("the gateway cannot reach the suite's backend ({code})"), NOT_YOURS)
        }
        _ => return None,
    })
}

fn unsubscribed(suite: Suite, code: &str) -> Check {
    let title = suite.title();
    fail(
        "unsubscribed",
        format!("the application is not subscribed to this suite{code}"),
        format!(
            "subscribe the application to {title} in the developer portal (Applications), then run \
             `vbc-proxy refresh`. If you do not use this suite, name those that you use: --suite NAME"
        ),
    )
}

fn token_refused(quoted: &str) -> Check {
    fail(
        TOKEN_REFUSED,
        format!("the token is rejected{quoted}"),
        format!("{GET_A_NEW_ONE}. {OTHER_SERVICES}"),
    )
}

/// Rejections by the suites themselves, and by the gateway without its code.
fn by_text(suite: Suite, text: &ErrorText, token: PresentedToken) -> Option<Check> {
    let says = |phrase: &str| text.lowercase.contains(phrase);
    if says("missing hmac token") {
        return Some(fail(
            "hmac",
            "recordings in India require an HMAC in addition to the token (\"Missing HMAC token\")",
            "this proxy cannot create the HMAC; outside of India use call_recording instead",
        ));
    }
    if says("api subscription validation failed") {
        return Some(unsubscribed(suite, ""));
    }
    if says("invalid credentials") || says("invalid jwt token") {
        return Some(token_refused(&text.quoted()));
    }
    let own = [
        "problem with provided token",
        "missing user data",
        "failed to get claims for token",
        "user is not permitted to make a request",
        "user is not authorized to search",
    ];
    // In the specifications of these two suites, every error has `msg` and `status`, but no code.
    let documented = matches!(suite, Suite::Provisioning | Suite::Reports)
        && text.is_json
        && text.lowercase == "unauthorized";
    (documented || own.into_iter().any(says)).then(|| refused_by_suite(suite, text, token))
}

/// The gateway accepted the token, but the suite rejects the user.
fn refused_by_suite(suite: Suite, text: &ErrorText, token: PresentedToken) -> Check {
    let title = suite.title();
    let quoted = text.quoted();
    let role = format!("give the user {} in the VBC admin portal", suite.needs());
    if let Some(check) = lacks_openid(suite, &quoted, &role, token) {
        return check;
    }
    // Reports rejects old tokens with the same text as users without the role.
    if suite == Suite::Reports && token.age > YOUNG && text.lowercase.contains("problem with provided token")
    {
        let age = rounded(token.age.try_into().unwrap_or_default());
        let found = format!(
            "{title} rejects the token, probably because of its age ({age}), or the user lacks the role{quoted}"
        );
        return fail("token-age", found, format!("{SET_MAX_AGE}. If a young token is rejected too, {role}"));
    }
    let found = format!("the token is valid, but the user lacks the role or license for {title}{quoted}");
    if suite == Suite::Reports {
        let age = "If requests succeeded some minutes ago, Reports accepts only young tokens";
        return fail("role", found, format!("{role}. {age}: {SET_MAX_AGE}"));
    }
    fail("role", found, role)
}

/// Reports is known to reject a token without openid, and VIS to accept it. Other suites may reject
/// the token or the user.
fn lacks_openid(suite: Suite, quoted: &str, role: &str, token: PresentedToken) -> Option<Check> {
    let title = suite.title();
    match suite {
        _ if token.openid => None,
        Suite::Vis => None,
        Suite::Reports => {
            let found = format!("{title} rejects tokens whose scope lacks openid{quoted}");
            Some(fail("scope", found, ADD_OPENID))
        }
        _ => {
            let found =
                format!("{title} rejects the user, or the token because its scope lacks openid{quoted}");
            Some(fail("role", found, format!("{ADD_OPENID}. If the problem persists, {role}")))
        }
    }
}

/// A 401 without a known text. The cause may be the token or the user.
fn refused_somehow(suite: Suite, text: &ErrorText, token: PresentedToken) -> Check {
    let quoted = text.quoted();
    let role = format!("give the user {} in the VBC admin portal", suite.needs());
    lacks_openid(suite, &quoted, &role, token).unwrap_or_else(|| {
        let found = format!("rejected: either the token, or the user's role or license{quoted}");
        fail("refused", found, format!("{GET_A_NEW_ONE}. If the problem persists, {role}"))
    })
}

fn by_status(
    suite: Suite,
    response: &Response<Bytes>,
    text: &ErrorText,
    token: PresentedToken,
) -> Option<Check> {
    let quoted = text.quoted();
    Some(match response.status().as_u16() {
        300..=399 => redirected(response.headers()),
        _ if text.is_page => fail(
            "page",
            format!("a web page instead of an API response{quoted}"),
            "check upstream.url; if it is correct, look for a firewall, a proxy or a sign-in page that responds instead",
        ),
        200..=299 => return None,
        401 if names_the_token(response.headers()) => token_refused(&quoted),
        401 => refused_somehow(suite, text, token),
        403 => fail(
            "forbidden",
            format!("the suite rejects the user{quoted}"),
            format!("give the user {} in the VBC admin portal", suite.needs()),
        ),
        404 => not_found(suite, text),
        405 => no_such_operation(),
        400 | 409 | 422 => warn(
            "question-refused",
            format!("accepts the user but not the doctor's request{quoted}"),
            NOTHING_TO_DO,
        ),
        status @ (408 | 500..) => fail(
            "backend-down",
            format!("the service has a problem{quoted}"),
            format!("{NOT_YOURS}{}", activity(status, response.headers())),
        ),
        _ => warn(
            "unexpected",
            format!("an unexpected response{quoted}"),
            "try again; if the problem persists, ask Vonage",
        ),
    })
}

fn no_such_operation() -> Check {
    warn("no-such-operation", "the gateway knows the suite but not the doctor's request", NOTHING_TO_DO)
}

fn not_found(suite: Suite, text: &ErrorText) -> Check {
    let title = suite.title();
    if text.lowercase.contains("no matching resource found") {
        return no_such_operation();
    }
    let no_such_context = text.lowercase.contains("is not available") || !text.is_json;
    if no_such_context || text.quote.is_empty() {
        return fail(
            "not-offered",
            format!("this gateway does not offer {title}"),
            "check upstream.url; if it is correct, ask Vonage whether your account includes the suite",
        );
    }
    warn(
        "not-found",
        format!("the suite finds nothing for this user{}", text.quoted()),
        format!("check in the VBC admin portal that the user belongs to an account with {title}"),
    )
}

fn redirected(headers: &HeaderMap) -> Check {
    let target = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    fail(
        "redirect",
        format!("redirects to {}", host::address_of(target)),
        "set upstream.url to the final address; tokens are not sent to another host",
    )
}

/// Whether a challenge names the token as the reason.
fn names_the_token(headers: &HeaderMap) -> bool {
    let mut challenges = headers.get_all(header::WWW_AUTHENTICATE).iter();
    challenges.any(|value| String::from_utf8_lossy(value.as_bytes()).contains("invalid_token"))
}

/// A sentence with the id by which Vonage's support finds the request. Empty without an id.
fn activity(status: u16, headers: &HeaderMap) -> String {
    let id = headers.get("activityid").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if status >= 500 && !id.is_empty() && id.len() <= 64 && id.chars().all(plain) {
        format!(". If the problem persists, give Vonage's support the activityid {id}")
    } else {
        String::new()
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
