//! Bodies on their way through: requests that may have to be sent twice, answers that may have been looked into.

mod copy;
mod request;
mod response;
mod spool;

pub(super) use request::{AttemptBody, RequestBody};
pub(super) use response::{PrefixedBody, ResponseBody};
pub(super) use spool::Disk;

/// An error of any kind.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
