//! Clients that are slow on purpose: heads that never end, responses that are not read. Other
//! clients must not notice them, and the slow ones must be disconnected at their deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::client::{Client, Over, Transport};
use crate::proxy::{Proxy, mb};
use crate::upstream::Upstream;

const HEADS: usize = 10_000;
const READERS: usize = 2_000;
const MINUTE: Duration = Duration::from_secs(60);
/// The time over which the slow clients connect.
const RAMP: Duration = Duration::from_secs(10);
/// The proxy's longest deadline (for a write), plus the interval at which it checks deadlines.
const DEADLINE: Duration = Duration::from_secs(75);
/// The interval between requests of an ordinary client.
const EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn run() {
    println!("\n{HEADS} connections whose head never ends and {READERS} that do not read, for a minute");
    let upstream = Upstream::start(false).await;
    let proxy = Proxy::start(&upstream.url, false, "").await;
    // Warms up: these times do not count.
    ordinary(&proxy, Duration::from_secs(3)).await;
    let quiet = ordinary(&proxy, Duration::from_secs(20)).await;
    let (idle, sockets) = (proxy.memory().0, proxy.sockets());
    proxy.forget_peak();

    let stop = Arc::new(AtomicBool::new(false));
    let mut attackers = JoinSet::new();
    for number in 0..HEADS + READERS {
        // If all connected at the same instant, this would test the kernel's backlog.
        let begins = tokio::time::Instant::now() + RAMP * number as u32 / (HEADS + READERS) as u32;
        let (address, stop) = (proxy.address.clone(), Arc::clone(&stop));
        attackers.spawn(async move {
            tokio::time::sleep_until(begins).await;
            match number % 6 {
                0 => never_reads(address, stop).await,
                _ => endless_head(address, stop).await,
            }
        });
    }
    let started = Instant::now();
    let watch = tokio::spawn(most_in_kernel());
    let loud = ordinary(&proxy, MINUTE).await;
    watch.abort();
    let (most, at_end) = (proxy.memory().1, proxy.sockets());
    stop.store(true, Ordering::Relaxed);
    while attackers.join_next().await.is_some() {}
    let ended = started.elapsed().saturating_sub(MINUTE);
    let calm = ordinary(&proxy, Duration::from_secs(20)).await;
    println!(
        "sockets: {sockets} before, {at_end} after the minute, {} when all were gone ({:.0} s later)",
        proxy.sockets(),
        ended.as_secs_f64()
    );
    println!(
        "memory: {:.1} MB before, at most {:.1} MB, {:.1} MB afterwards",
        mb(idle),
        mb(most),
        mb(proxy.memory().0)
    );
    println!("others:   p50, ms  p99, ms  max, ms");
    for (when, times) in [("quiet", &quiet), ("meanwhile", &loud), ("afterwards", &calm)] {
        println!("{when:<10} {:>6.2} {:>8.2} {:>8.2}", at(times, 0.5), at(times, 0.99), at(times, 1.0));
    }
    assert!(ended < DEADLINE, "connections outlived their deadline: {ended:?}");
    println!("p99 meanwhile to quiet: {:.2} (goal: under 2)", at(&loud, 0.99) / at(&quiet, 0.99));
}

fn at(sorted: &[Duration], share: f64) -> f64 {
    let index = ((sorted.len() - 1) as f64 * share) as usize;
    sorted[index].as_secs_f64() * 1e3
}

/// Sends requests at a constant rate, every second one on its own connection. Returns how long each
/// took, counted from its due time.
async fn ordinary(proxy: &Proxy, during: Duration) -> Vec<Duration> {
    let transport = Transport { h2: false, over: Over::Tcp };
    let mut kept = Client::connect(proxy, transport).await;
    let started = Instant::now();
    let mut times = Vec::new();
    for turn in 0.. {
        let due = started + EVERY * turn;
        if due - started > during {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        let mut own;
        let client = if turn % 2 == 0 {
            &mut kept
        } else {
            own = Client::connect(proxy, transport).await;
            &mut own
        };
        let response = client.send("GET", "/", 0).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 1024);
        times.push(due.elapsed());
    }
    if let Some(worst) = (0..times.len()).max_by_key(|&at| times[at]) {
        let when = EVERY * worst as u32;
        println!(
            "the slowest request took {:.1} ms, {:.1} s after the start",
            times[worst].as_secs_f64() * 1e3,
            when.as_secs_f64()
        );
    }
    times.sort();
    times
}

/// Checks the kernel's buffers of all TCP connections on this machine once a second, and prints
/// each new maximum.
async fn most_in_kernel() {
    let started = Instant::now();
    let mut most = 0;
    loop {
        let text = std::fs::read_to_string("/proc/net/sockstat").unwrap();
        let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap();
        let pages: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
        if pages > most {
            most = pages;
            println!("{:>3.0} s: {:.1} MB in the kernel", started.elapsed().as_secs_f64(), mb(pages * 4096));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Sends a head byte by byte, without end, and connects again after each disconnect. Once `stop` is
/// set, it sends nothing and waits for the last disconnect.
async fn endless_head(address: String, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(&address).await else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await;
        let mut response = Vec::new();
        loop {
            let more = tokio::time::timeout(Duration::from_secs(3), stream.read_buf(&mut response)).await;
            match more {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) => {}
                Err(_) if stop.load(Ordering::Relaxed) => {}
                Err(_) => {
                    let _ = stream.write_all(b"a").await;
                }
            }
        }
        assert!(response.is_empty() || response.starts_with(b"HTTP/1.1 408"), "{}", response.escape_ascii());
    }
}

/// Requests a large body and reads nothing until the proxy gives up.
async fn never_reads(address: String, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        // A large receive buffer would take the body although nobody reads.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let Ok(mut stream) = socket.connect(address.parse().unwrap()).await else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let _ = stream.write_all(b"GET /bytes/67108864 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        // Waits for an error event only, because reading would help the proxy.
        let _ = stream.ready(tokio::io::Interest::ERROR).await;
    }
}
