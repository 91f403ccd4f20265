//! OAuth 2.0 towards the authorization server: what is exchanged ([`Grant`]), what comes back ([`TokenSet`]), who
//! carries it ([`Endpoint`]), and what a failure means ([`RedeemError`]).

mod endpoint;
mod error;
mod grant;
mod redact;
mod response;
mod retry_after;
mod token;

pub use endpoint::{Endpoint, EndpointError, EndpointOptions, HttpClient, Redeem};
pub use error::{Class, RedeemError};
pub use grant::{ClientIdentity, Grant};
pub use token::{Issued, TokenSet};
