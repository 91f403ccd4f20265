//! Clients of the proxy, on every transport.

use std::fmt;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::proxy::Proxy;
use crate::upstream::Pattern;

/// How to reach the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transport {
    /// HTTP/2 if set, otherwise HTTP/1.1.
    pub h2: bool,
    /// The layer below HTTP.
    pub(crate) over: Over,
}

/// The layer below HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Plain TCP.
    Tcp,
    /// TLS.
    Tls,
    /// A unix socket.
    Unix,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = match self.over {
            Over::Tcp => "TCP",
            Over::Tls => "TLS",
            Over::Unix => "unix",
        };
        write!(f, "{} over {over}", if self.h2 { "h2" } else { "h1" })
    }
}

/// One connection to the proxy.
pub(crate) enum Client {
    /// HTTP/1.1.
    H1(http1::SendRequest<Pattern>),
    /// HTTP/2.
    H2(http2::SendRequest<Pattern>),
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Client {
    /// Connects.
    pub(crate) async fn connect(proxy: &Proxy, transport: Transport) -> Self {
        let stream: Box<dyn Io> = match transport.over {
            Over::Unix => Box::new(UnixStream::connect(&proxy.socket).await.unwrap()),
            Over::Tcp => Box::new(tcp(proxy).await),
            Over::Tls => {
                let mut config = (*proxy.tls).clone();
                config.alpn_protocols =
                    vec![if transport.h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
                let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
                let name = ServerName::try_from("localhost").unwrap();
                Box::new(connector.connect(name, tcp(proxy).await).await.unwrap())
            }
        };
        let io = TokioIo::new(stream);
        if transport.h2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(driver);
            Self::H2(sender)
        } else {
            let (sender, driver) = http1::handshake(io).await.unwrap();
            tokio::spawn(driver);
            Self::H1(sender)
        }
    }

    /// Sends a request with a body of this many bytes.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: u64,
    ) -> hyper::Result<http::Response<Incoming>> {
        let request = Request::builder().method(method);
        let body = Pattern { left: body };
        match self {
            Self::H1(sender) => {
                sender.ready().await?;
                let request = request.uri(path).header("host", "localhost").body(body).unwrap();
                sender.send_request(request).await
            }
            Self::H2(sender) => {
                sender.ready().await?;
                let request = request.uri(format!("http://localhost{path}")).body(body).unwrap();
                sender.send_request(request).await
            }
        }
    }
}

async fn tcp(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(&proxy.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
