//! The metrics of credentials. They are read at each scrape, so that ten thousand credentials keep
//! no label sets.

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

/// A gauge of every credential: its name, its help text, and its value, if it has one.
type Gauge = (&'static str, &'static str, fn(&Snapshot) -> Option<i64>);

const GAUGES: [Gauge; 8] = [
    (
        "token_expiry_timestamp_seconds",
        "When the current access token ends, in seconds since 1970; 0 without one",
        |snapshot| Some(seconds(snapshot.expires_at)),
    ),
    ("token_usable", "1 while there is a token that lives and is not refused", |snapshot| {
        flag(snapshot.usable)
    }),
    ("brake_engaged", "1 while logins are held back to protect the account", |snapshot| flag(snapshot.brake)),
    ("login_needed", "1 while a person has to log in", |snapshot| flag(snapshot.login_needed)),
    (
        "login_needed_by_timestamp_seconds",
        "When a person has to log in at the latest, unless the refresh token is renewed before, in seconds since 1970",
        |snapshot| snapshot.login_needed_by.map(|by| seconds(Some(by))),
    ),
    ("other_user", "1 while the tokens of another user, brought by a refresh, are not used", |snapshot| {
        flag(snapshot.other_user.is_some())
    }),
    ("token_unsaved", "1 while the latest token set could not be stored", |snapshot| flag(snapshot.unsaved)),
    (
        "refused_paths",
        "Paths whose 401s pass for a minute, since a fresh token was refused there too",
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
    ("forced_refreshes", "Refreshes that a 401 forced, whatever came of them", Credential::forced_refreshes),
    (
        "new_tokens_refused",
        "401s that name a token which a refresh had just brought, or which may not be replaced yet",
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
