//! Connections in paused time.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::super::{Abort, Drain, Handler, Incoming, connection, turn_away};
use super::*;

impl Stream for DuplexStream {
    fn reset_on_close(&self) {}

    fn has_been_reset(&self) -> bool {
        false
    }
}

/// Responds with the path of the request, or with the reason of a rejection.
#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Body = Full<bytes::Bytes>;

    const DATE: bool = false;

    async fn handle(&self, request: http::Request<Incoming>) -> Result<http::Response<Self::Body>, Abort> {
        let path = request.uri().path().to_owned();
        let _ = request.into_body().collect().await;
        Ok(http::Response::new(Full::from(path)))
    }

    fn reject(&self, rejection: RequestRejection) -> http::Response<Self::Body> {
        http::Response::new(Full::from(rejection.to_string()))
    }
}

/// A client of a connection with these limits, and the connection.
fn client(limits: Limits, drain: &DrainSignal) -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (near, far) = duplex(1 << 16);
    (far, tokio::spawn(connection(near, limits, drain.clone(), Echo)))
}

async fn read_to_end(mut client: DuplexStream) -> String {
    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_has_no_more_time_than_one_that_stands_still() {
    let (_drain, signal) = Drain::new();
    let (mut client, _serving) = client(Limits::default(), &signal);
    let start = Instant::now();
    client.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let (reading, mut writing) = tokio::io::split(client);
    let dripping = tokio::spawn(async move {
        while writing.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut response = [0; 200];
    let mut reading = reading;
    let count = reading.read(&mut response).await.unwrap();
    let response = String::from_utf8_lossy(&response[..count]);
    assert!(response.contains("the request head did not arrive in time"), "{response}");
    assert_eq!(start.elapsed().as_secs(), Limits::default().header_timeout.as_secs());
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn the_second_head_drips_in_vain_too() {
    let (_drain, signal) = Drain::new();
    let (mut client, _serving) = client(Limits::default(), &signal);
    client.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET").await.unwrap();
    let start = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(client);
    let dripping = tokio::spawn(async move {
        while writing.write_all(b"E").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut responses = String::new();
    while !responses.contains("did not arrive in time") {
        let mut piece = [0; 512];
        let count = reading.read(&mut piece).await.unwrap();
        assert!(count > 0, "{responses}");
        responses.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    assert!(responses.contains("/a"), "{responses}");
    assert_eq!(start.elapsed().as_secs(), Limits::default().header_timeout.as_secs());
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_first_byte_is_closed_without_a_word() {
    let (_drain, signal) = Drain::new();
    let (client, serving) = client(Limits::default(), &signal);
    let start = Instant::now();
    assert_eq!(read_to_end(client).await, "");
    assert_eq!(start.elapsed().as_secs(), Limits::default().first_byte_timeout.as_secs());
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_first_head_in_pieces_gets_its_response_and_so_does_what_follows() {
    let (_drain, signal) = Drain::new();
    let (mut client, _serving) = client(Limits::default(), &signal);
    let requests = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                     GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for piece in requests.chunks(7) {
        client.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let responses = read_to_end(client).await;
    assert!(responses.contains("\r\n\r\n/aHTTP/1.1 200") && responses.ends_with("\r\n\r\n/b"), "{responses}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_what_has_not_started_and_waits_for_a_head_that_has() {
    let (drain, signal) = Drain::new();
    let (silent, _serving) = client(Limits::default(), &signal);
    let (mut started, _also) = client(Limits::default(), &signal);
    started.write_all(b"GET /a HTTP/1.1\r\nHost: ").await.unwrap();
    tokio::task::yield_now().await;
    drain.begin();
    let start = Instant::now();
    assert_eq!(read_to_end(silent).await, "");
    started.write_all(b"a\r\n\r\n").await.unwrap();
    let response = read_to_end(started).await;
    assert!(response.contains("connection: close\r\n") && response.ends_with("/a"), "{response}");
    assert_eq!(start.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_one_too_many_is_told_so_before_it_asks() {
    let (near, client) = duplex(1 << 16);
    let serving = tokio::spawn(turn_away(near, Limits::default(), Echo));
    let response = read_to_end(client).await;
    assert!(response.contains("connection: close\r\n"), "{response}");
    assert!(response.contains("too many connections"), "{response}");
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_request_of_a_connection_is_told_so_and_the_next_is_not_started() {
    let (_drain, signal) = Drain::new();
    let (mut client, _serving) = client(Limits { requests: 2, ..Limits::default() }, &signal);
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write_all([request("/a"), request("/b"), request("/c")].concat().as_bytes()).await.unwrap();
    let responses = read_to_end(client).await;
    let (first, second) = responses.split_once("/a").unwrap();
    assert!(!first.contains("connection: close"), "{responses}");
    assert!(second.contains("connection: close\r\n") && second.ends_with("/b"), "{responses}");
}

#[test]
fn a_connection_that_has_not_asked_is_small() {
    let (_drain, signal) = Drain::new();
    let (near, _far) = duplex(64);
    let waiting = connection(near, Limits::default(), signal, Echo);
    assert!(size_of_val(&waiting) < 1500, "{}", size_of_val(&waiting));
    let (_drain, signal) = Drain::new();
    let (near, _far) = duplex(64);
    let silent = super::super::open(near, Limits::default(), signal, Echo);
    assert!(size_of_val(&silent) < 1000, "{}", size_of_val(&silent));
}

/// Sends a request and reads its response to the end of its body, which is the path.
async fn ask(client: &mut DuplexStream, path: &str) -> String {
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    let mut response = String::new();
    while !response.ends_with(path) {
        let mut piece = [0; 512];
        let count = client.read(&mut piece).await.unwrap();
        assert!(count > 0, "{response}");
        response.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    response
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_responds_and_counts_on_and_is_closed_in_time() {
    let (_drain, signal) = Drain::new();
    let limits = Limits { requests: 4, ..Limits::default() };
    let (mut counted, _serving) = client(limits, &signal);
    for path in ["/a", "/b", "/c"] {
        assert!(!ask(&mut counted, path).await.contains("connection: close"));
        tokio::time::sleep(limits.idle_timeout - Duration::from_millis(1)).await;
    }
    assert!(ask(&mut counted, "/d").await.contains("connection: close\r\n"));

    let (mut client, _serving) = client(Limits::default(), &signal);
    ask(&mut client, "/a").await;
    let start = Instant::now();
    assert_eq!(read_to_end(client).await, "");
    let (closed, late) = (start.elapsed(), Duration::from_millis(2));
    assert!(closed >= limits.idle_timeout && closed <= limits.idle_timeout + late, "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_after_a_silence_is_late_too_and_a_drain_ends_the_silence() {
    let (drain, signal) = Drain::new();
    let (mut late, _serving) = client(Limits::default(), &signal);
    let (mut resting, _also) = client(Limits::default(), &signal);
    ask(&mut late, "/a").await;
    ask(&mut resting, "/a").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    late.write_all(b"GET /").await.unwrap();
    assert!(read_to_end(late).await.contains("did not arrive in time"));
    assert_eq!(start.elapsed().as_secs(), Limits::default().header_timeout.as_secs());
    let start = Instant::now();
    drain.begin();
    assert_eq!(read_to_end(resting).await, "");
    assert_eq!(start.elapsed().as_secs(), 0);
}

/// Responds without reading the body, and hands the body to the test.
#[derive(Clone)]
struct Early(tokio::sync::mpsc::UnboundedSender<Incoming>);

impl Handler for Early {
    type Body = Full<Bytes>;

    const DATE: bool = false;

    async fn handle(&self, request: http::Request<Incoming>) -> Result<http::Response<Self::Body>, Abort> {
        let path = request.uri().path().to_owned();
        let _ = self.0.send(request.into_body());
        Ok(http::Response::new(Full::from(path)))
    }

    fn reject(&self, rejection: RequestRejection) -> http::Response<Self::Body> {
        http::Response::new(Full::from(rejection.to_string()))
    }
}

fn early() -> (DuplexStream, tokio::sync::mpsc::UnboundedReceiver<Incoming>, Drain) {
    let (drain, signal) = Drain::new();
    let (sender, bodies) = tokio::sync::mpsc::unbounded_channel();
    let (near, far) = duplex(1 << 16);
    tokio::spawn(connection(near, Limits::default(), signal, Early(sender)));
    (far, bodies, drain)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_does_not_become_a_request_nor_the_next_one_a_part_of_it() {
    for body in [
        "Content-Length: 18\r\n\r\nGET /x HTTP/1.1\r\n\r",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let (mut client, mut bodies, _drain) = early();
        let next = "GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let requests = format!("POST /a HTTP/1.1\r\nHost: a\r\n{body}{next}");
        client.write_all(requests.as_bytes()).await.unwrap();
        let responses = read_to_end(client).await;
        assert!(responses.contains("/aHTTP/1.1 200") && responses.ends_with("/b"), "{responses}");
        // A body that was kept ends with an error.
        let kept = bodies.recv().await.unwrap();
        assert!(matches!(kept.collect().await, Err(crate::BodyError::Disconnected)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_body_nobody_reads_and_that_is_not_there_ends_with_its_response() {
    for head in
        ["Content-Length: 9", "Transfer-Encoding: chunked", "Content-Length: 9\r\nExpect: 100-continue"]
    {
        let (mut client, mut bodies, _drain) = early();
        client.write_all(format!("POST /a HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n").as_bytes()).await.unwrap();
        let response = read_to_end(client).await;
        assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("/a"), "{response}");
        // A client that waits for a 100 learns immediately that the connection closes.
        assert_eq!(response.contains("connection: close"), head.contains("Expect"), "{response}");
        assert!(bodies.recv().await.unwrap().collect().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_100_is_sent_when_the_body_is_asked_for_and_the_response_comes_after_it() {
    let (_drain, signal) = Drain::new();
    let (mut client, _serving) = client(Limits::default(), &signal);
    client
        .write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let mut interim = [0; 25];
    client.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"abcGET /b HTTP/1.0\r\n\r\n").await.unwrap();
    let responses = read_to_end(client).await;
    assert!(
        responses.starts_with("HTTP/1.1 200 OK\r\n") && responses.contains("/aHTTP/1.0 200"),
        "{responses}"
    );
}

#[tokio::test(start_paused = true)]
async fn responses_are_framed_as_their_requests_want() {
    let (_drain, signal) = Drain::new();
    for (request, head) in [
        ("HEAD /a HTTP/1.1\r\nHost: a", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
        ("GET /a HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n/a"),
        (
            "GET /a HTTP/1.0\r\nConnection: keep-alive",
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n/a",
        ),
        ("GET /a HTTP/1.1\r\nHost: a", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n/a"),
    ] {
        let (mut client, _serving) = client(Limits::default(), &signal);
        client.write_all(format!("{request}\r\n\r\n").as_bytes()).await.unwrap();
        let mut response = vec![0; head.len()];
        client.read_exact(&mut response).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&response), head);
    }
}

/// Never responds, and never reads a body.
#[derive(Clone)]
struct Deaf;

impl Handler for Deaf {
    type Body = Full<Bytes>;

    async fn handle(&self, _: http::Request<Incoming>) -> Result<http::Response<Self::Body>, Abort> {
        std::future::pending().await
    }

    fn reject(&self, rejection: RequestRejection) -> http::Response<Self::Body> {
        http::Response::new(Full::from(rejection.to_string()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_its_side_has_the_grace_where_its_body_may_be_whole_also_if_nobody_asks_for_it() {
    let grace = Limits::default().half_close_grace.as_secs();
    for (head, body, after) in [
        ("", "", grace),
        ("Content-Length: 3\r\n", "abc", grace),
        ("Content-Length: 3\r\n", "a", 0),
        ("Content-Length: 3\r\nExpect: 100-continue\r\n", "", 0),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", grace),
        // Another request follows.
        ("", "GET /b HTTP/1.1\r\nHost: a\r\n\r\n", grace),
    ] {
        let (_drain, signal) = Drain::new();
        let (near, mut client) = duplex(1 << 16);
        let serving = tokio::spawn(connection(near, Limits::default(), signal, Deaf));
        client.write_all(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n{body}").as_bytes()).await.unwrap();
        let start = Instant::now();
        drop(client);
        serving.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), after, "{head}{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_100_has_no_more_time_than_one_that_does_not_take_its_response() {
    let (_drain, signal) = Drain::new();
    let (near, mut client) = duplex(1 << 7);
    let serving = tokio::spawn(connection(near, Limits::default(), signal, Echo));
    let head = format!("POST /{} HTTP/1.1\r\nHost: a\r\n", "a".repeat(70));
    client.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
    client
        .write_all(format!("{head}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let start = Instant::now();
    serving.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), Limits::default().body_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn the_response_to_a_broken_body_says_that_it_is_the_last() {
    let (_drain, signal) = Drain::new();
    let (mut client, _serving) = client(Limits::default(), &signal);
    client
        .write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
        .await
        .unwrap();
    let response = read_to_end(client).await;
    assert!(response.contains("connection: close\r\n") && response.ends_with("/a"), "{response}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_rests_again_and_again() {
    let (_drain, mut signal) = Drain::new();
    let (near, mut client) = duplex(1 << 16);
    let link = Arc::new(Link::new(near, BytesMut::new(), Limits::default()));
    for path in ["/a", "/b", "/c"] {
        let serving = async {
            // `false` is for a connection that has been idle, and that waits for longer.
            let Ok(head) = next_head(&link, &mut signal, false).await else { panic!("no head") };
            exchanges(&link, head, &mut signal, &Echo).await
        };
        let start = Instant::now();
        let (next, _) = tokio::join!(serving, async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            ask(&mut client, path).await
        });
        assert!(matches!(next, Next::Idle));
        assert!(start.elapsed() < Duration::from_secs(7) + 2 * wire::IDLE_AFTER, "{:?}", start.elapsed());
    }
}
