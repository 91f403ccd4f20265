//! The credential's single flight under loom, in every order of requests, the refresher and
//! readers.
//!
//! The files are the proxy's own, compiled with loom's primitives.

#[path = "../../src/credential/mailbox.rs"]
#[allow(dead_code, reason = "the file is the proxy's, not made for this test")]
mod mailbox;
#[path = "../../src/credential/published.rs"]
#[allow(dead_code, reason = "the file is the proxy's, not made for this test")]
mod published;

use std::future::poll_fn;

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::thread;
use mailbox::{Mailbox, PushError};
use published::{Copy, Published};

/// loom's primitives with the interface of those in `src/credential/sync.rs`.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    pub(super) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        pub(super) fn read(&self) -> loom::sync::RwLockReadGuard<'_, T> {
            self.0.read().unwrap()
        }

        pub(super) fn write(&self) -> loom::sync::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap()
        }
    }
}

use sync::{Mutex, Ordering};

/// A request for a newer revision than `refused`, with a slot for the outcome.
struct Ask {
    refused: u64,
    outcome: Arc<Mutex<Option<u64>>>,
}

struct World {
    mailbox: Mailbox<Ask>,
    published: Published<u64>,
    exchanges: AtomicUsize,
}

impl World {
    fn new() -> Arc<Self> {
        let world =
            Self { mailbox: Mailbox::new(), published: Published::new(), exchanges: AtomicUsize::new(0) };
        world.published.publish(1);
        Arc::new(world)
    }

    /// Responds until the mailbox is closed and empty, as the refresher does.
    fn refresh(&self) {
        while self.respond_to_one() {}
    }

    fn respond_to_one(&self) -> bool {
        let Some(ask) = block_on(poll_fn(|cx| self.mailbox.poll_next(cx))) else { return false };
        let mut revision = self.published.latest().unwrap();
        if revision <= ask.refused {
            self.exchanges.fetch_add(1, Ordering::Relaxed);
            revision += 1;
            self.published.publish(revision);
        }
        *ask.outcome.lock() = Some(revision);
        true
    }

    /// Puts a request into the mailbox. Returns the slot for its outcome if the mailbox accepted
    /// it.
    fn ask(&self, refused: u64) -> Option<Arc<Mutex<Option<u64>>>> {
        let outcome = Arc::new(Mutex::new(None));
        let question = Ask { refused, outcome: Arc::clone(&outcome) };
        self.mailbox.push(question, usize::MAX).is_ok().then_some(outcome)
    }
}

#[test]
fn two_requests_with_the_same_refused_bearer_share_one_exchange() {
    // Three threads take part, so orders with more than three preemptions are left out.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let world = World::new();
        let askers = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            thread::spawn(move || world.ask(1).unwrap())
        });
        // Each request gets one outcome, and there are only these two.
        assert!(world.respond_to_one() && world.respond_to_one());
        let outcomes = askers.map(|asker| asker.join().unwrap());
        for outcome in outcomes {
            assert_eq!(*outcome.lock(), Some(2), "both requests get the one newer revision");
        }
        assert_eq!(world.exchanges.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_question_gets_an_outcome_or_is_refused_whenever_the_mailbox_closes() {
    loom::model(|| {
        let world = World::new();
        let asker = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.ask(1))
        };
        let closer = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.mailbox.close())
        };
        world.refresh();
        closer.join().unwrap();
        let taken = asker.join().unwrap();
        // A request that was accepted before the close has its outcome.
        assert_eq!(
            taken.map(|outcome| *outcome.lock()),
            world.published.latest().filter(|r| *r > 1).map(Some)
        );
        assert!(world.mailbox.push(Ask { refused: 0, outcome: Arc::new(Mutex::new(None)) }, 9).is_err());
    });
}

#[test]
fn after_an_outcome_a_reader_sees_at_least_that_revision() {
    loom::model(|| {
        let world = World::new();
        let reader = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut copy = Copy::new();
                world.published.refresh(&mut copy);
                let first = copy.value.unwrap();
                let outcome = world.ask(1);
                let revision = outcome.and_then(|outcome| *outcome.lock());
                world.published.refresh(&mut copy);
                let second = copy.value.unwrap();
                assert!(second >= first, "a reader never goes back");
                assert!(
                    revision.is_none_or(|revision| second >= revision),
                    "an outcome is given only after its revision is published"
                );
                world.mailbox.close();
            })
        };
        world.refresh();
        reader.join().unwrap();
    });
}

#[test]
fn readers_never_miss_the_last_publication() {
    loom::model(|| {
        let published = Arc::new(Published::new());
        let publisher = {
            let published = Arc::clone(&published);
            thread::spawn(move || (1..=3_u64).for_each(|value| published.publish(value)))
        };
        let mut copy = Copy::new();
        published.refresh(&mut copy);
        let before = copy.value;
        published.refresh(&mut copy);
        assert!(copy.value >= before);
        publisher.join().unwrap();
        published.refresh(&mut copy);
        assert_eq!(copy.value, Some(3));
    });
}

#[test]
fn a_full_mailbox_takes_no_more_and_loses_nothing() {
    loom::model(|| {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.push(1, 1), Ok(()));
        assert_eq!(mailbox.push(2, 1), Err(PushError::Full));
        assert_eq!(block_on(poll_fn(|cx| mailbox.poll_next(cx))), Some(1));
        mailbox.close();
        assert_eq!(mailbox.push(3, 1), Err(PushError::Closed));
        assert_eq!(block_on(poll_fn(|cx| mailbox.poll_next(cx))), None);
    });
}
