//! The world every test lives in: a proxy on a free port, in front of the simulator or of a raw upstream, and a
//! client that writes bytes and checks every answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use vbc_proxy::app::Ended;
use vbc_proxy::clock::Clock;
use vbc_proxy::simulator::SimulatorOptions;
use vbc_proxy::{App, Config, Simulator};

/// Longer than anything in a healthy test takes. It only turns a hang into a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The demo identity's secrets, and how every token of the simulator begins (it issues JWTs).
const SECRETS: [&[u8]; 3] = [b"sim-secret", b"sim-password", b"eyJ"];

/// The names of RFC 9209 §2.3 that a proxy like ours can need.
const PROXY_STATUS_ERRORS: [&str; 19] = [
    "dns_timeout",
    "dns_error",
    "destination_unavailable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_timeout",
    "http_response_header_section_size",
    "http_protocol_error",
    "proxy_internal_error",
    "proxy_loop_detected",
];

/// A proxy, its upstream and its token endpoint.
pub(crate) struct World {
    /// The proxy's address.
    pub(crate) address: SocketAddr,
    /// The admin listener's address.
    pub(crate) admin: SocketAddr,
    /// The token endpoint, and the upstream where no raw one is given.
    pub(crate) sim: Simulator,
    stop: Option<oneshot::Sender<()>>,
    run: Option<JoinHandle<Ended>>,
}

/// What a [`World`] is made of.
#[derive(Default)]
pub(crate) struct WorldBuilder {
    upstream: Option<String>,
    sections: String,
    simulator: SimulatorOptions,
}

impl World {
    /// In front of the simulator.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// In front of a raw upstream, with one worker thread, so that its pool is the only one.
    pub(crate) async fn before(upstream: &RawUpstream) -> Self {
        Self::builder().upstream(upstream.url()).start().await
    }

    pub(crate) fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// A connection to the proxy.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own. `head` is the head without its empty line; `Host` is added.
    pub(crate) async fn send(&self, head: &str, body: &[u8]) -> Response {
        let mut client = self.connect().await;
        client.request(head, body).await;
        client.response().await
    }

    /// Writes these bytes on a connection of their own; gives the answer, and asserts that the connection ends
    /// behind it.
    pub(crate) async fn refused(&self, bytes: &[u8]) -> Response {
        let mut client = self.connect().await;
        client.write(bytes).await;
        let response = client.response().await;
        client.closed().await;
        response
    }

