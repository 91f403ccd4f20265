//! Measures vbc-proxy against nginx, HAProxy and a plain proxy on hyper. `scripts/bench` builds and
//! runs this program.
//!
//! The proxies take turns within every round. Load and upstream share one thread and one core; the
//! proxy has another core.

mod http;
mod load;
mod machine;
mod memory;
mod plot;
mod proxies;
mod report;
mod rows;
mod stats;
mod steady;
mod upstream;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memory::Memory;
use proxies::Kind;
use rows::{Measured, middle, rows};
use stats::median;
use steady::Line;
use tokio::runtime::LocalOptions;
use upstream::{Api, Tokens};

/// The upstreams and the settings of a run.
pub(crate) struct Lab {
    /// The API on the load's thread.
    here: Api,
    /// The API on threads of its own.
    elsewhere: Api,
    /// The certificate of the authority that signed the API's certificate, in PEM.
    authority: String,
    tokens: Tokens,
    /// The core of a pinned proxy.
    core: usize,
    rounds: usize,
    duration: Duration,
}

impl Lab {
    /// Pins load and upstream to the core next to the proxy's, or lets them use every core.
    fn place(&self, pinned: bool) {
        let everything = format!("0-{}", self.core);
        machine::pin_to(&if pinned { (self.core - 1).to_string() } else { everything });
    }
}

/// Everything that `RESULTS.md` reports.
#[derive(Default)]
pub(crate) struct Results {
    machine: String,
    commit: String,
    versions: Vec<String>,
    names: Vec<&'static str>,
    rounds: usize,
    duration: f64,
    others: f64,
    plot: bool,
    rows: Vec<Measured>,
    memory: Vec<Memory>,
    refreshes: Vec<Line>,
    connections: Vec<Line>,
    connections_of_nginx: Vec<Line>,
    credentials: Vec<Line>,
}

impl Results {
    /// Writes the results so far.
    fn write(&mut self, directory: Option<&Path>) {
        let Some(directory) = directory else { return };
        let plot = plot::svg(self);
        self.plot = plot.is_some();
        std::fs::write(directory.join("RESULTS.md"), report::page(self)).unwrap();
        if let Some(plot) = plot {
            std::fs::write(directory.join("RESULTS.svg"), plot).unwrap();
        }
    }
}

struct Options {
    ours: PathBuf,
    pgo: Option<PathBuf>,
    train: bool,
    rounds: usize,
    only: Vec<String>,
    out: Option<PathBuf>,
}

const HELP: &str = "\
compare --ours BINARY [--pgo BINARY] [--rounds N] [--quick] [--only NAME]… [--out DIRECTORY]
compare --ours BINARY --train
NAME is one of get, text, post, down, up, https, new, unpinned1, unpinned4, unpinned64, memory, refresh, growth.";

fn options() -> Options {
    let mut options =
        Options { ours: PathBuf::new(), pgo: None, train: false, rounds: 15, only: vec![], out: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| refuse(&format!("{argument} needs a value")));
        match argument.as_str() {
            "--ours" => options.ours = value().into(),
            "--pgo" => options.pgo = Some(value().into()),
            "--out" => options.out = Some(value().into()),
            "--only" => options.only.push(value()),
            "--rounds" => {
                options.rounds = value().parse().unwrap_or_else(|_| refuse("--rounds takes a number"))
            }
            "--quick" => options.rounds = 3,
            "--train" => options.train = true,
            _ => refuse(&format!("{argument} is unknown")),
        }
    }
    let mut known: Vec<&str> = rows().iter().map(|row| row.key).collect();
    known.extend(["memory", "refresh", "growth"]);
    if let Some(name) = options.only.iter().find(|name| !known.contains(&name.as_str())) {
        refuse(&format!("unknown workload {name}"));
    }
    if !options.ours.is_file() {
        refuse("--ours needs the path of a binary");
    }
    options
}

fn refuse(reason: &str) -> ! {
    eprintln!("{reason}\n{HELP}");
    std::process::exit(2)
}

/// Prints a line and flushes standard output.
pub(crate) fn say(text: &str) {
    println!("{text}");
    let _ = std::io::stdout().flush();
}

