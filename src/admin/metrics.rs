//! The metrics of credentials. They are computed at each scrape, so that ten thousand credentials
//! need no label sets in memory.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Inner;
use crate::credential::{Credential, Snapshot};
use crate::metrics::registry;
use vbc_base::clock::Timestamp;

pub(super) fn render(inner: &Arc<Inner>) -> String {
    let mut also: Registry = registry();
    also.register_collector(Box::new(Credentials(Arc::clone(inner))));
    inner.options.metrics.render(&also)
}

struct Credentials(Arc<Inner>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("count", &self.0.options.credentials.len()).finish()
    }
}

/// A gauge of every credential: its name, its help text, and its value. A credential without a
/// value has no sample.
type Gauge = (&'static str, &'static str, fn(&Snapshot) -> Option<i64>);

const GAUGES: [Gauge; 8] = [
    (
        "token_expiry_timestamp_seconds",
        "When the current access token expires, in seconds since 1970; 0 without a token",
        |snapshot| Some(seconds(snapshot.expires_at)),
    ),
    ("token_usable", "1 while there is a token that is neither expired nor rejected", |snapshot| {
        flag(snapshot.usable)
    }),
    ("brake_engaged", "1 while logins are blocked to protect the account", |snapshot| flag(snapshot.brake)),
    ("login_needed", "1 while an interactive login is needed", |snapshot| flag(snapshot.login_needed)),
    (
        "login_needed_by_timestamp_seconds",
        "Latest time for an interactive login, in seconds since 1970, unless the refresh token is renewed before",
        |snapshot| snapshot.login_needed_by.map(|by| seconds(Some(by))),
    ),
    ("other_user", "1 while a refresh has returned tokens of another user, which are not used", |snapshot| {
        flag(snapshot.other_user.is_some())
    }),
    ("token_unsaved", "1 while the latest token set could not be saved and is only in memory", |snapshot| {
        flag(snapshot.unsaved)
    }),
    (
        "refused_paths",
        "Paths whose 401s are passed on for a minute, because a fresh token was rejected there too",
        |snapshot| i64::try_from(snapshot.refused_paths).ok(),
    ),
];

fn flag(on: bool) -> Option<i64> {
    Some(i64::from(on))
}

fn seconds(at: Option<Timestamp>) -> i64 {
    at.map_or(0, |at| at.as_second())
}

/// A counter of every credential: its name, its help text, and its value.
type Total = (&'static str, &'static str, fn(&Credential) -> u64);

const TOTALS: [Total; 2] = [
    ("forced_refreshes", "Refreshes caused by a 401, successful or not", Credential::forced_refreshes),
    (
        "new_tokens_refused",
        "401s that reject a token that is brand-new or cannot be replaced yet",
        Credential::new_tokens_refused,
    ),
];

impl Collector for Credentials {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let credentials = &self.0.options.credentials;
        let snapshots: Vec<(&str, Snapshot)> =
            credentials.iter().map(|credential| (credential.name(), credential.snapshot())).collect();
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (credential, snapshot) in &snapshots {
                if let Some(value) = value(snapshot) {
                    let labels = [("credential", *credential)];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        for (name, help, value) in TOTALS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for credential in credentials {
                let labels = [("credential", credential.name())];
                ConstCounter::new(value(credential)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Exchanges with the token endpoint, by grant and outcome";
        let mut family = encoder.encode_descriptor("refreshes", help, None, MetricType::Counter)?;
        for credential in credentials {
            for (grant, outcome, count) in credential.exchanges() {
                let labels = [("credential", credential.name()), ("grant", grant), ("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
