//! hyper's HTTP client, for foreign servers and for requests of other libraries.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Sends one request on its own connection, over plain TCP for any scheme.
pub(crate) async fn carry(request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, hyper::Error> {
    let authority = request.uri().authority().unwrap().to_string();
    let address: SocketAddr = authority.parse().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
    parts.headers.insert("host", authority.parse().unwrap());
    let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}
