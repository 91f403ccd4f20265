//! The upstream API: it hashes request bodies, sends bodies of any length, and sends events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpSocket;
use tokio::sync::{Notify, mpsc};

/// The bytes of one piece of a body.
const PIECE: usize = 64 * 1024;

/// An upstream, and counters of its streams.
#[derive(Clone)]
pub(crate) struct Upstream {
    /// Its URL.
    pub(crate) url: String,
    /// Notified when the client of a stream of events has disconnected.
    pub(crate) left: Arc<Notify>,
    /// The number of open streams of events.
    pub(crate) streams: Arc<AtomicUsize>,
    started: Instant,
}

impl Upstream {
    /// Starts an upstream that speaks HTTP/1.1, or HTTP/2 by prior knowledge.
    pub(crate) async fn start(h2: bool) -> Self {
        // A real upstream has its own kernel. Here the kernel would buffer two megabytes for every
        // unread response, more than the machine's limit for all TCP connections.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(128 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(4096).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = Self { url, left: Arc::default(), streams: Arc::default(), started: Instant::now() };
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let upstream = serving.clone();
                tokio::spawn(async move {
                    let io = TokioIo::new(stream);
                    let service = service_fn(move |request| {
                        let upstream = upstream.clone();
                        async move { Ok::<_, Infallible>(upstream.respond(request).await) }
                    });
                    if h2 {
                        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        builder.max_concurrent_streams(10);
                        let _ = builder.serve_connection(io, service).await;
                    } else {
                        let _ =
                            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                    }
                });
            }
        });
        upstream
    }

    /// The time on the clock of the events' timestamps.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        let path = request.uri().path().to_owned();
        match path.trim_start_matches('/').split_once('/') {
            Some(("bytes", length)) => {
                let length = length.parse().unwrap();
                let mut response = Response::new(Pattern { left: length }.boxed());
                response.headers_mut().insert("content-length", length.into());
                response
            }
            Some(("events", every)) => self.events(Duration::from_millis(every.parse().unwrap())),
            Some(("hash", _)) => Response::new(Full::from(hash(request.into_body()).await.1).boxed()),
            _ => Response::new(Full::from(vec![b'x'; 1024]).boxed()),
        }
    }

    fn events(&self, every: Duration) -> Response<BoxBody<Bytes, Infallible>> {
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
        let upstream = self.clone();
        tokio::spawn(async move {
            upstream.streams.fetch_add(1, Ordering::Relaxed);
            loop {
                let event = format!("data: {}\n\n", upstream.now().as_nanos());
                tokio::select! {
                    sent = sender.send(Ok(Frame::data(event.into()))) => if sent.is_err() { break },
                    () = sender.closed() => break,
                }
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    () = sender.closed() => break,
                }
            }
            upstream.streams.fetch_sub(1, Ordering::Relaxed);
            upstream.left.notify_one();
        });
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        let mut response = Response::new(StreamBody::new(stream).boxed());
        response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        response
    }
}

/// A body of this many bytes whose pattern repeats after a prime number of bytes.
pub(crate) struct Pattern {
    /// The bytes that are left.
    pub(crate) left: u64,
}

/// One piece of the pattern, starting at byte `at`. Its period of 251 bytes does not divide a
/// piece's length, so swapped pieces and missing bytes are detected.
fn piece(at: u64, length: usize) -> Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let pattern =
        PATTERN.get_or_init(|| (0..PIECE + 251).map(|at| (at % 251) as u8).collect::<Vec<_>>().into());
    let start = (at % 251) as usize;
    pattern.slice(start..start + length)
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.min(PIECE as u64);
        if length == 0 {
            return Poll::Ready(None);
        }
        self.left -= length;
        Poll::Ready(Some(Ok(Frame::data(piece(self.left, length as usize)))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

/// Length and SHA-256 of a body.
pub(crate) async fn hash<B: Body<Data = Bytes> + Unpin>(mut body: B) -> (u64, String)
where
    B::Error: std::fmt::Debug,
{
    let (mut context, mut length) = (digest::Context::new(&digest::SHA256), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            length += data.len() as u64;
            context.update(&data);
        }
    }
    let digest = context.finish();
    (length, digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}
