//! Budgets for memory of small pieces, and for file descriptors.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use vbc_simulator::{Simulator, SimulatorOptions};

use crate::harness::{Client, RawUpstream, World, within};
use crate::process::{Process, configuration, get, lay_out};

/// The most memory, in bytes, that a test may add to the process. If the proxy kept each byte as a
/// piece of its own, every test would need ten times more.
const MODEST: usize = 12 << 20;

/// A chunked body with chunks of one byte.
fn in_chunks_of_one(body: &[u8]) -> Vec<u8> {
    let mut framed: Vec<u8> =
        body.iter().flat_map(|byte| [b'1', b'\r', b'\n', *byte, b'\r', b'\n']).collect();
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}

/// A proxy in its own process, in front of an upstream.
struct Running {
    process: Process,
    clients: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    _directory: TempDir,
    _simulator: Simulator,
}

impl Running {
    async fn start(upstream: &RawUpstream, lines: &str, descriptors: usize) -> Self {
        let simulator = Simulator::bind(SimulatorOptions::default()).await.unwrap();
        let directory = TempDir::new().unwrap();
        let token_url = format!("{}/token", simulator.url());
        let lines = format!("store.path = \"tokens\"\n{lines}");
        lay_out(directory.path(), &configuration(&upstream.url(), &token_url, &lines), "sim-password");
        let mut process = Process::start_with_descriptors(directory.path(), &["serve"], descriptors);
        let (clients, admin) = process.listening().await;
        Self { process, clients, admin, _directory: directory, _simulator: simulator }
    }
}

#[tokio::test]
async fn uploads_in_chunks_of_one_byte_cost_only_their_bytes() {
    // The upstream reads each request and never responds.
    let upstream = RawUpstream::scripted(|mut connection| async move {
        connection.request().await;
        std::future::pending().await
    })
    .await;
    let running = Running::start(&upstream, "", 1024).await;
    let before = running.process.peak();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(running.clients).await;
        client.request("POST / HTTP/1.1\nTransfer-Encoding: chunked", b"").await;
        client.write(&in_chunks_of_one(&[b'x'; 65_000])).await;
        clients.push(client);
    }
    upstream.arrived(4).await;
    assert!(upstream.requests().iter().all(|request| request.body.len() == 65_000));
    let more = running.process.peak() - before;
    assert!(more < MODEST, "{more} bytes");
}

