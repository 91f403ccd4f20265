//! OAuth 2.0 towards the authorization server: what is exchanged ([`Grant`]), what comes back ([`TokenSet`]), who
//! carries it ([`Endpoint`]), and what a failure means ([`TokenError`]).

mod authorize;
mod body;
mod endpoint;
mod error;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/oauth.rs"]
pub mod fuzz;
mod grant;
mod judge;
mod lenient;
mod redact;
mod request_body;
mod response;
mod retry_after;
mod token;

pub use authorize::{
    AuthorizationError, AuthorizationRequest, AuthorizationResponse, AuthorizeOptions, unguessable,
};
pub use endpoint::{
    AuthorizationServer, Endpoint, EndpointError, EndpointOptions, HttpClient, Redeem, Transport,
    TransportError,
};
pub use error::{Class, TokenError};
pub use grant::{ClientAuth, ClientIdentity, Grant};
pub use token::{AccessToken, Issued, TokenSet};
