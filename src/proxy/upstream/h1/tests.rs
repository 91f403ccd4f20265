use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::LocalSet;

use super::head::{HEAD_BYTES, HEAD_LINES};
use super::testing::{ReadResponse, pool, request};
use super::upload::{Stopped, Upload};
use super::*;
use crate::proxy::request_body::RequestBody;
use crate::proxy::upstream::attempt::FailedAttempt;
use crate::proxy::upstream::{Head, UpstreamError};

impl Stream for DuplexStream {
    fn set_receive_buffer(&self, _: usize) {}
}

const SWITCHES: &str = "HTTP/1.1 101 Switching\r\nupgrade: WebSocket\r\nConnection: x, upgrade\r\n\r\n";

async fn read(response: &[u8], step: usize, head: &Head) -> ReadResponse {
    LocalSet::new().run_until(testing::read_response(response, step, head)).await
}

/// The response to a GET. Checks that it is the same for pieces of any size.
async fn answered(response: &str) -> ReadResponse {
    let head = request(Method::GET, false);
    let whole = read(response.as_bytes(), usize::MAX, &head).await;
    for step in [1, 7] {
        assert_eq!(read(response.as_bytes(), step, &head).await.without_kept(), whole.clone().without_kept());
    }
    whole
}

#[tokio::test]
async fn answers_come_to_their_end_and_what_follows_belongs_to_nobody() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (response, data, kept) in [
        (format!("{ok}Content-Length: 2\r\n\r\nok"), "ok", true),
        (format!("{ok}Content-Length: 2\r\ncontent-length: 2\r\n\r\nok"), "ok", true),
        (format!("{ok}Content-Length: 2\r\n\r\nokHTTP/1.1"), "ok", false),
        (format!("{ok}Content-Length: 2\r\nConnection: a, Close\r\n\r\nok"), "ok", false),
        (format!("{ok}Transfer-Encoding: Chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n"), "ok", true),
        (format!("{ok}Transfer-Encoding: chunked\r\n\r\n2 \t\r\nok\r\n0 ;a\r\n\r\n"), "ok", true),
        (format!("{ok}Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n01\r\nk\r\n0\r\n\r\n\n"), "ok", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), "ok", false),
        ("HTTP/1.1 200\r\n\r\nto the end".into(), "to the end", false),
        ("HTTP/1.1 204 No\r\n\r\n".into(), "", true),
        ("HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n".into(), "", true),
    ] {
        let read = answered(&response).await;
        assert_eq!((read.error, &*read.data, read.kept), (None, data.as_bytes(), kept), "{response:?}");
    }
    let head = request(Method::HEAD, false);
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let read = read(response, usize::MAX, &head).await;
    assert_eq!((read.error, &*read.data, read.kept), (None, &b""[..], true));
    assert_eq!(read.head.unwrap().1["content-length"], "2");
}

#[tokio::test(start_paused = true)]
async fn rooms_of_long_answers_are_kept_for_the_next_ones_and_not_for_long() {
    let bytes = [b"HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n", &[b'x'; 2 << 20][..]].concat();
    let (bytes, pool, head) = (&bytes, pool(), &request(Method::GET, false));
    let begin = async |_| {
        let connection = Connection::new(
            testing::ScriptedUpstream::new(bytes, usize::MAX),
            Open::counted(&Gauge::default()),
        );
        let body = RequestBody::empty();
        let attempt = body.attempt().unwrap();
        let mut exchange = Exchange::new(connection, head, b"", None, body, attempt);
        let received = poll_fn(|cx| exchange.poll_head(cx)).await.unwrap();
        match exchange.take_response(received, &pool).unwrap().into_body() {
            BodyStart::Streamed(response) => response,
            BodyStart::Whole(_) => panic!("it is long"),
        }
    };
    let end = async |mut response: StreamedBody| {
        let mut length = 0;
        while let Some(frame) = poll_fn(|cx| response.poll_frame(cx)).await {
            length += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(length, 2 << 20);
    };
    let long = async {
        for _ in 0..3 {
            end(begin(()).await).await;
            assert_eq!(pool.buffers(), 1);
        }
        let mut answers = Vec::new();
        for _ in 0..2 * super::pool::BUFFERS {
            answers.push(begin(()).await);
        }
        // All responses have read large pieces before the first one ends.
        for response in &mut answers {
            for _ in 0..8 {
                poll_fn(|cx| response.poll_frame(cx)).await.unwrap().unwrap();
            }
        }
        for mut response in answers {
            while let Some(frame) = poll_fn(|cx| response.poll_frame(cx)).await {
                frame.unwrap();
            }
        }
        assert_eq!(pool.buffers(), super::pool::BUFFERS);
        tokio::time::sleep(pool::SWEEP + Duration::from_secs(1)).await;
        assert_eq!(pool.buffers(), 0);
    };
    LocalSet::new().run_until(long).await;
}

#[tokio::test]
async fn heads_keep_what_they_say() {
    let read = answered("HTTP/1.0 299 \u{e4}\r\nX-Own:  \u{e4}\t1 \r\nx-own:\r\nDate: d\r\n\r\n").await;
    let (status, headers) = read.head.unwrap();
    let own: Vec<_> = headers.get_all("x-own").iter().map(http::HeaderValue::as_bytes).collect();
    assert_eq!(
        (status, own, &headers["date"]),
        (299, vec!["\u{e4}\t1".as_bytes(), b""], &"d".parse().unwrap())
    );
}

#[tokio::test]
async fn interim_answers_come_before_the_final_one() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n";
    let many = interim.repeat(5_000);
    let read = answered(&format!("{many}HTTP/1.1 204 No\r\nX: 1\r\n\r\n")).await;
    let (status, headers) = read.head.unwrap();
    assert_eq!((status, headers.len(), read.kept), (204, 1, true));
}

