//! A client of the admin routes for commands. The routes are in a running proxy or, if none is
//! running, in this process.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config_args::choose;
use super::exit::Exit;
use super::output::fail;
use crate::admin::Status;
use crate::app::{Closed, OfflineAdmin};
use crate::config::{Config, ListenAddress};
use vbc_http::client::{self, ClientError, Target};

/// The timeout of a request that only the proxy itself handles.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a request that needs the token endpoint. Covers the request's own exchange and
/// the exchanges queued before it.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(180);
const RESPONSE_BYTES: usize = 1 << 20;

/// Sends requests to the admin routes.
///
/// Construct it with [`running`](Self::running) or [`of_running`](Self::of_running), or with
/// [`OfflineAdmin`]; then [`send`](Self::send) any number of times; [`close`](Self::close) last.
pub(super) enum AdminClient {
    /// Sends to the admin listener of a running proxy.
    Remote(Target),
    /// Calls the routes in this process. They end with the process.
    InProcess(Box<OfflineAdmin>),
}

/// A response of the admin routes: JSON, or a problem (RFC 9457).
pub(super) struct AdminResponse {
    pub(super) status: StatusCode,
    body: Bytes,
}

impl AdminClient {
    /// The admin listener that the configuration names. `None` if nothing listens there, or if the
    /// configuration names no address that can be reached.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] if another program listens there, or if nothing responds in time.
    pub(super) async fn running(config: &Config) -> Result<Option<Self>, Exit> {
        let Some(target) = target(config) else { return Ok(None) };
        let request = Request::get("/live").body(Bytes::new()).map_err(|_| Exit::Failed)?;
        match client::send(&target, request, TIMEOUT).await {
            Ok(response) if is_live(&response) => Ok(Some(Self::Remote(target))),
            Ok(_) => {
                let reason = format!(
                    "another program listens on {} (admin.address); name the proxy's configuration file with --config",
                    name(&target)
                );
                Err(fail(Exit::Unavailable, reason))
            }
            Err(ClientError::Refused(_)) => Ok(None),
            Err(error) => Err(unreachable(&target, &error)),
        }
    }

    /// The running proxy, and the name of the credential that [`choose`] selects.
    ///
    /// # Errors
    /// [`Exit::Unavailable`] if no proxy is running; otherwise as [`running`](Self::running) and
    /// [`choose`].
    pub(super) async fn of_running(config: &Config, wanted: Option<&str>) -> Result<(Self, String), Exit> {
        let target = admin_target(config)?;
        let Some(client) = Self::running(config).await? else { return Err(no_proxy(&target)) };
        let status: Status = client.send("GET", "/status.json", None).await?.json()?;
        let name = choose(wanted, status.credentials.iter().map(|credential| credential.name.as_str()))?;
        Ok((client, name))
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<AdminResponse, Exit> {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Bytes::from(bytes))
            .map_err(|error| fail(Exit::Failed, format_args!("cannot build the request: {error}")))?;
        match self {
            Self::Remote(target) => {
                let timeout = if method == "GET" { TIMEOUT } else { EXCHANGE_TIMEOUT };
                let response = client::send(target, request, timeout).await;
                let response = response.map_err(|error| unreachable(target, &error))?;
                Ok(AdminResponse { status: response.status(), body: response.into_body() })
            }
            Self::InProcess(admin) => {
                let (parts, body) = admin.respond(request.map(Body::from)).await.into_parts();
                let body = Limited::new(body, RESPONSE_BYTES).collect().await.map_err(|_| Exit::Failed)?;
                Ok(AdminResponse { status: parts.status, body: body.to_bytes() })
            }
        }
    }

    pub(super) fn is_in_process(&self) -> bool {
        matches!(self, Self::InProcess(_))
    }

