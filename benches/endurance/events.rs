//! Server-sent events: the delay that the proxy adds to each, and how soon the upstream notices
//! that a client has disconnected.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;

use crate::client::{Client, Over, Transport};
use crate::proxy::Proxy;
use crate::upstream::Upstream;

const EVENTS: usize = 300;

pub(crate) async fn run() {
    println!(
        "\nevents every 10 ms (goal: each within 10 ms), and how soon the upstream sees the client leave (goal: 1 s)"
    );
    println!(
        "{:<14} {:<9} {:>8} {:>8} {:>8} {:>9}",
        "client", "upstream", "p50, ms", "p99, ms", "max, ms", "gone, ms"
    );
    for upstream_h2 in [false, true] {
        let upstream = Upstream::start(upstream_h2).await;
        let version = if upstream_h2 { "h2" } else { "h1" };
        let lines = format!("upstream.http = \"{version}\"");
        let proxy = Proxy::start(&upstream.url, false, &lines).await;
        for transport in [
            Transport { h2: false, over: Over::Tcp },
            Transport { h2: true, over: Over::Tcp },
            Transport { h2: false, over: Over::Unix },
        ] {
            let mut client = Client::connect(&proxy, transport).await;
            let mut body = client.send("GET", "/events/10", 0).await.unwrap().into_body();
            let mut late = Vec::new();
            while late.len() < EVENTS {
                let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
                let arrived = upstream.now();
                // If a frame contains several events, the delay of the last one counts.
                let text = String::from_utf8(frame.to_vec()).unwrap();
                let sent = text.trim_end().rsplit("data: ").next().unwrap().parse().unwrap();
                late.push(arrived - Duration::from_nanos(sent));
            }
            late.sort();
            let left = Instant::now();
            drop(body);
            drop(client);
            upstream.left.notified().await;
            let gone = left.elapsed();
            assert!(gone < Duration::from_secs(1), "the upstream noticed the disconnect only after {gone:?}");
            assert_eq!(upstream.streams.load(Ordering::Relaxed), 0);
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            println!(
                "{:<14} {version:<9} {:>8.2} {:>8.2} {:>8.2} {:>9.2}",
                transport.to_string(),
                ms(late[EVENTS / 2]),
                ms(late[EVENTS * 99 / 100]),
                ms(late[EVENTS - 1]),
                ms(gone)
            );
        }
    }
}
