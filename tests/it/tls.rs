//! An upstream that speaks TLS.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{RawUpstream, World, self_signed};

/// An upstream with a self-signed certificate for `name`. It responds to every request with 200.
pub(crate) struct TlsUpstream {
    pub(crate) url: String,
    /// Its certificate, in a file.
    pub(crate) certificate: tempfile::NamedTempFile,
}

impl TlsUpstream {
    pub(crate) async fn start(name: &str) -> Self {
        let (config, certificate) = self_signed(name);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut received = Vec::new();
                    while stream.read_buf(&mut received).await.is_ok_and(|read| read > 0) {
                        if received.ends_with(b"\r\n\r\n") {
                            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                            stream.write_all(response).await.unwrap();
                            received.clear();
                        }
                    }
                });
            }
        });
        Self { url, certificate }
    }

    async fn world(&self, ca_file: PathBuf) -> World {
        World::builder()
            .upstream(self.url.clone())
            .config(&format!("upstream.ca_file = {:?}", ca_file.to_str().unwrap()))
            .start()
            .await
    }
}

#[tokio::test]
async fn an_upstream_whose_certificate_is_trusted_is_spoken_to() {
    let upstream = TlsUpstream::start("localhost").await;
    let world = upstream.world(upstream.certificate.path().into()).await;
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.request("GET /a HTTP/1.1", b"").await;
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn an_upstream_whose_certificate_is_not_trusted_is_a_502_and_gets_no_bearer() {
    let upstream = TlsUpstream::start("localhost").await;
    let stranger = TlsUpstream::start("localhost").await;
    let world = upstream.world(stranger.certificate.path().into()).await;
    world.get("/").await.assert_problem(502, "tls_certificate_error");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let upstream = TlsUpstream::start("other.example").await;
    let world = upstream.world(upstream.certificate.path().into()).await;
    world.get("/").await.assert_problem(502, "tls_certificate_error");
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_tls_is_a_502() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.gone().await;
    })
    .await;
    let world = World::builder().upstream(upstream.url().replace("http", "https")).start().await;
    world.get("/").await.assert_problem(502, "tls_protocol_error");
}

#[tokio::test]
async fn an_upstream_that_ends_the_handshake_is_a_502() {
    let upstream = RawUpstream::scripted(|connection| async move { drop(connection) }).await;
    let world = World::builder().upstream(upstream.url().replace("http", "https")).start().await;
    world.get("/").await.assert_problem(502, "connection_terminated");
}
