//! The token endpoint, and the only user of reqwest.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use thiserror::Error;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::body::Body;
use super::redact::Redactor;
use super::request_body::RequestBody;
use super::response::{self, Answer, MAX_BODY};
use super::{AccessToken, Class, ClientAuth, ClientIdentity, Grant, Issued, TokenError};
use crate::clock::Clock;
use crate::secret::fingerprint;

/// A connection that has not come about by then is given up, whatever the timeout of the whole.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that redeems grants: the token endpoint, or a script in a test.
pub trait Redeem: Send + Sync + 'static {
    /// Exchanges `grant` for a token set.
    ///
    /// Not cancel safe: dropping the future after the request has been sent loses a single-use grant. Only the
    /// refresher calls it, and never drops it.
    fn redeem(&self, grant: &Grant) -> impl Future<Output = Result<Issued, TokenError>> + Send;

    /// Fingerprint of what a refusal of the application may be about: its id and secret, and where it is presented.
    fn fingerprint(&self) -> String {
        String::new()
    }

    /// Whose token this is, asked of the userinfo endpoint (OpenID Connect Core §5.3), where there is one. For logins
    /// whose answer had no ID token.
    fn subject(&self, token: &AccessToken) -> impl Future<Output = Option<String>> + Send {
        let _ = token;
        async { None }
    }
}

/// What carries requests to the authorization server: [`HttpClient`], or in tests a simulator without a network.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request once, and receives the whole answer: up to a little over 1 MiB of its body.
    fn exchange(
        &self,
        request: Request<String>,
    ) -> impl Future<Output = Result<Response<Vec<u8>>, TransportError>> + Send;
}

/// A request that got no answer, or half of one.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct TransportError {
    /// Whether the request may have reached the server. `None`: it cannot even be built.
    pub sent: Option<bool>,
    /// For the log. May quote the server's name, and nothing of the request.
    pub message: String,
}

/// Why an endpoint could not be made.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The HTTP client refused its settings.
    #[error("the client for the token endpoint cannot be built")]
    Client(#[source] reqwest::Error),
    /// Not an `http` or `https` URL with a host.
    #[error("the token URL must be an http or https URL")]
    NotHttp,
    /// `user:password@` would be sent as a second client authentication, and shown in logs.
    #[error("the token URL must not carry a user name or password; the client has its own settings")]
    UserInfo,
}

/// The HTTP client of the token endpoints. Clones share it; one serves every credential.
#[derive(Clone, Debug)]
pub struct HttpClient {
    http: reqwest::Client,
    timeout: Duration,
}

impl HttpClient {
    /// Builds a client that trusts what `tls` trusts and gives a whole exchange `timeout`.
    ///
    /// It follows no redirect, keeps no cookie, sends no referrer and reads no proxy from the environment. It uses
    /// each connection once: redeems are hours apart, and the race between a request and the closing of an idle
    /// connection would make a sent grant uncertain. For the same reason it never sends a request twice.
    ///
    /// # Errors
    /// [`EndpointError::Client`] when reqwest refuses the settings.
    pub fn new(mut tls: rustls::ClientConfig, timeout: Duration) -> Result<Self, EndpointError> {
        // reqwest is built without HTTP/2, and takes the list as it is.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("vbc-proxy/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout(timeout))
            .timeout(timeout)
            .build()
            .map_err(|error| EndpointError::Client(error.without_url()))?;
        Ok(Self { http, timeout })
    }

