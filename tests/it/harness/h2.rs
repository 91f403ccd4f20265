//! An HTTP/2 client that writes any frames, and hyper's HTTP/2 client.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::client::Client;
use super::within;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A client that writes frames.
pub(crate) struct RawH2 {
    pub(crate) client: Client,
}

#[derive(Debug)]
pub(crate) struct H2Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The response on one stream.
#[derive(Debug, Default)]
pub(crate) struct H2Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether the stream ended with END_STREAM.
    pub(crate) complete: bool,
    /// The code of RST_STREAM.
    pub(crate) reset: Option<u32>,
}

impl RawH2 {
    /// Connects, and sends the preface and settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[]).await
    }

    pub(crate) async fn with_settings(address: SocketAddr, settings: &[u8]) -> Self {
        let mut client = Client::connect(address).await;
        client.write(PREFACE).await;
        let mut raw = Self { client };
        // Without a dynamic table, header blocks can be read without state.
        raw.frame(SETTINGS, 0, 0, &[&[0, 1, 0, 0, 0, 0], settings].concat()).await;
        raw
    }

    pub(crate) async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.client.write_all_or_be_closed_upon(&frame).await;
    }

    /// Sends a head of literal fields, valid or not.
    pub(crate) async fn headers(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127, "one byte of length");
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block).await;
    }

    /// Sends a GET of this path with these additional fields.
    pub(crate) async fn get(&mut self, stream: u32, path: &str, fields: &[(&str, &str)]) {
        let mut all =
            vec![(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost")];
        all.extend_from_slice(fields);
        self.headers(stream, &all, true).await;
    }

    pub(crate) async fn data(&mut self, stream: u32, data: &[u8], end: bool) {
        self.frame(DATA, u8::from(end), stream, data).await;
    }

    /// Reads the next frame, and acknowledges settings and pings. `None` at the end of the
    /// connection.
    pub(crate) async fn next(&mut self) -> Option<H2Frame> {
        within(async {
            loop {
                let frame = self.read().await?;
                match (frame.kind, frame.flags & ACK) {
                    (SETTINGS | PING, 0) => self.frame(frame.kind, ACK, 0, &response_to(&frame)).await,
                    _ => return Some(frame),
                }
            }
        })
        .await
    }

    async fn read(&mut self) -> Option<H2Frame> {
        while self.client.buffer.len() < 9 {
            self.client.fill().await.ok()?;
        }
        let head: Vec<u8> = self.client.buffer.drain(..9).collect();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        while self.client.buffer.len() < length {
            self.client.fill().await.ok()?;
        }
        Some(H2Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(head[5..9].try_into().unwrap()),
            payload: self.client.buffer.drain(..length).collect(),
        })
    }

    /// Reads the next frame of this kind, and skips others.
    pub(crate) async fn next_of(&mut self, kind: u8) -> H2Frame {
        loop {
            let frame = self.next().await.expect("a frame of this kind");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads until this stream has ended.
    pub(crate) async fn response(&mut self, stream: u32) -> H2Response {
        let mut response = H2Response::default();
        while let Some(frame) = self.next().await {
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if response.status == 0 => response.status = status(&frame.payload),
                DATA => response.body.extend_from_slice(&frame.payload),
                RST_STREAM => response.reset = Some(code(&frame.payload)),
                _ => {}
            }
            response.complete |= matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
            if response.complete || response.reset.is_some() {
                break;
            }
        }
        response
    }
}

fn response_to(frame: &H2Frame) -> Vec<u8> {
    if frame.kind == PING { frame.payload.clone() } else { Vec::new() }
}

pub(crate) fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[payload.len() - 4..].try_into().unwrap())
}

/// The status at the beginning of a header block (RFC 7541): indexed, or three digits in Huffman
/// code.
fn status(block: &[u8]) -> u16 {
    match *block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x20..=0x3f, ref rest @ ..] => status(rest),
        [0x08 | 0x48, length, ref rest @ ..] => {
            let text = &rest[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                return std::str::from_utf8(text).unwrap().parse().unwrap();
            }
            let bits: Vec<u8> =
                text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
            let (mut at, mut number) = (0, 0);
            for _ in 0..3 {
                let bits_of = |count: usize| {
                    bits[at..at + count].iter().fold(0_u16, |all, bit| all << 1 | u16::from(*bit))
                };
                let (digit, width) = match bits_of(5) {
                    short @ 0..=2 => (short, 5),
                    // '3' to '9' are 011001 to 011111.
                    _ => (bits_of(6) - 0b01_1001 + 3, 6),
                };
                (at, number) = (at + width, number * 10 + digit);
            }
            number
        }
        _ => panic!("no status in {}", block.escape_ascii()),
    }
}

pub(crate) type H2Body = BoxBody<Bytes, std::convert::Infallible>;

/// hyper's client on one connection.
pub(crate) struct H2Client(http2::SendRequest<H2Body>);

impl H2Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(&self, request: Request<H2Body>) -> hyper::Result<Response<Incoming>> {
        within(self.0.clone().send_request(request)).await
    }

    /// Like [`send`](Self::send), and reads the body and the trailers.
    pub(crate) async fn whole(
        &self,
        request: Request<H2Body>,
    ) -> (http::response::Parts, Vec<u8>, Option<http::HeaderMap>) {
        let (parts, body) = self.send(request).await.unwrap().into_parts();
        let body = within(body.collect()).await.unwrap();
        let trailers = body.trailers().cloned();
        (parts, body.to_bytes().to_vec(), trailers)
    }
}
