//! The token endpoint, and the only user of reqwest.

use std::future::Future;

use super::{Grant, Issued, RedeemError};

/// Something that redeems grants: the token endpoint, or a script in a test.
pub trait Redeem: Send + Sync + 'static {
    /// Exchanges `grant` for a token set.
    ///
    /// Not cancel safe: dropping the future after the request has been sent loses a single-use grant. Only the
    /// refresher calls it, and never drops it.
    fn redeem(&self, grant: &Grant) -> impl Future<Output = Result<Issued, RedeemError>> + Send;
}

/// The token endpoint of one credential.
#[derive(Debug)]
pub struct Endpoint {}