fn main() {
    let options = options();
    if machine::cores() < 2 {
        refuse("two cores are needed: one for the proxy, and one for load and upstream");
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(run(options));
}

async fn run(options: Options) {
    let started = Instant::now();
    let (authority, tls) = upstream::tls();
    let lab = Lab {
        here: Api::here(&tls).await,
        elsewhere: Api::elsewhere(&tls),
        authority,
        tokens: Tokens::start(),
        core: machine::cores() - 1,
        rounds: options.rounds,
        // A short window, so that measurements that are compared lie close together in time.
        duration: Duration::from_millis(400),
    };
    let ours = Kind::Ours("ours", options.ours.clone());
    if options.train {
        return rows::train(&lab, &ours).await;
    }
    let mut kinds = vec![Kind::Nginx, Kind::Haproxy, Kind::Hyper(hyper()), ours.clone()];
    kinds.extend(options.pgo.clone().map(|path| Kind::Ours("ours, PGO", path)));
    let mut results = Results {
        machine: machine::describe(),
        commit: commit(),
        versions: versions(&options),
        names: kinds.iter().map(Kind::name).collect(),
        rounds: lab.rounds,
        duration: lab.duration.as_secs_f64(),
        ..Results::default()
    };
    say(&format!("{}\n{}", results.machine, results.versions.join("; ")));
    let wants = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    for row in rows().into_iter().filter(|row| wants(row.key)) {
        say(&format!("\n{}", row.name));
        results.rows.push(Measured::take(&lab, &kinds, row).await);
    }
    let others = results.rows.iter().flat_map(|row| row.closed.iter().flatten());
    results.others = median(&others.map(|outcome| outcome.used.others).collect::<Vec<_>>());
    results.write(options.out.as_deref());
    if wants("memory") {
        say("\nmemory");
        results.memory = memory::take(&lab, &kinds).await;
    }
    let best = &kinds[kinds.len() - 1];
    if wants("refresh") {
        say("\nrefreshes: p99 at a constant rate, µs");
        let get = results.rows.iter().find(|measured| measured.row.key == "get");
        let rate = get.map_or(8_000.0, |measured| 0.6 * middle(&measured.closed[0], |outcome| outcome.rate));
        results.refreshes = steady::refreshes(&lab, best, rate).await;
    }
    if wants("growth") {
        say("\ngrowth: CPU s per 100,000 requests");
        results.connections = steady::connections(&lab, best).await;
        say("  nginx");
        results.connections_of_nginx = steady::connections(&lab, &kinds[0]).await;
        results.credentials = steady::credentials(&lab, best).await;
    }
    results.write(options.out.as_deref());
    say(&format!("\ntook {:.0} s", started.elapsed().as_secs_f64()));
}

/// The plain proxy on hyper, which is built together with this program.
fn hyper() -> PathBuf {
    let path = std::env::current_exe().unwrap().with_file_name("hyper-proxy");
    if !path.is_file() {
        refuse(&format!("{} is missing; scripts/bench builds it", path.display()));
    }
    path
}

fn commit() -> String {
    let hash = machine::says("git", &["rev-parse", "--short=10", "HEAD"]);
    let paths = ["src", "crates", "benches/compare/src", "Cargo.toml", "Cargo.lock"];
    let changed = machine::says("git", &[&["status", "--porcelain", "--"], &paths[..]].concat());
    if changed.is_empty() { hash } else { format!("{hash}, with changes") }
}

/// Names and versions of these packages in the lock file of this program.
fn locked(names: &[&str]) -> String {
    let lock = include_str!("../Cargo.lock");
    let version = |name: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap();
        format!("{name} {}", rest.split('"').next().unwrap())
    };
    names.iter().map(|name| version(name)).collect::<Vec<_>>().join(" with ")
}

fn versions(options: &Options) -> Vec<String> {
    let ours = machine::says(&options.ours.to_string_lossy(), &["--version"]);
    let haproxy = machine::says("haproxy", &["-v"]);
    let haproxy = haproxy.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let nginx = machine::says("nginx", &["-v"]).replace("nginx version: ", "");
    let mut all = vec![ours, nginx, haproxy, locked(&["hyper", "hyper-util"])];
    if let Ok(compiler) = std::env::var("COMPARE_RUSTC") {
        all.push(compiler);
    }
    all
}
