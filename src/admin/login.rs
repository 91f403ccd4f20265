//! Interactive logins from a browser or the command line: starting, redeeming and confirming them.
//! The pages are in `browser`, the routes for the command line in `terminal`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::uri::Authority;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

use super::Inner;
use super::logins::{Initiator, Key, LastLogin, RedeemableLogin};
use crate::credential::{CodeLogin, LoginError, LoginSummary};
use crate::oauth::{AuthorizationError, AuthorizationRequest, AuthorizeOptions, unguessable};
use vbc_base::secret::Secret;
use vbc_http::host_guard::{is_local_name, normal_host};

/// The path of redirect URIs that point to this listener.
pub(super) const CALLBACK: &str = "/callback";

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(super) fn login_path(credential: &str) -> String {
    format!("/login/{}", encode(credential))
}

/// The path of an operation on this credential: `/credentials/crm/unlock`.
pub fn credential_path(credential: &str, action: &str) -> String {
    format!("/credentials/{}/{action}", encode(credential))
}

/// Encodes a name as one segment of a path, or a value of a query.
pub fn encode(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

pub(super) struct StartedLogin {
    /// The authorization request, for the user's browser.
    pub(super) url: Url,
    /// Binds the login to its initiator: the value of a cookie, or a number for the command line.
    pub(super) binding: Secret,
}

/// The secrets that confirm the login of another user.
pub(super) struct Confirmation {
    pub(super) token: Secret,
    pub(super) cookie: Secret,
}

impl Inner {
    /// Starts a login. `None` if the system provides no random bytes.
    pub(super) fn begin(
        &self,
        credential: &str,
        options: &AuthorizeOptions,
        initiator: Initiator,
    ) -> Option<StartedLogin> {
        let AuthorizationRequest { url, state, verifier } = AuthorizationRequest::new(options)?;
        let binding = unguessable()?;
        let now = self.options.clock.now();
        self.logins.begin(now, credential, &state, (initiator, &binding), &options.redirect_uri, verifier);
        tracing::info!(credential, "interactive login started");
        Some(StartedLogin { url, binding })
    }

    pub(super) fn note_refusal(&self, login: &RedeemableLogin, error: &AuthorizationError) {
        self.note(&login.key, &login.credential, "refused", None, error.to_string());
    }

    /// Prepares a confirmation. `None` if the system provides no random bytes.
    pub(super) fn wait(&self, key: &Key, number: u64) -> Option<Confirmation> {
        let token = unguessable()?;
        let cookie = unguessable()?;
        self.logins.wait(self.options.clock.now(), key, number, &token, &cookie);
        Some(Confirmation { token, cookie })
    }

    /// Notes that the login of another user was declined.
    pub(super) fn keep(&self, key: &Key, credential: &str) {
        self.note(key, credential, "kept", None, "the other user's login was discarded".to_owned());
    }

    fn note(&self, key: &Key, credential: &str, outcome: &str, subject: Option<String>, detail: String) {
        tracing::info!(credential, outcome, "interactive login ended");
        let last = LastLogin { at: self.options.clock.now(), outcome: outcome.to_owned(), subject, detail };
        self.logins.note(key, credential, last);
    }

    fn note_outcome(&self, key: &Key, credential: &str, outcome: &Result<LoginSummary, LoginError>) {
        let (word, subject, detail) = match outcome {
            Ok(done) => {
                let detail = if done.unsaved { UNSAVED.to_owned() } else { String::new() };
                ("logged_in", done.subject.clone(), detail)
            }
            Err(error @ LoginError::OtherUser { found, .. }) => {
                ("other_user", found.clone(), error.to_string())
            }
            Err(error) => ("refused", None, error.to_string()),
        };
        self.note(key, credential, word, subject, detail);
    }

    /// Where the authorization server sends the browser after a login to this credential. `host` is
    /// the host that the browser uses now; `None` if the browser has not sent a request yet.
    pub(super) fn reach(
        &self,
        credential: &str,
        options: &AuthorizeOptions,
        host: Option<&Authority>,
    ) -> Reach {
        let Some(redirect) = Url::parse(&options.redirect_uri).ok().filter(|url| url.path() == CALLBACK)
        else {
            return Reach::Elsewhere;
        };
        if host.is_some_and(|host| is_at(&redirect, host)) {
            return Reach::Here;
        }
        if leads_to(&redirect, self.options.address) {
            Reach::At(login_url(&redirect, credential))
        } else {
            Reach::Elsewhere
        }
    }

    /// The URL of the login page, if the login ends at this listener.
    pub(super) fn login_url(&self, credential: &str) -> Option<String> {
        match self.reach(credential, self.options.interactive.get(credential)?, None) {
            Reach::At(url) => Some(url),
            Reach::Here | Reach::Elsewhere => None,
        }
    }
}

/// The text for tokens that are only in memory.
pub(super) const UNSAVED: &str = "Could not save the new tokens, so they are only in memory. The log has the reason. \
                                  Do not restart the proxy while `vbc-proxy status` shows UNSAVED.";

/// The text for a frequent cause of rejected logins that users do not expect.
pub(super) const NO_SSO: &str = "Users who sign in through single sign-on (SSO) cannot log in here, because the service \
                                 does not support SSO. Use a VBC user without SSO.";

/// Whether single sign-on may be the cause: the error does not concern the application or the
/// server.
pub(super) fn may_be_sso(error: &AuthorizationError) -> bool {
    let of_others = [
        "invalid_scope",
        "invalid_request",
        "unauthorized_client",
        "unsupported_response_type",
        "server_error",
    ];
    match error {
        AuthorizationError::Refused { error, .. } => !of_others.contains(&error.as_str()),
        AuthorizationError::NoCode => false,
    }
}

/// Redeems the code of a login and uses its tokens.
///
/// Cancel safe: it runs as a task, so that the outcome is noted even if the client disconnects.
pub(super) async fn redeem(
    inner: &Arc<Inner>,
    login: RedeemableLogin,
    code: Secret,
) -> Result<LoginSummary, LoginError> {
    let inner = Arc::clone(inner);
    let task = tokio::spawn(async move {
        let RedeemableLogin { key, credential: name, redirect_uri, verifier } = login;
        let outcome = match inner.find(&name) {
            Some(credential) => credential.redeem_code(CodeLogin { code, redirect_uri, verifier }).await,
            None => Err(gone()),
        };
        inner.note_outcome(&key, &name, &outcome);
        outcome
    });
    task.await.unwrap_or_else(|_| Err(gone()))
}

/// Uses the tokens of another user after the confirmation. Cancel safe, like [`redeem`].
pub(super) async fn confirm(
    inner: &Arc<Inner>,
    key: Key,
    name: &str,
    number: u64,
) -> Result<LoginSummary, LoginError> {
    let inner = Arc::clone(inner);
    let name = name.to_owned();
    let task = tokio::spawn(async move {
        let outcome = match inner.find(&name) {
            Some(credential) => credential.confirm(number).await,
            None => Err(gone()),
        };
        inner.note_outcome(&key, &name, &outcome);
        outcome
    });
    task.await.unwrap_or_else(|_| Err(gone()))
}

fn gone() -> LoginError {
    LoginError::Unavailable("the proxy is shutting down; log in again when it has restarted".to_owned())
}

/// Where a login ends: the host of the redirect URI.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The host that the browser already uses, so that it sends its cookies.
    Here,
    /// This listener under another name. The login must start at this URL: cookies are per host.
    At(String),
    /// Not this listener, as far as the proxy can tell: the host may be forwarded to this listener.
    Elsewhere,
}