    /// No answer, or half of one. Whether anything was sent decides what that means: only a connection that never
    /// came about, or that has not asked for the body, leaves the grant certainly untouched.
    ///
    /// A body that the connection has taken may be in its buffer still. hyper does not tell how much of a buffer was
    /// written, so such a request counts as sent.
    fn unanswered(&self, error: &reqwest::Error, taken: bool) -> TransportError {
        let timeout = self.timeout;
        let (sent, message) = match (error.is_connect(), error.is_timeout()) {
            (true, true) => (Some(false), format!("no connection within {:?}", connect_timeout(timeout))),
            (true, false) => (Some(false), format!("no connection: {}", cause(error))),
            _ if error.is_builder() => (None, format!("cannot be asked: {}", cause(error))),
            _ if !taken => (Some(false), format!("not sent: {}", cause(error))),
            (false, true) => (Some(true), format!("sent, and no answer within {timeout:?}")),
            (false, false) => (Some(true), format!("sent, and the answer was lost: {}", cause(error))),
        };
        TransportError { sent, message }
    }

    async fn send(&self, head: Parts, body: RequestBody) -> Result<Response<Vec<u8>>, reqwest::Error> {
        let request = self.http.request(head.method, head.uri.to_string()).headers(head.headers);
        // A request without content has none to be taken, and no length.
        let request = if body.is_empty() { request } else { request.body(reqwest::Body::wrap(body)) };
        receive(request.send().await?).await
    }
}

impl Transport for HttpClient {
    async fn exchange(&self, request: Request<String>) -> Result<Response<Vec<u8>>, TransportError> {
        let (head, body) = request.into_parts();
        let (body, taken) = RequestBody::new(body);
        self.send(head, body).await.map_err(|error| self.unanswered(&error, taken.is_taken()))
    }
}

/// Clearly shorter than the whole: when connecting is what takes so long, it is this limit that strikes, and the
/// grant is known not to have been sent.
fn connect_timeout(timeout: Duration) -> Duration {
    CONNECT_TIMEOUT.min(timeout / 2)
}

/// What an [`Endpoint`] is made of.
#[derive(Clone, Debug)]
pub struct EndpointOptions<T = HttpClient> {
    /// The client, shared with other credentials.
    pub http: T,
    /// Where grants are redeemed. A query is kept (RFC 6749 §3.2).
    pub token_url: Url,
    /// Where the subject of a token can be asked for.
    pub userinfo_url: Option<Url>,
    /// The application.
    pub client: ClientIdentity,
    /// The credential's user name, to be taken out of messages even when the grant does not carry it.
    pub username: Option<Arc<str>>,
    /// For dates in `Retry-After`.
    pub clock: Clock,
}

/// The endpoints of an authorization server and the way to them: what is the same for all its credentials.
pub struct AuthorizationServer<T = HttpClient> {
    http: T,
    token_url: Uri,
    userinfo_url: Option<Uri>,
    /// The token URL as messages show it: without query.
    shown: String,
    clock: Clock,
}

impl<T> AuthorizationServer<T> {
    /// A server whose grants are redeemed at `token_url`, of which a query is kept (RFC 6749 §3.2), and whose
    /// `userinfo_url` can be asked for the subject of a token.
    ///
    /// # Errors
    /// [`EndpointError::NotHttp`] and [`EndpointError::UserInfo`], for a URL that cannot be used.
    pub fn new(
        http: T,
        token_url: &Url,
        userinfo_url: Option<&Url>,
        clock: Clock,
    ) -> Result<Self, EndpointError> {
        let shown = response::without_query(token_url.as_str());
        let (token_url, userinfo_url) = (usable(token_url)?, userinfo_url.map(usable).transpose()?);
        Ok(Self { http, token_url, userinfo_url, shown, clock })
    }
}

impl<T> fmt::Debug for AuthorizationServer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationServer").field("token_url", &self.shown).finish_non_exhaustive()
    }
}

/// The token endpoint of one credential.
pub struct Endpoint<T = HttpClient> {
    server: Arc<AuthorizationServer<T>>,
    client: Arc<ClientIdentity>,
    username: Option<Arc<str>>,
}

impl<T> fmt::Debug for Endpoint<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("token_url", &self.server.shown)
            .field("client_id", &self.client.client_id)
            .field("auth", &self.client.auth)
            .finish_non_exhaustive()
    }
}

