//! Copies an exchange while it passes through the data plane, within a budget.
//!
//! Nothing here waits. An exchange that exceeds the budget is dropped and counted; its request is
//! not affected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Recorder;
use crate::format::LARGEST_BODY;
use crate::text::{debug_shows_nothing, latin1};
use vbc_base::clock::Timestamp;
use vbc_http::codec::KeptBytes;

/// The most pieces of a body whose times are recorded.
const MOST_TIMES: usize = 10_000;

/// The most bytes that all exchanges of a recorder may hold together.
const BUDGET: usize = 64 << 20;

/// The bytes that all exchanges of a recorder hold.
#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= BUDGET;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The part of a body that has passed so far.
pub(super) struct Pieces {
    data: KeptBytes,
    /// The body's share of the budget, in bytes.
    held: usize,
    /// How many bytes have passed.
    pub(super) length: u64,
    pub(super) trailers: HeaderMap,
    pub(super) ended: bool,
    /// The body exceeded the budget, so its bytes were dropped.
    pub(super) lost: bool,
    /// When the pieces passed: milliseconds since the request, and the number of bytes.
    pub(super) times: Vec<(u64, usize)>,
    budget: Arc<Budget>,
}

impl Pieces {
    fn new(budget: &Arc<Budget>) -> Self {
        Self {
            data: KeptBytes::new(LARGEST_BODY),
            held: 0,
            length: 0,
            trailers: HeaderMap::new(),
            ended: false,
            lost: false,
            times: Vec::new(),
            budget: Arc::clone(budget),
        }
    }

    fn push(&mut self, data: &Bytes) {
        self.length += data.len() as u64;
        if self.lost || self.is_truncated() {
            return self.clear();
        }
        let before = self.data.cost();
        // The bytes are copied: a reference would keep a whole buffer alive until the exchange is
        // written.
        self.data.append(data);
        self.take(self.data.cost() - before);
    }

    fn note_time(&mut self, millis: u64, length: usize) {
        if !self.lost && self.times.len() < MOST_TIMES {
            self.times.push((millis, length));
            self.take(size_of::<(u64, usize)>());
        }
    }

    fn take(&mut self, bytes: usize) {
        if self.budget.take(bytes) {
            self.held += bytes;
        } else {
            self.lost = true;
            self.clear();
        }
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.length > LARGEST_BODY as u64
    }

    fn clear(&mut self) {
        self.data = KeptBytes::default();
        self.times = Vec::new();
        self.budget.give_back(std::mem::take(&mut self.held));
    }

    /// The body in one piece.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.data.len());
        while let Some(block) = self.data.at(whole.len()) {
            whole.extend_from_slice(&block);
        }
        whole
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.budget.give_back(self.held);
    }
}

/// Copies a request's body. The proxy puts the tap into the request's extensions.
#[derive(Clone)]
pub struct RequestTap(Arc<Mutex<Pieces>>);

impl RequestTap {
    /// Copies a piece that the client has sent.
    pub fn data(&self, data: &Bytes) {
        self.0.lock().push(data);
    }

    /// Notes that the client has sent the whole body.
    pub fn end(&self) {
        self.0.lock().ended = true;
    }
}

/// An exchange whose request has arrived.
///
/// [`begin`](Self::begin) takes the head of a request, and [`request_tap`](Self::request_tap)
/// copies its body. [`response`](Self::response) continues with the response. A tape that is
/// dropped before its response is not recorded.
pub struct Tape {
    pub(super) recorder: Arc<Recorder>,
    pub(super) at: Timestamp,
    pub(super) started: Instant,
    pub(super) base: String,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: RequestTap,
}

impl Tape {
    /// Starts with the head of a request. `base` is the scheme and authority under which the client
    /// reached the proxy.
    pub fn begin<B: http_body::Body>(
        recorder: &Arc<Recorder>,
        request: &http::Request<B>,
        base: String,
    ) -> Self {
        let mut pieces = Pieces::new(&recorder.budget);
        pieces.ended = request.body().is_end_stream();
        Self {
            recorder: Arc::clone(recorder),
            at: recorder.clock.now(),
            started: Instant::now(),
            base,
            method: request.method().clone(),
            target: request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            version: request.version(),
            headers: request.headers().clone(),
            body: RequestTap(Arc::new(Mutex::new(pieces))),
        }
    }

    /// The tap that copies the body of the request.
    pub fn request_tap(&self) -> RequestTap {
        self.body.clone()
    }

