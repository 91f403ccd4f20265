//! The suites that the gateway protects. To add one, write a file with its routes and add a line to
//! [`SUITES`].

pub(crate) mod accept;
mod hal;
mod provisioning;
mod recording;
mod reports;
mod telephony;
mod vis;

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::field::{FieldReport, REPORTS_TOKEN_AGE};
use crate::response::{Response, empty};
use crate::state::State;
use crate::tokens::Owner;
use crate::world::{Account, Login};
use vbc_base::clock::Timestamp;

pub(crate) use reports::problem_with_token as token_too_old;

const SUITES: &[&Suite] = &[
    &provisioning::SUITE,
    &telephony::SUITE,
    &reports::SUITE,
    &recording::SUITE,
    &recording::SUITE_OF_INDIA,
    &vis::SUITE,
];

/// One API of the service.
pub(crate) struct Suite {
    /// Its segment after `/t/vbc.prod/`, which is also the name in subscriptions.
    pub(crate) context: &'static str,
    /// The optional version segment.
    version: &'static str,
    routes: &'static [Route],
    /// Checks the owner of the token. Returns the suite's error, or `None` if the suite accepts the
    /// owner.
    pub(crate) refusal: fn(&State, &Owner) -> Option<Response>,
    /// Creates the response to a user without the role.
    refuse: fn() -> Response,
}

impl Suite {
    /// Whether the suite rejects a valid token of this age. Only Reports does, and only while
    /// [`FieldReport::ReportsToken`] holds.
    pub(crate) fn finds_too_old(&self, state: &State, age: Duration) -> bool {
        let reported = state.options.field.has(FieldReport::ReportsToken);
        reported && self.context == "reports" && age > REPORTS_TOKEN_AGE
    }

    /// The suite's own 401. Call Recording has none, because it rejects users with 403: its 401 is
    /// a response without a body.
    pub(crate) fn unauthorized(&self) -> Response {
        let response = (self.refuse)();
        if response.status() == 401 { response } else { empty(401) }
    }
}

/// One operation.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// Segments separated by slashes; `{}` matches any one segment.
    pattern: &'static str,
    pub(crate) run: fn(ApiRequest<'_>) -> Response,
}

/// A request that passed the gateway.
pub(crate) struct ApiRequest<'a> {
    pub(crate) state: &'a mut State,
    /// An id for the response. Only some errors contain it.
    pub(crate) instance: String,
    /// The account of the token's user; 0 for a client's own token.
    pub(crate) account: u64,
    pub(crate) owner: &'a Owner,
    /// The segments that `{}` matched, as sent.
    pub(crate) parameters: Vec<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
    /// The base of absolute links.
    pub(crate) base: &'a str,
    pub(crate) now: Timestamp,
}

/// The suite of a path, and the rest of the path after the suite's name and version.
pub(crate) fn suite(path: &str) -> Option<(&'static Suite, &str)> {
    let rest = path.strip_prefix("/t/vbc.prod/")?;
    let (context, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let suite = SUITES.iter().find(|suite| suite.context == context)?;
    let rest = match rest.split_once('/') {
        Some((version, after)) if version == suite.version => after,
        _ => rest,
    };
    Some((suite, rest))
}

/// Every route whose pattern matches the path, regardless of its method. Paths of the Integration
/// Platform may end with a slash, as in its documentation.
pub(crate) fn matching<'a>(suite: &'static Suite, path: &'a str) -> Vec<(&'static Route, Vec<&'a str>)> {
    let path = if suite.context == "vis" { path.strip_suffix('/').unwrap_or(path) } else { path };
    suite.routes.iter().filter_map(|route| Some((route, fit(route.pattern, path)?))).collect()
}

fn fit<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let mut taken = Vec::new();
    let mut pattern = pattern.split('/');
    let mut path = path.split('/');
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(taken),
            (Some("{}"), Some(segment)) if !segment.is_empty() => taken.push(segment),
            (Some(fixed), Some(segment)) if fixed == segment => {}
            _ => return None,
        }
    }
}

fn login_of<'a>(state: &'a State, owner: &Owner) -> Option<&'a Login> {
    state.world.logins.get(&owner.user.as_deref()?.to_lowercase())
}

/// The suite's response to a user without the role; `None` for a user who has it.
fn without_role(state: &State, owner: &Owner, suite: &Suite) -> Option<Response> {
    let known = login_of(state, owner).is_some_and(|login| login.roles.allow(suite.context));
    (!known).then(suite.refuse)
}

