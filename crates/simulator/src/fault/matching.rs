//! The requests to which a fault applies.

use std::time::Duration;

use super::Fault;
use crate::pattern::{fits, is_pattern};

/// The values of `endpoint` in addition to the suites.
pub(crate) const ENDPOINTS: &[&str] = &["token", "authorize", "revoke", "userinfo", "api"];

/// The properties of a request that a fault matches.
pub(crate) struct Subject<'a> {
    pub(crate) path: &'a str,
    /// The short name of the identity endpoint; `None` for other paths.
    pub(crate) endpoint: Option<&'static str>,
    pub(crate) method: &'a str,
    pub(crate) grant: Option<&'a str>,
}

/// The requests to which a fault applies, and how often.
#[derive(Clone, Debug)]
pub struct Match {
    /// A prefix of the raw path or, with a `*`, a pattern for the whole path. `*` matches within
    /// one segment, `**` any number of segments. `/token`, `/authorize`, `/revoke` and `/userinfo`
    /// also match their tenant paths.
    pub path: Option<String>,
    /// `token`, `authorize`, `revoke`, `userinfo`, `api` (all other paths), or a suite such as
    /// `reports`.
    pub endpoint: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The grant of a token request. Faults that strike before the body has arrived never match a
    /// grant.
    pub grant: Option<String>,
    /// How many matching requests pass before the fault strikes.
    pub after: u64,
    /// How many requests it strikes; `None` means no limit.
    pub count: Option<u64>,
    /// How long the fault lasts by the simulator's clock; `None` means until it is removed.
    pub lasts: Option<Duration>,
    /// The probability of striking; 1 means always.
    pub probability: f64,
    /// The seed of that probability; `None` derives it from the simulator's seed and the fault's
    /// id.
    pub seed: Option<u64>,
}

impl Default for Match {
    fn default() -> Self {
        Self {
            path: None,
            endpoint: None,
            method: None,
            grant: None,
            after: 0,
            count: None,
            lasts: None,
            probability: 1.0,
            seed: None,
        }
    }
}

impl Match {
    pub(super) fn takes(&self, subject: &Subject<'_>) -> bool {
        self.path.as_deref().is_none_or(|path| subject.is_under(path))
            && self.endpoint.as_deref().is_none_or(|endpoint| subject.is_at(endpoint))
            && self.method.as_deref().is_none_or(|method| method.eq_ignore_ascii_case(subject.method))
            && self.grant.as_deref().is_none_or(|grant| subject.grant == Some(grant))
    }
}

impl Subject<'_> {
    fn is_under(&self, path: &str) -> bool {
        let mut names = [Some(self.path), self.endpoint].into_iter().flatten();
        if is_pattern(path) {
            names.any(|name| fits(path, name))
        } else {
            names.any(|name| name.starts_with(path))
        }
    }

    fn is_at(&self, endpoint: &str) -> bool {
        match self.endpoint {
            Some(own) => own.trim_start_matches('/') == endpoint,
            None if endpoint == "api" => true,
            None => {
                let rest = self.path.strip_prefix("/t/vbc.prod/").unwrap_or_default();
                rest.split('/').next() == Some(endpoint)
            }
        }
    }
}

impl Fault {
    /// Restricts the fault to paths with this prefix or, with a `*`, of this pattern.
    #[must_use]
    pub fn on(self, path: &str) -> Self {
        self.matching(|on| on.path = Some(path.to_owned()))
    }

    /// Restricts the fault to `token`, `authorize`, `revoke`, `userinfo`, `api` (all other paths),
    /// or a suite such as `reports`.
    #[must_use]
    pub fn at(self, endpoint: &str) -> Self {
        self.matching(|on| on.endpoint = Some(endpoint.to_owned()))
    }

    /// Restricts the fault to a method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        self.matching(|on| on.method = Some(method.to_owned()))
    }

    /// Restricts the fault to token requests of a grant.
    #[must_use]
    pub fn grant(self, grant: &str) -> Self {
        self.matching(|on| on.grant = Some(grant.to_owned()))
    }

    /// Lets this many matching requests pass first.
    #[must_use]
    pub fn after(self, requests: u64) -> Self {
        self.matching(|on| on.after = requests)
    }

    /// Restricts the fault to this many requests.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        self.matching(|on| on.count = Some(count))
    }

    /// Ends the fault after this time, by the simulator's clock.
    #[must_use]
    pub fn lasts(self, how_long: Duration) -> Self {
        self.matching(|on| on.lasts = Some(how_long))
    }

    /// Strikes with this probability only.
    #[must_use]
    pub fn probability(self, probability: f64, seed: u64) -> Self {
        self.matching(|on| (on.probability, on.seed) = (probability, Some(seed)))
    }

    fn matching(mut self, change: impl FnOnce(&mut Match)) -> Self {
        if let Self::Requests(_, on) = &mut self {
            change(on);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_known_by_their_names_and_paths_by_prefix_or_pattern() {
        let subject = |path, endpoint| Subject { path, endpoint, method: "POST", grant: Some("password") };
        let token = subject("/t/vbc.prod/oauth2/token", Some("/token"));
        let call = subject("/t/vbc.prod/reports/v1/accounts/1/call-logs", None);
        let takes = |fault: Fault, subject: &Subject<'_>| match fault {
            Fault::Requests(_, on) => on.takes(subject),
            Fault::Now(_) => false,
        };
        for (fault, on_token, on_call) in [
            (Fault::hang(), true, true),
            (Fault::hang().on("/token"), true, false),
            (Fault::hang().on("/t/*/reports/**"), false, true),
            (Fault::hang().on("/t/vbc.prod/oauth2/*"), true, false),
            (Fault::hang().at("token"), true, false),
            (Fault::hang().at("api"), false, true),
            (Fault::hang().at("reports"), false, true),
            (Fault::hang().at("telephony"), false, false),
            (Fault::hang().method("get"), false, false),
            (Fault::hang().grant("password"), true, true),
            (Fault::hang().grant("refresh_token"), false, false),
        ] {
            let shown = format!("{fault:?}");
            assert_eq!((takes(fault.clone(), &token), takes(fault, &call)), (on_token, on_call), "{shown}");
        }
    }
}
