//! The token endpoint's refusals: one row each, with the service's words.

use http::header::WWW_AUTHENTICATE;

use crate::response::{Answer, ordered, set};

/// Why the token endpoint refuses, in the order it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    RepeatedParameters,
    NoGrantType,
    UnknownGrantType,
    MissingParameters(Vec<&'static str>),
    WrongSecret,
    UnknownClient(String),
    HeaderAndBody,
    TwoMethods,
    NoClientAuthentication,
    GrantNotAllowed,
    AuthenticationFailed(String),
    Locked(String),
    LockedByAdministrator(String),
    RefreshUnknown,
    RefreshInactive,
    RefreshNotLatest,
    RefreshExpired,
    CodeInvalid,
    CodeInactive,
    CodeExpired,
    CallbackMismatch,
    VerifierMismatch,
    Scope,
    InvalidRevocation,
    OtherClient,
    ServerError,
}

impl Row {
    /// Status, error and description.
    fn words(&self) -> (u16, &'static str, String) {
        let locked = |reason: &str, user: &str| {
            format!(
                "17003{reason} User account is locked for user: {user} in user store: PRIMARY in tenant: \
                 vbc.prod. Cannot login until the account is unlocked."
            )
        };
        let (status, error, description) = match self {
            Self::RepeatedParameters => (400, "invalid_request", "Invalid request with repeated parameters."),
            Self::NoGrantType => (400, "invalid_request", "Missing grant_type parameter value"),
            Self::UnknownGrantType => (400, "invalid_request", "Unsupported grant_type value"),
            Self::MissingParameters(names) => {
                return (400, "invalid_request", format!("Missing parameters: {}", names.join(" ")));
            }
            Self::WrongSecret => (401, "invalid_client", "Client credentials are invalid."),
            Self::UnknownClient(id) => {
                let text = format!("A valid OAuth client could not be found for client_id: {id}");
                return (401, "invalid_client", text);
            }
            Self::HeaderAndBody => {
                (400, "invalid_request", "Request body and headers contain authorization information")
            }
            Self::TwoMethods => (
                400,
                "invalid_request",
                "The client MUST NOT use more than one authentication method in each",
            ),
            Self::NoClientAuthentication => {
                (401, "invalid_client", "Unsupported Client Authentication Method!")
            }
            Self::GrantNotAllowed => (
                400,
                "unauthorized_client",
                "The authenticated client is not authorized to use this authorization grant type",
            ),
            Self::AuthenticationFailed(user) => {
                return (400, "invalid_grant", format!("Authentication failed for {user}"));
            }
            Self::Locked(user) => return (400, "invalid_grant", locked("", user)),
            Self::LockedByAdministrator(user) => {
                return (400, "invalid_grant", locked(":AdminInitiated", user));
            }
            Self::RefreshUnknown => (400, "invalid_grant", "Persisted access token data not found"),
            Self::RefreshInactive => (400, "invalid_grant", "Invalid refresh token state"),
            Self::RefreshNotLatest => (400, "invalid_grant", "Invalid refresh token value in the request"),
            Self::RefreshExpired => (400, "invalid_grant", "Refresh token is expired."),
            Self::CodeInvalid => {
                (400, "invalid_grant", "Invalid authorization code received from token request")
            }
            Self::CodeInactive => {
                (400, "invalid_grant", "Inactive authorization code received from token request")
            }
            Self::CodeExpired => {
                (400, "invalid_grant", "Expired or Revoked authorization code received from token request")
            }
            Self::CallbackMismatch => (400, "invalid_grant", "Callback url mismatch"),
            Self::VerifierMismatch => (400, "invalid_grant", "PKCE validation failed"),
            Self::Scope => (400, "invalid_scope", "Invalid Scope!"),
            Self::InvalidRevocation => (400, "invalid_request", "Invalid revocation request"),
            Self::ServerError => (500, "server_error", "Internal Server Error."),
            Self::OtherClient => (400, "unauthorized_client", "Unauthorized Client"),
        };
        (status, error, description.to_owned())
    }

    /// The answer; `host` names the realm of a challenge.
    pub(crate) fn answer(&self, host: &str) -> Answer {
        let (status, error, description) = self.words();
        let mut answer = ordered(status, &[("error_description", &description), ("error", error)]);
        if matches!(self, Self::WrongSecret | Self::UnknownClient(_)) {
            set(&mut answer, WWW_AUTHENTICATE, &format!("Basic realm={host}"));
        }
        answer
    }
}
