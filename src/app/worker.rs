//! A thread of the data plane. It accepts connections, or receives them from other threads, and
//! serves each to its end.

use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use prometheus_client::metrics::counter::Counter;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::Ended;
use super::balance::Balance;
use super::connection::{Connection, Handover, OpenConnections, Slot};
use super::listeners::Socket;
use super::start_error::StartError;
use crate::config::Config;
use crate::proxy::{self, Proxy};
use vbc_http::descriptors::Descriptors;
use vbc_http::{Admission, DrainSignal, Limits, Peer, Stream, Tls};

/// At most this many connections over the limit get a 503 at the same time, per thread. Others are
/// closed without a response, as is a connection without a spare file descriptor.
const REJECTED_WITH_RESPONSE: i64 = 256;

/// One thread of the data plane.
pub(super) struct Worker {
    pub(super) sockets: Vec<Socket>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) shared: proxy::Shared,
    pub(super) admission: Arc<Admission>,
    pub(super) signal: DrainSignal,
    pub(super) balance: Balance<Handover>,
    pub(super) inbox: UnboundedReceiver<Handover>,
}

impl Worker {
    /// Starts the thread. The receiver gets the outcome when the thread ends. The receiver fails if
    /// the thread panicked.
    pub(super) fn start(self, index: usize) -> Result<oneshot::Receiver<Ended>, StartError> {
        let (done, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("worker-{index}"));
        thread.spawn(move || self.run(done)).map_err(StartError::Thread)?;
        Ok(ended)
    }

    fn run(self, done: oneshot::Sender<Ended>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        match builder.enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => {
                let ended = runtime.block_on(self.serve());
                // Closes connections that outlived the drain. Does not wait for name lookups.
                runtime.shutdown_background();
                let _ = done.send(ended);
            }
            Err(error) => tracing::error!(%error, "cannot start the runtime of a worker thread"),
        }
    }

    async fn serve(self) -> Ended {
        let Self { sockets, tls, shared, admission, signal, balance, inbox } = self;
        let config = Arc::clone(&shared.config);
        let open = Arc::clone(balance.open());
        let connector = Connector {
            proxy: Rc::new(Proxy::new(&shared, signal.clone())),
            admission,
            descriptors: Arc::clone(&shared.descriptors),
            open: Arc::clone(&open),
            rejected_with_response: Arc::default(),
            turned_away: shared.metrics.turned_away.clone(),
            signal,
            tls,
            limits: limits(&config),
        };
        let mut accepting = vec![tokio::task::spawn_local(connector.clone().receive(inbox))];
        for socket in sockets {
            accepting.push(tokio::task::spawn_local(connector.clone().accept(socket, balance.clone())));
        }
        // From now on only the accepting tasks hand over. Inboxes close when no thread accepts any
        // more.
        drop(balance);
        connector.signal.started().await;
        let drained = async {
            for task in accepting {
                let _ = task.await;
            }
            open.none().await;
        };
        match tokio::time::timeout(config.listen.drain_timeout, drained).await {
            Ok(()) => Ended::Drained,
            Err(_) => Ended::CutShort,
        }
    }
}

/// Serves the connections that a thread accepts, and those that it receives.
#[derive(Clone)]
struct Connector {
    proxy: Rc<Proxy>,
    admission: Arc<Admission>,
    descriptors: Arc<Descriptors>,
    open: Arc<OpenConnections>,
    /// Connections over the limit that are getting a 503.
    rejected_with_response: Arc<OpenConnections>,
    turned_away: Counter,
    signal: DrainSignal,
    /// For TCP connections; unix sockets are always plain.
    tls: Option<Arc<Tls>>,
    limits: Limits,
}

impl Connector {
    async fn accept(self, socket: Socket, mut balance: Balance<Handover>) {
        let signal = self.signal.clone();
        let accepted = socket.accept(signal, |connection| self.begin(connection, &mut balance)).await;
        if let Err(error) = accepted {
            tracing::error!(%error, "a listener failed; restart the proxy to use it again");
        }
    }

