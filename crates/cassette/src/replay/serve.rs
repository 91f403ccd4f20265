//! Serves a cassette without an upstream.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use tokio::task::JoinSet;

use super::player::{Outcome, Player, Summary};
use super::response::{ReplayedBody, recorded_request, response};
use crate::format::LARGEST_BODY;
use vbc_base::random;
use vbc_base::secret::hex;
use vbc_http::codec::kept::read_all;
use vbc_http::host_guard::HostGuard;
use vbc_http::problem::Problem;
use vbc_http::{Abort, Drain, Handler, Incoming, Limits, RequestRejection};

/// How long responses in progress may take after the shutdown starts.
const DRAIN: Duration = Duration::from_secs(5);

/// Marks responses that the replay generates itself.
const MARKER: HeaderName = HeaderName::from_static("vbc-proxy-replay");

const AS_HTTP_PROXY: &str = "the client uses this replay as its http_proxy and requested a site that is not in the \
                             recording; add that site to the client's no_proxy";
const UNKNOWN_HOST: &str = "unknown host name; use an address, or start the replay with --host NAME";

/// A listener that plays a cassette: [`bind`](Self::bind) it, then [`run`](Self::run) it.
#[derive(Debug)]
pub struct Replay {
    listener: TcpListener,
    service: Service,
}

impl Replay {
    /// Binds an address. With `timing`, pieces of responses arrive at their recorded times. IP
    /// addresses, names without a dot, and the names under which the recording's clients reached
    /// the proxy are always served. `hosts` are further host names to serve.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(address: SocketAddr, player: Player, timing: bool, hosts: &[String]) -> io::Result<Self> {
        let listener = vbc_http::bind(address, 1)?.pop().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let guard = Arc::new(HostGuard::lenient(player.hosts().chain(hosts.iter().cloned())));
        Ok(Self { listener, service: Service { player: Arc::new(player), guard, timing } })
    }

    /// The bound address.
    ///
    /// # Errors
    /// If the system cannot report it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` resolves, then finishes responses in progress, for at most 5
    /// seconds. Must run inside a [`LocalSet`](tokio::task::LocalSet) or local runtime.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Summary {
        let (drain, signal) = Drain::new();
        let player = Arc::clone(&self.service.player);
        let service = self.service;
        let connections = Rc::new(RefCell::new(JoinSet::new()));
        let open = Rc::clone(&connections);
        let on_connection = {
            let signal = signal.clone();
            move |stream, _| {
                let mut open = open.borrow_mut();
                while open.try_join_next().is_some() {}
                open.spawn_local(vbc_http::open(stream, Limits::default(), signal.clone(), service.clone()));
            }
        };
        let accepting = tokio::task::spawn_local(vbc_http::accept(self.listener, signal, on_connection));
        shutdown.await;
        drain.begin();
        let _ = accepting.await;
        let mut left = connections.take();
        let _ = tokio::time::timeout(DRAIN, async { while left.join_next().await.is_some() {} }).await;
        player.summary()
    }
}

/// Responds to the requests of one connection.
#[derive(Clone, Debug)]
struct Service {
    player: Arc<Player>,
    guard: Arc<HostGuard>,
    timing: bool,
}

impl Handler for Service {
    type Body = ReplayedBody;

    // A recorded response has the date of its recording, or none.
    const DATE: bool = false;

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<ReplayedBody>, Abort> {
        let (parts, body) = request.into_parts();
        if self.guard.check_host(&parts.uri, &parts.headers).is_err() {
            let detail = if is_for_an_http_proxy(&parts) { AS_HTTP_PROXY } else { UNKNOWN_HOST };
            return Ok(Own::FOREIGN_HOST.response(detail.to_owned(), &id()));
        }
        let Some(body) = read_all(body, LARGEST_BODY).await.map_err(|_| Abort)? else {
            return Ok(Own::BODY_TOO_LARGE.response(
                "the request body is over 16 MiB, more than a cassette keeps, so no record can match".into(),
                &id(),
            ));
        };
        let request = Request::from_parts(parts, ());
        Ok(self.play(&request, body.to_vec(), &id()))
    }

    fn reject(&self, rejection: RequestRejection) -> Response<ReplayedBody> {
        let status = match rejection {
            RequestRejection::TargetTooLong => StatusCode::URI_TOO_LONG,
            RequestRejection::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            RequestRejection::HeadTimeout | RequestRejection::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            RequestRejection::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
            RequestRejection::Malformed(_) => StatusCode::BAD_REQUEST,
        };
        Own { status, ..Own::REFUSED }.response(rejection.to_string(), &id())
    }
}

impl Service {
    /// The recorded response, or a problem that the replay generates and logs.
    fn play(&self, request: &Request<()>, body: Vec<u8>, id: &str) -> Response<ReplayedBody> {
        let recorded = recorded_request(request, Some(body));
        match self.player.play(&recorded) {
            Outcome::Play(record) => response(record, &recorded, &base(request), self.timing),
            Outcome::Unplayable(record, why) => {
                let request = &record.request;
                let detail = format!("record {}, {} {}: {why}", record.n, request.method, request.target);
                tracing::warn!(id, %detail, "a matching record has no complete response; responding with 501");
                Own::INCOMPLETE.response(detail, id)
            }
            Outcome::NoMatch { request, nearest } => {
                tracing::warn!(id, asked = %request, %nearest, "no record matches a request; responding with 404");
                Own::NO_MATCH.response(format!("no record matches {request}; {nearest}"), id)
            }
        }
    }
}

/// A kind of response that the replay generates itself, instead of a recorded one.
struct Own {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    /// The value of [`MARKER`].
    mark: &'static str,
}

impl Own {
    const FOREIGN_HOST: Self = Self {
        status: StatusCode::MISDIRECTED_REQUEST,
        kind: "foreign-host",
        title: "Not a host of this replay",
        mark: "refused",
    };
    const BODY_TOO_LARGE: Self = Self {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        kind: "body-too-large",
        title: "Body too large",
        mark: "no-match",
    };
    const INCOMPLETE: Self = Self {
        status: StatusCode::NOT_IMPLEMENTED,
        kind: "record-incomplete",
        title: "The record has no complete response",
        mark: "incomplete",
    };
    const NO_MATCH: Self = Self {
        status: StatusCode::NOT_FOUND,
        kind: "no-match",
        title: "No record matches",
        mark: "no-match",
    };
    const REFUSED: Self =
        Self { status: StatusCode::BAD_REQUEST, kind: "refused", title: "Request refused", mark: "refused" };

    fn response(self, detail: String, id: &str) -> Response<ReplayedBody> {
        let Self { status, kind, title, mark } = self;
        let error = Some("proxy_internal_response");
        let problem = Problem { status, kind, title, detail, error, retry_after: None };
        let mut response = problem.response(id).map(ReplayedBody::own);
        response.headers_mut().insert(MARKER, HeaderValue::from_static(mark));
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert("x-request-id", id);
        }
        response
    }
}

fn id() -> String {
    hex(&random::bytes::<8>())
}

/// Scheme and authority under which the client reaches the replay.
fn base(request: &Request<()>) -> String {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str());
    format!("http://{}", authority.or(host).unwrap_or_default())
}

/// Whether the client uses the replay as its `http_proxy`. Only such clients put an authority into
/// the target of HTTP/1; HTTP/2 always has one.
fn is_for_an_http_proxy(head: &Parts) -> bool {
    head.version <= Version::HTTP_11 && head.uri.authority().is_some()
}
