//! What the handles of a credential and its refresher share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::time::Instant;

use super::bearer::{Bearer, Unavailable};
use super::exchanges::Exchanges;
use super::mailbox::{Mailbox, PushError};
use super::message::Message;
use super::options::Options;
use super::published::Published;
use super::rejected_prefixes::RejectedPrefixes;
use super::snapshot::Snapshot;
use vbc_base::clock::{Clock, Timestamp};
use vbc_base::secret::Secret;

/// The most messages that may wait. Their senders may be gone, but the messages are still handled.
const MAILBOX: usize = 32 * 1024;

pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) clock: Clock,
    pub(super) max_wait: Duration,
    pub(super) mailbox: Mailbox<Message>,
    pub(super) published: Published<Bearer>,
    /// The refresh token in use, so that recordings can leave it out.
    pub(super) refresh_token: Mutex<Option<Secret>>,
    pub(super) exchanges: Exchanges,
    /// A reader has already requested the early refresh of the published token.
    pub(super) nudged: AtomicBool,
    /// A request has timed out waiting for the current exchange. Every exchange clears this when it
    /// begins and when it ends.
    pub(super) waited_in_vain: AtomicBool,
    pub(super) closing: AtomicBool,
    /// Requests reported that the gateway refuses tokens up to this revision, and that no newer one
    /// was available in time.
    pub(super) distrusted: AtomicU64,
    /// The newest revision that the gateway has accepted since a 401 last named a token.
    pub(super) proven: AtomicU64,
    /// The number of completed exchanges that operators requested.
    pub(super) operated: AtomicU64,
    /// Divides the delays of forced refreshes, as in [`Options`].
    pub(super) hurry: u32,
    pub(super) snapshot: Mutex<Snapshot>,
    /// Allocated at the first 401.
    pub(super) rejected_prefixes: Mutex<Option<Box<RejectedPrefixes>>>,
}

impl Shared {
    pub(super) fn new(options: &Options, clock: &Clock) -> Self {
        Self {
            name: Arc::clone(&options.name),
            clock: clock.clone(),
            max_wait: options.max_wait,
            mailbox: Mailbox::new(),
            published: Published::new(),
            refresh_token: Mutex::default(),
            exchanges: Exchanges::default(),
            nudged: AtomicBool::new(false),
            waited_in_vain: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            distrusted: AtomicU64::new(0),
            proven: AtomicU64::new(0),
            operated: AtomicU64::new(0),
            hurry: options.hurry,
            snapshot: Mutex::default(),
            rejected_prefixes: Mutex::default(),
        }
    }

    /// Queues a message for the refresher.
    pub(super) fn send(&self, message: Message) -> Result<(), Unavailable> {
        self.mailbox.push(message, MAILBOX).map_err(|error| match error {
            PushError::Full => {
                self.unavailable("too many requests are waiting for a token", Some(Duration::from_secs(1)))
            }
            PushError::Closed => self.shutting_down(),
        })
    }

    /// Requests an early refresh if `now` has reached this bearer's refresh time. Does so once per
    /// published token.
    pub(super) fn nudge(&self, bearer: &Bearer, now: Timestamp) {
        if now >= bearer.refresh_at && !self.nudged.swap(true, Ordering::Relaxed) {
            let _ = self.mailbox.push(Message::Early, MAILBOX);
        }
    }

    pub(super) fn rejected_prefixes(&self) -> MappedMutexGuard<'_, RejectedPrefixes> {
        let hurry = self.hurry;
        MutexGuard::map(self.rejected_prefixes.lock(), |prefixes| {
            &mut **prefixes.get_or_insert_with(|| Box::new(RejectedPrefixes::new(hurry)))
        })
    }

    /// How long until a refresh may be forced; zero if it may be forced now.
    pub(super) fn forced_in(&self) -> Duration {
        let prefixes = self.rejected_prefixes.lock();
        prefixes.as_ref().map_or(Duration::ZERO, |prefixes| prefixes.forced.wait(Instant::now()))
    }

    pub(super) fn distrust(&self, revision: u64) {
        self.distrusted.fetch_max(revision, Ordering::Relaxed);
    }

    /// Forgets the token and every 401. Totals that metrics show stay.
    pub(super) fn forget(&self) {
        self.published.withdraw();
        *self.refresh_token.lock() = None;
        self.nudged.store(false, Ordering::Relaxed);
        self.waited_in_vain.store(false, Ordering::Relaxed);
        self.distrusted.store(0, Ordering::Relaxed);
        self.proven.store(0, Ordering::Relaxed);
        if let Some(prefixes) = &mut *self.rejected_prefixes.lock() {
            prefixes.forget();
        }
    }

    pub(super) fn unavailable(&self, detail: &str, retry_after: Option<Duration>) -> Unavailable {
        Unavailable { credential: self.name.to_string(), detail: detail.to_owned(), retry_after }
    }

    pub(super) fn shutting_down(&self) -> Unavailable {
        self.unavailable("the proxy is shutting down", Some(Duration::from_secs(5)))
    }
}
