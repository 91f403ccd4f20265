//! The token endpoint: grants in, token sets out.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::client::{ClientAuth, ClientIdentity};
use super::error::{Class, EndpointError, TokenError};
use super::grant::Grant;
use super::http_client::{HttpClient, Transport};
use super::redact::Redactor;
use super::response::{self, TokenResponse};
use super::response_body::ResponseBody;
use super::token::{AccessToken, Issued};
use vbc_base::clock::Clock;
use vbc_base::secret::fingerprint;

/// Redeems grants: the token endpoint, or a script in a test.
pub trait Redeem: Send + Sync + 'static {
    /// Exchanges `grant` for a token set.
    ///
    /// Not cancel safe: a future that is dropped after the request was sent loses a single-use
    /// grant. Only the refresher calls this, and it never drops the future.
    fn redeem(&self, grant: &Grant) -> impl Future<Output = Result<Issued, TokenError>> + Send;

    /// Fingerprint of the settings that can make the server refuse the application: URL, id, secret
    /// and the way in which they are sent.
    fn fingerprint(&self) -> String {
        String::new()
    }

    /// The user of a token according to the userinfo endpoint (OpenID Connect Core §5.3), for
    /// logins without an ID token. `None` without such an endpoint, or if the request fails.
    fn subject(&self, token: &AccessToken) -> impl Future<Output = Option<String>> + Send {
        let _ = token;
        async { None }
    }
}

/// The endpoints of an authorization server, and the transport to them. All credentials of the
/// server share it.
pub struct AuthorizationServer<T = HttpClient> {
    http: T,
    token_url: Uri,
    userinfo_url: Option<Uri>,
    /// The token URL for messages, without its query.
    shown: String,
    clock: Clock,
}

impl<T> AuthorizationServer<T> {
    /// A server that redeems grants at `token_url`, whose query is kept (RFC 6749 §3.2). The user
    /// of a token is requested from `userinfo_url`. The clock is for dates in `Retry-After`.
    ///
    /// # Errors
    /// [`EndpointError::NotHttp`] or [`EndpointError::UserInfo`] for a URL that cannot be used.
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
    /// The endpoint of one credential. `username` is removed from messages even if the grant does
    /// not contain it.
    pub fn new(
        server: Arc<AuthorizationServer<T>>,
        client: Arc<ClientIdentity>,
        username: Option<Arc<str>>,
    ) -> Self {
        Self { server, client, username }
    }

    async fn exchange(&self, grant: &Grant, redactor: &Redactor) -> Result<Issued, TokenError> {
        let (headers, form) = request(&self.client, grant).ok_or_else(|| TokenError {
            class: Class::Configuration,
            message: "client_id or client_secret cannot be sent in a header".to_owned(),
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
        // Zeroed on drop, because it contains the tokens.
        let body = Zeroizing::new(body);
        let response = TokenResponse { status: head.status, headers: &head.headers, body: &body };
        response::read(&response, grant, redactor, self.server.clock.now())
    }
}

/// The URL as the HTTP client's type, if grants or tokens may be sent to the URL.
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
        let mut request = Request::new(String::new());
        *request.uri_mut() = self.server.userinfo_url.clone()?;
        request.headers_mut().insert(AUTHORIZATION, token.header_value()?);
        let received = self.server.http.exchange(request).await.ok()?;
        let claims = ResponseBody::read(received.headers(), received.body());
        received.status().is_success().then(|| response::subject_of(claims.object().ok()?))?
    }
}

/// Enough bytes for the names and separators of a form.
const NAMES: usize = 1024;

/// The headers and the form of one exchange. `None` if id and secret cannot be sent in a header.
fn request(client: &ClientIdentity, grant: &Grant) -> Option<(HeaderMap, String)> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut parameters = grant.parameters();
    // The client authenticates in the body or in the header, never in both: WSO2 refuses a request
    // that does both.
    match client.auth_for(grant) {
        ClientAuth::Body => {
            parameters.push(("client_id", &client.client_id));
            parameters.push(("client_secret", client.client_secret.expose()));
        }
        ClientAuth::Basic => {
            let value = Zeroizing::new(["Basic ", &client.basic_credentials()].concat());
            let mut value = HeaderValue::try_from(value.as_str()).ok()?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    // The buffer has its full size from the start, because a buffer that grows leaves copies of
    // secrets behind. Form encoding turns one byte into at most three.
    let length: usize = parameters.iter().map(|(_, value)| 3 * value.len()).sum();
    let mut form = Serializer::new(String::with_capacity(NAMES + length));
    form.append_pair("grant_type", grant.name()).extend_pairs(parameters);
    Some((headers, form.finish()))
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
