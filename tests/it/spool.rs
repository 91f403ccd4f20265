//! Replay from disk: bodies over `retry.memory` that are sent once more after a 401.

use std::path::Path;

use tempfile::TempDir;

use crate::harness::{RawUpstream, World};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const REVOKED: &str = "HTTP/1.1 401 No\r\nContent-Length: 17\r\n\r\n{\"code\":\"900901\"}";
const GAUGE: &str = "vbc_proxy_replay_disk_bytes";

/// Pseudorandom bytes, so that a missing or swapped part changes the body.
fn bytes(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn chunked(body: &[u8], trailers: &str) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in body.chunks(100_000) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    framed
}

/// Starts a proxy in front of `upstream`, with files in `directory`, and without `Expect` before an
/// upload.
async fn world(upstream: &RawUpstream, directory: &Path, more: &str) -> World {
    let builder = World::builder().upstream(upstream.url()).config("retry.expect_timeout = \"0s\"");
    let path = format!("retry.disk_path = {:?}", directory.to_str().unwrap());
    builder.config(&path).config(more).start().await
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

/// An upstream that refuses the first token and accepts every other.
async fn refusing_once() -> RawUpstream {
    RawUpstream::scripted(|mut connection| async move {
        let mut first = None;
        while let Some(request) = connection.request().await {
            let bearer = request.header("authorization").unwrap().to_owned();
            let refused = *first.get_or_insert_with(|| bearer.clone()) == bearer;
            connection.write(if refused { REVOKED } else { OK }.as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_large_body_is_replayed_byte_for_byte_and_the_directory_stays_empty() {
    let body = bytes(10 << 20);
    for trailers in [None, Some("X-Sum: 1\r\n")] {
        let (upstream, directory) = (refusing_once().await, TempDir::new().unwrap());
        let world = world(&upstream, directory.path(), "retry.disk = \"16MiB\"").await;
        let mut client = world.connect().await;
        match trailers {
            None => client.request("POST /a HTTP/1.1", &body).await,
            Some(trailers) => {
                let framed = chunked(&body, trailers);
                client.request("POST /a HTTP/1.1\nTrailer: X-Sum\nTransfer-Encoding: chunked", &framed).await;
            }
        }
        assert_eq!(client.response().await.text(), "ok");
        assert!(is_empty(directory.path()));
        let requests = upstream.requests();
        assert_eq!((requests.len(), upstream.connections()), (2, 1));
        for request in requests {
            assert!(request.body == body, "{} bytes arrived", request.body.len());
            assert_eq!(request.trailers.len(), usize::from(trailers.is_some()));
        }
        world.metric(GAUGE, 0.0).await;
    }
}

#[tokio::test]
async fn a_body_that_is_half_sent_is_replayed_from_the_disk_and_then_from_the_client() {
    let (upstream, directory) = (RawUpstream::by_hand().await, TempDir::new().unwrap());
    let world = world(&upstream, directory.path(), "retry.disk = \"16MiB\"").await;
    let (body, half) = (bytes(4 << 20), 2 << 20);
    let mut client = world.connect().await;
    client.request(&format!("POST /a HTTP/1.1\nContent-Length: {}", body.len()), &body[..half]).await;
    let mut first = upstream.accept().await;
    first.head().await.unwrap();
    first.expect(&body[..half]).await;
    assert!(is_empty(directory.path()));
    world.metric(GAUGE, half as f64).await;
    first.write(REVOKED.as_bytes()).await;
    let mut second = upstream.accept().await;
    second.head().await.unwrap();
    second.expect(&body[..half]).await;
    client.write(&body[half..]).await;
    second.expect(&body[half..]).await;
    second.write(OK.as_bytes()).await;
    assert_eq!(client.response().await.text(), "ok");
    world.metric(GAUGE, 0.0).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_streamed_and_its_401_says_why_it_passes() {
    let body = bytes(2 << 20);
    for (more, framed, why) in [
        ("retry.disk = \"1MiB\"", false, "over retry.disk and"),
        ("retry.disk = \"1MiB\"", true, "over retry.disk and"),
        ("retry.disk = \"0B\"", true, "retry.disk is off"),
        ("retry.disk = \"1500KiB\"\nretry.disk_total = \"1500KiB\"", true, "over retry.disk and"),
    ] {
        let (upstream, directory) = (RawUpstream::responding(REVOKED).await, TempDir::new().unwrap());
        let world = world(&upstream, directory.path(), more).await;
        let response = match framed {
            false => world.send("POST /a HTTP/1.1", &body).await,
            true => world.send("POST /a HTTP/1.1\nTransfer-Encoding: chunked", &chunked(&body, "")).await,
        };
        assert_eq!(response.status, 401);
        assert!(response.header("proxy-status").unwrap().contains(why), "{response:?}");
        assert!(upstream.only().body == body);
        world.metric(GAUGE, 0.0).await;
    }
}

#[tokio::test]
async fn the_space_of_all_bodies_together_is_limited() {
    let (upstream, directory) = (RawUpstream::by_hand().await, TempDir::new().unwrap());
    let more = "retry.disk = \"1MiB\"\nretry.disk_total = \"1MiB\"";
    let world = world(&upstream, directory.path(), more).await;
    let body = bytes(700 << 10);
    let mut holder = world.connect().await;
    holder.request(&format!("POST /a HTTP/1.1\nContent-Length: {}", 800 << 10), &body).await;
    let mut held = upstream.accept().await;
    held.head().await.unwrap();
    held.expect(&body).await;
    world.metric(GAUGE, body.len() as f64).await;

    let mut client = world.connect().await;
    client.request("POST /b HTTP/1.1", &body).await;
    let mut second = upstream.accept().await;
    assert!(second.respond(REVOKED).await.body == body);
    let response = client.response().await;
    assert_eq!(response.status, 401);
    assert!(response.header("proxy-status").unwrap().contains("retry.disk_total is used up"), "{response:?}");

    // A client that disconnects in the middle frees its space, and its upload is never completed.
    drop(holder);
    assert_eq!(held.gone().await, b"");
    world.metric(GAUGE, 0.0).await;
}

#[tokio::test]
async fn a_cut_upload_is_neither_completed_nor_sent_again_from_the_disk() {
    let (upstream, directory) = (RawUpstream::by_hand().await, TempDir::new().unwrap());
    let world = world(&upstream, directory.path(), "retry.disk = \"1MiB\"").await;
    let body = bytes(500 << 10);
    let mut client = world.connect().await;
    client.request("POST /a HTTP/1.1\nContent-Length: 600000", &body).await;
    let mut first = upstream.accept().await;
    first.head().await.unwrap();
    first.expect(&body).await;
    first.write(REVOKED.as_bytes()).await;
    let mut second = upstream.accept().await;
    second.head().await.unwrap();
    second.expect(&body).await;
    drop(client);
    assert_eq!(second.gone().await, b"");
    assert_eq!(upstream.connections(), 2);
    world.metric(GAUGE, 0.0).await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_costs_the_replay_and_not_the_request() {
    let (upstream, directory) = (RawUpstream::responding(REVOKED).await, TempDir::new().unwrap());
    let world = world(&upstream, directory.path(), "retry.disk = \"16MiB\"").await;
    drop(directory);
    let body = bytes(8 << 20);
    let response = world.send("POST /a HTTP/1.1", &body).await;
    assert_eq!(response.status, 401);
    assert!(response.header("proxy-status").unwrap().contains("retry.disk_path"), "{response:?}");
    assert!(upstream.only().body == body);
    world.metric(GAUGE, 0.0).await;
}
