//! Memory of an idle process, of a connection and of long bodies, and how soon the memory is given
//! back.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::load::{Client, Request, closed};
use crate::proxies::{Kind, Proxy};
use crate::rows::rows;
use crate::{Lab, say};

/// The number of idle connections.
const IDLE: usize = 2_000;
/// The number of concurrent long bodies, each of 64 MiB.
const LONG: usize = 50;
/// How long a proxy has to give memory back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Memory counts as given back at or below this multiple of [`Memory::quiet`].
const BACK: f64 = 1.2;

/// The memory of one proxy, in bytes.
pub(crate) struct Memory {
    /// The proxy's name.
    pub(crate) name: &'static str,
    /// The process after one request.
    pub(crate) quiet: f64,
    /// An open connection before its first request.
    pub(crate) fresh: f64,
    /// An idle connection after its first request.
    pub(crate) used: f64,
    /// The peak with long bodies, minus the peak before them.
    pub(crate) long: f64,
    /// The process immediately after the load.
    pub(crate) after: f64,
    /// The process after a minute, or as soon as the memory was given back.
    pub(crate) later: f64,
    /// The time until the memory was given back. `None` if that took more than a minute.
    pub(crate) back: Option<Duration>,
}

/// Measures every proxy.
pub(crate) async fn take(lab: &Lab, kinds: &[Kind]) -> Vec<Memory> {
    let row = rows().remove(0);
    lab.place(true);
    let (mut found, mut running) = (Vec::new(), Vec::new());
    for kind in kinds {
        // A new process: memory left by closed connections would distort the next figure.
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

/// The process after one request, and each of many connections before and after its first request.
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

/// The peak with long bodies, and the memory immediately after them and a load from many
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
