//! The errors of `/token` and `/revoke`, with VBC's texts.

use http::header::WWW_AUTHENTICATE;

use crate::response::{Response, ordered, set};

/// Why a request to `/token` or `/revoke` is rejected. The variants are in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// A parameter occurs twice.
    RepeatedParameters,
    /// `grant_type` is missing.
    NoGrantType,
    /// `grant_type` is unknown.
    UnknownGrantType,
    /// The grant lacks these parameters.
    MissingParameters(Vec<&'static str>),
    /// The client secret is wrong.
    WrongSecret,
    /// No application has this consumer key.
    UnknownClient(String),
    /// The client authenticates with both header and body.
    HeaderAndBody,
    /// The client also sends an assertion.
    TwoMethods,
    /// The client does not authenticate.
    NoClientAuthentication,
    /// The application is not allowed to use the grant.
    GrantNotAllowed,
    /// The user name or the password is wrong.
    AuthenticationFailed(String),
    /// The login is locked after too many failures.
    Locked(String),
    /// An administrator has locked the login.
    LockedByAdministrator(String),
    /// The refresh token was never issued, is spent, or belongs to another client.
    RefreshUnknown,
    /// The refresh token is revoked.
    RefreshInactive,
    /// The owner has newer tokens.
    RefreshNotLatest,
    /// The refresh token has expired.
    RefreshExpired,
    /// The code was never issued, or belongs to another client.
    CodeInvalid,
    /// The code was redeemed before.
    CodeInactive,
    /// The code has expired.
    CodeExpired,
    /// The redirect URI differs from that of `/authorize`.
    CallbackMismatch,
    /// The PKCE verifier does not match the challenge.
    VerifierMismatch,
    /// A scope is unknown, or the refresh token was not issued for it.
    Scope,
    /// A revocation names no token.
    InvalidRevocation,
    /// The revoked token belongs to another client.
    OtherClient,
    /// The refresh token is spent, and [`SpentRefresh`](crate::Action::SpentRefresh) asks for a
    /// server error.
    ServerError,
}

impl TokenError {
    /// Status, error and description.
    fn words(&self) -> (u16, &'static str, String) {
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

    /// The error response; `host` is the realm of a challenge.
    pub(crate) fn response(&self, host: &str) -> Response {
        let (status, error, description) = self.words();
        let mut response = ordered(status, &[("error_description", &description), ("error", error)]);
        if matches!(self, Self::WrongSecret | Self::UnknownClient(_)) {
            set(&mut response, WWW_AUTHENTICATE, &format!("Basic realm={host}"));
        }
        response
    }
}

/// The description of a locked login; `reason` is appended to the error code.
fn locked(reason: &str, user: &str) -> String {
    format!(
        "17003{reason} User account is locked for user: {user} in user store: PRIMARY in tenant: \
         vbc.prod. Cannot login until the account is unlocked."
    )
}
