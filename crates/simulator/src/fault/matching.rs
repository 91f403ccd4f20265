//! Which requests a fault befalls.

use std::time::Duration;

use super::Fault;
use crate::pattern::{fits, is_pattern};

/// What can be matched as `endpoint` beside the names of suites.
pub(crate) const ENDPOINTS: &[&str] = &["token", "authorize", "revoke", "userinfo", "api"];

/// What a fault looks at.
pub(crate) struct Subject<'a> {
    pub(crate) path: &'a str,
    /// The identity endpoint behind the path, by its short name.
    pub(crate) endpoint: Option<&'static str>,
    pub(crate) method: &'a str,
    pub(crate) grant: Option<&'a str>,
}

/// Which requests a fault befalls, and how often.
#[derive(Clone, Debug)]
pub struct Match {
    /// A prefix of the raw path or, with a `*` in it, a pattern for all of it: `*` stands for what is in one segment,
    /// `**` for any number of segments. `/token`, `/authorize`, `/revoke` and `/userinfo` match their tenant paths
    /// too.
    pub path: Option<String>,
    /// `token`, `authorize`, `revoke`, `userinfo`, `api` (everything else), or a suite such as `reports`.
    pub endpoint: Option<String>,
    /// The method.
    pub method: Option<String>,
    /// The grant of a token request. It is not known to faults that strike before the body has arrived.
    pub grant: Option<String>,
    /// How many matching requests pass first.
    pub after: u64,
    /// How many requests; `None` is every one until the fault is removed.
    pub count: Option<u64>,
    /// How long the fault lasts, by the simulator's clock; `None` is until it is removed.
    pub lasts: Option<Duration>,
    /// With what probability; 1 is always.
    pub probability: f64,
    /// Where that chance starts from; `None` takes it from the simulator's seed and the fault's id.
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
    /// Only requests whose path starts so or, with a `*` in it, is of that pattern.
    #[must_use]
    pub fn on(self, path: &str) -> Self {
        self.matching(|on| on.path = Some(path.to_owned()))
    }

    /// Only requests to `token`, `authorize`, `revoke`, `userinfo`, `api` (everything else), or a suite such as
    /// `reports`.
    #[must_use]
    pub fn at(self, endpoint: &str) -> Self {
        self.matching(|on| on.endpoint = Some(endpoint.to_owned()))
    }

    /// Only requests of this method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        self.matching(|on| on.method = Some(method.to_owned()))
    }

    /// Only token requests of this grant.
    #[must_use]
    pub fn grant(self, grant: &str) -> Self {
        self.matching(|on| on.grant = Some(grant.to_owned()))
    }

    /// Only after so many matching requests have passed.
    #[must_use]
    pub fn after(self, requests: u64) -> Self {
        self.matching(|on| on.after = requests)
    }

    /// Only so many requests.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        self.matching(|on| on.count = Some(count))
    }

    /// Only for so long, by the simulator's clock.
    #[must_use]
    pub fn lasts(self, how_long: Duration) -> Self {
        self.matching(|on| on.lasts = Some(how_long))
    }

    /// Only by chance.
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