    /// A GET on a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> Response {
        self.send(&format!("GET {target} HTTP/1.1"), b"").await
    }

    /// Waits until a metric has this value.
    pub(crate) async fn metric(&self, name: &str, value: f64) {
        within(async {
            while self.admin("/metrics").await.metric(name) != Some(value) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// A GET to the admin listener.
    pub(crate) async fn admin(&self, target: &str) -> Response {
        let mut client = Client::connect(self.admin).await;
        client.request(&format!("GET {target} HTTP/1.1"), b"").await;
        client.response().await
    }

    /// Waits until the proxy has a token.
    pub(crate) async fn ready(&self) {
        within(async {
            while self.admin("/ready").await.status != 200 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Begins the drain and waits for its end.
    pub(crate) async fn drain(mut self) -> Ended {
        self.begin_drain();
        within(self.run.take().unwrap()).await.unwrap()
    }

    /// Begins the drain, as SIGTERM does.
    pub(crate) fn begin_drain(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits for the end of a drain that was begun.
    pub(crate) async fn ended(&mut self) -> Ended {
        within(self.run.take().unwrap()).await.unwrap()
    }
}

impl WorldBuilder {
    /// Where requests go, instead of to the simulator.
    pub(crate) fn upstream(mut self, url: impl Into<String>) -> Self {
        self.upstream = Some(url.into());
        self
    }

    /// Lines for `proxy.toml`, as `section.key = value`, one a line.
    pub(crate) fn config(mut self, line: &str) -> Self {
        self.sections.push_str(line);
        self.sections.push('\n');
        self
    }

    pub(crate) fn simulator(mut self, options: SimulatorOptions) -> Self {
        self.simulator = options;
        self
    }

    /// The configuration in front of `sim`.
    pub(crate) fn configuration(&self, sim: &Simulator) -> Config {
        let mut lines = String::new();
        // A test's own line comes first and replaces the default.
        let defaults = [
            ("listen.address", "\"127.0.0.1:0\"".to_owned()),
            ("listen.workers", "1".to_owned()),
            ("admin.address", "\"127.0.0.1:0\"".to_owned()),
            ("upstream.url", format!("\"{}\"", self.upstream.clone().unwrap_or_else(|| sim.url()))),
            ("oauth.token_url", format!("\"{}/token\"", sim.url())),
            ("store.kind", "\"memory\"".to_owned()),
            ("credentials.default.client_id", "\"sim-client\"".to_owned()),
            ("credentials.default.client_secret", "\"sim-secret\"".to_owned()),
            ("credentials.default.username", "\"alice\"".to_owned()),
            ("credentials.default.password", "\"sim-password\"".to_owned()),
        ];
        for (key, value) in defaults {
            let given = self.sections.lines().any(|line| line.split('=').next().map(str::trim) == Some(key));
            if !given {
                lines.push_str(&format!("{key} = {value}\n"));
            }
        }
        lines.push_str(&self.sections);
        match Config::from_toml(&lines) {
            Ok(loaded) => loaded.config,
            Err(findings) => panic!("{findings}"),
        }
    }

    pub(crate) async fn start(self) -> World {
        let sim = Simulator::bind(self.simulator.clone()).await.unwrap();
        let config = self.configuration(&sim);
        World::with(config, sim).await
    }
}

impl World {
    /// A proxy of this configuration; `sim` is kept alive beside it.
    pub(crate) async fn with(config: Config, sim: Simulator) -> Self {
        Self::with_clock(config, sim, Clock::system()).await
    }

    /// The same, with a clock that the test can move.
    pub(crate) async fn with_clock(config: Config, sim: Simulator, clock: Clock) -> Self {
        let app = App::bind_with_clock(config, clock).await.unwrap();
        let (address, admin) = (app.address(), app.admin_address().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(async move {
            let shutdown = async {
                // A world that is dropped also ends its proxy.
                let _ = stopped.await;
            };
            app.run(shutdown).await.unwrap()
        });
        Self { address, admin, sim, stop: Some(stop), run: Some(run) }
    }
}

/// Fails the test when `future` takes longer than [`PATIENCE`].
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("the test hangs")
}

/// A client that writes bytes.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Response {
    /// Status line and headers, without the empty line.
    pub(crate) head: Vec<u8>,
    pub(crate) version: String,
    pub(crate) status: u16,
    /// In order; names in lower case.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Without its framing.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    /// Whether the body came to its announced end (or to the end of the connection, where nothing was announced).
    pub(crate) complete: bool,
}

impl Response {
    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name)
    }

    /// Every value of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        all(&self.headers, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }

    /// The value of this counter or gauge, in an answer of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let value = self.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// Asserts a problem in our own name, with this status and this error in `Proxy-Status`.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, error: &str) {
        assert!(PROXY_STATUS_ERRORS.contains(&error), "{error}");
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let proxy_status = self.header("proxy-status").expect("Proxy-Status");
        assert!(proxy_status.starts_with(&format!("vbc-proxy; error={error};")), "{proxy_status}");
        if self.complete && !self.body.is_empty() {
            let problem = self.json();
            assert_eq!(problem["status"], status);
            for member in ["type", "title", "detail", "instance"] {
                assert!(
                    problem[member].as_str().is_some_and(|text| !text.is_empty()),
                    "{member} in {problem}"
                );
            }
            assert_eq!(problem["instance"].as_str(), self.header("x-request-id"));
        }
    }

    /// What no answer of the proxy may ever have.
    fn check(&self) {
        for (name, _) in &self.headers {
            let hop_by_hop = ["keep-alive", "proxy-connection", "proxy-authenticate", "te", "upgrade"];
            assert!(!hop_by_hop.contains(&name.as_str()), "{name} in {:?}", self.headers);
            assert!(!name.starts_with("access-control-") || !self.all("vary").is_empty(), "{name} passed");
        }
        for secret in SECRETS {
            for part in [&self.head, &self.body] {
                let found = part.windows(secret.len()).any(|window| window == secret);
                assert!(!found, "a secret in {}", part.escape_ascii());
            }
        }
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// A connection, unless nobody listens any more.
    pub(crate) async fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = within(TcpStream::connect(address)).await.ok()?;
        Some(Self { stream, buffer: Vec::new() })
    }

    /// A GET whose answer may stay away or break off because the proxy is killed.
    pub(crate) async fn try_get(&mut self, target: &str) -> Option<Response> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.ok()?;
        let response = within(self.read_response("GET")).await.ok()?;
        response.check();
        response.complete.then_some(response)
    }

    /// Writes bytes that the proxy may no longer want.
    pub(crate) async fn write_all_or_be_closed_upon(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Writes a request: `head` without its empty line, given a `Host` and, with a body, a `Content-Length` where it
    /// has none.
    pub(crate) async fn request(&mut self, head: &str, body: &[u8]) {
        let lower = head.to_ascii_lowercase();
        let mut bytes = head.trim_end().replace("\r\n", "\n").replace('\n', "\r\n").into_bytes();
        if !lower.contains("\nhost:") {
            bytes.extend_from_slice(b"\r\nHost: localhost");
        }
        let framed = lower.contains("\ncontent-length:") || lower.contains("\ntransfer-encoding:");
        if !body.is_empty() && !framed {
            bytes.extend_from_slice(format!("\r\nContent-Length: {}", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(body);
        self.write(&bytes).await;
    }

    /// Reads one answer to a request that was not HEAD, and checks it.
    pub(crate) async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// Reads one final answer to a request of this method, and checks it.
    pub(crate) async fn response_to(&mut self, method: &str) -> Response {
        let response = within(self.read_response(method)).await.expect("an answer");
        response.check();
        response
    }

    /// Reads until the proxy closes the connection; gives what came.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        within(async {
            let mut rest = std::mem::take(&mut self.buffer);
            // A reset counts as an end.
            let _ = self.stream.read_to_end(&mut rest).await;
            rest
        })
        .await
    }

    /// Writes as much of a large request as the proxy takes, until an answer has begun.
    pub(crate) async fn write_until_answered(&mut self, bytes: &[u8]) {
        let (mut read, mut write) = self.stream.split();
        let writing = async {
            let _ = write.write_all(bytes).await;
            std::future::pending::<()>().await;
        };
        within(async {
            tokio::select! {
                () = writing => {}
                read = read.read_buf(&mut self.buffer) => assert!(read.expect("an answer") > 0),
            }
        })
        .await;
    }

    /// Asserts that the proxy ends the connection by a reset, and sends nothing more.
    pub(crate) async fn was_reset(&mut self) {
        let end = within(self.fill()).await.expect_err("an end");
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }

    /// Asserts that the proxy ends the connection and sends nothing more.
    pub(crate) async fn closed(&mut self) {
        let rest = self.read_to_end().await;
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }

    /// Reads a head alone, up to the body; gives it without its empty line.
    pub(crate) async fn head(&mut self) -> String {
        let lines = within(self.lines()).await.expect("a head");
        String::from_utf8(lines.join(&b"\r\n"[..])).unwrap()
    }

    /// Reads exactly the next bytes.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        while self.buffer.len() < bytes.len() {
            within(self.fill()).await.expect("more bytes");
        }
        let found: Vec<u8> = self.buffer.drain(..bytes.len()).collect();
        assert_eq!(found.escape_ascii().to_string(), bytes.escape_ascii().to_string());
    }

    /// Sends no more.
    pub(crate) async fn shutdown(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Ends the connection by a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    async fn lines(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = Vec::new();
        loop {
            match self.line().await? {
                line if line.is_empty() => return Ok(lines),
                line => lines.push(line),
            }
        }
    }

    async fn read_response(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let lines = self.lines().await?;
            let head = lines.join(&b"\r\n"[..]);
            let status_line = String::from_utf8(lines[0].clone()).unwrap();
            let (version, rest) = status_line.split_once(' ').expect("a status line");
            let status: u16 = rest[..3].parse().expect("a status");
            if (100..200).contains(&status) {
                continue;
            }
            let headers = lines[1..].iter().map(|line| field(line)).collect();
            let mut response = Response {
                head,
                version: version.to_owned(),
                status,
                headers,
                body: Vec::new(),
                trailers: Vec::new(),
                complete: true,
            };
            if method != "HEAD" && status != 204 && status != 304 {
                response.complete = self.read_body(&mut response).await.is_ok();
            }
            return Ok(response);
        }
    }

    async fn read_body(&mut self, response: &mut Response) -> io::Result<()> {
        if response.header("transfer-encoding") == Some("chunked") {
            return self.read_chunks(response).await;
        }
        let Some(length) = response.header("content-length").map(|length| length.parse::<usize>().unwrap())
        else {
            // Up to the end of the connection.
            loop {
                response.body.append(&mut self.buffer);
                match self.fill().await {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        };
        while response.body.len() + self.buffer.len() < length {
            response.body.append(&mut self.buffer);
            self.fill().await?;
        }
        let left = length - response.body.len();
        response.body.extend(self.buffer.drain(..left));
        Ok(())
    }

    async fn read_chunks(&mut self, response: &mut Response) -> io::Result<()> {
        loop {
            let size = String::from_utf8(self.line().await?).unwrap();
            let size = usize::from_str_radix(&size, 16).expect("a chunk size");
            if size == 0 {
                response.trailers = self.lines().await?.iter().map(|line| field(line)).collect();
                return Ok(());
            }
            while self.buffer.len() < size + 2 {
                self.fill().await?;
            }
            response.body.extend(self.buffer.drain(..size));
            assert_eq!(self.buffer.drain(..2).collect::<Vec<_>>(), b"\r\n");
        }
    }
}

fn all<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Vec<&'a str> {
    let values = headers.iter().filter(|(n, _)| n == name);
    values.map(|(_, value)| std::str::from_utf8(value).expect("a header in UTF-8")).collect()
}

fn only<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a str> {
    let values = all(headers, name);
    assert!(values.len() < 2, "more than one {name}");
    values.first().copied()
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
    let name = String::from_utf8(line[..colon].to_ascii_lowercase()).unwrap();
    (name, line[colon + 1..].trim_ascii().to_vec())
}

/// An upstream that answers with bytes and remembers what arrived.
pub(crate) struct RawUpstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
    /// Connections to be driven by the test.
    by_hand: tokio::sync::Mutex<mpsc::UnboundedReceiver<UpstreamConnection>>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Received>>,
    connections: Mutex<usize>,
    arrived: Notify,
}

