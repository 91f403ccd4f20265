//! Listeners: TCP and unix sockets, and accepting from them.

mod tcp;
mod unix;

use std::future::Future;
use std::io;
use std::time::Duration;

use crate::DrainSignal;
use crate::stream::Stream;
pub use tcp::{bind, bind_advice};
pub use unix::{SocketFile, UnixSocket, bind_unix, unix_bind_advice};

/// Connections that the kernel queues while the process is busy.
const BACKLOG: i32 = 4096;

/// A socket that listens.
pub trait Listener: Sized {
    /// The streams that it accepts.
    type Stream: Stream;
    /// The other side of a stream.
    type Peer;
    /// The socket once it is registered with the runtime.
    type Waiting;

    /// Registers the socket with the current runtime.
    fn wait(self) -> io::Result<Self::Waiting>;

    /// Waits for a connection. Cancel safe.
    fn next(waiting: &Self::Waiting) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;

    /// Takes the socket back from the runtime.
    fn stop_waiting(waiting: Self::Waiting) -> io::Result<Self>;

    /// Takes a connection that the kernel has already accepted. Fails instead of waiting if there
    /// is no such connection.
    fn take(&self) -> io::Result<(Self::Stream, Self::Peer)>;
}

/// Accepts until the drain starts. Then takes the connections that the kernel has already accepted,
/// and closes the listener.
///
/// `spawn` gets every stream with the peer's address. It must not block.
///
/// # Errors
/// If the listener cannot be registered with the runtime, or taken back from it.
pub async fn accept<L: Listener>(
    listener: L,
    drain: DrainSignal,
    mut spawn: impl FnMut(L::Stream, L::Peer),
) -> io::Result<()> {
    let waiting = listener.wait()?;
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.started() => break,
            accepted = L::next(&waiting) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => spawn(stream, peer),
            // Neither a client that gave up nor a lack of descriptors is a reason to stop
            // listening.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection; will retry");
                // Backs off, to avoid a busy loop.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Asks the kernel directly: the runtime may not know about the latest connections.
    let listener = L::stop_waiting(waiting)?;
    while let Ok((stream, peer)) = listener.take() {
        spawn(stream, peer);
    }
    Ok(())
}
