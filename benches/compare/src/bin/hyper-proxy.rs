//! The plain proxy on hyper as a program: `hyper-proxy serve --config FILE`, like `vbc-proxy`.
//!
//! It reads `listen.address`, `upstream.url` and, for https, `upstream.ca_file`, and ignores every
//! other line. The token is in the environment variable `BEARER`.

#[path = "../hyper_proxy.rs"]
mod hyper_proxy;

use std::error::Error;
use std::fs;
use std::sync::Arc;

use hyper::Uri;
use hyper_proxy::{Proxy, connector};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::Connect;
use tokio::net::TcpSocket;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

struct Config {
    listen: String,
    upstream: Uri,
    ca_file: Option<String>,
}

impl Config {
    fn read() -> Result<Self, Box<dyn Error>> {
        let path = std::env::args().nth(3).ok_or("usage: hyper-proxy serve --config FILE")?;
        let text = fs::read_to_string(path)?;
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(" = "));
            lines.find(|(found, _)| *found == key).map(|(_, value)| value.trim_matches('"').to_owned())
        };
        Ok(Self {
            listen: value("listen.address").ok_or("listen.address is missing")?,
            upstream: value("upstream.url").ok_or("upstream.url is missing")?.parse()?,
            ca_file: value("upstream.ca_file"),
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::read()?;
    // On one core, several threads would only add context switches.
    let mut builder = match std::thread::available_parallelism()?.get() {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = run(config) => ended,
            _ = terminate.recv() => Ok(()),
        }
    })
}

async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    let Some(ca_file) = &config.ca_file else { return serve(config, connector()).await };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .wrap_connector(connector());
    serve(config, https).await
}

async fn serve<C>(config: Config, connector: C) -> Result<(), Box<dyn Error>>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let authorization = format!("Bearer {}", std::env::var("BEARER")?).parse()?;
    // With the backlog of the other proxies.
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(config.listen.parse()?)?;
    let listener = socket.listen(4096)?;
    println!("hyper-proxy listening on http://{}", listener.local_addr()?);
    let proxy: Arc<Proxy<C>> = Proxy::new(connector, config.upstream, authorization);
    Ok(proxy.serve(listener).await?)
}
