//! Lets a TCP client reach other kinds of listeners.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A TCP address whose connections are forwarded to a unix socket.
pub(crate) async fn tunnel_to_unix(path: &Path) -> SocketAddr {
    let path = path.to_owned();
    tunnel(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(&path).await.ok() }
    })
    .await
}

/// A TCP address whose connections are forwarded to the streams that `connect` opens.
pub(crate) async fn tunnel<F, S>(connect: impl Fn(()) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = Option<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(carry_both_ways(near, connect(())));
        }
    });
    address
}

async fn carry_both_ways<S>(mut near: TcpStream, far: impl Future<Output = Option<S>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(mut far) = far.await {
        let _ = copy_bidirectional(&mut near, &mut far).await;
    }
}