/// A request as the upstream got it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Which connection it came on, from 1.
    pub(crate) connection: usize,
    /// Request line and headers, without the empty line, byte for byte.
    pub(crate) head: Vec<u8>,
    /// The request line.
    pub(crate) line: String,
    /// In order; names in lower case.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Without its framing.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

impl Received {
    /// Every value of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        all(&self.headers, name)
    }

    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name)
    }
}

/// One connection at the raw upstream.
pub(crate) struct UpstreamConnection {
    client: Client,
    number: usize,
    seen: Arc<Seen>,
}

impl UpstreamConnection {
    /// Reads the next request whole; `None` when the proxy has closed.
    pub(crate) async fn request(&mut self) -> Option<Received> {
        let mut received = self.head().await?;
        self.body(&mut received).await.ok()?;
        self.seen.requests.lock().push(received.clone());
        self.seen.arrived.notify_waiters();
        Some(received)
    }

    /// Reads the next request whole and answers it with these bytes.
    pub(crate) async fn answer(&mut self, answer: &str) -> Received {
        let received = within(self.request()).await.expect("a request");
        self.write(answer.as_bytes()).await;
        received
    }

    /// Writes without end, until the proxy has ended the connection.
    pub(crate) async fn write_forever(&mut self, bytes: &[u8]) {
        within(async { while self.client.stream.write_all(bytes).await.is_ok() {} }).await;
    }