impl<T: Transport> Endpoint<T> {
    /// Makes the endpoint of one credential.
    ///
    /// # Errors
    /// [`EndpointError::NotHttp`] and [`EndpointError::UserInfo`], for a token URL that cannot be used.
    pub fn new(options: EndpointOptions<T>) -> Result<Self, EndpointError> {
        let EndpointOptions { http, token_url, userinfo_url, client, username, clock } = options;
        let server = AuthorizationServer::new(http, &token_url, userinfo_url.as_ref(), clock)?;
        Ok(Self::at(Arc::new(server), Arc::new(client), username))
    }

    /// The endpoint of one of many credentials at the same server.
    pub fn at(
        server: Arc<AuthorizationServer<T>>,
        client: Arc<ClientIdentity>,
        username: Option<Arc<str>>,
    ) -> Self {
        Self { server, client, username }
    }

    async fn exchange(&self, grant: &Grant, redactor: &Redactor) -> Result<Issued, TokenError> {
        let (headers, form) = request(&self.client, grant).ok_or_else(|| TokenError {
            class: Class::Configuration,
            message: "the client's id or secret cannot be sent in a header".to_owned(),
            retry_after: None,
        })?;
        let mut request = Request::new(form);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.server.token_url.clone();
        *request.headers_mut() = headers;
        let received = self.server.http.exchange(request).await.map_err(|lost| {
            let class = match lost.sent {
                Some(true) => Class::Ambiguous,
                Some(false) => Class::NotJudged,
                None => Class::Configuration,
            };
            TokenError { class, message: redactor.clean(&lost.message), retry_after: None }
        })?;
        let (head, body) = received.into_parts();
        // It holds the tokens.
        let body = Zeroizing::new(body);
        let answer = Answer { status: head.status, headers: &head.headers, body: &body };
        response::read(&answer, grant, redactor, self.server.clock.now())
    }

    async fn ask_subject(&self, token: &AccessToken) -> Option<String> {
        let mut request = Request::new(String::new());
        *request.uri_mut() = self.server.userinfo_url.clone()?;
        request.headers_mut().insert(AUTHORIZATION, token.header_value()?);
        let received = self.server.http.exchange(request).await.ok()?;
        let claims = Body::read(received.headers(), received.body());
        received.status().is_success().then(|| response::subject_of(claims.object().ok()?))?
    }
}

/// A URL that grants or tokens may be sent to.
fn usable(url: &Url) -> Result<Uri, EndpointError> {
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(EndpointError::NotHttp);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(EndpointError::UserInfo);
    }
    let mut url = url.clone();
    url.set_fragment(None);
    Uri::try_from(url.as_str()).map_err(|_| EndpointError::NotHttp)
}

impl<T: Transport> Redeem for Endpoint<T> {
    async fn redeem(&self, grant: &Grant) -> Result<Issued, TokenError> {
        let redactor = Redactor::new(grant, &self.client, self.username.as_deref());
        self.exchange(grant, &redactor).await.map_err(|error| TokenError {
            message: format!("token endpoint {}: {}", self.server.shown, error.message),
            ..error
        })
    }

    fn fingerprint(&self) -> String {
        let auth = format!("{:?}", self.client.auth);
        let secret = self.client.client_secret.expose();
        fingerprint(&[&self.server.token_url.to_string(), &self.client.client_id, secret, &auth])
    }

    async fn subject(&self, token: &AccessToken) -> Option<String> {
        self.ask_subject(token).await
    }
}

