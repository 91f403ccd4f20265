//! The connections of a thread, and the choice of one for each request.
//!
//! Over HTTP/1.1 each request needs its own connection, and dials a new one if none is idle. HTTP/2
//! connections are shared. Requests that find no free stream wait in order, and only as many
//! connections are dialled as the waiting requests need. Until the first connection has shown which
//! version the upstream speaks, all requests wait for that connection.

mod h2;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::dial::{Dialer, NewConnection};
use super::error::UpstreamError;
use super::h1;
pub(super) use h2::Lease;
use vbc_http::LazyTimer;

/// The most HTTP/2 connections of a thread. Further requests wait for a stream.
const H2_CONNECTIONS: usize = 128;

/// How long a request waits for a used connection if no file descriptor is left for a new one.
const SLOT_WAIT: Duration = Duration::from_secs(2);

/// The connection or stream that carries a request.
pub(super) enum Link {
    /// An HTTP/1.1 connection for this request alone.
    H1(h1::Connection),
    /// One stream of an HTTP/2 connection.
    H2(Lease),
}

/// The outcome for a waiting request.
enum Grant {
    /// A connection or a stream.
    Link(Link),
    /// The upstream speaks HTTP/1.1: the request dials its own connection.
    Dial,
    /// No connection could be opened.
    Failed(UpstreamError),
}

/// A request that waits for a connection.
struct Waiter {
    /// The number of a connection that the request must not be sent on.
    avoids: Option<u64>,
    grant: oneshot::Sender<Grant>,
}

/// The connections of one thread.
pub(super) struct Pools {
    pub(super) dialer: Dialer,
    pub(super) h1: Rc<h1::Pool>,
    h2: h2::Pool,
    /// Whether requests use HTTP/2: the last new connection spoke it, or none was opened yet and
    /// the upstream may speak it.
    shares: Cell<bool>,
    waiting: RefCell<VecDeque<Waiter>>,
    dialling: Cell<usize>,
    /// A connection is being opened ahead of the first request.
    warming: Cell<bool>,
}

impl Pools {
    pub(super) fn new(dialer: Dialer) -> Self {
        let shares = Cell::new(dialer.may_speak_h2());
        Self {
            h1: Rc::new(h1::Pool::new(Rc::clone(&dialer.slots))),
            dialer,
            h2: h2::Pool::default(),
            shares,
            waiting: RefCell::default(),
            dialling: Cell::new(0),
            warming: Cell::new(false),
        }
    }

    /// A connection for one request. With `avoids`, the result is neither a pooled HTTP/1.1
    /// connection nor the HTTP/2 connection with that number.
    pub(super) async fn link(
        self: &Rc<Self>,
        idempotent: bool,
        avoids: Option<u64>,
        timer: &LazyTimer,
    ) -> Result<Link, UpstreamError> {
        let mut end = None;
        loop {
            if self.shares.get() {
                match self.shared(avoids, timer).await? {
                    Grant::Link(link) => return Ok(link),
                    Grant::Failed(error) => return Err(error),
                    Grant::Dial => {}
                }
            }
            if avoids.is_none()
                && let Some(connection) = self.h1.checkout(idempotent).await
            {
                return Ok(Link::H1(connection));
            }
            match self.dial().await {
                Ok(Some(connection)) => return Ok(Link::H1(connection)),
                Ok(None) => self.shares.set(true),
                Err(UpstreamError::NoDescriptor) => Box::pin(self.wait_for_slot(&mut end)).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a connection is idle or a slot may be free. If a connection is idle, closes it
    /// and returns immediately.
    async fn wait_for_slot(&self, end: &mut Option<Instant>) -> Result<(), UpstreamError> {
        if self.h1.close_one() {
            return Ok(());
        }
        let wait = SLOT_WAIT.min(self.dialer.timeout);
        let end = *end.get_or_insert_with(|| Instant::now() + wait);
        if self.dialer.slots.changed(end).await { Ok(()) } else { Err(UpstreamError::NoDescriptor) }
    }

    /// An idle HTTP/1.1 connection that needs neither a wait nor a check. Most requests get one.
    pub(super) fn ready(&self, idempotent: bool, now: Instant) -> Option<h1::Connection> {
        if self.shares.get() { None } else { self.h1.ready(idempotent, now) }
    }

    /// An HTTP/1.1 connection for one request. With `new`, no pooled connection is taken.
    pub(super) async fn h1(&self, idempotent: bool, new: bool) -> Result<h1::Connection, UpstreamError> {
        let mut end = None;
        loop {
            if !new && let Some(connection) = self.h1.checkout(idempotent).await {
                return Ok(connection);
            }
            match self.in_time(self.dialer.dial_h1()).await {
                Err(UpstreamError::NoDescriptor) => self.wait_for_slot(&mut end).await?,
                dialled => return dialled,
            }
        }
    }

    async fn shared(self: &Rc<Self>, avoids: Option<u64>, timer: &LazyTimer) -> Result<Grant, UpstreamError> {
        // A new request must not overtake those that wait.
        if self.waiting.borrow().is_empty()
            && let Some(lease) = self.h2.lease(self, avoids)
        {
            return Ok(Grant::Link(Link::H2(lease)));
        }
        let (grant, granted) = oneshot::channel();
        self.waiting.borrow_mut().push_back(Waiter { avoids, grant });
        self.dial_as_needed();
        match timer.within(self.dialer.timeout, granted).await {
            Some(Ok(grant)) => Ok(grant),
            Some(Err(_)) => Err(UpstreamError::Terminated),
            None => Err(UpstreamError::ConnectTimeout),
        }
    }

    /// Opens a connection before the first request if the upstream uses TLS, because the handshake
    /// is slow.
    pub(super) fn warm_up(self: &Rc<Self>) {
        if self.dialer.is_tls() {
            self.warming.set(true);
            self.spawn_dial();
        }
    }

    /// Whether a request waits for the connection that is being opened.
    fn is_wanted(&self) -> bool {
        !self.warming.get() || !self.waiting.borrow().is_empty()
    }

    /// Gives free streams to waiting requests. Called whenever a stream may have become free.
    fn serve_waiting(self: &Rc<Self>) {
        loop {
            let Some(avoids) = self.waiting.borrow().front().map(|next| next.avoids) else { return };
            let Some(lease) = self.h2.lease(self, avoids) else { break };
            let Some(next) = self.next_waiting() else { return };
            // If the request is gone, the lease is dropped, which calls this function again.
            let _ = next.send(Grant::Link(Link::H2(lease)));
        }
        self.dial_as_needed();
    }

    fn next_waiting(&self) -> Option<oneshot::Sender<Grant>> {
        let mut waiting = self.waiting.borrow_mut();
        loop {
            let next = waiting.pop_front()?;
            if !next.grant.is_closed() {
                return Some(next.grant);
            }
        }
    }

    fn dial_as_needed(self: &Rc<Self>) {
        let waiting = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.retain(|one| !one.grant.is_closed());
            waiting.len()
        };
        let (open, opening) = self.h2.count();
        let needed = waiting.div_ceil(self.h2.streams_each()).saturating_sub(opening);
        let spare = H2_CONNECTIONS.saturating_sub(open);
        while self.dialling.get() < needed.min(spare) {
            self.spawn_dial();
        }
    }

    /// Opens a connection within `upstream.connect_timeout`. An HTTP/2 connection goes to the pool.
    async fn dial(self: &Rc<Self>) -> Result<Option<h1::Connection>, UpstreamError> {
        self.in_time(async {
            match self.dialer.dial(|| self.is_wanted()).await? {
                NewConnection::H1(connection) => Ok(Some(connection)),
                NewConnection::H2(stream, open) => {
                    h2::Connection::open(stream, open, Rc::clone(self)).await.map(|()| None)
                }
            }
        })
        .await
    }

    async fn in_time<T>(
        &self,
        dial: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        timeout(self.dialer.timeout, dial).await.unwrap_or(Err(UpstreamError::ConnectTimeout))
    }

    /// Dials in a separate task, which continues if the request that started it goes away.
    fn spawn_dial(self: &Rc<Self>) {
        self.dialling.set(self.dialling.get() + 1);
        let pools = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let dialled = pools.dial().await;
            pools.dialling.set(pools.dialling.get() - 1);
            pools.warming.set(false);
            match dialled {
                Ok(None) => {
                    pools.shares.set(true);
                    pools.serve_waiting();
                }
                Ok(Some(connection)) => pools.stop_sharing(connection),
                Err(error) => pools.give_up(error),
            }
        });
    }

