//! What a suite's answer means. Pure.
//!
//! The gateway's code decides where there is one: it is the same in every wrapping and behind every status. Without one
//! the words of the suites' own refusals are looked for, and then the status speaks for itself.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::report::{Check, Quota, Verdict};
use super::skew::rounded;
use super::suite::Suite;
use super::words::{self, Words};
use super::{quota, server_words};
use crate::clock::Timestamp;

/// The answer of a suite.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, or the beginning of it.
    pub body: &'a [u8],
}

/// The token that the suite was asked with.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    /// Whether `openid` is in its scope.
    pub openid: bool,
    /// How long ago it was minted.
    pub age: Duration,
}

/// What it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The line of the suite.
    pub check: Check,
    /// A quota that it shows to be used up.
    pub quota: Option<Quota>,
}

/// What is said about an answer: how bad, a fixed word, what was found, what to do.
struct Said {
    verdict: Verdict,
    code: &'static str,
    found: Cow<'static, str>,
    remedy: Cow<'static, str>,
}

fn fail(
    code: &'static str,
    found: impl Into<Cow<'static, str>>,
    remedy: impl Into<Cow<'static, str>>,
) -> Said {
    Said { verdict: Verdict::Fail, code, found: found.into(), remedy: remedy.into() }
}

fn warn(
    code: &'static str,
    found: impl Into<Cow<'static, str>>,
    remedy: impl Into<Cow<'static, str>>,
) -> Said {
    Said { verdict: Verdict::Warn, ..fail(code, found, remedy) }
}

/// Judges the answer of `suite`, received at `now`, to a request with this token.
pub fn judge(suite: Suite, answer: &Answer<'_>, token: Presented, now: Timestamp) -> Judgement {
    let words = words::read(answer.headers, answer.body);
    let quota = quota::seen(answer, &words, now);
    let said = match &quota {
        Some(quota) => Some(throttled(quota, answer.status)),
        None => by_code(suite, &words, token.openid)
            .or_else(|| by_words(suite, &words, token))
            .or_else(|| by_status(suite, answer, &words, token)),
    };
    let mut check = Check::ok("", "answers");
    if let Some(Said { verdict, code, found, remedy }) = said {
        let remedy = Some(remedy.into_owned()).filter(|remedy| !remedy.is_empty());
        check = Check { verdict, code: Some(code.into()), found: found.into_owned(), remedy, ..check };
    }
    check.name = suite.name().into();
    check.status = Some(answer.status.as_u16());
    Judgement { check, quota }
}

fn throttled(quota: &Quota, status: StatusCode) -> Said {
    let (what, said) = (quota::found(quota), quota::said(quota));
    let disguise =
        if status.is_success() { format!(", with status {}", status.as_u16()) } else { String::new() };
    if quota::is_block(quota) {
        let found = format!("{what}{said}{disguise}");
        return fail("blocked", found, "ask Vonage why; nothing can be done about it here");
    }
    let found = format!("throttled: {what}{said}{disguise}");
    let wait = if quota.until.is_some() { "wait until then" } else { "wait a minute" };
    let remedy = match &*quota.of {
        "application" => {
            format!(
                "{wait}. By default an application has 10 requests a minute for all suites together: ask for a higher \
                 quota in the developer portal, or send fewer requests"
            )
        }
        _ => format!("{wait}, and send fewer requests, or ask Vonage for a higher quota"),
    };
    warn("throttled", found, remedy)
}

/// The gateway names the token as what it refuses.
pub(super) const TOKEN_REFUSED: &str = "token-refused";

const ADD_OPENID: &str = "add openid to the credential's scope; the next login gets a token that has it";
const SET_MAX_AGE: &str = "set max_age for /t/vbc.prod/reports";

/// No suite is known to refuse a token this young for its age.
const YOUNG: Duration = Duration::from_secs(3 * 60);

const GET_A_NEW_ONE: &str =
    "get a new token: the running proxy does so at the next request that is refused like this";

