//! Half-closed connections in paused time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, Sleep, sleep};

use crate::{Abort, Drain, Handler, Incoming, Limits, RequestRejection, connection};

/// Responds after `head_after`, with pieces at intervals of `piece_after`.
#[derive(Clone)]
struct Slow {
    head_after: Duration,
    pieces: u32,
    piece_after: Duration,
    size: usize,
}

struct Pieces {
    slow: Slow,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Abort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abort>>> {
        if self.slow.pieces == 0 {
            return Poll::Ready(None);
        }
        let after = self.slow.piece_after;
        ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep(after))).as_mut().poll(cx));
        self.waiting = None;
        self.slow.pieces -= 1;
        Poll::Ready(Some(Ok(Frame::data(vec![b'x'; self.slow.size].into()))))
    }
}

impl Handler for Slow {
    type Body = Pieces;

    const DATE: bool = false;

    async fn handle(&self, _: http::Request<Incoming>) -> Result<http::Response<Pieces>, Abort> {
        sleep(self.head_after).await;
        Ok(http::Response::new(Pieces { slow: self.clone(), waiting: None }))
    }

    fn reject(&self, _: RequestRejection) -> http::Response<Pieces> {
        http::Response::new(Pieces { slow: Slow { pieces: 0, ..self.clone() }, waiting: None })
    }
}

/// The default of `half_close_grace`.
const GRACE: Duration = Duration::from_secs(5);

/// Waits shorter and longer than the grace.
const LESS: Duration = Duration::from_secs(3);
const MORE: Duration = Duration::from_secs(7);

/// A client that has sent this number of requests and ended its side. The connection holds at most
/// `room` bytes that the client has not read.
async fn half_closed(slow: Slow, requests: usize, room: usize) -> DuplexStream {
    let (drain, signal) = Drain::new();
    let (near, mut client) = duplex(room);
    client.write_all("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(requests).as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    tokio::spawn(async move {
        connection(near, Limits::default(), signal, slow).await;
        drop(drain);
    });
    client
}

async fn read(mut client: DuplexStream) -> String {
    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test(start_paused = true)]
async fn each_response_has_the_whole_grace_and_a_slow_download_is_not_cut() {
    let slow = Slow { head_after: LESS, pieces: 4, piece_after: LESS, size: 1 };
    let start = Instant::now();
    let responses = read(half_closed(slow, 3, 1 << 16).await).await;
    assert_eq!(responses.matches("HTTP/1.1 200 OK").count(), 3, "{responses}");
    assert_eq!(responses.matches("\r\n0\r\n\r\n").count(), 3, "{responses}");
    assert_eq!(start.elapsed().as_secs(), 3 * 5 * LESS.as_secs());
}

#[tokio::test(start_paused = true)]
async fn the_grace_ends_a_response_that_does_not_begin_or_that_stops() {
    for (head_after, piece_after, responses, after) in [
        (MORE, LESS, 0, GRACE),
        // The head was written, so the grace counts from then.
        (LESS, MORE, 1, LESS + GRACE),
    ] {
        let slow = Slow { head_after, pieces: 1, piece_after, size: 1 };
        let start = Instant::now();
        let read = read(half_closed(slow, 2, 1 << 16).await).await;
        assert_eq!(read.matches("HTTP/1.1 200 OK").count(), responses, "{read}");
        assert!(!read.contains("\r\n0\r\n\r\n"), "{read}");
        assert_eq!(start.elapsed().as_secs(), after.as_secs());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_has_more_than_the_grace() {
    let slow = Slow { head_after: Duration::ZERO, pieces: 3, piece_after: Duration::ZERO, size: 5000 };
    let mut client = half_closed(slow, 1, 4000).await;
    for _ in 0..3 {
        sleep(2 * MORE).await;
        client.read_exact(&mut [0; 3000]).await.unwrap();
    }
    assert!(read(client).await.ends_with("\r\n0\r\n\r\n"));
}
