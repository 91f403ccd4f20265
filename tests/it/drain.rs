//! A drain finishes requests in flight and accepts no new ones.

use vbc_proxy::app::Ended;

use crate::harness::{Client, RawUpstream, World};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn requests_in_flight_are_finished_and_idle_connections_closed() {
    let upstream = RawUpstream::by_hand().await;
    let mut world = World::with_upstream(&upstream).await;
    let mut idle = world.connect().await;
    idle.request("GET /idle HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.respond(OK).await;
    assert_eq!(idle.response().await.text(), "ok");
    let mut silent = world.connect().await;

    let mut busy = world.connect().await;
    busy.request("GET /busy HTTP/1.1", b"").await;
    connection.request().await.unwrap();
    let mut halfway = world.connect().await;
    halfway.request("GET /halfway HTTP/1.1", b"").await;
    let mut other = upstream.accept().await;
    other.respond("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
    halfway.head().await;
    halfway.expect(b"hello").await;

    world.begin_drain();
    idle.closed().await;
    silent.closed().await;
    connection.write(OK.as_bytes()).await;
    let response = busy.response().await;
    assert_eq!((response.text(), response.header("connection")), ("ok", Some("close")));
    busy.closed().await;
    other.write(b"world").await;
    halfway.expect(b"world").await;
    halfway.closed().await;
    assert_eq!(world.ended().await, Ended::Drained);
}

#[tokio::test]
async fn a_request_whose_head_was_on_its_way_gets_503() {
    let upstream = RawUpstream::ok().await;
    let mut world = World::with_upstream(&upstream).await;
    let mut witness = world.connect().await;
    let mut client = world.connect().await;
    client.write(b"GET / HTTP/1.1\r\nHost: local").await;
    world.begin_drain();
    witness.closed().await;
    client.write(b"host\r\n\r\n").await;
    let response = client.response().await;
    response.assert_problem(503, "proxy_internal_error");
    assert_eq!(response.header("connection"), Some("close"));
    assert!(response.header("retry-after").is_some());
    client.closed().await;
    assert_eq!(world.ended().await, Ended::Drained);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn requests_sent_before_the_drain_get_200_or_503() {
    let upstream = RawUpstream::ok().await;
    let mut world = World::with_upstream(&upstream).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = world.connect().await;
        client.request("GET / HTTP/1.1", b"").await;
        clients.push(client);
    }
    world.begin_drain();
    for mut client in clients {
        let response = client.response().await;
        assert!(matches!(response.status, 200 | 503), "{response:?}");
        client.closed().await;
    }
    assert_eq!(world.ended().await, Ended::Drained);
}

#[tokio::test]
async fn a_pipelined_request_after_the_one_in_flight_is_not_started() {
    let upstream = RawUpstream::by_hand().await;
    let mut world = World::with_upstream(&upstream).await;
    let mut witness = world.connect().await;
    let mut client = world.connect().await;
    client
        .write(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /b HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut connection = upstream.accept().await;
    connection.request().await.unwrap();
    world.begin_drain();
    witness.closed().await;
    connection.write(OK.as_bytes()).await;
    let response = client.response().await;
    assert_eq!((response.text(), response.header("connection")), ("ok", Some("close")));
    client.closed().await;
    assert_eq!(world.ended().await, Ended::Drained);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn nothing_new_is_accepted() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let address = world.address;
    assert_eq!(world.drain().await, Ended::Drained);
    assert!(Client::try_connect(address).await.is_none());
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let upstream = RawUpstream::by_hand().await;
    let mut world =
        World::builder().upstream(upstream.url()).config("listen.drain_timeout = \"20ms\"").start().await;
    let mut client = world.connect().await;
    client.request("GET / HTTP/1.1", b"").await;
    let mut connection = upstream.accept().await;
    connection.request().await.unwrap();
    world.begin_drain();
    assert_eq!(world.ended().await, Ended::CutShort);
    client.closed().await;
    connection.gone().await;
}
