//! Measures many credentials: start-up time, memory of each, and how fast they get their tokens.
//! `cargo bench --bench credentials [-- COUNT]` takes two minutes, mostly for the file store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vbc_proxy::Simulator;
use vbc_simulator::{Identity, SimulatorOptions};

/// The number of timed starts.
const STARTS: usize = 5;
/// The number of credentials that are refreshed at the same time.
const LANES: usize = 8;

fn main() {
    // cargo itself passes `--bench`.
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let identities = names(count).iter().map(|name| Identity::demo_user(name)).collect();
    // One simulator serves all runs, since the token URL is part of a credential's identity. It
    // runs outside the measured process.
    let options = SimulatorOptions { identities, ..SimulatorOptions::default() };
    let sim = runtime.block_on(Simulator::bind(options)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();

    println!("{count} credentials, access tokens of about a kilobyte (JWT)");
    lay_out(directory, &sim, 1, "memory");
    let one = Run::start(directory).resident_with_tokens(&names(1)).0;
    for store in ["memory", "file"] {
        lay_out(directory, &sim, count, store);
        let each = |resident: usize| resident.saturating_sub(one) / count.saturating_sub(1).max(1);
        if store == "file" {
            let cold = starts(directory, || {
                let _ = fs::remove_dir_all(directory.join("tokens"));
            });
            println!("start-up, empty file store:    {cold}");
            let _ = fs::remove_dir_all(directory.join("tokens"));
        }
        let run = Run::start(directory);
        let at_rest = run.resident();
        let (resident, took) = run.resident_with_tokens(&names(count));
        println!(
            "memory each, store in {store:<6}   {} bytes with a token, {} without",
            each(resident),
            each(at_rest)
        );
        println!("exchanges, store in {store:<6}     {:.0} a second", count as f64 / took.as_secs_f64());
    }
    println!("start-up, {count} token sets:    {}", starts(directory, || {}));
}

fn names(count: usize) -> Vec<String> {
    let others = (1..count).map(|number| format!("c{number:04}"));
    std::iter::once("default".to_owned()).chain(others).collect()
}

fn lay_out(directory: &Path, sim: &Simulator, count: usize, store: &str) {
    let url = sim.url();
    let mut file = format!(
        "listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\nlog.level = \"warn\"\n\
         store.kind = \"{store}\"\nupstream.url = \"{url}\"\noauth.token_url = \"{url}/token\"\n"
    );
    if store == "file" {
        file.push_str("store.path = \"tokens\"\n");
    }
    for name in names(count) {
        writeln!(
            file,
            "[credentials.{name}]\nclient_id = \"sim-client\"\nclient_secret = \"sim-secret\"\n\
             username = \"{name}\"\npassword = \"sim-password\""
        )
        .unwrap();
    }
    fs::write(directory.join("proxy.toml"), file).unwrap();
}

/// Times [`STARTS`] starts, each after `prepare`. A proxy is killed as soon as it listens.
fn starts(directory: &Path, prepare: impl Fn()) -> String {
    let mut times: Vec<f64> = (0..STARTS)
        .map(|_| {
            prepare();
            Run::start(directory).started.as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    format!("{:.2} s ({:.2} to {:.2})", times[STARTS / 2], times[0], times[STARTS - 1])
}

/// A running proxy, which is killed on drop.
struct Run {
    child: Child,
    admin: SocketAddr,
    /// The time until it printed that it listens.
    started: Duration,
}

impl Run {
    fn start(directory: &Path) -> Self {
        let start = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_vbc-proxy"))
            .arg("serve")
            .env_clear()
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let started = start.elapsed();
        let (_, admin) = line.trim_end().rsplit_once("(admin http://").expect("the listening line");
        Self { child, admin: admin.trim_end_matches(')').parse().unwrap(), started }
    }

    /// Resident memory, in bytes.
    fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes * 1024
    }

    /// Resident memory in bytes once every credential has a token, and the time until then.
    fn resident_with_tokens(self, names: &[String]) -> (usize, Duration) {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for names in names.chunks(names.len().div_ceil(LANES)) {
                scope.spawn(|| refresh(self.admin, names));
            }
        });
        (self.resident(), start.elapsed())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Refreshes these credentials, one after the other.
fn refresh(admin: SocketAddr, names: &[String]) {
    let mut stream = BufReader::new(TcpStream::connect(admin).unwrap());
    for name in names {
        let request = format!("POST /credentials/{name}/refresh HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut length) = (String::new(), 0);
        stream.read_line(&mut status).unwrap();
        assert!(status.starts_with("HTTP/1.1 200 "), "{name}: {status}");
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        stream.read_exact(&mut vec![0; length]).unwrap();
    }
}