fn by_code(suite: Suite, words: &Words, openid: bool) -> Option<Said> {
    let title = suite.title();
    Some(match words.code? {
        900_901 => fail(
            TOKEN_REFUSED,
            "the gateway refuses the token (900901): ended, revoked, or issued by another service",
            format!(
                "{GET_A_NEW_ONE}. If it stays, oauth.token_url and upstream.url may belong to different services"
            ),
        ),
        900_902 => fail(
            "token-missing",
            "the gateway saw no token (900902)",
            "something on the way removes the Authorization header: look for an inspecting firewall or a proxy",
        ),
        900_903 => fail(
            TOKEN_REFUSED,
            "the gateway says that the token has ended (900903)",
            format!("{GET_A_NEW_ONE}; and compare the clocks above"),
        ),
        900_904 => fail(
            TOKEN_REFUSED,
            "the gateway says that the token was revoked or replaced (900904)",
            format!(
                "{GET_A_NEW_ONE}. Another program with the same application and user may be replacing our tokens"
            ),
        ),
        900_905 => fail(
            "token-type",
            "this type of token does not fit the suite (900905)",
            "use the keys of Production Keys, with the grant password or authorization_code",
        ),
        900_906 => fail(
            "forbidden",
            "the gateway has no such resource for this token (900906)",
            format!("see that the application is subscribed to {title}, and that upstream.url is right"),
        ),
        900_907 => fail("blocked", "the suite is blocked at the gateway (900907)", "ask Vonage why"),
        900_908 => unsubscribed(suite, " (900908)"),
        900_909 => fail(
            "subscription-inactive",
            format!("the application's subscription to {title} is not active (900909)"),
            "renew the subscription in the developer portal, or ask Vonage to approve it",
        ),
        900_910 if !openid => {
            fail("scope", "the scope lacks openid, and the suite wants it (900910)", ADD_OPENID)
        }
        900_910 => fail(
            "scope",
            "the scope of the token is not enough for this suite (900910)",
            "ask Vonage which scope it wants, and put it into the credential's scope",
        ),
        900_911 => fail(
            "client-certificate",
            "the gateway wants a client certificate (900911)",
            "ask Vonage; this proxy sends none",
        ),
        700_700 => fail("blocked", "the suite is blocked or in maintenance (700700)", "try again later"),
        900_900 => fail(
            "gateway-trouble",
            "the gateway could not check the token (900900)",
            "try again later. If it stays, oauth.token_url and upstream.url may belong to different services",
        ),
        code @ 101_500..=101_599 => fail(
            "backend-down",
            format!("the gateway does not reach the suite behind it ({code})"),
            "try again later; nothing is to be changed here",
        ),
        _ => return None,
    })
}

fn unsubscribed(suite: Suite, code: &str) -> Said {
    let title = suite.title();
    fail(
        "unsubscribed",
        format!("the application is not subscribed to this suite{code}"),
        format!(
            "subscribe the application to {title} in the developer portal (Applications), then run \
             `vbc-proxy refresh`. Where you do not use this suite, leave it out with --suite"
        ),
    )
}

fn token_refused(quoted: &str) -> Said {
    let stays = "If it stays, oauth.token_url and upstream.url may belong to different services";
    fail(TOKEN_REFUSED, format!("the token is refused{quoted}"), format!("{GET_A_NEW_ONE}. {stays}"))
}

/// The refusals of the suites themselves, behind the gateway, and the gateway's own where its code is missing.
fn by_words(suite: Suite, words: &Words, token: Presented) -> Option<Said> {
    let says = |phrase: &str| words.text.contains(phrase);
    if says("missing hmac token") {
        return Some(fail(
            "hmac",
            "India's recordings want an HMAC beside the token (\"Missing HMAC token\")",
            "this proxy does not make it; outside of India use call_recording instead",
        ));
    }
    if says("api subscription validation failed") {
        return Some(unsubscribed(suite, ""));
    }
    if says("invalid credentials") || says("invalid jwt token") {
        return Some(token_refused(&server_words(&words.quote)));
    }
    let own = [
        "problem with provided token",
        "missing user data",
        "failed to get claims for token",
        "user is not permitted to make a request",
        "user is not authorized to search",
    ];
    // What the specifications of these two have for every error: `msg` and `status`, without a
    // gateway's code.
    let documented = matches!(suite, Suite::Provisioning | Suite::Reports)
        && words.is_json
        && words.text == "unauthorized";
    (documented || own.into_iter().any(says)).then(|| refused_by_suite(suite, words, token))
}

/// The gateway took the token, the suite does not take the user.
fn refused_by_suite(suite: Suite, words: &Words, token: Presented) -> Said {
    let title = suite.title();
    let quoted = server_words(&words.quote);
    let role = format!("give the user {} in the VBC admin portal", suite.needs());
    if let Some(said) = lacks_openid(suite, &quoted, &role, token) {
        return said;
    }
    // Reports refuses tokens of some age in the same words as a user without the role.
    if suite == Suite::Reports && token.age > YOUNG && words.text.contains("problem with provided token") {
        let age = rounded(token.age.try_into().unwrap_or_default());
        let found = format!(
            "{title} refuses the token, probably for its age ({age}), or else the user for the role{quoted}"
        );
        return fail("token-age", found, format!("{SET_MAX_AGE}. If it stays with a young token, {role}"));
    }
    let found = format!("the token is good, but the user lacks the role or license for {title}{quoted}");
    if suite == Suite::Reports {
        let age = "Where it worked some minutes ago, Reports takes only young tokens";
        return fail("role", found, format!("{role}. {age}: {SET_MAX_AGE}"));
    }
    fail("role", found, role)
}