#[tokio::test]
async fn a_compressed_response_in_chunks_of_one_byte_costs_only_its_bytes() {
    // This text hardly compresses.
    let noise: String =
        (0..300_000_u64).map(|at| format!("{:04x}", at.wrapping_mul(0x9e37_79b9) >> 13 & 0xffff)).collect();
    let upstream = RawUpstream::scripted(move |mut connection| {
        let noise = noise.clone();
        async move {
            while let Some(request) = connection.request().await {
                let text = format!(r#"{{"f":"{noise}","a":"http://{}/t"}}"#, request.header("host").unwrap());
                let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
                gzip.write_all(text.as_bytes()).unwrap();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\
                            Transfer-Encoding: chunked\r\n\r\n";
                connection
                    .write(&[head.as_bytes(), &in_chunks_of_one(&gzip.finish().unwrap())].concat())
                    .await;
            }
        }
    })
    .await;
    let running = Running::start(&upstream, "", 1024).await;
    let before = running.process.peak();
    let response = get(running.clients, "/").await;
    assert!(response.complete && response.header("content-encoding").is_none());
    assert!(response.text().ends_with(r#","a":"http://localhost/t"}"#));
    let more = running.process.peak() - before;
    assert!(more < MODEST, "{more} bytes");
}

#[tokio::test]
async fn a_401_in_chunks_of_one_byte_passes_whole() {
    let body = vec![b'n'; 30_000];
    let head = "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer error=\"insufficient_scope\"\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let upstream = RawUpstream::responding([head.as_bytes(), &in_chunks_of_one(&body)].concat()).await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get("/").await;
    assert_eq!((response.status, upstream.requests().len()), (401, 1));
    assert!(response.complete && response.body == body);
}

#[tokio::test]
async fn a_body_in_a_coding_that_is_not_decoded_passes_untouched_and_costs_nothing() {
    // A brotli stream that announces a window of 2^30 bytes.
    let body: Vec<u8> = [&[0x11, 0x1e][..], &[0x5b; 826]].concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let upstream = RawUpstream::responding([head.as_bytes(), &body].concat()).await;
    let running = Running::start(&upstream, "", 1024).await;
    assert_eq!(get(running.clients, "/first").await.body, body);
    let before = running.process.peak();
    let response = get(running.clients, "/").await;
    assert!(response.body == body && response.header("content-encoding") == Some("br"));
    assert!(running.process.peak() - before < 5 << 20);
}

#[tokio::test]
async fn the_admin_listener_limits_connections_and_one_that_ends_makes_room() {
    let world = World::start().await;
    world.ready().await;
    let mut open = Vec::new();
    let turned_away = loop {
        assert!(open.len() < 300, "no limit");
        let mut client = Client::connect(world.admin).await;
        client.request("GET /live HTTP/1.1", b"").await;
        let response = client.response().await;
        if response.status != 200 {
            break response;
        }
        open.push(client);
    };
    assert_eq!(turned_away.status, 503);
    assert_eq!(turned_away.header("retry-after"), Some("1"));
    assert_eq!(turned_away.json()["type"].as_str().unwrap().rsplit(':').next(), Some("too-many-connections"));
    open.pop();
    within(async {
        while world.admin("/live").await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn half_a_head_on_the_admin_listener_is_refused_before_it_is_large() {
    let world = World::start().await;
    let mut client = Client::connect(world.admin).await;
    let line = format!("GET /live HTTP/1.1\r\nX-Half: {}", "x".repeat(40_000));
    client.write_all_or_be_closed_upon(line.as_bytes()).await;
    assert_eq!(client.response().await.status, 400);
}

#[tokio::test]
async fn a_large_body_in_chunks_of_one_byte_is_refused_by_the_admin_listener() {
    let world = World::start().await;
    let mut client = Client::connect(world.admin).await;
    client.request("POST /credentials/default/refresh HTTP/1.1\nTransfer-Encoding: chunked", b"").await;
    client.write_all_or_be_closed_upon(&in_chunks_of_one(&[b'x'; 70_000])).await;
    assert_eq!(client.response().await.status, 413);
}

#[tokio::test]
async fn clients_and_upstream_leave_descriptors_for_the_store() {
    const MOST: usize = 256;
    // The upstream reads each request and never responds.
    let upstream = RawUpstream::scripted(|mut connection| async move {
        connection.request().await;
        std::future::pending().await
    })
    .await;
    let lines = "listen.max_connections = 100000\nupstream.connect_timeout = \"500ms\"";
    let mut running = Running::start(&upstream, lines, MOST).await;
    running
        .process
        .logged("lowered listen.max_connections: it would leave too few file descriptors for the upstream")
        .await;
    let mut waiting = tokio::task::JoinSet::new();
    // There are more clients, each with a request, than descriptors.
    for _ in 0..300 {
        let address = running.clients;
        waiting.spawn(async move {
            let mut client = Client::try_connect(address).await?;
            client
                .write_all_or_be_closed_upon(
                    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                )
                .await;
            let head = client.read_to_end().await;
            let text = String::from_utf8_lossy(&head).into_owned();
            Some(text)
        });
    }
    // Some requests reach the upstream. The others are refused with a reason.
    let refused = within(async {
        let mut refused = 0;
        while refused < 40 {
            if let Some(Ok(Some(response))) = waiting.join_next().await
                && response.contains("connection_limit_reached")
            {
                assert!(response.contains("retry-after: 1\r\n"), "{response}");
                refused += 1;
            }
        }
        refused
    })
    .await;
    let sent = upstream.requests().len();
    assert!(sent > 0 && refused > 0, "{sent} sent, {refused} refused");
    assert!(running.process.descriptors() < MOST - 20, "{} descriptors", running.process.descriptors());
    // A refresh still reaches the token endpoint and the store.
    let mut operator = Client::connect(running.admin).await;
    operator.request("POST /credentials/default/refresh HTTP/1.1", b"").await;
    assert_eq!(operator.response().await.status, 200);
}
