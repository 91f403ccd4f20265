//! A thread of the data plane: it accepts connections, or is handed them, and serves each of them to its end.

use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use prometheus_client::metrics::counter::Counter;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::balance::Balance;
use super::connection::{Connection, Handed, Place};
use super::listeners::Socket;
use super::open::Open;
use super::{Ended, StartError};
use crate::config::Config;
use crate::proxy::{self, Proxy};
use crate::server::descriptors::Descriptors;
use crate::server::{self, Admission, DrainSignal, Limits, Peer, Stream, Tls};

/// This many connections over the limit are told so at the same time, per thread; more are closed without a word, and so
/// is one for which no file descriptor can be spared.
const TOLD_WHY: i64 = 256;

/// One thread of the data plane.
pub(super) struct Worker {
    pub(super) sockets: Vec<Socket>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) shared: proxy::Shared,
    pub(super) admission: Arc<Admission>,
    pub(super) signal: DrainSignal,
    pub(super) balance: Balance<Handed>,
    pub(super) inbox: UnboundedReceiver<Handed>,
}

impl Worker {
    /// Starts the thread; the receiver tells how it ended.
    pub(super) fn start(self, index: usize) -> Result<oneshot::Receiver<Ended>, StartError> {
        let (done, ended) = oneshot::channel();
        let runtime = || {
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
        };
        let thread = thread::Builder::new().name(format!("worker-{index}"));
        thread
            .spawn(move || match runtime() {
                Ok(runtime) => {
                    let ended = runtime.block_on(self.serve());
                    // Connections that outlived the drain are cut here; name look-ups under way are not waited for.
                    runtime.shutdown_background();
                    let _ = done.send(ended);
                }
                Err(error) => tracing::error!(%error, "a worker has no runtime"),
            })
            .map_err(StartError::Thread)?;
        Ok(ended)
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
            told_why: Arc::default(),
            turned_away: shared.metrics.turned_away.clone(),
            signal,
            tls,
            limits: limits(&config),
        };
        let mut taking = vec![tokio::task::spawn_local(connector.clone().take_in(inbox))];
        for socket in sockets {
            taking.push(tokio::task::spawn_local(connector.clone().accept(socket, balance.clone())));
        }
        // From here on only what accepts can hand anything over. Inboxes end when no thread accepts any more.
        drop(balance);
        connector.signal.begun().await;
        let quiet = async {
            for taking in taking {
                let _ = taking.await;
            }
            open.none().await;
        };
        match tokio::time::timeout(config.listen.drain_timeout, quiet).await {
            Ok(()) => Ended::Drained,
            Err(_) => Ended::CutShort,
        }
    }
}

/// What a thread does with the connections it accepts, and with those it is handed.
#[derive(Clone)]
struct Connector {
    proxy: Rc<Proxy>,
    admission: Arc<Admission>,
    descriptors: Arc<Descriptors>,
    open: Arc<Open>,
    /// Connections over the limit that are being told so.
    told_why: Arc<Open>,
    turned_away: Counter,
    signal: DrainSignal,
    /// For what comes over TCP.
    tls: Option<Arc<Tls>>,
    limits: Limits,
}

impl Connector {
    async fn accept(self, socket: Socket, mut balance: Balance<Handed>) {
        let signal = self.signal.clone();
        let accepted = match socket {
            Socket::Tcp(listener) => {
                let begin = |stream, peer| self.begin(Connection::Tcp(stream, peer), &mut balance);
                server::accept(listener, signal, begin).await
            }
            Socket::Unix(socket) => {
                let begin = |stream, ()| self.begin(Connection::Unix(stream), &mut balance);
                server::accept(socket, signal, begin).await
            }
        };
        if let Err(error) = accepted {
            tracing::error!(%error, "a listener ended");
        }
    }

    /// Serves what others hand over, for as long as any of them may. In a drain too, as what the kernel had accepted.
    async fn take_in(self, mut inbox: UnboundedReceiver<Handed>) {
        while let Some(handed) = inbox.recv().await {
            self.arrived(handed);
        }
    }

    fn arrived(&self, Handed { connection, place }: Handed) {
        match connection.attach() {
            Ok(connection) => self.serve(connection, place),
            Err(error) => tracing::warn!(%error, "a connection could not be handed over"),
        }
    }

    /// A connection that this thread has accepted: it is turned away, handed over, or served.
    fn begin(&self, connection: Connection, balance: &mut Balance<Handed>) {
        let Ok(admitted) = self.admission.admit(&connection.peer()) else {
            return self.turn_away(connection);
        };
        let Some(elsewhere) = balance.elsewhere() else {
            return self.serve(connection, Place::new(admitted, self.open.count()));
        };
        let place = Place::new(admitted, elsewhere.count());
        let handed = match connection.detach() {
            Ok(connection) => Handed { connection, place },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be handed over");
                return;
            }
        };
        if let Err(mut handed) = elsewhere.hand_over(handed) {
            // That thread has failed. A drain is about to begin, and is to wait for this connection here.
            handed.place.move_to(self.open.count());
            self.arrived(handed);
        }
    }

    fn serve(&self, connection: Connection, place: Place) {
        let peer = connection.peer();
        match (connection, &self.tls) {
            (Connection::Tcp(stream, _), Some(tls)) => {
                let (tls, handler) = (Arc::clone(tls), self.proxy.handler(peer));
                let (limits, signal) = (self.limits, self.signal.clone());
                // In a box, here and below: the runtime moves what it is given, several times.
                tokio::task::spawn_local(Box::pin(async move {
                    server::open_tls(stream, &tls, limits, signal, handler).await;
                    drop(place);
                }));
            }
            (Connection::Tcp(stream, _), None) => self.plain(stream, peer, place),
            (Connection::Unix(stream), _) => self.plain(stream, peer, place),
        }
    }

    fn plain(&self, stream: impl Stream, peer: Peer, place: Place) {
        let handler = self.proxy.handler(peer);
        let connection = Box::pin(server::open(stream, self.limits, self.signal.clone(), handler));
        tokio::task::spawn_local(async move {
            connection.await;
            drop(place);
        });
    }

    fn turn_away(&self, connection: Connection) {
        self.turned_away.inc();
        let peer = connection.peer();
        match connection {
            // To tell it why would take a handshake, which is more than a request costs.
            Connection::Tcp(..) if self.tls.is_some() => {}
            Connection::Tcp(stream, _) => self.tell_why(stream, peer),
            Connection::Unix(stream) => self.tell_why(stream, peer),
        }
    }

    fn tell_why(&self, stream: impl Stream, peer: Peer) {
        // More would cost what the limit is to save.
        if self.told_why.get() >= TOLD_WHY {
            return;
        }
        let Some(descriptor) = self.descriptors.take() else { return };
        let counted = (descriptor, self.told_why.count(), self.open.count());
        let told = server::turn_away(stream, self.limits, self.proxy.handler(peer));
        tokio::task::spawn_local(async move {
            told.await;
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