/// Reports is known to refuse a token without openid, VIS to take it, and the others may refuse for either reason.
fn lacks_openid(suite: Suite, quoted: &str, role: &str, token: Presented) -> Option<Said> {
    let title = suite.title();
    match suite {
        _ if token.openid => None,
        Suite::Vis => None,
        Suite::Reports => {
            let found = format!("{title} refuses a token whose scope lacks openid{quoted}");
            Some(fail("scope", found, ADD_OPENID))
        }
        _ => {
            let found = format!("{title} refuses the user, or a token whose scope lacks openid{quoted}");
            Some(fail("role", found, format!("{ADD_OPENID}. If it stays, {role}")))
        }
    }
}

/// A 401 that nobody can read: it may be about the token or about the user.
fn refused_somehow(suite: Suite, words: &Words, token: Presented) -> Said {
    let quoted = server_words(&words.quote);
    let role = format!("give the user {} in the VBC admin portal", suite.needs());
    lacks_openid(suite, &quoted, &role, token).unwrap_or_else(|| {
        let found = format!("refused: either the token, or the user's role or license{quoted}");
        fail("refused", found, format!("{GET_A_NEW_ONE}. If it stays, {role}"))
    })
}

fn by_status(suite: Suite, answer: &Answer<'_>, words: &Words, token: Presented) -> Option<Said> {
    let quoted = server_words(&words.quote);
    Some(match answer.status.as_u16() {
        300..=399 => redirected(answer.headers),
        _ if words.is_page => fail(
            "page",
            format!("a page for a browser instead of an answer of the API{quoted}"),
            "is upstream.url right? Else something on the way answers: a firewall, a proxy, a sign-in page",
        ),
        200..=299 => return None,
        401 if names_the_token(answer.headers) => token_refused(&quoted),
        401 => refused_somehow(suite, words, token),
        403 => fail(
            "forbidden",
            format!("the suite refuses the user{quoted}"),
            format!("give the user {} in the VBC admin portal", suite.needs()),
        ),
        404 => not_found(suite, words),
        405 => warn(
            "no-such-operation",
            "the gateway knows the suite and not this question of ours",
            "nothing is to be done; your own requests may pass",
        ),
        400 | 409 | 422 => warn(
            "question-refused",
            format!("lets the user in, and does not like our question{quoted}"),
            "nothing is to be done; your own requests may pass",
        ),
        status @ (408 | 500..) => fail(
            "backend-down",
            format!("the service is in trouble{quoted}"),
            format!("try again later; nothing is to be changed here{}", activity(status, answer.headers)),
        ),
        _ => warn(
            "unexpected",
            format!("an answer that nobody expects{quoted}"),
            "try again; if it stays, ask Vonage",
        ),
    })
}

fn not_found(suite: Suite, words: &Words) -> Said {
    let title = suite.title();
    if words.text.contains("no matching resource found") {
        return warn(
            "no-such-operation",
            "the gateway knows the suite and not this question of ours",
            "nothing is to be done; your own requests may pass",
        );
    }
    let no_such_context = words.text.contains("is not available") || !words.is_json;
    if no_such_context || words.quote.is_empty() {
        return fail(
            "not-offered",
            format!("this gateway does not offer {title}"),
            "is upstream.url right? Where it is, ask Vonage whether the suite is offered to your account",
        );
    }
    warn(
        "not-found",
        format!("the suite finds nothing for this user{}", server_words(&words.quote)),
        format!("see in the VBC admin portal that the user belongs to an account that has {title}"),
    )
}

fn redirected(headers: &HeaderMap) -> Said {
    let target = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    fail(
        "redirect",
        format!("redirects to {}", super::address_of(target)),
        "set upstream.url to the final address; a token is not carried to another host",
    )
}

/// Whether a challenge says that it is about the token.
fn names_the_token(headers: &HeaderMap) -> bool {
    let mut challenges = headers.get_all(header::WWW_AUTHENTICATE).iter();
    challenges.any(|value| String::from_utf8_lossy(value.as_bytes()).contains("invalid_token"))
}

/// What Vonage's support can find the request by.
fn activity(status: u16, headers: &HeaderMap) -> String {
    let id = headers.get("activityid").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match status >= 500 && !id.is_empty() && id.len() <= 64 && id.chars().all(plain) {
        true => format!(". If it stays, give Vonage's support the activityid {id}"),
        false => String::new(),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