#[tokio::test]
async fn trailers_come_behind_the_data() {
    let read = answered(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nx-sum:2\r\n\r\n",
    )
    .await;
    let trailers = read.trailers.unwrap();
    assert_eq!(trailers.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((&*read.data, read.kept), (&b"ok"[..], true));
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_not_taken_for_whole() {
    for (response, error) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", UpstreamError::Terminated),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", UpstreamError::Terminated),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", UpstreamError::Terminated),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n", UpstreamError::Protocol),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok", UpstreamError::Protocol),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na b: c\r\n\r\n", UpstreamError::Protocol),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            UpstreamError::Protocol,
        ),
    ] {
        let read = answered(response).await;
        assert_eq!((read.error, read.kept), (Some(error), false), "{response:?}");
    }
}

#[tokio::test]
async fn behind_an_upgrade_that_was_asked_for_there_is_no_http() {
    for step in [1, 7, 4096] {
        let switch =
            async |response: &str| read(response.as_bytes(), step, &request(Method::GET, true)).await;
        let interim = "HTTP/1.1 103 Early\r\n\r\n";
        assert!(switch(&format!("{interim}{SWITCHES}HTTP/1.1 101 bad\n\n\0")).await.switched);
        let refused = "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        let response = switch(refused).await;
        assert_eq!((response.head.unwrap().0, response.switched), (200, false));
        for bad in [
            SWITCHES.replace("WebSocket", "h2c"),
            SWITCHES.replace("x, upgrade", "x, upgraded"),
            SWITCHES.replace("HTTP/1.1", "HTTP/1.0"),
            SWITCHES.replace("upgrade: WebSocket", "upgrade: WebSocket\r\nContent-Length: 0"),
            SWITCHES.replace("upgrade: WebSocket", "upgrade: WebSocket\r\nUpgrade: WebSocket"),
        ] {
            assert_eq!(switch(&bad).await.head, Err(UpstreamError::Protocol), "{bad}");
        }
    }
}

