//! Connections that have become a websocket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Link;
use crate::{Abort, Handler, Stream};

/// Runs the handler's tunnel on the connection until it ends.
pub(super) async fn run<S: Stream, H: Handler>(link: Arc<Link<S>>, handler: &H) {
    let mut tunnel = Tunnel(link);
    if let Err(Abort) = Box::pin(handler.tunnel(&mut tunnel)).await {
        tunnel.0.wire().stream.reset_on_close();
    }
}

/// The bytes of a connection in both directions, without deadlines. Bytes that were already read
/// after the request come first.
struct Tunnel<S>(Arc<Link<S>>);

impl<S: Stream> AsyncRead for Tunnel<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.wire();
        let early = &wire.input.bytes;
        if early.is_empty() {
            return Pin::new(&mut wire.stream).poll_read(cx, buf);
        }
        let fits = early.len().min(buf.remaining());
        buf.put_slice(&early[..fits]);
        wire.input.advance(fits);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Tunnel<S> {
    crate::write_through::write_through!(this => this.0.wire().stream);
}
