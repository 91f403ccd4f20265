//! The OAuth 2.0 client of the authorization server.
//!
//! An [`Endpoint`] redeems a [`Grant`] for a [`TokenSet`], or fails with a [`TokenError`].

mod authorize;
mod client;
mod endpoint;
mod error;
mod error_body;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/oauth.rs"]
pub mod fuzz;
mod grant;
mod http_client;
mod judge;
mod lenient;
mod redact;
mod response;
mod response_body;
mod retry_after;
mod token;

pub use authorize::{
    AuthorizationError, AuthorizationRequest, AuthorizationResponse, AuthorizeOptions, unguessable,
};
pub use client::{ClientAuth, ClientIdentity};
pub use endpoint::{AuthorizationServer, Endpoint, Redeem};
pub use error::{Class, EndpointError, TokenError};
pub use error_body::ErrorBody;
pub use grant::Grant;
pub use http_client::{HttpClient, Transport, TransportError};
pub use token::{AccessToken, Issued, TokenSet};