#[tokio::test]
async fn bad_heads_are_refused() {
    let head = |line: &str| format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\nok");
    let large = format!("X: {}", "a".repeat(HEAD_BYTES));
    let many = "X: a\r\n".repeat(HEAD_LINES + 1);
    let long_name = format!("{}: a", "a".repeat(0x1_0000));
    let cases = [
        (head("Content-Length: 2\r\nContent-Length: 3"), UpstreamError::Protocol),
        (head("Content-Length: 2, 2"), UpstreamError::Protocol),
        (head("Content-Length: +2"), UpstreamError::Protocol),
        (head("Content-Length:"), UpstreamError::Protocol),
        (head("Content-Length: 2\r\nTransfer-Encoding: chunked"), UpstreamError::Protocol),
        (head("Transfer-Encoding: gzip, chunked"), UpstreamError::Protocol),
        (head("Transfer-Encoding: identity"), UpstreamError::Protocol),
        (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), UpstreamError::Protocol),
        (head("X: a\0b"), UpstreamError::Protocol),
        (head("X: a\rb"), UpstreamError::Protocol),
        (head("X: a\nY: b"), UpstreamError::Protocol),
        (head("X: a\r\n b"), UpstreamError::Protocol),
        (head("X : a"), UpstreamError::Protocol),
        (head("no colon"), UpstreamError::Protocol),
        (head(&large), UpstreamError::HeadTooLarge),
        (head(&many), UpstreamError::HeadTooLarge),
        (head(&long_name), UpstreamError::HeadTooLarge),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(), UpstreamError::Protocol),
        ("HTTP/1.1 101 Switching\r\n\r\n".into(), UpstreamError::Protocol),
        (SWITCHES.into(), UpstreamError::Protocol),
        ("HTTP/1.1 20 OK\r\n\r\n".into(), UpstreamError::Protocol),
        ("HTTP/1.1 2000 OK\r\n\r\n".into(), UpstreamError::Protocol),
        ("HTTP/1.1  200 OK\r\n\r\n".into(), UpstreamError::Protocol),
        ("HTTP/2 200 OK\r\n\r\n".into(), UpstreamError::Protocol),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), UpstreamError::Protocol),
        ("SSH-2.0-OpenSSH_9.6".into(), UpstreamError::Protocol),
        ("HTTP/1.1 200 OK\r\nContent-Le".into(), UpstreamError::Protocol),
        (String::new(), UpstreamError::Terminated),
    ];
    for (response, error) in cases {
        let read = answered(&response).await;
        assert_eq!((read.head, read.kept), (Err(error), false), "{response:.200?}");
    }
}

/// The lines that the proxy adds to every head.
const OURS: &str = "host: h\r\nvia: us\r\nauthorization: Bearer nobodys\r\n";

/// The bytes written for a request with this body, and whether the whole request was written.
async fn sent<B>(mut head: Head, headers: &[(&'static str, &'static str)], body: B) -> (String, bool)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    for (name, value) in headers {
        head.headers.append(*name, value.parse().unwrap());
    }
    let (mut near, mut far) = duplex(7);
    let mut upload = Upload::new(&head, b"host: h\r\nvia: us\r\n", false, body);
    let sending = async move {
        let sent = std::future::poll_fn(|cx| upload.poll(cx, &mut near)).await;
        !matches!(sent, Err(Stopped::Body))
    };
    let mut written = Vec::new();
    let (whole, _) = tokio::join!(sending, far.read_to_end(&mut written));
    (String::from_utf8(written).unwrap(), whole)
}

fn frames(frames: Vec<Frame<Bytes>>) -> impl http_body::Body<Data = Bytes> + Unpin {
    StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok::<_, std::convert::Infallible>)))
}

#[tokio::test]
async fn a_request_is_framed_by_what_its_body_is_and_not_by_what_it_says() {
    let get = || request(Method::GET, false);
    let empty = || Full::new(Bytes::new());
    let theirs = [("host", "theirs"), ("x", "1"), ("via", "theirs"), ("authorization", "theirs"), ("x", "2")];
    let (text, whole) = sent(get(), &theirs, empty()).await;
    let expected = format!("GET /x?y HTTP/1.1\r\nx: 1\r\nx: 2\r\nvia: theirs\r\n{OURS}\r\n");
    assert_eq!((text, whole), (expected, true));
    let lying = [("content-length", "7"), ("transfer-encoding", "chunked")];
    let (text, whole) = sent(get(), &lying, empty()).await;
    assert_eq!((&*text, whole), (&*format!("GET /x?y HTTP/1.1\r\n{OURS}content-length: 0\r\n\r\n"), true));
    let (text, whole) = sent(get(), &lying, Full::new(Bytes::from("ok"))).await;
    assert_eq!((&*text, whole), (&*format!("GET /x?y HTTP/1.1\r\n{OURS}content-length: 2\r\n\r\nok"), true));
    let data = |text: &'static str| Frame::data(Bytes::from(text));
    let pieces = vec![data(""), data("ok"), data("0123456789")];
    let (text, whole) = sent(get(), &lying, frames(pieces)).await;
    let head = format!("GET /x?y HTTP/1.1\r\n{OURS}transfer-encoding: chunked\r\n\r\n");
    assert_eq!((text, whole), (format!("{head}2\r\nok\r\na\r\n0123456789\r\n0\r\n\r\n"), true));
    let trailers = Frame::trailers([("x-sum".parse().unwrap(), "1".parse().unwrap())].into_iter().collect());
    let (text, whole) = sent(get(), &[], frames(vec![data("ok"), trailers])).await;
    assert_eq!((text, whole), (format!("{head}2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"), true));
}

