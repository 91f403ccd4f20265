//! Load from one thread. Clients send the next request as soon as they have the response, or at a
//! constant rate.
//!
//! At a constant rate, latency counts from the time when a request was due. So a stalled proxy is
//! charged for the requests that it delayed (coordinated omission).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use crate::http::{self, Io, ROOM};
use crate::machine::{Meter, Used};
use crate::stats::{median, percentile};

const PIECE: usize = 256 * 1024;
/// The warm-up: requests in this time do not count.
const WARMING: Duration = Duration::from_millis(150);
/// The reported 99th percentile is the median of the percentiles of slices of this length, if
/// slices have [`MANY`] requests on average. Otherwise it is the percentile of the round.
const SLICE: Duration = Duration::from_millis(50);
const MANY: usize = 500;

/// A request as bytes.
#[derive(Clone)]
pub(crate) struct Request {
    first: Rc<Vec<u8>>,
    pieces: usize,
    piece: Rc<Vec<u8>>,
    closes: bool,
}

impl Request {
    /// A request with a body of this many bytes; 0 means none.
    pub(crate) fn new(method: &str, target: &str, length: usize) -> Self {
        Self::with(method, target, length, "")
    }

    /// A GET with `Connection: close`.
    pub(crate) fn last(target: &str) -> Self {
        Self { closes: true, ..Self::with("GET", target, 0, "Connection: close\r\n") }
    }

    fn with(method: &str, target: &str, length: usize, fields: &str) -> Self {
        let mut first = format!(
            "{method} /t/vbc.prod/provisioning/v1/api/{target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench/1\r\n\
             Accept: */*\r\n{fields}"
        )
        .into_bytes();
        if length > 0 {
            first.extend(
                format!("Content-Type: application/json\r\nContent-Length: {length}\r\n").into_bytes(),
            );
        }
        first.extend(b"\r\n");
        first.resize(first.len() + length.min(PIECE), b'y');
        let pieces = (length / PIECE).saturating_sub(1);
        Self { first: Rc::new(first), pieces, piece: Rc::new(vec![b'y'; PIECE]), closes: false }
    }
}

/// A connection to the proxy.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(proxy: SocketAddr) -> Self {
        let stream = TcpStream::connect(proxy).await.expect("the proxy accepts");
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; ROOM] }
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn exchange(&mut self, request: &Request) {
        self.stream.write_all(&request.first).await.expect("the proxy takes the request");
        for _ in 0..request.pieces {
            self.stream.write_all(&request.piece).await.expect("the proxy takes the body");
        }
        let head = http::head(&mut self.stream, &mut self.buffer).await.expect("the proxy responds");
        let head = head.expect("the proxy responds");
        let bytes = &self.buffer[..head.end];
        assert!(bytes.starts_with(b"HTTP/1.1 200 ") && head.length > 0, "{}", bytes.escape_ascii());
        self.stream.discard(head.left()).await.expect("the whole response");
        if request.closes {
            assert_eq!(
                self.stream.read(&mut self.buffer).await.unwrap_or(0),
                0,
                "the proxy left the connection open"
            );
        }
    }
}

/// Counters that clients share.
#[derive(Default)]
struct Tally {
    /// A request counts if it began, or was due, between `from` and `to`.
    from: Cell<Option<Instant>>,
    to: Cell<Option<Instant>>,
    stopped: Cell<bool>,
    responses: Cell<u64>,
    warm: Cell<usize>,
    /// Notified after every response.
    done: Notify,
    /// Nanoseconds, by the slice in which a request began or was due.
    latencies: RefCell<Vec<Vec<u32>>>,
}

impl Tally {
    fn note(&self, since: Instant) {
        self.responses.set(self.responses.get() + 1);
        self.done.notify_one();
        let Some(from) = self.from.get().filter(|from| since >= *from) else { return };
        if self.to.get().is_none_or(|to| since < to) {
            let slice = (since - from).as_millis() / SLICE.as_millis();
            let mut slices = self.latencies.borrow_mut();
            let missing = (slice as usize + 1).saturating_sub(slices.len());
            slices.extend(std::iter::repeat_with(|| Vec::with_capacity(4 * 1024)).take(missing));
            slices[slice as usize].push(since.elapsed().as_nanos().try_into().unwrap_or(u32::MAX));
        }
    }
}