    /// Continues with the head of the response.
    pub fn response<B: http_body::Body>(self, response: &http::Response<B>) -> ResponseTap {
        let mut pieces = Pieces::new(&self.recorder.budget);
        let status = response.status();
        let has_no_body = self.method == Method::HEAD || matches!(status.as_u16(), 204 | 304);
        pieces.ended = has_no_body || response.body().is_end_stream();
        let reason = response.extensions().get::<ReasonPhrase>().map(|reason| latin1(reason.as_bytes()));
        let length = if has_no_body { None } else { response.body().size_hint().exact() };
        ResponseTap(Some(Box::new(Exchange {
            tape: self,
            status,
            reason,
            headers: response.headers().clone(),
            length,
            pieces,
        })))
    }
}

/// An exchange whose response has started.
pub(super) struct Exchange {
    pub(super) tape: Tape,
    pub(super) status: StatusCode,
    pub(super) reason: Option<String>,
    pub(super) headers: HeaderMap,
    /// The announced length of the response's body.
    pub(super) length: Option<u64>,
    pub(super) pieces: Pieces,
}

impl Exchange {
    pub(super) fn request(&self) -> parking_lot::MutexGuard<'_, Pieces> {
        self.tape.body.0.lock()
    }
}

/// Copies a response's body. Dropping it hands the exchange to the recorder, whether or not the
/// body has ended.
pub struct ResponseTap(Option<Box<Exchange>>);

impl ResponseTap {
    /// Copies a piece that goes to the client.
    pub fn data(&mut self, data: &Bytes) {
        let Some(exchange) = &mut self.0 else { return };
        exchange.pieces.push(data);
        if exchange.tape.recorder.timing {
            let millis = exchange.tape.started.elapsed().as_millis() as u64;
            exchange.pieces.note_time(millis, data.len());
        }
        if exchange.length.is_some_and(|length| exchange.pieces.length >= length) {
            exchange.pieces.ended = true;
        }
    }

    /// Copies the trailers. The body has ended with them.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(exchange) = &mut self.0 {
            exchange.pieces.trailers = trailers.clone();
            exchange.pieces.ended = true;
        }
    }

    /// Notes that the body has ended.
    pub fn end(&mut self) {
        if let Some(exchange) = &mut self.0 {
            exchange.pieces.ended = true;
        }
    }
}

debug_shows_nothing!(ResponseTap, RequestTap, Tape);

impl Drop for ResponseTap {
    fn drop(&mut self) {
        if let Some(exchange) = self.0.take() {
            Arc::clone(&exchange.tape.recorder).hand_over(exchange);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_order_and_are_charged_for_what_they_take() {
        let budget = Arc::default();
        let mut pieces = Pieces::new(&budget);
        let large = Bytes::from(vec![b'l'; 100_000]);
        for piece in [&Bytes::from_static(b"a"), &Bytes::from_static(b"b"), &large, &Bytes::from_static(b"c")]
        {
            pieces.push(piece);
        }
        assert_eq!(pieces.bytes(), [b"ab", &large[..], b"c"].concat());
        assert_eq!(budget.0.load(Ordering::Relaxed), pieces.data.cost());
        for millis in 0..100 {
            pieces.note_time(millis, 1);
        }
        assert_eq!(budget.0.load(Ordering::Relaxed), pieces.data.cost() + 1600);
        drop(pieces);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn debug_debug_shows_nothing_of_an_exchange() {
        let directory = tempfile::tempdir().unwrap();
        let options = Default::default();
        let clock = vbc_base::clock::Clock::system();
        let recorder = Recorder::start(&directory.path().join("a"), options, [], clock).unwrap();
        recorder.know("s3cret-token");
        let request = http::Request::builder().uri("/?key=s3cret").header("authorization", "s3cret");
        let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
        let asked = crate::recorded_request(&request, Some(b"s3cret".to_vec()));
        let tape = Tape::begin(&recorder, &request, "http://h".into());
        let shown = format!("{asked:?}{tape:?}{:?}{recorder:?}", tape.request_tap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn what_is_too_large_or_finds_no_room_is_let_go_and_its_room_with_it() {
        let budget = Arc::default();
        let mut pieces = Pieces::new(&budget);
        let piece = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..17 {
            pieces.push(&piece);
        }
        assert!(pieces.is_truncated() && !pieces.lost && pieces.bytes().is_empty());
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);

        let held: Vec<Pieces> = (0..8)
            .map(|_| {
                let mut pieces = Pieces::new(&budget);
                (0..8).for_each(|_| pieces.push(&piece));
                pieces
            })
            .collect();
        let mut last = Pieces::new(&budget);
        last.push(&Bytes::from_static(b"x"));
        assert!(last.lost && held.iter().all(|pieces| !pieces.lost));
        drop(held);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