#[tokio::test]
async fn a_body_that_is_known_to_be_empty_by_now_is_ended_all_the_same() {
    /// A chunked body that an earlier attempt has read to its end.
    struct Ended;
    impl http_body::Body for Ended {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(None)
        }

        fn is_end_stream(&self) -> bool {
            true
        }

        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::default()
        }
    }
    let (text, whole) = sent(request(Method::PUT, false), &[], Ended).await;
    let expected = format!("PUT /x?y HTTP/1.1\r\n{OURS}transfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!((text, whole), (expected, true));
}

/// The failure of a request whose first attempt is made on this connection.
async fn again_on(connection: Connection) -> FailedAttempt {
    let body = RequestBody::empty();
    let attempt = body.attempt().unwrap();
    let mut exchange = Exchange::new(connection, &request(Method::POST, false), b"", None, body, attempt);
    match poll_fn(|cx| exchange.poll_head(cx)).await {
        Ok(_) => panic!("the turn succeeded"),
        Err(error) => exchange.failure(error),
    }
}

#[tokio::test]
async fn what_was_never_written_goes_out_on_another_connection() {
    let open = || {
        let (near, far) = duplex(64);
        (Connection::new(near, Open::counted(&Gauge::default())), far)
    };
    // The connection was closed, or had unrequested bytes, before the request was written.
    let (connection, far) = open();
    drop(far);
    assert!(matches!(again_on(connection).await, FailedAttempt::Unprocessed(_, Some(_))));
    let (mut connection, mut far) = open();
    connection.pooled = true;
    far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    assert!(matches!(again_on(connection).await, FailedAttempt::Uncounted(_)));
    // The request was written, and no response came.
    for (pooled, started) in [(false, false), (true, false), (true, true)] {
        let (mut connection, mut far) = open();
        connection.pooled = pooled;
        let upstream = async {
            far.read_u8().await.unwrap();
            if started {
                far.write_all(b"HTTP").await.unwrap();
            }
            drop(far);
        };
        let (again, ()) = tokio::join!(again_on(connection), upstream);
        assert_eq!(matches!(again, FailedAttempt::Unanswered(_)), pooled && !started);
        assert_eq!(matches!(again, FailedAttempt::Final(_)), !pooled || started);
    }
}

#[tokio::test]
async fn an_end_behind_a_failed_write_is_no_end() {
    for broken in [false, true] {
        let (near, mut far) = duplex(64);
        let connection = Connection::new(near, Open::counted(&Gauge::default()));
        connection.wire.borrow_mut().broken = broken;
        far.write_all(b"part").await.unwrap();
        drop(far);
        let mut response =
            StreamedBody::new(connection, vbc_http::codec::RemainingBody::UntilClose, true, None, &pool());
        let part = poll_fn(|cx| response.poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(part.data_ref().unwrap(), "part");
        let end = poll_fn(|cx| response.poll_frame(cx)).await;
        assert_eq!(end.map(|end| end.err()), broken.then_some(Some(UpstreamError::Terminated)));
    }
}

/// A body whose length differs from the announced one.
struct Lying(Vec<&'static str>);

impl http_body::Body for Lying {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop().map(|text| Ok(Frame::data(Bytes::from(text)))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(3)
    }
}

#[tokio::test]
async fn a_body_of_another_length_than_it_says_ends_the_connection_and_never_becomes_a_request() {
    let (text, whole) = sent(request(Method::POST, false), &[], Lying(vec!["ok"])).await;
    assert!(!whole, "{text:?}");
    let (text, whole) = sent(request(Method::POST, false), &[], Lying(vec!["GET / HTTP/1.1", "ok"])).await;
    assert!(!whole && !text.contains("GET"), "{text:?}");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_go_when_the_upstream_closes_them_and_when_nobody_uses_them() {
    let pool = pool();
    let open = Gauge::default();
    let put = || {
        let (near, far) = duplex(64);
        pool.put(Connection::new(near, Open::counted(&open)));
        far
    };
    // The clock is paused, so this takes no real time.
    let later = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
    let idle = async {
        let (closed, noisy, stays) = (put(), put(), put());
        drop(closed);
        let mut noisy = noisy;
        noisy.write_all(b"x").await.unwrap();
        later(6).await;
        assert_eq!(open.get(), 1);
        later(35).await;
        assert_eq!(open.get(), 0);
        drop(stays);
        // The next burst is swept too.
        drop(put());
        later(6).await;
        assert_eq!(open.get(), 0);
    };
    LocalSet::new().run_until(idle).await;
}
