//! The API and the token endpoint. Responses are prepared bytes.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

use crate::http::{self, Io, ROOM};

/// The number of bytes for each write of a large body.
const PIECE: usize = 256 * 1024;
/// Before a body longer than this, a client may wait for a 100.
const WAITED_FOR: u64 = 64 * 1024;

/// The token that every proxy adds. It is about a kilobyte long, like a JWT of the service.
pub(crate) fn token(number: u64) -> String {
    let unit = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    format!("eyJ{number:09}.{}.{}", unit.repeat(14), &unit[..43])
}

/// A response: the head with the beginning of the body, then this many pieces.
struct Response {
    first: Vec<u8>,
    pieces: usize,
}

impl Response {
    fn small(kind: &str, body: &[u8]) -> Self {
        Self { first: [head(kind, body.len()).as_bytes(), body].concat(), pieces: 0 }
    }

    fn large(length: usize) -> Self {
        let first = [head("audio/mpeg", length).as_bytes(), &[b'x'; PIECE]].concat();
        Self { first, pieces: length / PIECE - 1 }
    }
}

fn head(kind: &str, length: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
}

struct Responses {
    text: Response,
    json: Response,
    mebibyte: Response,
    long: Response,
    piece: Vec<u8>,
}

impl Responses {
    fn new() -> Self {
        let item = r#"{"id":"12345","name":"a name","self":"/t/vbc.prod/x/1"},"#;
        let json = format!("[{}{{}}]", item.repeat(18));
        Self {
            text: Response::small("text/plain", &[b'x'; 1024]),
            json: Response::small("application/json", json.as_bytes()),
            mebibyte: Response::large(1 << 20),
            long: Response::large(64 << 20),
            piece: vec![b'x'; PIECE],
        }
    }

    /// The response for the last segment of the target.
    fn to(&self, head: &[u8]) -> &Response {
        let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
        let target = line.strip_suffix(b" HTTP/1.1").expect("HTTP/1.1");
        match target.rsplit(|byte| *byte == b'/').next() {
            Some(b"json") => &self.json,
            Some(b"mebibyte") => &self.mebibyte,
            Some(b"long") => &self.long,
            _ => &self.text,
        }
    }
}

/// Serves on this thread until its runtime ends.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) {
    let responses = Rc::new(Responses::new());
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (responses, tls) = (Rc::clone(&responses), tls.clone());
        tokio::task::spawn_local(async move {
            let _ = match tls {
                None => converse(stream, &responses).await,
                Some(tls) => converse(tls.accept(stream).await?, &responses).await,
            };
            io::Result::Ok(())
        });
    }
}

async fn converse<S: Io>(mut stream: S, responses: &Responses) -> io::Result<()> {
    let mut buffer = vec![0; ROOM];
    let mut checked = false;
    while let Some(head) = http::head(&mut stream, &mut buffer).await? {
        let bytes = &buffer[..head.end];
        if !checked {
            let bearer = http::field(bytes, b"authorization:").unwrap_or_default().trim_ascii();
            assert!(
                bearer.starts_with(b"Bearer eyJ") && bearer.len() > 900,
                "the proxy did not add the token"
            );
            checked = true;
        }
        let response = responses.to(bytes);
        if head.length > WAITED_FOR && http::field(bytes, b"expect:").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        stream.discard(head.left()).await?;
        stream.write_all(&response.first).await?;
        for _ in 0..response.pieces {
            stream.write_all(&responses.piece).await?;
        }
        stream.flush().await?;
    }
    Ok(())
}

/// Runs the future that `start` returns on its own thread. Returns the address of its listener.
fn elsewhere<F: Future<Output = ()>>(start: impl FnOnce(TcpListener) -> F + Send + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async { start(TcpListener::from_std(listener).unwrap()).await });
    });
    address
}

/// The addresses of the API.
#[derive(Clone, Copy)]
pub(crate) struct Api {
    /// For http.
    pub(crate) plain: SocketAddr,
    /// For https.
    pub(crate) tls: SocketAddr,
}

impl Api {
    /// Serves on this thread: a switch between two threads would cost time.
    pub(crate) async fn here(tls: &TlsAcceptor) -> Self {
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let secured = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self { plain: plain.local_addr().unwrap(), tls: secured.local_addr().unwrap() };
        tokio::task::spawn_local(serve(plain, None));
        tokio::task::spawn_local(serve(secured, Some(tls.clone())));
        api
    }

    /// Serves each address on its own thread.
    pub(crate) fn elsewhere(tls: &TlsAcceptor) -> Self {
        let tls = tls.clone();
        Self {
            plain: elsewhere(|listener| serve(listener, None)),
            tls: elsewhere(|listener| serve(listener, Some(tls))),
        }
    }
}

/// The certificate of a new authority in PEM, and a server whose certificate it signed. The server
/// speaks only TLS 1.3.
pub(crate) fn tls() -> (String, TlsAcceptor) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "compare");
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, key);
    let leaf = rcgen::CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    (pem, TlsAcceptor::from(Arc::new(config)))
}

/// A token endpoint on its own thread.
#[derive(Clone)]
pub(crate) struct Tokens {
    /// Its URL.
    pub(crate) url: String,
    /// The number of tokens that it has issued.
    pub(crate) given: Arc<AtomicU64>,
    hangs: Arc<AtomicBool>,
}

impl Tokens {
    /// Starts the endpoint.
    pub(crate) fn start() -> Self {
        let (given, hangs) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counting, hanging) = (Arc::clone(&given), Arc::clone(&hangs));
        let address = elsewhere(|listener| async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (given, hangs) = (Arc::clone(&counting), Arc::clone(&hanging));
                tokio::task::spawn_local(async move {
                    let _ = issue(stream, &given, &hangs).await;
                });
            }
        });
        Self { url: format!("http://{address}/token"), given, hangs }
    }

    /// Sets whether token requests wait for their response until the next call.
    pub(crate) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Relaxed);
    }
}

async fn issue(mut stream: TcpStream, given: &AtomicU64, hangs: &AtomicBool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; ROOM];
    while let Some(head) = http::head(&mut stream, &mut buffer).await? {
        stream.discard(head.left()).await?;
        while hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let number = given.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"access_token":"{}","refresh_token":"refresh-{number}","scope":"default","token_type":"Bearer","expires_in":86400}}"#,
            token(number)
        );
        let response = format!("{}{body}", self::head("application/json", body.len()));
        stream.write_all(response.as_bytes()).await?;
    }
    Ok(())
}
