//! The workloads, and the rounds in which the proxies take turns.

use std::time::Duration;

use crate::load::{Outcome, Pool, Request, closed};
use crate::proxies::{Kind, Proxy, Setting};
use crate::stats::{LEAST, Ratio, median};
use crate::{Lab, say};

/// A round's times count only if other processes and the hypervisor took at most this share of a
/// core.
const CALM: f64 = 0.06;
/// If the proxy's core is busy for at least this share, the proxy limits the requests a second.
/// Otherwise the load does.
pub(crate) const BUSY: f64 = 0.95;
/// The constant rate, as a share of nginx's peak.
const SHARE: f64 = 0.6;

/// Bounds for our ratios to nginx. The first bound of a pair is for the plain build, the second for
/// the build with a profile.
#[derive(Clone, Copy, Default)]
pub(crate) struct Goals {
    /// The most CPU per request.
    pub(crate) cpu: Option<(f64, f64)>,
    /// The fewest requests a second.
    pub(crate) rate: Option<(f64, f64)>,
    /// The highest 99th percentile of the latency at a constant rate.
    pub(crate) p99: Option<f64>,
}

/// A workload.
pub(crate) struct Row {
    /// The name for `--only`.
    pub(crate) key: &'static str,
    /// The name in tables.
    pub(crate) name: &'static str,
    /// The request that every client sends.
    pub(crate) request: Request,
    /// The number of concurrent clients.
    pub(crate) clients: usize,
    /// Whether the upstream is reached by https.
    pub(crate) tls: bool,
    /// Whether bodies are large.
    pub(crate) bulk: bool,
    /// Whether the proxy is pinned to one core, and everything else to the other.
    pub(crate) pinned: bool,
    /// Whether the workload is measured at a constant rate as well.
    pub(crate) constant: bool,
    /// Bounds for our ratios.
    pub(crate) goals: Goals,
}

/// All workloads.
pub(crate) fn rows() -> Vec<Row> {
    let row = |key, name, request, clients| Row {
        key,
        name,
        request,
        clients,
        tls: false,
        bulk: false,
        pinned: true,
        constant: false,
        goals: Goals::default(),
    };
    let goals = |cpu, rate, p99| Goals { cpu: Some(cpu), rate: Some(rate), p99 };
    let get = || Request::new("GET", "x/json", 0);
    let unpinned = |key, name, clients, rate, constant| Row {
        pinned: false,
        constant,
        goals: goals((1.0, 1.0), (rate, rate), constant.then_some(1.1)),
        ..row(key, name, get(), clients)
    };
    vec![
        Row {
            constant: true,
            goals: goals((0.96, 0.90), (1.03, 1.10), Some(1.05)),
            ..row("get", "GET 1 KB of JSON, 64 connections", get(), 64)
        },
        Row {
            goals: goals((0.96, 0.90), (1.03, 1.10), None),
            ..row("text", "GET 1 KB of text, 64 connections", Request::new("GET", "x/text", 0), 64)
        },
        Row {
            constant: true,
            goals: goals((0.90, 0.82), (1.10, 1.20), Some(1.05)),
            ..row("post", "POST 4 KB, 64 connections", Request::new("POST", "x/text", 4096), 64)
        },
        Row {
            bulk: true,
            goals: goals((0.60, 0.60), (1.4, 1.4), None),
            ..row("down", "GET 1 MiB, 16 connections", Request::new("GET", "x/mebibyte", 0), 16)
        },
        Row {
            bulk: true,
            goals: goals((1.10, 1.10), (0.95, 0.95), None),
            ..row("up", "POST 10 MiB, 8 connections", Request::new("POST", "x/text", 10 << 20), 8)
        },
        Row {
            tls: true,
            constant: true,
            goals: goals((0.85, 0.75), (1.20, 1.30), Some(1.05)),
            ..row("https", "GET 1 KB, https upstream (TLS 1.3), 64 connections", get(), 64)
        },
        Row {
            goals: goals((1.05, 1.05), (1.0, 1.0), None),
            ..row("new", "GET 1 KB, a new connection each, 64 at once", Request::last("x/json"), 64)
        },
        unpinned("unpinned1", "unpinned, GET 1 KB, 1 connection", 1, 0.95, false),
        unpinned("unpinned4", "unpinned, GET 1 KB, 4 connections", 4, 0.95, false),
        unpinned("unpinned64", "unpinned, GET 1 KB, 64 connections", 64, 1.05, true),
    ]
}

/// Outcomes by proxy, then by round.
pub(crate) type Rounds = Vec<Vec<Outcome>>;

/// The outcome of a workload.
pub(crate) struct Measured {
    /// The workload.
    pub(crate) row: Row,
    /// Each client sends its next request as soon as it has the response.
    pub(crate) closed: Rounds,
    /// The constant rate in requests a second, and the outcomes at that rate.
    pub(crate) constant: Option<(f64, Rounds)>,
}

/// The median of a figure over a proxy's rounds.
pub(crate) fn middle(rounds: &[Outcome], figure: impl Fn(&Outcome) -> f64) -> f64 {
    median(&rounds.iter().map(figure).collect::<Vec<_>>())
}

