//! The admin routes, as commands use them: in a running proxy or, while none runs, in this process.

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

/// The timeout of a request that needs only the proxy itself.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a request that needs the token endpoint: one exchange, and those queued before
/// it.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(180);
const RESPONSE_BYTES: usize = 1 << 20;

/// Sends requests to the admin routes.
pub(super) enum AdminClient {
    /// Over the admin listener of a running proxy.
    Remote(Target),
    /// To the routes in this process; they end with it.
    InProcess(Box<OfflineAdmin>),
}

/// A response of the admin routes: its JSON, or the problem it describes.
pub(super) struct AdminResponse {
    pub(super) status: StatusCode,
    body: Bytes,
}

impl AdminClient {
    /// The admin listener that the configuration names, if a proxy responds there. Fails if
    /// another program listens there.
    pub(super) async fn running(config: &Config) -> Result<Option<Self>, Exit> {
        let Some(target) = target(config) else { return Ok(None) };
        let request = Request::get("/live").body(Bytes::new()).map_err(|_| Exit::Failed)?;
        match client::send(&target, request, TIMEOUT).await {
            Ok(response) if is_live(&response) => Ok(Some(Self::Remote(target))),
            Ok(_) => {
                let reason = format!("another program answers on admin.address ({})", name(&target));
                Err(fail(Exit::Unavailable, reason))
            }
            Err(ClientError::Refused(_)) => Ok(None),
            Err(error) => Err(unreachable(&target, &error)),
        }
    }

    /// The running proxy, and the credential of it that [`choose`] finds.
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
            .map_err(|error| fail(Exit::Failed, format_args!("the request cannot be made: {error}")))?;
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

    /// Ends what runs in this process; an exchange under way is finished and stored first.
    /// `None` for a running proxy, which goes on. Fails if tokens are lost with this process.
    pub(super) async fn close(self) -> Result<Option<Closed>, Exit> {
        let Self::InProcess(admin) = self else { return Ok(None) };
        let closed = admin.close().await;
        if !closed.in_time {
            let reason = "an exchange with the token endpoint did not end in time; what it brings is lost";
            return Err(fail(Exit::Failed, reason));
        }
        if closed.unsaved {
            let reason = closed.store_trouble.unwrap_or_default();
            let reason = format!(
                "the new tokens could not be stored and end with this command: {reason}; free space or make \
                 store.path writable, then log in again"
            );
            return Err(fail(Exit::Failed, reason));
        }
        Ok(Some(closed))
    }
}

impl AdminResponse {
    /// Its JSON. Fails if it is a problem, or no such JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Exit> {
        if self.status.is_success() {
            return serde_json::from_slice(&self.body).map_err(|error| {
                // The body is not quoted: it may hold a secret.
                let at = format!("{}:{}", error.line(), error.column());
                let reason =
                    format!("the answer cannot be read (at {at}); is it another program or version?");
                fail(Exit::Unavailable, reason)
            });
        }
        let exit = if self.status == StatusCode::NOT_FOUND { Exit::Usage } else { Exit::Failed };
        let detail = self
            .member("detail")
            .unwrap_or_else(|| format!("it answered {}; is it another program?", self.status));
        Err(fail(exit, detail))
    }

    /// The kind of the problem it describes.
    pub(super) fn kind(&self) -> Option<String> {
        let kind = self.member("type")?;
        kind.strip_prefix("urn:vbc-proxy:").map(str::to_owned)
    }

    fn member(&self, name: &str) -> Option<String> {
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        problem.get(name)?.as_str().map(str::to_owned)
    }
}

/// Whether it is the response of `/live`, and not another program's.
fn is_live(response: &Response<Bytes>) -> bool {
    response.status() == StatusCode::OK && response.body() == "live\n"
}

/// The address of the admin listener; `None` where it is off or has port 0.
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
            "the admin listener is off (admin.address = \"off\"), so a running proxy cannot be asked"
        } else {
            "admin.address has port 0, so the port of a running proxy is not known; give its real port"
        };
        fail(Exit::Config, reason)
    })
}

pub(super) fn no_proxy(target: &Target) -> Exit {
    let reason = format!(
        "no proxy is running at {} (admin.address); start it with `vbc-proxy serve`, or name its \
         configuration file with --config",
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
    fail(Exit::Unavailable, format_args!("the admin listener {} does not answer: {error}", name(target)))
}
