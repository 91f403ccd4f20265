//! Both ends of every comparison: an upstream that counts requests, and a client that reads to the
//! end. Both accept any bytes; only the tables judge the outcome.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::case::number_in;

/// The time after which a connection is reported as still open.
const OPEN: Duration = Duration::from_secs(4);

/// A whole request at the upstream.
#[derive(Clone, Debug)]
pub(super) struct ReceivedRequest {
    /// The case that the request belongs to.
    pub(super) case: Option<usize>,
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl ReceivedRequest {
    pub(super) fn line(&self) -> String {
        let end = find(&self.head, b"\r\n").unwrap_or(self.head.len());
        String::from_utf8_lossy(&self.head[..end]).into_owned()
    }
}

/// The bytes of a response, and whether the upstream closes the connection after them.
pub(super) type ScriptedResponse = (Vec<u8>, bool);

/// Counts the whole and unambiguous requests that reach it.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<ReceivedRequest>>>,
    task: JoinHandle<()>,
}

impl Upstream {
    pub(super) async fn start(
        respond: impl Fn(&ReceivedRequest) -> ScriptedResponse + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let respond = Arc::new(respond);
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (seen, respond) = (Arc::clone(&seen), Arc::clone(&respond));
                    tokio::spawn(async move {
                        let mut reader = Reader { stream, buffer: Vec::new() };
                        while let Some(request) = reader.request().await {
                            seen.lock().push(request.clone());
                            let (bytes, ends) = respond(&request);
                            if reader.stream.write_all(&bytes).await.is_err() || ends {
                                return;
                            }
                        }
                    });
                }
            }
        });
        Self { address, seen, task }
    }

    /// Responds to every request with `ok`.
    pub(super) async fn ok() -> Self {
        Self::start(|request| {
            let body = if request.head.starts_with(b"HEAD ") { "" } else { "ok" };
            (format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}").into_bytes(), false)
        })
        .await
    }

    pub(super) fn seen(&self) -> Vec<ReceivedRequest> {
        self.seen.lock().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    /// The next complete request. None if it is cut short or its end is unknown.
    async fn request(&mut self) -> Option<ReceivedRequest> {
        let head = self.through(b"\r\n\r\n").await?;
        let lengths = values(&head, "content-length");
        let codings = values(&head, "transfer-encoding");
        let body = match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Vec::new(),
            ([length], []) => {
                let length: usize = length.parse().ok()?;
                self.exactly(length).await?
            }
            ([], [chunked]) if chunked.eq_ignore_ascii_case("chunked") => {
                let mut body = Vec::new();
                loop {
                    let line = self.through(b"\r\n").await?;
                    let digits = line.split(|byte| *byte == b';' || *byte == b'\r').next()?;
                    let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
                    if size == 0 {
                        break;
                    }
                    body.extend(self.exactly(size).await?);
                    self.exactly(2).await.filter(|end| end == b"\r\n")?;
                }
                while self.through(b"\r\n").await? != b"\r\n" {}
                body
            }
            _ => return None,
        };
        Some(ReceivedRequest { case: number_in(&head), head, body })
    }

    async fn through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            self.fill().await?;
        }
    }

    async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill().await?;
        }
        Some(self.buffer.drain(..count).collect())
    }

    async fn fill(&mut self) -> Option<()> {
        self.stream.read_buf(&mut self.buffer).await.ok().filter(|count| *count > 0).map(drop)
    }
}

/// One response at the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReceivedResponse {
    /// The status; 9 for a response without a head (HTTP/0.9), 0 if the status is not a number.
    pub(super) status: u16,
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) whole: bool,
}

/// The responses that a client reads, and whether the server ends the connection within [`OPEN`].
pub(super) async fn talk(
    address: SocketAddr,
    bytes: &[u8],
    then_ends: bool,
    method: &str,
) -> (Vec<ReceivedResponse>, bool) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return (Vec::new(), true) };
    let (mut read, mut write) = stream.split();
    let mut received = Vec::new();
    let reading = async {
        // A reset is an end too.
        while read.read_buf(&mut received).await.is_ok_and(|count| count > 0) {}
    };
    let writing = async {
        // A server may have closed the connection already.
        let _ = write.write_all(bytes).await;
        if then_ends {
            let _ = write.shutdown().await;
        }
    };
    let ended = timeout(OPEN, async { tokio::join!(reading, writing) }).await.is_ok();
    (responses(&received, method), ended)
}

/// The final responses in the bytes that a client has read.
fn responses(mut bytes: &[u8], method: &str) -> Vec<ReceivedResponse> {
    // Only the first request of a pipeline may be a HEAD.
    let mut methods = VecDeque::from([method]);
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let end = find(bytes, b"\r\n\r\n").map(|at| at + 4);
        let (true, Some(end)) = (bytes.starts_with(b"HTTP/"), end) else {
            found.push(ReceivedResponse { status: 9, head: Vec::new(), body: bytes.to_vec(), whole: false });
            break;
        };
        let (head, rest) = bytes.split_at(end);
        let code = head.get(9..12).and_then(|code| std::str::from_utf8(code).ok());
        let status: u16 = code.and_then(|code| code.parse().ok()).unwrap_or(0);
        bytes = rest;
        if (100..200).contains(&status) {
            continue;
        }
        let no_body = methods.pop_front() == Some("HEAD") || status == 204 || status == 304;
        let (body, taken, whole) = if no_body { (Vec::new(), 0, true) } else { body(head, bytes) };
        found.push(ReceivedResponse { status, head: head.to_vec(), body, whole });
        bytes = &bytes[taken..];
    }
    found
}

/// The body, the number of bytes it took, and whether it reached its announced end.
fn body(head: &[u8], bytes: &[u8]) -> (Vec<u8>, usize, bool) {
    if let Some(length) = values(head, "content-length").first() {
        let length: usize = length.parse().unwrap_or(0);
        let taken = length.min(bytes.len());
        return (bytes[..taken].to_vec(), taken, taken == length);
    }
    if values(head, "transfer-encoding").is_empty() {
        return (bytes.to_vec(), bytes.len(), true);
    }
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return (body, bytes.len(), false) };
        let size = std::str::from_utf8(&bytes[at..at + line]).ok();
        let Some(size) = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok()) else {
            return (body, bytes.len(), false);
        };
        at += line + 2;
        if size == 0 {
            let end = if bytes[at..].starts_with(b"\r\n") {
                Some(2)
            } else {
                find(&bytes[at..], b"\r\n\r\n").map(|end| end + 4)
            };
            return (body, end.map_or(bytes.len(), |end| at + end), end.is_some());
        }
        if bytes.len() < at + size + 2 {
            body.extend_from_slice(&bytes[at..]);
            return (body, bytes.len(), false);
        }
        body.extend_from_slice(&bytes[at..at + size]);
        at += size + 2;
    }
}

/// The values of every line of this name.
pub(super) fn values(head: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(head);
    let lines = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines
        .filter(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
