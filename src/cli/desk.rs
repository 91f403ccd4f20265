//! Who answers the command line: the admin listener of a running proxy or, while none runs, its routes in this process.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Exit, choose, complain};
use crate::admin::Status;
use crate::app::{self, Closed};
use crate::client::{self, ClientError, Target};
use crate::config::{Config, ListenAddress};

/// How long an answer that needs nobody else may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long one may take that needs the token endpoint: as long as an exchange can, and what stands in line before it.
const LONG_PATIENCE: Duration = Duration::from_secs(180);
const ANSWER_BYTES: usize = 1 << 20;

/// One of the two.
pub(super) enum Desk {
    Running(Target),
    Own(Box<app::Desk>),
}

/// An answer: what it says, or the problem it describes.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Bytes,
}

impl Desk {
    /// The admin listener that the configuration names, if something answers there.
    pub(super) async fn running(config: &Config) -> Result<Option<Self>, Exit> {
        let Some(target) = target(config) else { return Ok(None) };
        let request = Request::get("/live").body(Bytes::new()).map_err(|_| Exit::Failed)?;
        match client::send(&target, request, PATIENCE).await {
            Ok(answer) if is_live(&answer) => Ok(Some(Self::Running(target))),
            Ok(_) => {
                complain(format_args!(
                    "vbc-proxy: another program answers on admin.address ({})",
                    name(&target)
                ));
                Err(Exit::Unavailable)
            }
            Err(ClientError::Refused(_)) => Ok(None),
            Err(error) => Err(unreachable(&target, &error)),
        }
    }

    /// The running proxy, and which of its credentials is meant.
    ///
    /// # Errors
    /// When no proxy runs, or it has no such credential; reported by then.
    pub(super) async fn of_running(config: &Config, wanted: Option<&str>) -> Result<(Self, String), Exit> {
        let asked = admin_target(config)?;
        let Some(desk) = Self::running(config).await? else { return Err(no_proxy(&asked)) };
        let status: Status = desk.ask("GET", "/status.json", None).await?.read()?;
        let names = status.credentials.iter().map(|credential| credential.name.as_str());
        let name = choose(wanted, &names.collect::<Vec<_>>())?;
        Ok((desk, name))
    }

    /// Sends a request, with a body in JSON if there is one.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Exit> {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Bytes::from(bytes)).map_err(|error| {
            complain(format_args!("vbc-proxy: the request cannot be made: {error}"));
            Exit::Failed
        })?;
        match self {
            Self::Running(target) => {
                let patience = if method == "GET" { PATIENCE } else { LONG_PATIENCE };
                let answer = client::send(target, request, patience).await;
                let answer = answer.map_err(|error| unreachable(target, &error))?;
                Ok(Answer { status: answer.status(), body: answer.into_body() })
            }
            Self::Own(desk) => {
                let (parts, body): (_, Body) = desk.answer(request.map(Body::from)).await.into_parts();
                let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|_| Exit::Failed)?;
                Ok(Answer { status: parts.status, body: body.to_bytes() })
            }
        }
    }

    /// Whether it is in this process, and ends with it.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// Ends what runs in this process; an exchange under way is finished and stored first. `None` where a proxy goes on.
    ///
    /// # Errors
    /// When tokens are lost with this process, which has been told by then.
    pub(super) async fn close(self) -> Result<Option<Closed>, Exit> {
        let Self::Own(desk) = self else { return Ok(None) };
        let closed = desk.close().await;
        if !closed.in_time {
            complain(
                "vbc-proxy: an exchange with the token endpoint did not end in time; what it brings is lost",
            );
            return Err(Exit::Failed);
        }
        if closed.unsaved {
            let reason = closed.store_trouble.unwrap_or_default();
            complain(format_args!(
                "vbc-proxy: the new tokens could not be stored and end with this command: {reason}; free space or make \
                 store.path writable, then log in again"
            ));
            return Err(Exit::Failed);
        }
        Ok(Some(closed))
    }
}

impl Answer {
    /// What it says. `Err` with the exit code where it is a problem, which has been told by then.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Exit> {
        if self.status.is_success() {
            return serde_json::from_slice(&self.body).map_err(|error| {
                // No word of it: it may hold a secret.
                let (line, column) = (error.line(), error.column());
                complain(format_args!(
                    "vbc-proxy: the answer cannot be read (at {line}:{column}); is it another program or version?"
                ));
                Exit::Unavailable
            });
        }
        complain(format_args!("vbc-proxy: {}", self.detail()));
        Err(match self.status {
            StatusCode::NOT_FOUND => Exit::Usage,
            _ => Exit::Failed,
        })
    }

    /// The kind of the problem it describes.
    pub(super) fn kind(&self) -> Option<String> {
        let kind = self.member("type")?;
        kind.strip_prefix("urn:vbc-proxy:").map(str::to_owned)
    }

    fn detail(&self) -> String {
        self.member("detail")
            .unwrap_or_else(|| format!("it answered {}; is it another program?", self.status))
    }

    fn member(&self, name: &str) -> Option<String> {
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        problem.get(name)?.as_str().map(str::to_owned)
    }
}

/// Whether it is what `/live` answers, and not another program's word.
fn is_live(answer: &Response<Bytes>) -> bool {
    answer.status() == StatusCode::OK && answer.body() == "live\n"
}

/// Where the admin listener is, when it can be known before it is there.
pub(super) fn target(config: &Config) -> Option<Target> {
    match config.admin.address.clone()? {
        ListenAddress::Tcp(address) if address.port() == 0 => None,
        ListenAddress::Tcp(address) => Some(Target::Tcp(address)),
        ListenAddress::Unix(path) => Some(Target::Unix(path)),
    }
}

/// The admin listener of a proxy that can be asked.
///
/// # Errors
/// When the configuration does not say where it is; reported by then.
pub(super) fn admin_target(config: &Config) -> Result<Target, Exit> {
    target(config).ok_or_else(|| {
        complain(match &config.admin.address {
            None => {
                "vbc-proxy: the admin listener is off (admin.address = \"off\"), so a running proxy cannot be asked"
            }
            Some(_) => {
                "vbc-proxy: admin.address has port 0, so the port of a running proxy is not known; give its real port"
            }
        });
        Exit::Config
    })
}

/// Says that no proxy answers, and how to end.
pub(super) fn no_proxy(target: &Target) -> Exit {
    complain(format_args!(
        "vbc-proxy: no proxy is running at {} (admin.address); start it with `vbc-proxy serve`, or name its \
         configuration file with --config",
        name(target)
    ));
    Exit::Unavailable
}

/// How it is named to people.
pub(super) fn name(target: &Target) -> String {
    match target {
        Target::Tcp(address) => format!("http://{address}"),
        Target::Unix(path) => format!("unix:{}", path.display()),
        Target::Origin { host, port, .. } => format!("{host}:{port}"),
    }
}

fn unreachable(target: &Target, error: &ClientError) -> Exit {
    complain(format_args!("vbc-proxy: the admin listener {} does not answer: {error}", name(target)));
    Exit::Unavailable
}