/// The outcome of one window of load.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    /// Requests a second.
    pub(crate) rate: f64,
    /// CPU seconds of the proxy per 100,000 requests.
    pub(crate) cpu: f64,
    /// Median latency in microseconds.
    pub(crate) p50: f64,
    /// The 99th percentile of the latency in microseconds. With many requests it is the median over
    /// slices of a twentieth of a second. The hypervisor may stop a core ten times a second for
    /// some milliseconds; over the whole round, the percentile would measure those stops.
    pub(crate) p99: f64,
    /// The 99.9th percentile of the latency in microseconds, over the whole round.
    pub(crate) p999: f64,
    /// The machine's load during the window.
    pub(crate) used: Used,
}

/// Opens the window in which requests count, and closes it after `duration`.
async fn window(tally: &Tally, meter: &Meter, duration: Duration) -> Used {
    tally.to.set(None);
    tokio::time::sleep(WARMING).await;
    let before = meter.read();
    tally.from.set(Some(Instant::now()));
    tokio::time::sleep(duration).await;
    tally.to.set(Some(Instant::now()));
    meter.read().since(&before)
}

/// Call this when every request has its response.
fn outcome(tally: &Tally, used: Used) -> Outcome {
    tally.from.set(None);
    let mut slices = tally.latencies.take();
    slices.iter_mut().for_each(|slice| slice.sort_unstable());
    let mut all = slices.concat();
    all.sort_unstable();
    let requests = all.len() as f64;
    assert!(requests > 0.0, "no request got a response");
    // The last slice is shorter.
    let whole = &slices[..slices.len().min((used.elapsed / SLICE.as_secs_f64()) as usize)];
    // A slice without requests means that the load's core was stopped.
    let asked = whole.iter().filter(|slice| !slice.is_empty());
    let of_slices: Vec<f64> = asked.map(|slice| percentile(slice, 0.99)).collect();
    let p99 = if all.len() >= MANY * whole.len() { median(&of_slices) } else { percentile(&all, 0.99) };
    Outcome {
        rate: requests / used.elapsed,
        cpu: used.proxy / requests * 1e5,
        p50: percentile(&all, 0.5) / 1e3,
        p99: p99 / 1e3,
        p999: percentile(&all, 0.999) / 1e3,
        used,
    }
}

