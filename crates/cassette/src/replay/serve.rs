//! A cassette as a service: recorded answers, and no network behind.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};

use crate::format::LARGEST_BODY;
use crate::replay::player::{Player, Summary};
use crate::replay::response::{ReplayedBody, answer, asked, problem};
use vbc_base::random;
use vbc_base::secret::hex;
use vbc_http::codec::kept::read_all;
use vbc_http::host_guard::HostGuard;
use vbc_http::{Abort, Drain, Handler, Incoming, Limits, RequestRejection};

/// How long answers under way may take once it is to end.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// A listener that plays a cassette.
#[derive(Debug)]
pub struct Replay {
    listener: std::net::TcpListener,
    player: Arc<Player>,
    guard: Arc<HostGuard>,
    timing: bool,
}

impl Replay {
    /// Binds an address. With `timing` pieces of answers come when they came, where that was recorded. `hosts` are names that
    /// it is called by, beside addresses, names without a dot, and what the recording's clients called the proxy.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn bind(address: SocketAddr, player: Player, timing: bool, hosts: &[String]) -> io::Result<Self> {
        let listener = vbc_http::bind(address, 1)?.pop().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let guard = Arc::new(HostGuard::lenient(player.hosts().chain(hosts.iter().cloned())));
        Ok(Self { listener, player: Arc::new(player), guard, timing })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` ends, then lets answers under way finish. To be called on a runtime that runs local tasks.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Summary {
        let (drain, signal) = Drain::new();
        let connections = Rc::new(std::cell::RefCell::new(tokio::task::JoinSet::new()));
        let (player, guard, timing) = (Arc::clone(&self.player), self.guard, self.timing);
        let (open, each) = (Rc::clone(&connections), signal.clone());
        let accepting =
            tokio::task::spawn_local(vbc_http::accept(self.listener, signal, move |stream, _| {
                let handler = Service { player: Arc::clone(&player), guard: Arc::clone(&guard), timing };
                let mut open = open.borrow_mut();
                while open.try_join_next().is_some() {}
                open.spawn_local(vbc_http::open(stream, Limits::default(), each.clone(), handler));
            }));
        shutdown.await;
        drain.begin();
        let _ = accepting.await;
        let mut left = connections.take();
        let _ = tokio::time::timeout(DRAIN, async { while left.join_next().await.is_some() {} }).await;
        self.player.summary()
    }
}

struct Service {
    player: Arc<Player>,
    guard: Arc<HostGuard>,
    timing: bool,
}

fn id() -> String {
    hex(&random::bytes::<8>())
}

fn base(authority: Option<&http::uri::Authority>, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    format!("http://{}", authority.map(|authority| authority.as_str()).or(host).unwrap_or_default())
}

const AS_HTTP_PROXY: &str = "the client uses this replay as its http_proxy, and asked for a site that is not in the \
                             recording: name that site in the client's no_proxy";

/// HTTP/2 always names an authority; in HTTP/1 only clients of an `http_proxy` do.
fn is_for_an_http_proxy(head: &Parts) -> bool {
    head.version <= Version::HTTP_11 && head.uri.authority().is_some()
}

impl Handler for Service {
    type Body = ReplayedBody;

    // Recorded answers have the date of their recording, or none.
    const DATE: bool = false;

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<ReplayedBody>, Abort> {
        let (parts, body) = request.into_parts();
        if self.guard.check_host(&parts.uri, &parts.headers).is_err() {
            let detail = match is_for_an_http_proxy(&parts) {
                true => AS_HTTP_PROXY,
                false => "unknown host name; use an address, or start the replay with --host NAME",
            };
            let detail = detail.to_owned();
            let status = StatusCode::MISDIRECTED_REQUEST;
            return Ok(problem(
                status,
                "foreign-host",
                "Not a host of this replay",
                detail,
                "refused",
                &id(),
            ));
        }
        let body = match read_all(body, LARGEST_BODY).await {
            Ok(Some(body)) => body,
            Ok(None) => {
                let detail = "a body of this size is in no cassette".to_owned();
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                return Ok(problem(status, "body-too-large", "Body too large", detail, "no-match", &id()));
            }
            Err(_) => return Err(Abort),
        };
        let request = Request::from_parts(parts, ());
        let asked = asked(&request, Some(body.to_vec()));
        let base = base(request.uri().authority(), request.headers());
        Ok(answer(&self.player, &asked, &base, self.timing, &id()))
    }

    fn reject(&self, rejection: RequestRejection) -> Response<ReplayedBody> {
        let status = match rejection {
            RequestRejection::TargetTooLong => StatusCode::URI_TOO_LONG,
            RequestRejection::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            RequestRejection::HeadTimeout | RequestRejection::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            RequestRejection::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
            RequestRejection::Malformed(_) => StatusCode::BAD_REQUEST,
        };
        problem(status, "refused", "Request refused", rejection.to_string(), "refused", &id())
    }
}
