//! What is counted since the start or the last reset.

use std::collections::{BTreeMap, HashMap};

/// Paths counted one by one; further ones are counted together.
const COUNTED_PATHS: usize = 10_000;

/// How often something went well and how often not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Answered with tokens.
    pub ok: u64,
    /// Refused.
    pub failed: u64,
}

impl Outcomes {
    pub(crate) fn count(&mut self, ok: bool) {
        if ok { self.ok += 1 } else { self.failed += 1 }
    }
}

/// What happened since the start or the last reset.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Password grants that reached the token endpoint's rules.
    pub logins: Outcomes,
    /// Refresh grants.
    pub refreshes: Outcomes,
    /// Authorization-code grants.
    pub codes: Outcomes,
    /// Answered revocation requests.
    pub revokes: u64,
    /// Everything that arrived at the token endpoint, faults included.
    pub token_requests: u64,
    /// The most token requests that were ever under way at once.
    pub token_concurrency_max: u64,
    /// The most token requests that were ever under way at once for one identity: client and user name of a login,
    /// or the owner of the presented refresh token or code.
    pub token_concurrency_max_by_identity: u64,
    /// Presentations of a refresh token that had been redeemed before.
    pub refresh_reuse: u64,
    /// How often a login became locked.
    pub lock_events: u64,
    /// Attempts to log in, with whatever password, where the login was locked already.
    pub logins_while_locked: u64,
    /// Calls placed.
    pub calls_placed: u64,
    /// Requests outside the identity endpoints.
    pub api_requests: u64,
    /// Their answers by status; resets are not among them.
    pub by_status: BTreeMap<u16, u64>,
    /// Method and path, then token (or `none`), then how many requests.
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
