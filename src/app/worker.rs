//! A thread of the data plane: it accepts connections and serves each of them to its end.

use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::runtime::LocalOptions;
use tokio::sync::oneshot;

use super::listeners::Socket;
use super::open::Open;
use super::{Ended, StartError};
use crate::config::Config;
use crate::proxy::{self, Proxy};
use crate::server::{self, Admission, DrainSignal, Limits, Peer, Stream, Tls};

/// So many connections over the limit are answered at once, per thread; more are closed without a word.
const TOLD_WHY: usize = 256;

/// One thread of the data plane.
pub(super) struct Worker {
    pub(super) sockets: Vec<Socket>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) shared: proxy::Shared,
    pub(super) admission: Arc<Admission>,
    pub(super) signal: DrainSignal,
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
        let Self { sockets, tls, shared, admission, signal } = self;
        let config = Arc::clone(&shared.config);
        let proxy = Rc::new(Proxy::new(&shared, signal.clone()));
        let open = Open::new(shared.metrics.connections.clone());
        let connector = Connector {
            proxy,
            admission,
            open: Rc::clone(&open),
            told_why: Open::new(Gauge::default()),
            turned_away: shared.metrics.turned_away.clone(),
            signal,
            tls,
            limits: limits(&config),
        };
        let mut accepting = Vec::new();
        for socket in sockets {
            let (connector, signal) = (connector.clone(), connector.signal.clone());
            accepting.push(tokio::task::spawn_local(async move {
                let accepted = match socket {
                    Socket::Tcp(listener) => {
                        server::accept(listener, signal, |stream, peer| connector.tcp(stream, peer.into()))
                            .await
                    }
                    Socket::Unix(socket) => {
                        server::accept(socket, signal, |stream, peer| connector.plain(stream, peer.into()))
                            .await
                    }
                };
                if let Err(error) = accepted {
                    tracing::error!(%error, "a listener ended");
                }
            }));
        }
        connector.signal.begun().await;
        let quiet = async {
            for accepting in accepting {
                let _ = accepting.await;
            }
            open.none().await;
        };
        match tokio::time::timeout(config.listen.drain_timeout, quiet).await {
            Ok(()) => Ended::Drained,
            Err(_) => Ended::CutShort,
        }
    }
}

/// What a thread does with the connections it accepts.
#[derive(Clone)]
struct Connector {
    proxy: Rc<Proxy>,
    admission: Arc<Admission>,
    open: Rc<Open>,
    /// Connections over the limit that are being told so.
    told_why: Rc<Open>,
    turned_away: Counter,
    signal: DrainSignal,
    /// For what comes over TCP.
    tls: Option<Arc<Tls>>,
    limits: Limits,
}

impl Connector {
    fn tcp(&self, stream: impl Stream, peer: Peer) {
        let Some(tls) = &self.tls else { return self.plain(stream, peer) };
        let Ok(admitted) = self.admission.admit(&peer) else {
            // To tell it why would take a handshake, which is more than a request costs.
            self.turned_away.inc();
            return;
        };
        let counted = (self.open.count(), admitted);
        let (tls, handler) = (Arc::clone(tls), self.proxy.handler(peer));
        let (limits, signal) = (self.limits, self.signal.clone());
        tokio::task::spawn_local(async move {
            server::open_tls(stream, &tls, limits, signal, handler).await;
            drop(counted);
        });
    }

    fn plain(&self, stream: impl Stream, peer: Peer) {
        let Ok(admitted) = self.admission.admit(&peer) else { return self.turn_away(stream, peer) };
        let counted = (self.open.count(), admitted);
        let handler = self.proxy.handler(peer);
        let connection = server::open(stream, self.limits, self.signal.clone(), handler);
        tokio::task::spawn_local(async move {
            connection.await;
            // Its place is free before it is seen to be gone.
            let (open, admitted) = counted;
            drop(admitted);
            drop(open);
        });
    }
}

impl Connector {
    fn turn_away(&self, stream: impl Stream, peer: Peer) {
        self.turned_away.inc();
        // More would cost what the limit is to save.
        if self.told_why.count.get() >= TOLD_WHY {
            return;
        }
        let counted = (self.told_why.count(), self.open.count());
        let told = server::turn_away(stream, self.limits, self.signal.clone(), self.proxy.handler(peer));
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
        head_bytes: config.listen.head_size,
        headers: config.listen.head_lines,
        target_bytes: config.listen.target_size,
        requests: config.listen.max_requests_per_connection,
        keep_heads: false,
    }
}
