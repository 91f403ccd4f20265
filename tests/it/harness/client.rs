//! A client that writes bytes and checks every response.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// The demo identity's secrets, and the beginning of every token of the simulator, a JWT. It is
/// long enough that no random text contains it.
const SECRETS: [&[u8]; 3] = [b"sim-secret", b"sim-password", b"eyJhbGciOi"];

/// The error types of RFC 9209 §2.3 that apply to this proxy.
const PROXY_STATUS_ERRORS: [&str; 20] = [
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
    "proxy_internal_response",
    "proxy_loop_detected",
];

/// A client that writes bytes.
pub(crate) struct Client {
    pub(super) stream: TcpStream,
    pub(super) buffer: Vec<u8>,
}

/// A response as it was received.
#[derive(Debug)]
pub(crate) struct Response {
    /// Status line and headers, without the empty line.
    pub(crate) head: Vec<u8>,
    pub(crate) version: String,
    pub(crate) status: u16,
    /// In order, with names in lower case.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Without its framing.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    /// Whether the body reached its announced end, or the end of the connection where none was
    /// announced.
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

    /// The value of this counter or gauge, in a response of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let value = self.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// Asserts a problem response of the proxy, with this status and this error in `Proxy-Status`.
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

    /// Asserts the invariants of every response of the proxy.
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

    /// Writes bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Connects, or returns `None` if there is no listener any more.
    pub(crate) async fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = within(TcpStream::connect(address)).await.ok()?;
        Some(Self { stream, buffer: Vec::new() })
    }

    /// Sends a GET. `None` if the proxy is killed before the response is complete.
    pub(crate) async fn try_get(&mut self, target: &str) -> Option<Response> {
        self.try_request("GET", target).await
    }

    /// Sends a request without a body. `None` if the proxy is killed before the response is
    /// complete.
    pub(crate) async fn try_request(&mut self, method: &str, target: &str) -> Option<Response> {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.ok()?;
        let response = within(self.read_response(method)).await.ok()?;
        response.check();
        response.complete.then_some(response)
    }

    /// Writes bytes. Ignores a closed connection.
    pub(crate) async fn write_all_or_be_closed_upon(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Writes a request. `head` has no empty line; a missing `Host` is added, and a
    /// `Content-Length` if there is a body.
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

    /// Reads and checks the response to a request that was not HEAD.
    pub(crate) async fn response(&mut self) -> Response {
        self.response_to("GET").await
    }

    /// Reads and checks the final response to a request of this method.
    pub(crate) async fn response_to(&mut self, method: &str) -> Response {
        let response = within(self.read_response(method)).await.expect("a response");
        response.check();
        response
    }

    /// Reads until the proxy closes the connection, and returns the bytes.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        within(async {
            let mut rest = std::mem::take(&mut self.buffer);
            // A reset counts as an end.
            let _ = self.stream.read_to_end(&mut rest).await;
            rest
        })
        .await
    }

    /// Writes a large request until the proxy starts to respond.
    pub(crate) async fn write_until_response(&mut self, bytes: &[u8]) {
        let (mut read, mut write) = self.stream.split();
        let writing = async {
            let _ = write.write_all(bytes).await;
            std::future::pending::<()>().await;
        };
        within(async {
            tokio::select! {
                () = writing => {}
                read = read.read_buf(&mut self.buffer) => assert!(read.expect("a response") > 0),
            }
        })
        .await;
    }

    /// Reads until the proxy closes the connection without a reset, and returns the bytes.
    pub(crate) async fn ended(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        within(self.stream.read_to_end(&mut rest)).await.expect("an end and no reset");
        rest
    }

    /// Asserts that the proxy resets the connection and sends nothing more.
    pub(crate) async fn was_reset(&mut self) {
        let end = within(self.fill()).await.expect_err("an end");
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }

    /// Asserts that the proxy closes the connection and sends nothing more.
    pub(crate) async fn closed(&mut self) {
        let rest = self.read_to_end().await;
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }

    /// Reads a head, and returns it without its empty line.
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

    /// Closes the client's sending side.
    pub(crate) async fn shutdown(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Waits for a reset without reading anything.
    pub(crate) async fn reset_unread(&self) {
        within(self.stream.ready(tokio::io::Interest::ERROR)).await.unwrap();
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(super) async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    pub(super) async fn lines(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = Vec::new();
        loop {
            match self.line().await? {
                line if line.is_empty() => return Ok(lines),
                line => lines.push(line),
            }
        }
    }

    pub(super) async fn read_response(&mut self, method: &str) -> io::Result<Response> {
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

    pub(super) async fn read_body(&mut self, response: &mut Response) -> io::Result<()> {
        if response.header("transfer-encoding") == Some("chunked") {
            return self.read_chunks(response).await;
        }
        let Some(length) = response.header("content-length").map(|length| length.parse::<usize>().unwrap())
        else {
            // The body ends with the connection.
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

    pub(super) async fn read_chunks(&mut self, response: &mut Response) -> io::Result<()> {
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

pub(super) fn all<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Vec<&'a str> {
    let values = headers.iter().filter(|(n, _)| n == name);
    values.map(|(_, value)| std::str::from_utf8(value).expect("a header in UTF-8")).collect()
}

pub(super) fn only<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a str> {
    let values = all(headers, name);
    assert!(values.len() < 2, "more than one {name}");
    values.first().copied()
}

pub(super) fn field(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
    let name = String::from_utf8(line[..colon].to_ascii_lowercase()).unwrap();
    (name, line[colon + 1..].trim_ascii().to_vec())
}
