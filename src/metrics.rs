//! Counters and gauges, by handle. Rendered by the admin listener.
//!
//! One registry per process life of an [`App`](crate::App), so that many proxies can live in one test process.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// Who wrote an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types)]
pub enum Source {
    /// The upstream's own answer.
    upstream,
    /// An answer in our own name.
    proxy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    status: u16,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    verdict: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    credential: String,
    grant: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabels {
    credential: String,
}

/// All metrics of one proxy. Names are `vbc_proxy_<noun>_<unit>[_total]`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    retries: Family<RetryLabels, Counter>,
    refreshes: Family<RefreshLabels, Counter>,
    expiry: Family<CredentialLabels, Gauge<f64, AtomicU64>>,
    brake: Family<CredentialLabels, Gauge>,
    unsaved: Family<CredentialLabels, Gauge>,
    /// Client connections that are open now.
    pub connections: Gauge,
    /// Connections to the upstream that are open now.
    pub upstream_connections: Gauge,
    /// Answers that had to be cut short after their head was sent.
    pub aborted: Counter,
}

/// The gauges of one credential.
#[derive(Clone, Debug)]
pub struct CredentialGauges {
    /// When the current access token ends, in seconds since 1970; 0 without one.
    pub expiry: Gauge<f64, AtomicU64>,
    /// 1 while the login brake is on.
    pub brake: Gauge,
    /// 1 while the latest token set could not be stored.
    pub unsaved: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh registry with everything at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("vbc_proxy");
        let requests = Family::default();
        registry.register(
            "requests",
            "Requests answered, by status and by who wrote the answer",
            requests.clone(),
        );
        let retries = Family::default();
        registry.register(
            "retries",
            "Upstream 401s, by what they meant and what became of them",
            retries.clone(),
        );
        let refreshes = Family::default();
        registry.register(
            "refreshes",
            "Exchanges with the token endpoint, by grant and outcome",
            refreshes.clone(),
        );
        let expiry = Family::default();
        let help = "When the current access token ends, in seconds since 1970; 0 without one";
        registry.register("token_expiry_timestamp_seconds", help, expiry.clone());
        let brake = Family::default();
        registry.register(
            "brake_engaged",
            "1 while logins are held back to protect the account",
            brake.clone(),
        );
        let unsaved = Family::default();
        registry.register(
            "token_unsaved",
            "1 while the latest token set could not be stored",
            unsaved.clone(),
        );
        let connections = Gauge::default();
        registry.register("connections_open", "Client connections", connections.clone());
        let upstream_connections = Gauge::default();
        registry.register(
            "upstream_connections_open",
            "Connections to the upstream",
            upstream_connections.clone(),
        );
        let aborted = Counter::default();
        registry.register(
            "aborted_answers",
            "Answers cut short after their head had been sent",
            aborted.clone(),
        );
        Self {
            registry,
            requests,
            retries,
            refreshes,
            expiry,
            brake,
            unsaved,
            connections,
            upstream_connections,
            aborted,
        }
    }

    /// The counter of answers with this status from this source. Keep the handle.
    pub fn requests(&self, status: u16, source: Source) -> Counter {
        self.requests.get_or_create_owned(&RequestLabels { status, source })
    }

    /// The counter of 401s with this verdict and outcome.
    pub fn retries(&self, verdict: &'static str, outcome: &'static str) -> Counter {
        self.retries.get_or_create_owned(&RetryLabels { verdict, outcome })
    }

    /// The counter of exchanges of this grant with this outcome.
    pub fn refreshes(&self, credential: &str, grant: &'static str, outcome: &'static str) -> Counter {
        let credential = credential.to_owned();
        self.refreshes.get_or_create_owned(&RefreshLabels { credential, grant, outcome })
    }

    /// The gauges of a credential. Keep the handles.
    pub fn credential(&self, credential: &str) -> CredentialGauges {
        let labels = CredentialLabels { credential: credential.to_owned() };
        CredentialGauges {
            expiry: self.expiry.get_or_create_owned(&labels),
            brake: self.brake.get_or_create_owned(&labels),
            unsaved: self.unsaved.get_or_create_owned(&labels),
        }
    }

    /// The text exposition (OpenMetrics 1.0).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_stable() {
        let metrics = Metrics::new();
        metrics.requests(200, Source::upstream).inc();
        metrics.refreshes("default", "password", "issued").inc();
        metrics.credential("default").brake.set(1);
        let text = metrics.render();
        assert!(text.contains("vbc_proxy_requests_total{status=\"200\",source=\"upstream\"} 1"), "{text}");
        assert!(text.contains("vbc_proxy_brake_engaged{credential=\"default\"} 1"), "{text}");
        assert!(text.contains(
            "vbc_proxy_refreshes_total{credential=\"default\",grant=\"password\",outcome=\"issued\"} 1"
        ));
    }
}
