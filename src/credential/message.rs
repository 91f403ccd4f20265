//! The messages from requests and operators to the refresher.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bearer::{Bearer, Replacement, Unavailable};
use super::code_login::{CodeLogin, LoginError, LoginSummary};
use super::reset::AnnouncedReset;

/// Where an outcome is sent. The receiver may be gone.
pub(super) type RespondTo<T, E = Unavailable> = oneshot::Sender<Result<T, E>>;

/// A message to the refresher.
pub(super) enum Message {
    /// Any usable bearer is needed.
    Usable { respond_to: RespondTo<Bearer> },
    /// The upstream refused a bearer.
    Newer(NewerRequest),
    /// A bearer is needed that was minted no longer than `max_age` ago.
    Younger { max_age: Duration, respond_to: RespondTo<Bearer> },
    /// The refresh time has passed.
    Early,
    /// An operator wants a new token set. `operated` is the value of `Shared::operated` when the
    /// operator asked.
    Refresh { operated: u64, respond_to: RespondTo<()> },
    /// An operator ends all blocks and pauses.
    Unlock { respond_to: RespondTo<bool> },
    /// The simulated service will be reset, and will know no token any more.
    Reset(AnnouncedReset),
    /// An interactive login brought a code.
    Code { login: Box<CodeLogin>, respond_to: RespondTo<LoginSummary, LoginError> },
    /// The login of another user is confirmed.
    Confirm { login: u64, respond_to: RespondTo<LoginSummary, LoginError> },
}

/// A request for a bearer newer than a refused one.
pub(super) struct NewerRequest {
    /// The revision of the refused bearer.
    pub(super) refused: u64,
    /// Whether the gateway named the token as the reason.
    pub(super) is_certain: bool,
    pub(super) asked: Instant,
    pub(super) respond_to: RespondTo<Replacement>,
}