    /// Serves the connections that other threads hand over, as long as any of them accepts. This
    /// includes connections that they accept from the kernel's queue during a drain.
    async fn receive(self, mut inbox: UnboundedReceiver<Handover>) {
        while let Some(handover) = inbox.recv().await {
            self.attach(handover);
        }
    }

    fn attach(&self, Handover { connection, slot }: Handover) {
        match connection.attach() {
            Ok(connection) => self.serve(connection, slot),
            Err(error) => tracing::warn!(%error, "cannot hand over a connection; it is closed"),
        }
    }

    /// Turns away, hands over or serves a connection that this thread has accepted.
    fn begin(&self, connection: Connection, balance: &mut Balance<Handover>) {
        let Ok(admitted) = self.admission.admit(&connection.peer()) else {
            return self.turn_away(connection);
        };
        let Some(other) = balance.less_loaded() else {
            return self.serve(connection, Slot::new(admitted, self.open.count()));
        };
        let slot = Slot::new(admitted, other.count());
        let handover = match connection.detach() {
            Ok(connection) => Handover { connection, slot },
            Err(error) => {
                tracing::warn!(%error, "cannot hand over a connection; it is closed");
                return;
            }
        };
        if let Err(mut handover) = other.hand_over(handover) {
            // The other thread has failed. This thread serves the connection, so that the drain
            // that follows waits for it.
            handover.slot.move_to(self.open.count());
            self.attach(handover);
        }
    }

    fn serve(&self, connection: Connection, slot: Slot) {
        let peer = connection.peer();
        match (connection, &self.tls) {
            (Connection::Tcp(stream, _), Some(tls)) => {
                let tls = Arc::clone(tls);
                let handler = self.proxy.handler(peer);
                let limits = self.limits;
                let signal = self.signal.clone();
                // Futures are boxed, here and below, because the runtime moves each several times.
                tokio::task::spawn_local(Box::pin(async move {
                    vbc_http::open_tls(stream, &tls, limits, signal, handler).await;
                    drop(slot);
                }));
            }
            (Connection::Tcp(stream, _), None) => self.serve_plain(stream, peer, slot),
            (Connection::Unix(stream), _) => self.serve_plain(stream, peer, slot),
        }
    }

    fn serve_plain(&self, stream: impl Stream, peer: Peer, slot: Slot) {
        let handler = self.proxy.handler(peer);
        let connection = Box::pin(vbc_http::open(stream, self.limits, self.signal.clone(), handler));
        tokio::task::spawn_local(async move {
            connection.await;
            drop(slot);
        });
    }

    fn turn_away(&self, connection: Connection) {
        self.turned_away.inc();
        let peer = connection.peer();
        match connection {
            // Closed without a response: a TLS handshake costs more than a request.
            Connection::Tcp(..) if self.tls.is_some() => {}
            Connection::Tcp(stream, _) => self.reject_with_response(stream, peer),
            Connection::Unix(stream) => self.reject_with_response(stream, peer),
        }
    }

    fn reject_with_response(&self, stream: impl Stream, peer: Peer) {
        // Without this limit, the responses would consume the resources that the rejection saves.
        if self.rejected_with_response.get() >= REJECTED_WITH_RESPONSE {
            return;
        }
        let Some(descriptor) = self.descriptors.take() else { return };
        let counted = (descriptor, self.rejected_with_response.count(), self.open.count());
        let rejection = vbc_http::turn_away(stream, self.limits, self.proxy.handler(peer));
        tokio::task::spawn_local(async move {
            rejection.await;
            drop(counted);
        });
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        first_byte_timeout: config.listen.first_byte_timeout,
        header_timeout: config.listen.header_timeout,
        idle_timeout: config.listen.idle_timeout,
        body_timeout: config.upstream.idle_timeout,
        half_close_grace: config.listen.half_close_grace,
        head_bytes: config.listen.head_size,
        headers: config.listen.head_lines,
        target_bytes: config.listen.target_size,
        requests: config.listen.max_requests_per_connection,
        keep_heads: false,
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