pub(crate) fn account_of(state: &State, owner: &Owner) -> u64 {
    login_of(state, owner).map_or(0, |login| login.account)
}

impl ApiRequest<'_> {
    /// Whether a report from the field holds.
    fn reported(&self, report: FieldReport) -> bool {
        self.state.options.field.has(report)
    }

    /// The parameter at a position, percent-decoded.
    fn parameter(&self, index: usize) -> String {
        let raw = self.parameters.get(index).copied().unwrap_or_default();
        percent_encoding::percent_decode_str(raw).decode_utf8_lossy().into_owned()
    }

    /// The account in the path, if it is the caller's own; `self` always is.
    fn own_account(&mut self) -> Option<&mut Account> {
        let named = self.parameter(0);
        if named != "self" && named != self.account.to_string() {
            return None;
        }
        self.state.world.account(self.account)
    }

    /// The account of the token's user, and the user's position in it.
    fn person(&mut self) -> Option<(&mut Account, usize)> {
        self.state.world.person(self.owner.user.as_deref()?)
    }

    /// The position of the token's user in the account.
    fn own_position(&mut self) -> Option<usize> {
        self.person().map(|(_, position)| position)
    }

    /// A query parameter, decoded.
    fn query(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(given, _)| given == name).map(|(_, value)| value.into_owned())
    }

    /// The query without these parameters; other bytes are kept.
    fn query_without(&self, names: &[&str]) -> String {
        let kept = self.query.split('&').filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !pair.is_empty() && !names.contains(&name)
        });
        kept.collect::<Vec<_>>().join("&")
    }
}

/// A page of a list; pages are numbered from 1.
struct Page {
    number: usize,
    size: usize,
    pages: usize,
    total: usize,
}

impl Page {
    fn new(number: usize, size: usize, total: usize) -> Self {
        Self { number, size, pages: total.div_ceil(size.max(1)), total }
    }

    fn of<'a, T>(&self, items: &'a [T]) -> &'a [T] {
        let start = (self.number.saturating_sub(1)).saturating_mul(self.size).min(items.len());
        &items[start..start.saturating_add(self.size).min(items.len())]
    }
}

/// Whether a text is a telephone number or an extension.
fn is_phone_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (3..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// Seconds since 1970, clamped to the range of timestamps.
fn seconds(number: i64) -> Timestamp {
    let last = Timestamp::MAX.as_second();
    Timestamp::from_second(number.clamp(Timestamp::MIN.as_second(), last)).unwrap_or(Timestamp::MAX)
}

fn read_json(body: &Bytes) -> Option<Value> {
    serde_json::from_slice(body).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_segment_may_be_left_out() {
        for path in ["/t/vbc.prod/provisioning/api/accounts/1", "/t/vbc.prod/provisioning/v1/api/accounts/1"]
        {
            let (suite, rest) = suite(path).unwrap();
            assert_eq!((suite.context, rest), ("provisioning", "api/accounts/1"));
        }
        assert_eq!(suite("/t/vbc.prod/telephony/v3/cc").unwrap().1, "cc");
        assert!(suite("/t/vbc.prod/nothing/api").is_none());
        let vis = suite("/t/vbc.prod/vis/v1/self").unwrap().0;
        for path in ["self/webhooks", "self/webhooks/", "self/calls/7", "self/calls/7/", "self/"] {
            assert!(!matching(vis, path).is_empty(), "{path}");
        }
        assert!(matching(vis, "self/webhooks//").is_empty());
        assert!(matching(&provisioning::SUITE, "api/accounts/self/").is_empty());
        assert!(suite("/provisioning/api").is_none());
    }

    #[test]
    fn patterns_take_raw_segments() {
        assert_eq!(fit("a/{}/b", "a/x%2Fy/b").unwrap(), ["x%2Fy"]);
        assert!(fit("a/{}", "a/").is_none());
        assert!(fit("a/{}", "a/b/c").is_none());
        assert!(fit("a/{}/c", "a/b").is_none());
    }

    #[test]
    fn a_page_beyond_the_end_is_empty() {
        let items = [1, 2, 3];
        assert_eq!(Page::new(1, 2, 3).of(&items), [1, 2]);
        assert_eq!(Page::new(2, 2, 3).of(&items), [3]);
        assert!(Page::new(usize::MAX, 10, 3).of(&items).is_empty());
        assert_eq!(Page::new(1, 2, 3).pages, 2);
    }
}
