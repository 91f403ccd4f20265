//! An upstream that responds with bytes and remembers the requests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::client::{Client, Response, all, field, only};
use super::within;

/// An upstream that responds with bytes and remembers the requests.
pub(crate) struct RawUpstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
    /// Connections that the test drives.
    by_hand: tokio::sync::Mutex<mpsc::UnboundedReceiver<UpstreamConnection>>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Received>>,
    connections: Mutex<usize>,
    arrived: Notify,
}

/// A request as the upstream received it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The number of its connection, from 1.
    pub(crate) connection: usize,
    /// The bytes of request line and headers, without the empty line.
    pub(crate) head: Vec<u8>,
    /// The request line.
    pub(crate) line: String,
    /// In order, with names in lower case.
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
    /// Reads the next request with its body. `None` when the proxy has closed.
    pub(crate) async fn request(&mut self) -> Option<Received> {
        let mut received = self.head().await?;
        self.body(&mut received).await.ok()?;
        self.seen.requests.lock().push(received.clone());
        self.seen.arrived.notify_waiters();
        Some(received)
    }

    /// Reads the next request with its body, and responds with these bytes.
    pub(crate) async fn respond(&mut self, response: &str) -> Received {
        let received = within(self.request()).await.expect("a request");
        self.write(response.as_bytes()).await;
        received
    }

    /// Writes until the proxy closes the connection.
    pub(crate) async fn write_forever(&mut self, bytes: &[u8]) {
        within(async { while self.client.stream.write_all(bytes).await.is_ok() {} }).await;
    }

    /// Waits until the proxy closes the connection, and returns what it sent before.
    pub(crate) async fn gone(&mut self) -> Vec<u8> {
        self.client.read_to_end().await
    }

    /// Reads exactly the next bytes.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        self.client.expect(bytes).await;
    }

    /// Reads the next head. The request is not recorded.
    pub(crate) async fn head(&mut self) -> Option<Received> {
        let lines = within(self.client.lines()).await.ok()?;
        Some(Received {
            connection: self.number,
            head: lines.join(&b"\r\n"[..]),
            line: String::from_utf8_lossy(&lines[0]).into_owned(),
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

    /// Writes bytes. Ignores a closed connection.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.client.stream.write_all(bytes).await;
    }

    /// Closes the upstream's sending side.
    pub(crate) async fn shutdown(&mut self) {
        self.client.shutdown().await;
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        self.client.reset();
    }
}

impl RawUpstream {
    /// An upstream that runs `script` for every connection.
    pub(crate) async fn scripted<F>(script: impl Fn(UpstreamConnection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start(script, mpsc::unbounded_channel().1).await
    }

    /// An upstream whose connections the test drives, by [`accept`](Self::accept).
    pub(crate) async fn by_hand() -> Self {
        let (hand_over, by_hand) = mpsc::unbounded_channel();
        let script = move |connection| {
            let _ = hand_over.send(connection);
            std::future::ready(())
        };
        Self::start(script, by_hand).await
    }

    /// Waits for the next connection of an upstream that the test drives.
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

    /// An upstream that responds to every request with these bytes and keeps the connection.
    pub(crate) async fn responding(response: impl Into<Vec<u8>>) -> Self {
        let response: Arc<[u8]> = response.into().into();
        Self::scripted(move |mut connection| {
            let response = Arc::clone(&response);
            async move {
                while connection.request().await.is_some() {
                    connection.write(&response).await;
                }
            }
        })
        .await
    }

    /// An upstream that responds with 200 and `ok`.
    pub(crate) async fn ok() -> Self {
        Self::responding("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Received> {
        self.seen.requests.lock().clone()
    }

    /// The only request so far.
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
