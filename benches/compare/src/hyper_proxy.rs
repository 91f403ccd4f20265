//! A plain reverse proxy on hyper's HTTP/1 server and hyper-util's pooled client, written as their
//! documentation and examples suggest. It is a peer in two comparisons: `tests/it/compare` runs it
//! in the test's process, `scripts/bench` as the program `hyper-proxy`.
//!
//! It strips hop-by-hop fields, sets `Authorization`, streams both bodies and responds 502 to
//! errors of the upstream. It has no upgrades, no log and no limits except hyper's own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

type ProxyBody = Either<Incoming, Full<Bytes>>;

/// The hop-by-hop fields of RFC 9110 §7.6.1, and the fields that authenticate to a proxy.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The upstream, and the credential that each request gets.
pub(crate) struct Proxy<C> {
    client: Client<C, Incoming>,
    upstream: Uri,
    authorization: HeaderValue,
}

/// A connector with `TCP_NODELAY`. Wrap it for https.
pub(crate) fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(5)));
    connector.enforce_http(false);
    connector
}

impl<C: Connect + Clone + Send + Sync + 'static> Proxy<C> {
    /// A proxy that forwards to the scheme and authority of `upstream`.
    pub(crate) fn new(connector: C, upstream: Uri, authorization: HeaderValue) -> Arc<Self> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build::<_, Incoming>(connector);
        Arc::new(Self { client, upstream, authorization })
    }

    /// Serves until accepting fails.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            // Fails if the client has already gone.
            let _ = stream.set_nodelay(true);
            let proxy = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(|request| proxy.handle(request));
                // Such an error comes from the client. hyper has already sent a 400 if it could.
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn handle(&self, mut request: Request<Incoming>) -> Result<Response<ProxyBody>, Infallible> {
        if self.prepare(&mut request).is_err() {
            return Ok(error(StatusCode::BAD_REQUEST));
        }
        match self.client.request(request).await {
            Ok(mut response) => {
                strip(response.headers_mut());
                *response.version_mut() = Version::HTTP_11;
                Ok(response.map(Either::Left))
            }
            Err(_) => Ok(error(StatusCode::BAD_GATEWAY)),
        }
    }

    /// Turns a client's request into the request for the upstream.
    fn prepare(&self, request: &mut Request<Incoming>) -> hyper::http::Result<()> {
        let mut parts = self.upstream.clone().into_parts();
        parts.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from_parts(parts)?;
        *request.version_mut() = Version::HTTP_11;
        let has_unknown_length = request.body().size_hint().exact().is_none();
        let headers = request.headers_mut();
        strip(headers);
        if has_unknown_length {
            // Without `Transfer-Encoding`, hyper's client drops the body of a GET.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // hyper's client derives `Host` from the URI.
        headers.remove(header::HOST);
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        Ok(())
    }
}

/// Removes the hop-by-hop fields, including those that `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn error(status: StatusCode) -> Response<ProxyBody> {
    let text = format!("{status}\n");
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status;
    response
}