impl Measured {
    /// Measures a workload. Ratios are to the first proxy.
    pub(crate) async fn take(lab: &Lab, kinds: &[Kind], row: Row) -> Self {
        let proxies: Vec<Proxy> = kinds.iter().map(|kind| Proxy::start(kind, &lab.setting(&row))).collect();
        lab.place(row.pinned);
        let duration = lab.duration;
        let mut all = vec![Vec::new(); proxies.len()];
        while !lab.enough(&all) {
            for (proxy, rounds) in proxies.iter().zip(&mut all) {
                rounds.push(closed(&proxy.meter, &row.request, row.clients, duration).await);
            }
        }
        let mut constant = None;
        if row.constant {
            let rate = (SHARE * middle(&all[0], |outcome| outcome.rate)).round();
            let mut all = vec![Vec::new(); proxies.len()];
            let mut pools = Vec::new();
            for proxy in &proxies {
                pools.push(Pool::connect(proxy.meter.address, &row.request, row.clients).await);
            }
            while !lab.enough(&all) {
                for ((proxy, pool), rounds) in proxies.iter().zip(&pools).zip(&mut all) {
                    rounds.push(pool.constant(&proxy.meter, rate, duration, row.pinned).await);
                }
            }
            for pool in pools {
                pool.end().await;
            }
            constant = Some((rate, all));
        }
        let measured = Self { row, closed: all, constant };
        for (index, kind) in kinds.iter().enumerate() {
            let rounds = &measured.closed[index];
            say(&format!(
                "  {:<10} {:>7.3} CPU s per 100,000, {:>7.0} requests/s, core {:>3.0} % busy, others {:>3.0} %; to nginx: CPU {}, requests/s {}, p99 {}",
                kind.name(),
                middle(rounds, |outcome| outcome.cpu),
                middle(rounds, |outcome| outcome.rate),
                middle(rounds, |outcome| outcome.used.core) * 100.0,
                middle(rounds, |outcome| outcome.used.others) * 100.0,
                measured.cpu(index),
                measured.rate(index),
                measured.p99(index).map_or("–".into(), |ratio| ratio.to_string()),
            ));
        }
        measured
    }

    /// CPU per request. It excludes other processes, so every round counts.
    pub(crate) fn cpu(&self, index: usize) -> Ratio {
        ratio(&self.closed, index, 0, |outcome| outcome.cpu, false, 0.03)
    }

    /// The ratio of CPU per request between two proxies.
    pub(crate) fn between(&self, index: usize, other: usize) -> Ratio {
        ratio(&self.closed, index, other, |outcome| outcome.cpu, false, 0.03)
    }

    /// Requests a second.
    pub(crate) fn rate(&self, index: usize) -> Ratio {
        ratio(&self.closed, index, 0, |outcome| outcome.rate, true, 0.03)
    }

    /// Whether the proxy limited the requests a second, and not the load.
    pub(crate) fn is_bound(&self, index: usize) -> bool {
        !self.row.pinned || middle(&self.closed[index], |outcome| outcome.used.core) >= BUSY
    }

    /// CPU per request at the constant rate.
    pub(crate) fn cpu_at_rate(&self, index: usize) -> Option<Ratio> {
        let (_, rounds) = self.constant.as_ref()?;
        Some(ratio(rounds, index, 0, |outcome| outcome.cpu, false, 0.03))
    }

    /// The 99th percentile at the constant rate.
    pub(crate) fn p99(&self, index: usize) -> Option<Ratio> {
        let (_, rounds) = self.constant.as_ref()?;
        Some(ratio(rounds, index, 0, |outcome| outcome.p99, true, 0.05))
    }
}

fn ratio(
    rounds: &Rounds,
    index: usize,
    other: usize,
    of: fn(&Outcome) -> f64,
    calm: bool,
    error: f64,
) -> Ratio {
    let pairs = rounds[index].iter().zip(&rounds[other]);
    let pairs = pairs.filter(|(one, other)| !calm || is_calm(one) && is_calm(other));
    let ratios: Vec<f64> = pairs.map(|(one, other)| of(one) / of(other)).collect();
    Ratio::of(&ratios, error, LEAST.min(rounds[0].len()))
}

/// Whether times count: other processes and the hypervisor took at most [`CALM`].
pub(crate) fn is_calm(outcome: &Outcome) -> bool {
    outcome.used.others <= CALM
}

impl Lab {
    /// Whether there are enough rounds, and enough calm ones among them. After
    /// [`most_rounds`](Self::most_rounds), calm rounds no longer matter.
    fn enough(&self, all: &Rounds) -> bool {
        let done = all[0].len();
        let calm = (0..done).filter(|round| all.iter().all(|rounds| is_calm(&rounds[*round]))).count();
        done >= self.rounds && (calm >= LEAST.min(self.rounds) || done >= self.most_rounds())
    }

    /// How the proxies run for this workload.
    pub(crate) fn setting(&self, row: &Row) -> Setting<'_> {
        let api = if row.pinned { self.here } else { self.elsewhere };
        Setting {
            api: if row.tls { api.tls } else { api.plain },
            authority: row.tls.then_some(&self.authority),
            core: row.pinned.then_some(self.core),
            bulk: row.bulk,
            token_url: &self.tokens.url,
            credentials: 1,
        }
    }

    /// The most rounds that are tried: one and a half times the wanted number.
    fn most_rounds(&self) -> usize {
        self.rounds + self.rounds / 2
    }
}

/// Runs every workload for a while and then ends the proxy, so that it writes its profile.
pub(crate) async fn train(lab: &Lab, kind: &Kind) {
    for row in rows() {
        say(&format!("{} …", row.name));
        let proxy = Proxy::start(kind, &lab.setting(&row));
        let seconds = if row.bulk { 1 } else { 3 };
        closed(&proxy.meter, &row.request, row.clients, Duration::from_secs(seconds)).await;
        if row.constant {
            let pool = Pool::connect(proxy.meter.address, &row.request, row.clients).await;
            pool.constant(&proxy.meter, 1_000.0, Duration::from_secs(1), false).await;
            pool.end().await;
        }
        proxy.terminate();
    }
}
