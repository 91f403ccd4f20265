//! Memory: of a quiet process, of a connection, of long bodies, and how soon it is given back.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::load::{Client, Request, closed};
use crate::proxies::{Kind, Proxy};
use crate::rows::rows;
use crate::{Lab, say};

/// How many idle connections.
const IDLE: usize = 2_000;
/// How many long bodies at once, each of 64 MiB.
const LONG: usize = 50;
/// How long memory has to come back, and to what part of the quiet figure.
const PATIENCE: Duration = Duration::from_secs(60);
const BACK: f64 = 1.2;

/// In bytes.
pub(crate) struct Memory {
    /// Which proxy.
    pub(crate) name: &'static str,
    /// After one request.
    pub(crate) quiet: f64,
    /// A connection on which nothing came.
    pub(crate) fresh: f64,
    /// A connection that waits for its second request.
    pub(crate) used: f64,
    /// The most that long bodies took over the quiet figure.
    pub(crate) long: f64,
    /// Right after the load.
    pub(crate) after: f64,
    /// After a minute, or as soon as it was back.
    pub(crate) later: f64,
    /// How long that took, if it came back.
    pub(crate) back: Option<Duration>,
}

/// Measures all of them.
pub(crate) async fn take(lab: &Lab, kinds: &[Kind]) -> Vec<Memory> {
    let row = rows().remove(0);
    lab.place(true);
    let (mut found, mut running) = (Vec::new(), Vec::new());
    for kind in kinds {
        // Memory that closed connections leave would hide what is measured next.
        let (quiet, fresh, used) = idle(&Proxy::start(kind, &lab.setting(&row)), &row.request).await;
        let proxy = Proxy::start(kind, &lab.setting(&row));
        let (long, after) = loaded(&proxy, &row.request).await;
        found.push(Memory { name: kind.name(), quiet, fresh, used, long, after, later: after, back: None });
        running.push((proxy, Instant::now()));
    }
    while running.iter().any(|(_, since)| since.elapsed() < PATIENCE) {
        for (memory, (proxy, since)) in found.iter_mut().zip(&running) {
            if memory.back.is_none() && since.elapsed() < PATIENCE {
                memory.later = proxy.meter.memory();
                memory.back = (memory.later <= BACK * memory.quiet).then(|| since.elapsed());
            }
        }
        if found.iter().all(|memory| memory.back.is_some()) {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    for memory in &found {
        say(&format!(
            "  {:<10} quiet {:.1} MB, idle connection {:.0} B fresh and {:.0} B used, {LONG} long bodies {:.0} MB, after load {:.1} MB, then {:.1} MB ({})",
            memory.name,
            memory.quiet / 1e6,
            memory.fresh,
            memory.used,
            memory.long / 1e6,
            memory.after / 1e6,
            memory.later / 1e6,
            memory.back.map_or("not back".into(), |time| format!("after {:.0} s", time.as_secs_f64())),
        ));
    }
    found
}

/// After one request; and each of many connections, before its first request and after it.
async fn idle(proxy: &Proxy, request: &Request) -> (f64, f64, f64) {
    let meter = &proxy.meter;
    Client::connect(meter.address).await.exchange(request).await;
    sleep(Duration::from_millis(500)).await;
    let quiet = meter.memory();
    let mut clients = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        clients.push(Client::connect(meter.address).await);
    }
    sleep(Duration::from_millis(700)).await;
    let fresh = (meter.memory() - quiet) / IDLE as f64;
    for client in &mut clients {
        client.exchange(request).await;
    }
    sleep(Duration::from_millis(500)).await;
    (quiet, fresh, (meter.memory() - quiet) / IDLE as f64)
}

/// What long bodies take at most, and what there is right after a load of them and of many
/// connections.
async fn loaded(proxy: &Proxy, request: &Request) -> (f64, f64) {
    let meter = &proxy.meter;
    Client::connect(meter.address).await.exchange(request).await;
    sleep(Duration::from_millis(500)).await;
    meter.forget_peak();
    let before = meter.peak();
    let bodies = (0..LONG).map(|_| {
        let address = meter.address;
        tokio::task::spawn_local(async move {
            let mut client = Client::connect(address).await;
            client.exchange(&Request::new("POST", "x/text", 64 << 20)).await;
            client.exchange(&Request::new("GET", "x/long", 0)).await;
        })
    });
    for body in bodies.collect::<Vec<_>>() {
        body.await.unwrap();
    }
    let long = meter.peak() - before;
    closed(meter, request, IDLE, Duration::from_secs(2)).await;
    (long, meter.memory())
}