/// The headers and the form body of one exchange; `None` when the client cannot be put in a header.
fn request(client: &ClientIdentity, grant: &Grant) -> Option<(HeaderMap, String)> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut form = Serializer::new(String::with_capacity(room(client, grant)));
    form.append_pair("grant_type", grant.name());
    match grant {
        Grant::Password { username, password, scope } => {
            form.append_pair("username", username).append_pair("password", password.expose());
            // An empty one is no scope (RFC 6749 §3.3 wants at least one token in it).
            if !scope.is_empty() {
                form.append_pair("scope", scope);
            }
        }
        Grant::AuthorizationCode { code, redirect_uri, verifier } => {
            form.append_pair("code", code.expose()).append_pair("redirect_uri", redirect_uri);
            if let Some(verifier) = verifier {
                form.append_pair("code_verifier", verifier.expose());
            }
        }
        // No scope: RFC 6749 §6 then grants what was granted before.
        Grant::RefreshToken { refresh_token } => {
            form.append_pair("refresh_token", refresh_token.expose());
        }
    }
    // Exactly one of the two: WSO2 refuses a request that carries both.
    match client.auth_for(grant) {
        ClientAuth::Body => {
            form.append_pair("client_id", &client.client_id);
            form.append_pair("client_secret", client.client_secret.expose());
        }
        ClientAuth::Basic => {
            let value = Zeroizing::new(["Basic ", &basic(client)].concat());
            let mut value = HeaderValue::try_from(value.as_str()).ok()?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    Some((headers, form.finish()))
}

/// Room for a whole form: one that grows leaves copies of its secrets behind.
fn room(client: &ClientIdentity, grant: &Grant) -> usize {
    /// Names, signs, and what is no secret.
    const REST: usize = 1024;
    let grant = match grant {
        Grant::Password { username, password, scope } => {
            username.len() + password.expose().len() + scope.len()
        }
        Grant::AuthorizationCode { code, redirect_uri, verifier } => {
            let verifier = verifier.as_ref().map_or(0, |verifier| verifier.expose().len());
            code.expose().len() + redirect_uri.len() + verifier
        }
        Grant::RefreshToken { refresh_token } => refresh_token.expose().len(),
    };
    // Form encoding makes up to three bytes of one.
    REST + 3 * (grant + client.client_id.len() + client.client_secret.expose().len())
}

/// The credentials of HTTP Basic, both parts form-encoded first (RFC 6749 §2.3.1), which also keeps a colon in the
/// id from splitting it.
pub(super) fn basic(client: &ClientIdentity) -> Zeroizing<String> {
    let encode = |part: &str| {
        let mut encoded = Zeroizing::new(String::with_capacity(3 * part.len()));
        encoded.extend(byte_serialize(part.as_bytes()));
        encoded
    };
    let (id, secret) = (encode(&client.client_id), encode(client.client_secret.expose()));
    let pair = Zeroizing::new([id.as_str(), ":", &secret].concat());
    Zeroizing::new(STANDARD.encode(pair.as_bytes()))
}

/// More than an answer with tokens takes.
const USUAL_BODY: usize = 16 * 1024;

/// Reads the answer, up to one byte beyond the limit.
///
/// The status of a failure says a lot without its body: of a refusal that is cut off, what has come is judged.
async fn receive(mut sent: reqwest::Response) -> Result<Response<Vec<u8>>, reqwest::Error> {
    let (status, headers) = (sent.status(), std::mem::take(sent.headers_mut()));
    // A vector that grows leaves copies of the tokens behind.
    let announced = sent.content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = Vec::with_capacity(announced.unwrap_or(USUAL_BODY).min(MAX_BODY + 1));
    while body.len() <= MAX_BODY {
        let chunk = match sent.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(_) if !status.is_success() => break,
            Err(error) => return Err(error),
        };
        let room = MAX_BODY + 1 - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    let mut received = Response::new(body);
    (*received.status_mut(), *received.headers_mut()) = (status, headers);
    Ok(received)
}

/// The innermost reason ("Connection refused", "invalid peer certificate: UnknownIssuer"): reqwest's own text says
/// only that something failed, and quotes the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut reason: &dyn Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let text = if error.source().is_none() { "unknown reason".to_owned() } else { reason.to_string() };
    if error.is_dns() { format!("name not resolved: {text}") } else { text }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
