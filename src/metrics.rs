//! Counters and gauges, by handle. Rendered by the admin listener.
//!
//! One registry per process life of an [`App`](crate::App), so that many proxies can live in one test process.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{Atomic, Gauge};
use prometheus_client::registry::Registry;

use crate::cassette::RecordingCounts;

/// Who wrote a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The upstream.
    Upstream,
    /// The proxy itself.
    Proxy,
}

impl EncodeLabelValue for Source {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Upstream => "upstream",
            Self::Proxy => "proxy",
        })
    }
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
struct FaultLabels {
    rule: u32,
    effect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkerLabels {
    worker: u32,
}

/// How many client connections a thread has open. Other threads read it for each connection they accept.
pub type Load = Gauge<i64, Alone>;

/// A number with a cache line for itself, and the one beside it that processors fetch along: what a thread counts for
/// itself does not slow down another's counting.
///
/// All is relaxed. It is a number and guards no memory; whoever decides by it may decide by one that has just changed.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Alone(AtomicI64);

impl Atomic<i64> for Alone {
    fn inc(&self) -> i64 {
        self.inc_by(1)
    }

    fn inc_by(&self, by: i64) -> i64 {
        self.0.fetch_add(by, Ordering::Relaxed)
    }

    fn dec(&self) -> i64 {
        self.dec_by(1)
    }

    fn dec_by(&self, by: i64) -> i64 {
        self.0.fetch_sub(by, Ordering::Relaxed)
    }

    fn set(&self, to: i64) -> i64 {
        self.0.swap(to, Ordering::Relaxed)
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All metrics of one proxy. Names are `vbc_proxy_<noun>_<unit>[_total]`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    retries: Family<RetryLabels, Counter>,
    /// Client connections that are open now.
    pub connections: Gauge,
    loads: Family<WorkerLabels, Load>,
    /// Client connections that one thread accepted and another serves.
    pub handed_over: Counter,
    /// Client connections that were answered 503 or closed because there were too many.
    pub turned_away: Counter,
    /// Connections to the upstream that are open now.
    pub upstream_connections: Gauge,
    /// Connections that have become websockets and are open now.
    pub tunnels: Gauge,
    /// Bytes of request bodies that are kept on disk now, for a replay.
    pub replay_disk: Gauge,
    /// Where there is a recorder, its counters.
    pub recording: OnceLock<Arc<RecordingCounts>>,
    faults: Family<FaultLabels, Counter>,
    /// All of them.
    pub faults_injected: Counter,
    /// Answers that had to be cut short after their head was sent.
    pub aborted: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh registry with everything at zero.
    pub fn new() -> Self {
        let mut registry = registry();
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
        let connections = Gauge::default();
        registry.register("connections_open", "Client connections", connections.clone());
        let loads = Family::default();
        registry.register(
            "worker_connections_open",
            "Client connections, by the thread that serves them",
            loads.clone(),
        );
        let handed_over = Counter::default();
        registry.register(
            "connections_handed_over",
            "Client connections that one thread accepted and another serves",
            handed_over.clone(),
        );
        let turned_away = Counter::default();
        registry.register(
            "connections_turned_away",
            "Client connections over a limit, answered 503 or closed",
            turned_away.clone(),
        );
        let upstream_connections = Gauge::default();
        registry.register(
            "upstream_connections_open",
            "Connections to the upstream",
            upstream_connections.clone(),
        );
        let tunnels = Gauge::default();
        registry.register("tunnels_open", "Connections that have become websockets", tunnels.clone());
        let replay_disk = Gauge::default();
        registry.register(
            "replay_disk_bytes",
            "Request bodies kept on disk for a replay",
            replay_disk.clone(),
        );
        let faults = Family::default();
        registry.register(
            "faults_injected",
            "Requests that met a fault of [faults], by the number of its rule and what it did",
            faults.clone(),
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
            connections,
            loads,
            handed_over,
            turned_away,
            upstream_connections,
            tunnels,
            replay_disk,
            recording: OnceLock::new(),
            faults,
            faults_injected: Counter::default(),
            aborted,
        }
    }

    /// The client connections of this worker thread. Keep the handle.
    pub fn load(&self, worker: usize) -> Load {
        let worker = u32::try_from(worker).unwrap_or(u32::MAX);
        self.loads.get_or_create_owned(&WorkerLabels { worker })
    }

    /// The counter of answers with this status from this source. Keep the handle.
    pub fn requests(&self, status: u16, source: Source) -> Counter {
        self.requests.get_or_create_owned(&RequestLabels { status, source })
    }

    /// The counter of 401s with this verdict and outcome.
    pub fn retries(&self, verdict: &'static str, outcome: &'static str) -> Counter {
        self.retries.get_or_create_owned(&RetryLabels { verdict, outcome })
    }

    /// Counts a request that met a fault of this rule, the first of which is 1.
    pub fn count_fault(&self, rule: usize, effect: &'static str) {
        let rule = u32::try_from(rule).unwrap_or(u32::MAX);
        self.faults.get_or_create_owned(&FaultLabels { rule, effect }).inc();
        self.faults_injected.inc();
    }

    /// The text exposition (OpenMetrics 1.0), with what `also` has: metrics that are read where they are kept, when
    /// somebody asks.
    pub fn render(&self, also: &Registry) -> String {
        let mut text = String::new();
        let mut records = registry();
        if let Some(counts) = self.recording.get() {
            let outcomes = [
                ("records_written", "Exchanges recorded", &counts.written),
                (
                    "records_dropped",
                    "Exchanges not recorded since the writer could not follow or the disk failed",
                    &counts.dropped,
                ),
                ("records_truncated", "Records without a body that was too large", &counts.truncated),
            ];
            for (name, help, counter) in outcomes {
                records.register(name, help, ConstCounter::new(counter.load(Ordering::Relaxed)));
            }
        }
        // Writing to a string does not fail.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &records))
            .and_then(|()| encode_registry(&mut text, also))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}

/// A registry whose names begin as all of ours do.
pub fn registry() -> Registry {
    Registry::with_prefix("vbc_proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_stable() {
        let metrics = Metrics::new();
        metrics.requests(200, Source::Upstream).inc();
        metrics.load(1).inc_by(3);
        let text = metrics.render(&registry());
        assert!(text.contains("vbc_proxy_requests_total{status=\"200\",source=\"upstream\"} 1"), "{text}");
        assert!(text.contains("vbc_proxy_worker_connections_open{worker=\"1\"} 3"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_load_is_a_number_that_goes_up_and_down() {
        let load = Load::default();
        assert_eq!((load.inc(), load.inc_by(4), load.dec(), load.dec_by(2)), (0, 1, 5, 4));
        assert_eq!((load.set(9), load.get()), (2, 9));
    }

    #[test]
    fn loads_do_not_share_a_cache_line() {
        let loads: Vec<Load> = (0..8).map(|_| Load::default()).collect();
        let mut lines: Vec<usize> =
            loads.iter().map(|load| std::ptr::from_ref(load.inner()).addr() / 128).collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), loads.len());
        assert_eq!(size_of::<Alone>(), 128);
    }
}
