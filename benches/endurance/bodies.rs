//! Uploads and downloads of 64 MiB, on every transport and to both kinds of upstream. Every body
//! must arrive unchanged, and memory must not grow with the size of bodies.

use std::time::Instant;

use crate::client::{Client, Over, Transport};
use crate::proxy::{Proxy, mb};
use crate::upstream::{Pattern, Upstream, hash};

const LENGTH: u64 = 64 << 20;
const AT_ONCE: usize = 50;

pub(crate) async fn run() {
    println!(
        "\n64 MiB up and 64 MiB down, peak of resident memory over idle (goal: one pair under 20 MB, {AT_ONCE} pairs under 120 MB)"
    );
    println!("{:<14} {:<9} {:>10} {:>12} {:>9}", "client", "upstream", "one, MB", "50, MB", "50, s");
    let expected = hash(Pattern { left: LENGTH }).await.1;
    for upstream_h2 in [false, true] {
        let upstream = Upstream::start(upstream_h2).await;
        let version = if upstream_h2 { "h2" } else { "h1" };
        for over in [Over::Tcp, Over::Unix, Over::Tls] {
            for h2 in [false, true] {
                let transport = Transport { h2, over };
                let lines = format!("upstream.http = \"{version}\"");
                let proxy = Proxy::start(&upstream.url, over == Over::Tls, &lines).await;
                let mut first = Client::connect(&proxy, transport).await;
                assert_eq!(first.send("GET", "/", 0).await.unwrap().status(), 200);
                let idle = proxy.memory().0;
                let one = peak(&proxy, idle, transport, 1, &expected).await;
                let started = Instant::now();
                let all = peak(&proxy, idle, transport, AT_ONCE, &expected).await;
                let took = started.elapsed().as_secs_f64();
                println!(
                    "{:<14} {version:<9} {:>10.1} {:>12.1} {took:>9.1}",
                    transport.to_string(),
                    mb(one),
                    mb(all)
                );
            }
        }
    }
}

/// The peak memory above idle while this many clients upload and download.
async fn peak(proxy: &Proxy, idle: usize, transport: Transport, clients: usize, expected: &str) -> usize {
    proxy.forget_peak();
    let pairs = (0..clients).map(|_| async {
        let mut client = Client::connect(proxy, transport).await;
        let response = client.send("POST", "/hash/", LENGTH).await.unwrap();
        assert_eq!(response.status(), 200);
        let reported = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert_eq!(reported, expected, "the upload arrived changed");
        let response = client.send("GET", &format!("/bytes/{LENGTH}"), 0).await.unwrap();
        assert_eq!(response.headers()["content-length"], LENGTH.to_string());
        assert_eq!(hash(response.into_body()).await, (LENGTH, expected.to_owned()));
    });
    futures_util::future::join_all(pairs).await;
    proxy.memory().1.saturating_sub(idle)
}