/// The URL of the login page on the host of the redirect URI.
pub(super) fn login_url(redirect: &Url, credential: &str) -> String {
    let mut url = redirect.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.set_path(&login_path(credential));
    url.into()
}

fn is_at(redirect: &Url, host: &Authority) -> bool {
    let port = redirect.port_or_known_default();
    let asked = host.port_u16().or_else(|| if redirect.scheme() == "https" { Some(443) } else { Some(80) });
    redirect.host_str().is_some_and(|name| normal_host(name) == normal_host(host.host())) && port == asked
}

fn leads_to(redirect: &Url, address: Option<SocketAddr>) -> bool {
    let Some(address) = address else { return false };
    let host = match redirect.host() {
        Some(Host::Domain(name)) if is_local_name(&normal_host(name)) => None,
        Some(Host::Ipv4(host)) => Some(IpAddr::V4(host)),
        Some(Host::Ipv6(host)) => Some(IpAddr::V6(host)),
        _ => return false,
    };
    let own = address.ip();
    let same_host = match host {
        // A local name resolves to these loopback addresses only (RFC 6761 §6.3).
        None => {
            own.is_unspecified()
                || own == IpAddr::V4(Ipv4Addr::LOCALHOST)
                || own == IpAddr::V6(Ipv6Addr::LOCALHOST)
        }
        Some(host) => host == own || (own.is_unspecified() && host.is_loopback()),
    };
    redirect.scheme() == "http" && redirect.port_or_known_default() == Some(address.port()) && same_host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(redirect: &str, address: &str) -> bool {
        leads_to(&redirect.parse().unwrap(), Some(address.parse().unwrap()))
    }

    #[test]
    fn a_redirect_uri_leads_here_when_it_names_this_machine_and_this_port() {
        for (redirect, address) in [
            ("http://localhost:8081/callback", "127.0.0.1:8081"),
            ("http://localhost:8081/callback", "[::1]:8081"),
            ("http://localhost:8081/callback", "0.0.0.0:8081"),
            ("http://127.0.0.1:8081/callback", "127.0.0.1:8081"),
            ("http://[::1]:8081/callback", "[::1]:8081"),
            ("http://localhost/callback", "127.0.0.1:80"),
        ] {
            assert!(leads(redirect, address), "{redirect} {address}");
        }
        for (redirect, address) in [
            ("http://localhost:8082/callback", "127.0.0.1:8081"),
            ("https://localhost:8081/callback", "127.0.0.1:8081"),
            ("http://[::1]:8081/callback", "127.0.0.1:8081"),
            ("http://vbc.example:8081/callback", "127.0.0.1:8081"),
            ("http://localhost:8081/callback", "10.0.0.5:8081"),
            ("http://localhost:8081/callback", "127.0.0.2:8081"),
        ] {
            assert!(!leads(redirect, address), "{redirect} {address}");
        }
        assert!(!leads_to(&"http://localhost:8081/callback".parse().unwrap(), None));
    }

    #[test]
    fn the_host_of_a_redirect_uri_is_recognised_with_and_without_its_port() {
        let is_at = |redirect: &str, host: &str| is_at(&redirect.parse().unwrap(), &host.parse().unwrap());
        assert!(is_at("http://localhost:8081/callback", "LOCALHOST:8081"));
        assert!(is_at("https://vbc.example/callback", "vbc.example"));
        assert!(is_at("https://vbc.example/callback", "vbc.example:443"));
        assert!(!is_at("http://localhost:8081/callback", "127.0.0.1:8081"));
        assert!(!is_at("http://localhost:8081/callback", "localhost"));
    }

    #[test]
    fn a_name_is_written_so_that_it_stays_one_segment() {
        assert_eq!(login_path("crm"), "/login/crm");
        assert_eq!(login_path("a/b ?é"), "/login/a%2Fb%20%3F%C3%A9");
        let redirect = "http://localhost:8081/callback?x=y".parse().unwrap();
        assert_eq!(login_url(&redirect, "a b"), "http://localhost:8081/login/a%20b");
    }
}