    /// Waits until the proxy has ended the connection; gives what it sent before.
    pub(crate) async fn gone(&mut self) -> Vec<u8> {
        self.client.read_to_end().await
    }

    /// Reads exactly the next bytes.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        self.client.expect(bytes).await;
    }

    /// Reads the next head alone. Not remembered.
    pub(crate) async fn head(&mut self) -> Option<Received> {
        let lines = within(self.client.lines()).await.ok()?;
        Some(Received {
            connection: self.number,
            head: lines.join(&b"\r\n"[..]),
            line: String::from_utf8(lines[0].clone()).unwrap(),
            headers: lines[1..].iter().map(|line| field(line)).collect(),
            body: Vec::new(),
            trailers: Vec::new(),
        })
    }

    async fn body(&mut self, received: &mut Received) -> io::Result<()> {
        let mut response = Response {
            head: Vec::new(),
            version: String::new(),
            status: 200,
            headers: received.headers.clone(),
            body: Vec::new(),
            trailers: Vec::new(),
            complete: true,
        };
        let framed =
            ["content-length", "transfer-encoding"].iter().any(|name| response.header(name).is_some());
        if framed {
            self.client.read_body(&mut response).await?;
        }
        (received.body, received.trailers) = (response.body, response.trailers);
        Ok(())
    }

    /// Writes bytes as they are; a proxy that is gone is no error.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.client.stream.write_all(bytes).await;
    }

    /// Closes by a reset.
    pub(crate) fn reset(self) {
        self.client.reset();
    }
}

