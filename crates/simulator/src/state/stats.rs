//! Counters since the start or the last reset.

use std::collections::{BTreeMap, HashMap};

/// The most paths that are counted separately. Requests to further paths are counted together.
const COUNTED_PATHS: usize = 10_000;

/// Counts of successes and failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Successes.
    pub ok: u64,
    /// Failures.
    pub failed: u64,
}

impl Outcomes {
    pub(crate) fn count(&mut self, ok: bool) {
        if ok { self.ok += 1 } else { self.failed += 1 }
    }
}

/// Counters since the start or the last reset.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Password grants. Like `refreshes` and `codes`, this leaves out requests that a fault
    /// prevented from being executed.
    pub logins: Outcomes,
    /// Refresh grants.
    pub refreshes: Outcomes,
    /// Authorization-code grants.
    pub codes: Outcomes,
    /// Successful revocation requests.
    pub revokes: u64,
    /// Requests to the token endpoint, including those that were not executed because of a fault.
    pub token_requests: u64,
    /// The maximum of concurrent token requests.
    pub token_concurrency_max: u64,
    /// The maximum of concurrent token requests for one identity. The identity is client and user
    /// name of a login, or the owner of the presented refresh token or code.
    pub token_concurrency_max_by_identity: u64,
    /// How often a client presented a refresh token that had been redeemed before.
    pub refresh_reuse: u64,
    /// How often a login was locked, by failures or by an administrator.
    pub lock_events: u64,
    /// Login attempts with any password while the login was locked.
    pub logins_while_locked: u64,
    /// Placed calls.
    pub calls_placed: u64,
    /// Requests outside the identity endpoints.
    pub api_requests: u64,
    /// Responses to `api_requests` by status. Reset connections are not counted.
    pub by_status: BTreeMap<u16, u64>,
    /// API requests by method and path, then by the name of the token (or `none`). After 10,000
    /// paths, requests to new paths are counted as `(others)`.
    pub requests_by_token: HashMap<String, HashMap<String, u64>>,
}

impl Stats {
    pub(crate) fn count_request(&mut self, method: &str, path: &str, token: Option<&str>) {
        self.api_requests += 1;
        let mut key = format!("{method} {path}");
        if self.requests_by_token.len() >= COUNTED_PATHS && !self.requests_by_token.contains_key(&key) {
            key = "(others)".into();
        }
        let tokens = self.requests_by_token.entry(key).or_default();
        let token = token.unwrap_or("none");
        match tokens.get_mut(token) {
            Some(count) => *count += 1,
            None => {
                tokens.insert(token.to_owned(), 1);
            }
        }
    }
}
