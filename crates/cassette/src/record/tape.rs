//! What the data plane keeps of an exchange while it passes: copies of pieces, within a budget.
//!
//! Nothing here waits. What does not fit is given up, and counted: the request does not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::format::LARGEST_BODY;
use crate::record::Recorder;
use crate::redact::headers::latin1;
use vbc_base::clock::Timestamp;
use vbc_http::codec::KeptBytes;

/// So many pieces have a time of their own.
const MOST_TIMES: usize = 10_000;

/// What all exchanges that are being recorded may hold together, in bytes.
const BUDGET: usize = 64 << 20;

/// Bytes that are held, by all tapes of a recorder.
#[derive(Debug, Default)]
pub(crate) struct Budget(AtomicUsize);

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

/// A body as far as it has passed.
pub(crate) struct Pieces {
    data: KeptBytes,
    /// What of the budget is taken.
    held: usize,
    /// All that passed.
    pub(crate) length: u64,
    pub(crate) trailers: HeaderMap,
    pub(crate) ended: bool,
    /// There was no room for it.
    pub(crate) lost: bool,
    pub(crate) times: Vec<(u64, usize)>,
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
        // The recorder never waits, so a reference could keep a buffer for as long as the writer is behind.
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

    pub(crate) fn is_truncated(&self) -> bool {
        self.length > LARGEST_BODY as u64
    }

    fn clear(&mut self) {
        self.data = KeptBytes::default();
        self.times = Vec::new();
        self.budget.give_back(std::mem::take(&mut self.held));
    }

    /// The body in one piece.
    pub(crate) fn bytes(&self) -> Vec<u8> {
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

/// Takes note of a request's body; among the request's extensions.
#[derive(Clone)]
pub struct RequestTap(Arc<Mutex<Pieces>>);

impl RequestTap {
    /// A piece that has come from the client.
    pub fn data(&self, data: &Bytes) {
        self.0.lock().push(data);
    }

    /// The client has sent all of it.
    pub fn end(&self) {
        self.0.lock().ended = true;
    }
}

/// An exchange whose request has arrived. Dropped, it is not recorded.
pub struct Tape {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) at: Timestamp,
    pub(crate) begun: Instant,
    pub(crate) base: String,
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestTap,
}

impl Tape {
    /// Begins with the head of a request; `base` is the scheme and authority that its client uses.
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
            begun: Instant::now(),
            base,
            method: request.method().clone(),
            target: request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            version: request.version(),
            headers: request.headers().clone(),
            body: RequestTap(Arc::new(Mutex::new(pieces))),
        }
    }

    /// For the body of the request.
    pub fn request_tap(&self) -> RequestTap {
        self.body.clone()
    }

    /// Goes on with the head of the answer.
    pub fn response<B: http_body::Body>(self, response: &http::Response<B>) -> ResponseTap {
        let mut pieces = Pieces::new(&self.recorder.budget);
        let status = response.status();
        let none = self.method == Method::HEAD || matches!(status.as_u16(), 204 | 304);
        pieces.ended = none || response.body().is_end_stream();
        let reason = response.extensions().get::<ReasonPhrase>().map(|reason| latin1(reason.as_bytes()));
        let length = if none { None } else { response.body().size_hint().exact() };
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

/// An exchange of which everything is known but, perhaps, the end of the answer's body.
pub(crate) struct Exchange {
    pub(crate) tape: Tape,
    pub(crate) status: StatusCode,
    pub(crate) reason: Option<String>,
    pub(crate) headers: HeaderMap,
    /// The announced length of the body.
    pub(crate) length: Option<u64>,
    pub(crate) pieces: Pieces,
}

impl Exchange {
    pub(crate) fn request(&self) -> parking_lot::MutexGuard<'_, Pieces> {
        self.tape.body.0.lock()
    }
}

/// Takes note of an answer's body. Dropped, it hands over what it has.
pub struct ResponseTap(Option<Box<Exchange>>);

impl ResponseTap {
    /// A piece on its way to the client.
    pub fn data(&mut self, data: &Bytes) {
        let Some(exchange) = &mut self.0 else { return };
        exchange.pieces.push(data);
        if exchange.tape.recorder.timing {
            let millis = exchange.tape.begun.elapsed().as_millis() as u64;
            exchange.pieces.note_time(millis, data.len());
        }
        if exchange.length.is_some_and(|length| exchange.pieces.length >= length) {
            exchange.pieces.ended = true;
        }
    }

    /// The trailers behind the body.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(exchange) = &mut self.0 {
            exchange.pieces.trailers = trailers.clone();
            exchange.pieces.ended = true;
        }
    }

    /// The body has come to its end.
    pub fn end(&mut self) {
        if let Some(exchange) = &mut self.0 {
            exchange.pieces.ended = true;
        }
    }
}

/// Nothing here is hidden yet, so nothing of it is shown.
macro_rules! shows_nothing {
    ($($name:ident),+) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

shows_nothing!(ResponseTap, RequestTap, Tape);

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
    async fn debug_shows_nothing_of_an_exchange() {
        let directory = tempfile::tempdir().unwrap();
        let (options, counts) = (Default::default(), Default::default());
        let clock = vbc_base::clock::Clock::system();
        let recorder = Recorder::start(&directory.path().join("a"), options, [], clock, counts).unwrap();
        recorder.know("s3cret-token");
        let request = http::Request::builder().uri("/?key=s3cret").header("authorization", "s3cret");
        let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
        let asked = crate::asked(&request, Some(b"s3cret".to_vec()));
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
