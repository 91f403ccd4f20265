//! The authorization request (RFC 6749 §4.1.1) and its response (§4.1.2). Pure, except for random
//! bytes.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;
use url::Url;

use vbc_base::random;
use vbc_base::secret::Secret;

/// The options of an authorization request.
#[derive(Clone, Debug)]
pub struct AuthorizeOptions {
    /// The authorization endpoint. A query is kept (RFC 6749 §3.1).
    pub authorize_url: Url,
    /// The application's consumer key.
    pub client_id: String,
    /// The URI to which the response is sent. It must equal the application's registered one, byte
    /// for byte.
    pub redirect_uri: String,
    /// The requested scope.
    pub scope: Arc<str>,
    /// Whether a challenge binds the code to this request (RFC 7636, S256).
    pub pkce: bool,
}

/// An authorization request, with the secrets to keep until its response. The URL contains the
/// state, so `Debug` shows only its beginning.
#[derive(Clone)]
pub struct AuthorizationRequest {
    /// The URL for the resource owner's browser.
    pub url: Url,
    /// Identifies the response to this request (RFC 6749 §10.12).
    pub state: Secret,
    /// The PKCE verifier, which is redeemed together with the code.
    pub verifier: Option<Secret>,
}

impl std::fmt::Debug for AuthorizationRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = &self.url[..url::Position::AfterPath];
        f.debug_struct("AuthorizationRequest").field("url", &url).finish_non_exhaustive()
    }
}

impl AuthorizationRequest {
    /// A request with a new state and, with PKCE, a new verifier. Both are random, so that nobody
    /// can guess them. `None` if the system has no random bytes.
    pub fn new(options: &AuthorizeOptions) -> Option<Self> {
        let state = unguessable()?;
        let verifier = if options.pkce { Some(unguessable()?) } else { None };
        let mut url = options.authorize_url.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("response_type", "code");
            query.append_pair("client_id", &options.client_id);
            query.append_pair("redirect_uri", &options.redirect_uri);
            if !options.scope.is_empty() {
                query.append_pair("scope", &options.scope);
            }
            query.append_pair("state", state.expose());
            if let Some(verifier) = &verifier {
                query.append_pair("code_challenge", &challenge(verifier));
                query.append_pair("code_challenge_method", "S256");
            }
        }
        Some(Self { url, state, verifier })
    }
}

/// 256 random bits as 43 characters that are legal in a verifier (RFC 7636 §4.1) and in a cookie.
/// `None` if the system has no random bytes.
pub fn unguessable() -> Option<Secret> {
    Some(Secret::new(URL_SAFE_NO_PAD.encode(random::secret::<32>()?)))
}

fn challenge(verifier: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.expose().as_bytes()))
}

/// The response at the redirect URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationResponse {
    /// The state; `None` for a bare code that was pasted.
    pub state: Option<Secret>,
    /// The code, or the reason why the server sent no code.
    pub outcome: Result<Secret, AuthorizationError>,
}

/// Why an authorization request brought no code.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthorizationError {
    /// The server refused (RFC 6749 §4.1.2.1). Both texts are safe to show: one line, with a
    /// limited length.
    #[error("the authorization server refused the login: {error}{}", words(description))]
    Refused {
        /// `access_denied`, `invalid_scope`, …
        error: String,
        /// The server's description of the error.
        description: Option<String>,
    },
    /// The response has neither a code nor an error.
    #[error("the response contains no code; it should look like REDIRECT_URI?code=…&state=…")]
    NoCode,
}

fn words(description: &Option<String>) -> String {
    description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

impl AuthorizationResponse {
    /// Reads the query of the redirect URI.
    pub fn from_query(query: &str) -> Self {
        let value = |wanted: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            let found = pairs.find(|(name, value)| name == wanted && !value.is_empty());
            found.map(|(_, value)| value.into_owned())
        };
        let outcome = match (value("code"), value("error")) {
            (_, Some(error)) => Err(AuthorizationError::Refused {
                error: fit(&error, 64),
                description: value("error_description").map(|text| fit(&text, 200)),
            }),
            (Some(code), None) => Ok(Secret::new(code)),
            (None, None) => Err(AuthorizationError::NoCode),
        };
        Self { state: value("state").map(Secret::new), outcome }
    }

    /// Reads a pasted text: the redirect URI, its query, or the bare code.
    pub fn from_pasted(text: &str) -> Self {
        let text = text.trim();
        let looks_like_query =
            text.starts_with("code=") || text.starts_with("error=") || text.contains("&code=");
        match text.split_once('?') {
            Some((_, query)) => Self::from_query(query.split('#').next().unwrap_or_default()),
            None if looks_like_query || text.contains("://") => Self::from_query(text),
            None if text.is_empty() || text.contains(char::is_whitespace) => {
                Self { state: None, outcome: Err(AuthorizationError::NoCode) }
            }
            None => Self { state: None, outcome: Ok(Secret::new(text)) },
        }
    }
}