    /// Handles an upstream that speaks HTTP/1.1: one waiting request gets this connection, the
    /// others dial.
    fn stop_sharing(&self, connection: h1::Connection) {
        self.shares.set(false);
        match self.next_waiting() {
            None => self.h1.put(connection),
            Some(first) => {
                if let Err(Grant::Link(Link::H1(connection))) = first.send(Grant::Link(Link::H1(connection)))
                {
                    self.h1.put(connection);
                }
            }
        }
        while let Some(next) = self.next_waiting() {
            let _ = next.send(Grant::Dial);
        }
    }

    /// Fails all waiting requests, unless other connections are open that will have a free stream.
    fn give_up(&self, error: UpstreamError) {
        tracing::debug!(%error, "could not open a connection to the upstream");
        if self.h2.count().0 > 0 {
            return;
        }
        while let Some(next) = self.next_waiting() {
            let _ = next.send(Grant::Failed(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use tokio::task::LocalSet;

    use std::sync::Arc;

    use http::uri::Authority;
    use prometheus_client::metrics::gauge::Gauge;

    use super::super::POOL_TIME;
    use super::super::slots::Slots;
    use super::*;
    use crate::config;
    use vbc_http::descriptors::Descriptors;

    /// The pools of a thread whose upstream has this authority.
    fn pools_to(authority: Authority) -> Rc<Pools> {
        let patience = Duration::from_secs(1);
        let config = config::Upstream {
            url: config::Origin { tls: false, authority },
            ca_file: None,
            http: config::UpstreamHttp::H1,
            connect_timeout: patience,
            response_timeout: patience,
            idle_timeout: patience,
            tunnel_timeout: patience,
            rewrite_links: true,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let slots = Slots::new(Descriptors::new(1000));
        Rc::new(Pools::new(Dialer::new(&config, &tls, Gauge::default(), slots)))
    }

    #[tokio::test]
    async fn a_request_that_needs_http_1_and_cannot_be_repeated_gets_no_connection_that_was_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pools = pools_to(listener.local_addr().unwrap().to_string().parse().unwrap());
        let test = async {
            pools.h1.put(pools.h1(false, true).await.unwrap());
            let (upstream, _) = listener.accept().unwrap();
            tokio::time::pause();
            tokio::time::advance(POOL_TIME / 2).await;
            tokio::time::resume();
            // The runtime has not noticed this close yet.
            drop(upstream);
            let _connection = pools.h1(false, false).await.unwrap();
            listener.set_nonblocking(true).unwrap();
            let dialled = listener.accept().map(|_| ()).map_err(|error| error.kind());
            assert_ne!(dialled, Err(ErrorKind::WouldBlock), "the closed connection was used");
        };
        LocalSet::new().run_until(test).await;
    }
}
