//! The counters and gauges that the admin listener renders.
//!
//! Each [`App`](crate::App) has its own registry, so that a test process can have several proxies.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{Atomic, Gauge};
use prometheus_client::registry::{Metric, Registry};

use vbc_cassette::RecordingCounts;

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

/// The number of open client connections of a thread. Other threads read it for each connection
/// that they accept.
pub type Load = Gauge<i64, Alone>;

/// A number with its own cache line, and its own adjacent line, which processors prefetch. Threads
/// that each count in their own number do not slow each other down.
///
/// All operations are relaxed. The number guards no memory, and a reader may get a value that is
/// already out of date.
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
    /// Open client connections.
    pub connections: Gauge,
    loads: Family<WorkerLabels, Load>,
    /// Client connections that one thread accepted and another serves.
    pub handed_over: Counter,
    /// Client connections over a limit, which got 503 or were closed.
    pub turned_away: Counter,
    /// Open connections to the upstream.
    pub upstream_connections: Gauge,
    /// Open connections that have become websockets.
    pub tunnels: Gauge,
    /// Bytes of request bodies that are on disk now, for retries.
    pub replay_disk: Gauge,
    /// The counters of the recorder, if there is one.
    pub recording: OnceLock<Arc<RecordingCounts>>,
    faults: Family<FaultLabels, Counter>,
    /// Requests with an injected fault, of any rule and effect.
    pub faults_injected: Counter,
    /// Responses that were cut short after their head was sent.
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
        let r = &mut registry;
        Self {
            requests: register(
                r,
                "requests",
                "Responses sent, by status and source: upstream or the proxy itself",
            ),
            retries: register(
                r,
                "retries",
                "Requests that got a 401 from the upstream, by verdict and outcome",
            ),
            connections: register(r, "connections_open", "Open client connections"),
            loads: register(
                r,
                "worker_connections_open",
                "Open client connections, by the thread that serves them",
            ),
            handed_over: register(
                r,
                "connections_handed_over",
                "Client connections that one thread accepted and another serves",
            ),
            turned_away: register(
                r,
                "connections_turned_away",
                "Client connections over a limit, which got 503 or were closed",
            ),
            upstream_connections: register(
                r,
                "upstream_connections_open",
                "Open connections to the upstream",
            ),
            tunnels: register(r, "tunnels_open", "Open websocket connections"),
            replay_disk: register(r, "replay_disk_bytes", "Bytes of request bodies kept on disk for retries"),
            faults: register(
                r,
                "faults_injected",
                "Requests that a rule of [faults] has hit, by rule number and effect",
            ),
            faults_injected: Counter::default(),
            aborted: register(r, "aborted_answers", "Responses cut short after their head was sent"),
            recording: OnceLock::new(),
            registry,
        }
    }

    /// The gauge of client connections of this worker thread. Keep the handle: each call looks the
    /// gauge up.
    pub fn load(&self, worker: usize) -> Load {
        let worker = u32::try_from(worker).unwrap_or(u32::MAX);
        self.loads.get_or_create_owned(&WorkerLabels { worker })
    }

    /// The counter of responses with this status from this source. Keep the handle: each call looks
    /// the counter up.
    pub fn requests(&self, status: u16, source: Source) -> Counter {
        self.requests.get_or_create_owned(&RequestLabels { status, source })
    }

    /// The counter of requests that got a 401 from the upstream, with this verdict and outcome.
    pub fn retries(&self, verdict: &'static str, outcome: &'static str) -> Counter {
        self.retries.get_or_create_owned(&RetryLabels { verdict, outcome })
    }

    /// Counts a request with a fault of this rule. Rules are numbered from 1.
    pub fn count_fault(&self, rule: usize, effect: &'static str) {
        let rule = u32::try_from(rule).unwrap_or(u32::MAX);
        self.faults.get_or_create_owned(&FaultLabels { rule, effect }).inc();
        self.faults_injected.inc();
    }

    /// The text exposition (OpenMetrics 1.0), with the metrics of `also`, which are read at each
    /// scrape.
    pub fn render(&self, also: &Registry) -> String {
        let mut text = String::new();
        let mut records = registry();
        if let Some(counts) = self.recording.get() {
            let outcomes = [
                ("records_written", "Exchanges recorded", &counts.written),
                (
                    "records_dropped",
                    "Exchanges not recorded because the writer fell behind or the disk failed",
                    &counts.dropped,
                ),
                (
                    "records_truncated",
                    "Records whose body was left out because it was too large",
                    &counts.truncated,
                ),
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

fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// A registry with the common prefix of all names.
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