    /// Closes the admin routes of this process. A token exchange under way ends first, and its
    /// tokens are stored. Returns `None` for a running proxy, which is not affected.
    ///
    /// # Errors
    /// [`Exit::Failed`] if tokens are lost when this process ends.
    pub(super) async fn close(self) -> Result<Option<Closed>, Exit> {
        let Self::InProcess(admin) = self else { return Ok(None) };
        let closed = admin.close().await;
        if !closed.in_time {
            let reason = "an exchange with the token endpoint, or saving its tokens, did not finish in time; \
                          unsaved tokens are lost";
            return Err(fail(Exit::Failed, reason));
        }
        if closed.unsaved {
            let reason = closed.store_trouble.unwrap_or_default();
            let reason = format!(
                "could not save the new tokens, so they are lost when this command ends: {reason}; free space or \
                 make store.path writable, then log in again"
            );
            return Err(fail(Exit::Failed, reason));
        }
        Ok(Some(closed))
    }
}

impl AdminResponse {
    /// Parses the body as JSON.
    ///
    /// # Errors
    /// Reports a problem's `detail`: [`Exit::Usage`] for a 404, otherwise [`Exit::Failed`]. JSON of
    /// another shape is [`Exit::Unavailable`].
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Exit> {
        if self.status.is_success() {
            return serde_json::from_slice(&self.body).map_err(|error| {
                // The body is not quoted: it may hold a secret.
                let at = format!("{}:{}", error.line(), error.column());
                let reason = format!(
                    "cannot parse the response of the admin listener (at {at}); check whether another program, or \
                     another version of vbc-proxy, listens on admin.address"
                );
                fail(Exit::Unavailable, reason)
            });
        }
        let exit = if self.status == StatusCode::NOT_FOUND { Exit::Usage } else { Exit::Failed };
        let detail = self.member("detail").unwrap_or_else(|| {
            format!(
                "the admin listener returned the unexpected status {}; check whether another program listens on \
                 admin.address",
                self.status
            )
        });
        Err(fail(exit, detail))
    }

    /// The kind of a problem: its `type` without the prefix of this program.
    pub(super) fn kind(&self) -> Option<String> {
        let kind = self.member("type")?;
        kind.strip_prefix("urn:vbc-proxy:").map(str::to_owned)
    }

    fn member(&self, name: &str) -> Option<String> {
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        problem.get(name)?.as_str().map(str::to_owned)
    }
}

/// Whether this is the response of `/live`. Another program's response is not.
fn is_live(response: &Response<Bytes>) -> bool {
    response.status() == StatusCode::OK && response.body() == "live\n"
}

/// The address of the admin listener; `None` if it is off or has port 0.
pub(super) fn target(config: &Config) -> Option<Target> {
    match config.admin.address.clone()? {
        ListenAddress::Tcp(address) if address.port() == 0 => None,
        ListenAddress::Tcp(address) => Some(Target::Tcp(address)),
        ListenAddress::Unix(path) => Some(Target::Unix(path)),
    }
}

/// [`target`], for a command that needs a running proxy.
pub(super) fn admin_target(config: &Config) -> Result<Target, Exit> {
    target(config).ok_or_else(|| {
        let reason = if config.admin.address.is_none() {
            "the admin listener is off (admin.address = \"off\"), so a running proxy cannot be reached; set \
             admin.address"
        } else {
            "admin.address has port 0, so the port of the running proxy is unknown; set the real port, for example \
             with VBC_PROXY_ADMIN_ADDRESS"
        };
        fail(Exit::Config, reason)
    })
}

pub(super) fn no_proxy(target: &Target) -> Exit {
    let reason = format!(
        "No proxy is running at {}. Start it with `vbc-proxy serve`, or name its configuration file with --config.",
        name(target)
    );
    fail(Exit::Unavailable, reason)
}

/// The address as messages show it.
pub(super) fn name(target: &Target) -> String {
    match target {
        Target::Tcp(address) => format!("http://{address}"),
        Target::Unix(path) => format!("unix:{}", path.display()),
        Target::Origin { host, port, .. } => format!("{host}:{port}"),
    }
}

fn unreachable(target: &Target, error: &ClientError) -> Exit {
    let name = name(target);
    fail(Exit::Unavailable, format_args!("the admin listener {name} does not respond: {error}"))
}