/// Another party's text on one line, with a limited length.
fn fit(text: &str, length: usize) -> String {
    let plain = text.chars().map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c });
    plain.take(length).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn options(pkce: bool) -> AuthorizeOptions {
        AuthorizeOptions {
            authorize_url: "https://api.vonage.com/authorize?tenant=a".parse().unwrap(),
            client_id: "app 1".into(),
            redirect_uri: "http://localhost:8081/callback".into(),
            scope: "openid".into(),
            pkce,
        }
    }

    #[test]
    fn a_request_carries_a_state_nobody_can_guess() {
        let [one, other] = [(); 2].map(|()| AuthorizationRequest::new(&options(false)).unwrap());
        assert_ne!(one.state, other.state);
        assert_eq!(one.state.expose().len(), 43);
        let query: HashMap<_, _> = one.url.query_pairs().into_owned().collect();
        let redirect = "http://localhost:8081/callback";
        for (name, value) in [
            ("tenant", "a"),
            ("response_type", "code"),
            ("client_id", "app 1"),
            ("redirect_uri", redirect),
            ("scope", "openid"),
            ("state", one.state.expose()),
        ] {
            assert_eq!(query[name], value);
        }
        assert_eq!(query.len(), 6, "nothing is sent for PKCE unless it is asked for: {query:?}");
    }

    #[test]
    fn debugging_shows_neither_state_nor_verifier() {
        let request = AuthorizationRequest::new(&options(true)).unwrap();
        let shown = format!("{request:?}");
        let verifier = request.verifier.unwrap();
        for hidden in [request.state.expose(), verifier.expose(), &challenge(&verifier)] {
            assert!(!shown.contains(hidden), "{shown}");
        }
        assert!(shown.contains("/authorize"), "{shown}");
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        // The example of RFC 7636, Appendix B.
        let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn with_pkce_the_challenge_goes_out_and_the_verifier_stays() {
        let request = AuthorizationRequest::new(&options(true)).unwrap();
        let verifier = request.verifier.unwrap();
        let query: HashMap<_, _> = request.url.query_pairs().into_owned().collect();
        assert_eq!(query["code_challenge"], challenge(&verifier));
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(!request.url.as_str().contains(verifier.expose()));
    }

    #[test]
    fn a_pasted_response_is_read_in_every_form_people_paste() {
        let code =
            |text: &str| AuthorizationResponse::from_pasted(text).outcome.map(|c| c.expose().to_owned());
        for text in [
            "http://localhost:8081/callback?code=c%2F1&state=s",
            "  http://localhost:8081/callback?session_state=x&code=c%2F1&state=s#top \n",
            "code=c%2F1&state=s",
            "c/1",
        ] {
            assert_eq!(code(text), Ok("c/1".to_owned()), "{text}");
        }
        let state =
            |text: &str| AuthorizationResponse::from_pasted(text).state.map(|s| s.expose().to_owned());
        assert_eq!(state("http://localhost:8081/callback?code=c&state=s"), Some("s".into()));
        assert_eq!(state("c"), None);
        for text in ["", "\n", "two words", "http://localhost:8081/callback", "http://x/callback?state=s"] {
            assert_eq!(code(text), Err(AuthorizationError::NoCode), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words_on_one_line() {
        let response = AuthorizationResponse::from_query(
            "error=access_denied&error_description=User%0Adenied&state=s&code=c",
        );
        assert_eq!(
            response.outcome.unwrap_err().to_string(),
            "the authorization server refused the login: access_denied (User denied)"
        );
    }
}
