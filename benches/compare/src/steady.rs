//! Conditions that must not cost a request anything: refreshes of the token, a token endpoint that
//! hangs, many connections, many credentials.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::load::{Outcome, Pool, closed};
use crate::proxies::{Kind, Proxy, Setting};
use crate::rows::{is_calm, middle, rows};
use crate::stats::{LEAST, Ratio};
use crate::{Lab, say};

/// One line of a table.
pub(crate) struct Line {
    /// The condition.
    pub(crate) what: String,
    /// The median over rounds.
    pub(crate) figure: f64,
    /// The 99.9th percentile in microseconds, where the figure is a latency.
    pub(crate) tail: Option<f64>,
    /// The ratio to the first line.
    pub(crate) ratio: Ratio,
}

/// The lines of a table. With `calm`, only calm rounds count.
fn lines(
    names: Vec<String>,
    rounds: &[Vec<Outcome>],
    of: fn(&Outcome) -> f64,
    calm: bool,
    error: f64,
) -> Vec<Line> {
    let lines = names.into_iter().zip(rounds).map(|(what, taken)| {
        let ratios: Vec<f64> = taken
            .iter()
            .zip(&rounds[0])
            .filter(|(one, first)| !calm || is_calm(one) && is_calm(first))
            .map(|(one, first)| of(one) / of(first))
            .collect();
        // Only latencies need calm rounds, and only latencies have a tail.
        let tail = calm.then(|| middle(taken, |outcome| outcome.p999));
        Line {
            what,
            figure: middle(taken, of),
            tail,
            ratio: Ratio::of(&ratios, error, LEAST.min(rounds[0].len())),
        }
    });
    let lines: Vec<Line> = lines.collect();
    for line in &lines {
        say(&format!("  {:<45} {:>9.3}  {}", line.what, line.figure, line.ratio));
    }
    lines
}

/// The 99th percentile at a constant rate, in microseconds. The conditions are quiet, constant
/// refreshes of the token, and a token endpoint that hangs for ten seconds.
pub(crate) async fn refreshes(lab: &Lab, kind: &Kind, rate: f64) -> Vec<Line> {
    let row = rows().remove(0);
    lab.place(true);
    let proxy = Proxy::start(kind, &lab.setting(&row));
    let pool = Pool::connect(proxy.meter.address, &row.request, row.clients).await;
    let admin = proxy.admin.expect("our admin listener");
    let mut all = vec![Vec::new(); 4];
    let window = async || pool.constant(&proxy.meter, rate, Duration::from_millis(1_280), true).await;
    let before = lab.tokens.given.load(Ordering::Relaxed);
    for _ in 0..WINDOWS {
        all[0].push(window().await);
        let refreshing = tokio::task::spawn_local(async move {
            loop {
                assert!(refresh(admin, "default").await, "the refresh failed");
                // Short enough for at least one refresh in every slice of the 99th percentile.
                sleep(Duration::from_millis(40)).await;
            }
        });
        all[1].push(window().await);
        refreshing.abort();
    }
    let times = lab.tokens.given.load(Ordering::Relaxed) - before;
    lab.tokens.hang(true);
    let hanging = tokio::task::spawn_local(async move { refresh(admin, "default").await });
    for _ in 0..WINDOWS {
        all[2].push(window().await);
    }
    assert!(!hanging.is_finished(), "the refresh did not wait for the token endpoint");
    lab.tokens.hang(false);
    assert!(hanging.await.unwrap(), "the refresh failed");
    for _ in 0..WINDOWS {
        all[3].push(window().await);
    }
    pool.end().await;
    let names = [
        "quiet".to_owned(),
        format!("{times} refreshes in 10 s"),
        "the token endpoint hangs for 10 s".to_owned(),
        "quiet again".to_owned(),
    ];
    lines(names.to_vec(), &all, |outcome| outcome.p99, true, 0.05)
}

async fn refresh(admin: SocketAddr, name: &str) -> bool {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request =
        format!("POST /credentials/{name}/refresh HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    response.starts_with(b"HTTP/1.1 200 ")
}

const WINDOWS: usize = 7;
const SIZES: [usize; 4] = [1, 100, 1_000, 10_000];
const ROUNDS: usize = 15;

/// CPU per request by the number of open connections, which take turns. There is one request at a
/// time, so that the number of connections does not change the concurrent work.
pub(crate) async fn connections(lab: &Lab, kind: &Kind) -> Vec<Line> {
    let row = rows().remove(0);
    lab.place(true);
    let mut running = Vec::new();
    for clients in SIZES {
        let proxy = Proxy::start(kind, &lab.setting(&row));
        let pool = Pool::connect(proxy.meter.address, &row.request, clients).await;
        running.push((proxy, pool));
    }
    let mut all = vec![Vec::new(); SIZES.len()];
    for _ in 0..ROUNDS {
        for ((proxy, pool), rounds) in running.iter().zip(&mut all) {
            rounds.push(pool.in_turn(&proxy.meter, lab.duration).await);
        }
    }
    for (_, pool) in running {
        pool.end().await;
    }
    let names = SIZES.map(|count| counted(count, "connection")).to_vec();
    lines(names, &all, |outcome| outcome.cpu, false, 0.03)
}

/// CPU per request by the number of credentials, all of which have tokens.
pub(crate) async fn credentials(lab: &Lab, kind: &Kind) -> Vec<Line> {
    let row = rows().remove(0);
    lab.place(true);
    let mut running = Vec::new();
    for credentials in SIZES {
        let before = lab.tokens.given.load(Ordering::Relaxed);
        let proxy = Proxy::start(kind, &Setting { credentials, ..lab.setting(&row) });
        let admin = proxy.admin.expect("our admin listener");
        for number in 1..credentials {
            assert!(refresh(admin, &format!("c{number:05}")).await, "the login failed");
        }
        while lab.tokens.given.load(Ordering::Relaxed) - before < credentials as u64 {
            sleep(Duration::from_millis(20)).await;
        }
        running.push(proxy);
    }
    let mut all = vec![Vec::new(); SIZES.len()];
    for _ in 0..ROUNDS {
        for (proxy, rounds) in running.iter().zip(&mut all) {
            rounds.push(closed(&proxy.meter, &row.request, row.clients, lab.duration).await);
        }
    }
    let names = SIZES.map(|count| counted(count, "credential")).to_vec();
    lines(names, &all, |outcome| outcome.cpu, false, 0.03)
}

/// A number with its noun, in the plural where it needs one.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