impl RawUpstream {
    /// One that drives every connection by `script`.
    pub(crate) async fn scripted<F>(script: impl Fn(UpstreamConnection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start(script, mpsc::unbounded_channel().1).await
    }

    /// One whose connections the test itself drives, by [`accept`](Self::accept).
    pub(crate) async fn by_hand() -> Self {
        let (hand_over, by_hand) = mpsc::unbounded_channel();
        let script = move |connection| {
            let _ = hand_over.send(connection);
            std::future::ready(())
        };
        Self::start(script, by_hand).await
    }

    /// The next connection of an upstream that is driven by hand.
    pub(crate) async fn accept(&self) -> UpstreamConnection {
        let mut by_hand = self.by_hand.lock().await;
        within(by_hand.recv()).await.expect("a connection")
    }

    async fn start<F>(
        script: impl Fn(UpstreamConnection) -> F + Send + 'static,
        by_hand: mpsc::UnboundedReceiver<UpstreamConnection>,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let number = {
                        let mut connections = seen.connections.lock();
                        *connections += 1;
                        *connections
                    };
                    let client = Client { stream, buffer: Vec::new() };
                    tokio::spawn(script(UpstreamConnection { client, number, seen: Arc::clone(&seen) }));
                }
            }
        });
        Self { address, seen, task, by_hand: by_hand.into() }
    }

    /// One that answers every request, kept alive, with these bytes.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::scripted(move |mut connection| {
            let answer = Arc::clone(&answer);
            async move {
                while connection.request().await.is_some() {
                    connection.write(&answer).await;
                }
            }
        })
        .await
    }

    /// One that answers 200 with `ok`.
    pub(crate) async fn ok() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().clone()
    }

    /// The only request that has arrived.
    pub(crate) fn only(&self) -> Received {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.into_iter().next().unwrap()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        *self.seen.connections.lock()
    }

    /// Waits until this many requests have arrived.
    pub(crate) async fn arrived(&self, count: usize) {
        within(async {
            loop {
                let arrived = self.seen.arrived.notified();
                if self.requests().len() >= count {
                    return;
                }
                arrived.await;
            }
        })
        .await;
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
