//! The connection limits, derived from the limit of file descriptors.

use std::sync::Arc;

use super::admin_listener::AdminAdmission;
use crate::config::Config;
use vbc_http::Admission;
use vbc_http::descriptors::{Descriptors, Division};

/// A lower limit of file descriptors is logged as a warning.
const FEW_DESCRIPTORS: u64 = 4096;

/// The maximum number of connections for `listen.max_connections = "auto"`.
const AUTO_CONNECTIONS: usize = 50_000;

pub(super) struct ConnectionLimits {
    pub(super) clients: Arc<Admission>,
    pub(super) admin: AdminAdmission,
    /// The file descriptors that clients, upstream connections and bodies on disk share.
    pub(super) descriptors: Arc<Descriptors>,
}

impl ConnectionLimits {
    pub(super) fn new(config: &Config, limit: u64, workers: usize) -> Self {
        let division = Division::of(limit, workers, config.listen.addresses.len());
        let asked = config.listen.max_connections;
        let clients = asked.unwrap_or(division.clients.min(AUTO_CONNECTIONS)).min(division.most_clients);
        tracing::debug!(descriptors = limit, connections = clients, "limits");
        if limit < FEW_DESCRIPTORS {
            tracing::warn!(
                descriptors = limit,
                connections = clients,
                "the file descriptor limit is low; raise it (`ulimit -Hn`, or LimitNOFILE= in a systemd unit)"
            );
        }
        if asked.is_some_and(|asked| asked > clients) {
            tracing::warn!(
                descriptors = limit,
                asked,
                connections = clients,
                "lowered listen.max_connections: it would leave too few file descriptors for the upstream; raise their \
                 limit (`ulimit -Hn`, or LimitNOFILE= in a systemd unit)"
            );
        }
        let shared = Descriptors::new(division.shared);
        let per_peer = config.listen.max_connections_per_peer;
        Self {
            clients: Admission::sharing(clients, per_peer, Some(Arc::clone(&shared))),
            admin: AdminAdmission::new(division.admin),
            descriptors: shared,
        }
    }
}