/// Load from this many clients. Each sends its next request as soon as it has the response.
pub(crate) async fn closed(meter: &Meter, request: &Request, clients: usize, duration: Duration) -> Outcome {
    let tally = Rc::new(Tally::default());
    let tasks: Vec<JoinHandle<()>> = (0..clients)
        .map(|_| {
            let (tally, request, proxy) = (Rc::clone(&tally), request.clone(), meter.address);
            spawn_local(async move {
                let mut client = Client::connect(proxy).await;
                client.exchange(&request).await;
                tally.warm.set(tally.warm.get() + 1);
                while !tally.stopped.get() {
                    let since = Instant::now();
                    if request.closes {
                        client = Client::connect(proxy).await;
                    }
                    client.exchange(&request).await;
                    tally.note(since);
                }
            })
        })
        .collect();
    while tally.warm.get() < clients {
        assert!(!tasks.iter().any(JoinHandle::is_finished), "a client failed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let used = window(&tally, meter, duration).await;
    tally.stopped.set(true);
    for task in tasks {
        task.await.unwrap();
    }
    outcome(&tally, used)
}

/// Clients that keep their connections and take turns.
pub(crate) struct Pool {
    tally: Rc<Tally>,
    due: Rc<RefCell<VecDeque<Instant>>>,
    wake: Rc<Notify>,
    asked: Cell<u64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Connects this many clients. Each has received one response.
    pub(crate) async fn connect(proxy: SocketAddr, request: &Request, clients: usize) -> Self {
        let (tally, due) = (Rc::new(Tally::default()), Rc::new(RefCell::new(VecDeque::<Instant>::new())));
        let wake = Rc::new(Notify::new());
        let mut tasks = Vec::with_capacity(clients);
        for _ in 0..clients {
            let (tally, due, wake, request) =
                (Rc::clone(&tally), Rc::clone(&due), Rc::clone(&wake), request.clone());
            let mut client = Client::connect(proxy).await;
            client.exchange(&request).await;
            tasks.push(spawn_local(async move {
                loop {
                    let next = due.borrow_mut().pop_front();
                    match next {
                        Some(since) => {
                            client.exchange(&request).await;
                            tally.note(since);
                        }
                        None if tally.stopped.get() => break,
                        // The client that has waited longest is woken first.
                        None => wake.notified().await,
                    }
                }
            }));
        }
        Self { tally, due, wake, asked: Cell::new(0), tasks }
    }

    /// Load at this rate, in requests a second. With `spins` the thread never sleeps; it needs a
    /// core of its own.
    pub(crate) async fn constant(
        &self,
        meter: &Meter,
        rate: f64,
        duration: Duration,
        spins: bool,
    ) -> Outcome {
        let (ended, asked) = (Rc::new(Cell::new(false)), &self.asked);
        let ticking = {
            let (due, wake, ended) = (Rc::clone(&self.due), Rc::clone(&self.wake), Rc::clone(&ended));
            spawn_local(async move {
                let (started, timer) = (Instant::now(), Timer::every(Duration::from_secs_f64(1.0 / rate)));
                let (mut number, mut sent, most) = (0_u64, 0_u64, rate as usize / 2);
                while !ended.get() {
                    let at = started + Duration::from_secs_f64(number as f64 / rate);
                    while Instant::now() < at {
                        if spins { yield_now().await } else { timer.tick().await }
                    }
                    number += 1;
                    // A longer queue would show nothing more, and its requests would have to be
                    // served after the window.
                    if due.borrow().len() < most {
                        due.borrow_mut().push_back(at);
                        wake.notify_one();
                        sent += 1;
                    }
                }
                sent
            })
        };
        let used = window(&self.tally, meter, duration).await;
        ended.set(true);
        asked.set(asked.get() + ticking.await.unwrap());
        while self.tally.responses.get() < asked.get() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        outcome(&self.tally, used)
    }

    /// Load with one request at a time, each on the next connection.
    pub(crate) async fn in_turn(&self, meter: &Meter, duration: Duration) -> Outcome {
        let ended = Rc::new(Cell::new(false));
        let asking = {
            let (due, wake, ended) = (Rc::clone(&self.due), Rc::clone(&self.wake), Rc::clone(&ended));
            let tally = Rc::clone(&self.tally);
            spawn_local(async move {
                let (mut sent, before) = (0, tally.responses.get());
                while !ended.get() {
                    due.borrow_mut().push_back(Instant::now());
                    wake.notify_one();
                    sent += 1;
                    while tally.responses.get() < before + sent {
                        tally.done.notified().await;
                    }
                }
                sent
            })
        };
        let used = window(&self.tally, meter, duration).await;
        ended.set(true);
        self.asked.set(self.asked.get() + asking.await.unwrap());
        outcome(&self.tally, used)
    }

    /// Closes the connections.
    pub(crate) async fn end(self) {
        self.tally.stopped.set(true);
        for task in self.tasks {
            self.wake.notify_waiters();
            self.wake.notify_one();
            task.await.unwrap();
        }
    }
}

/// A timer that is finer than the runtime's, which counts milliseconds.
struct Timer(AsyncFd<std::os::fd::OwnedFd>);

impl Timer {
    fn every(interval: Duration) -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).unwrap();
        let interval =
            Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: i64::from(interval.subsec_nanos()) };
        let setting = Itimerspec { it_interval: interval, it_value: interval };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting).unwrap();
        #[expect(deprecated, reason = "the replacement is unsafe, and an OwnedFd fulfils its contract")]
        let timer = AsyncFd::new(timer).unwrap();
        Self(timer)
    }

    async fn tick(&self) {
        let mut ready = self.0.readable().await.unwrap();
        let _ = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?));
    }
}
