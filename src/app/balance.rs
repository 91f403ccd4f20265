//! Decides which thread serves a connection.
//!
//! The kernel spreads connections over the threads' listeners by a hash. Two threads may get 38 and
//! 26 of 64 long-lived connections, and keep them. Therefore a thread hands an accepted connection
//! over if another thread has fewer, before any byte is read. A few connections are collected on
//! one thread instead ([`SMALL_POOL`]).
//!
//! This costs nothing per request: a connection moves once, at its beginning. A thread reads two
//! numbers of each other thread, which may be slightly out of date. Two threads may choose the same
//! thread at the same time; the next connection corrects that.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::connection::{OpenConnections, OpenGuard};
use crate::metrics::{Load, Metrics};

/// Up to this many long-lived connections stay on one thread.
///
/// A few connections usually belong to one client: a browser opens six. On one thread they share
/// upstream connections and wake-ups. Spread over two, they cost a quarter more CPU per request.
const SMALL_POOL: i64 = 6;

/// Long-lived connections: a thread keeps at most its fair share plus 1/`SLACK`, capped at
/// [`MOST_SLACK`].
///
/// With few connections every one counts: 64 on two threads are at worst 33 and 31. Without slack,
/// thousands of connections that come and go would cause a handover for every second one.
const SLACK: i64 = 16;

/// The cap of the slack. With thousands of idle connections, a hundred new ones must not all be on
/// one thread.
const MOST_SLACK: i64 = 16;

/// Connections are short-lived if, within a [`WINDOW`], this many times more end than are open.
/// Then they live for less than 25 ms, as with one connection per request and a near upstream.
///
/// The hash spreads short-lived connections evenly over time, and a handover is a large part of
/// their cost. A thread hands one over only if it has more than twice as many as another, plus two.
/// At worst, one connection in nine is handed over. On two threads, the limit for long-lived
/// connections would hand over half of them.
const SHORT_LIVED_RATIO: u64 = 4;
const WINDOW: Duration = Duration::from_millis(100);

/// One thread's view of all threads.
///
/// A clone keeps all inboxes open. A thread must drop its last clone when it accepts no more
/// connections.
pub(super) struct Balance<T> {
    own: usize,
    workers: Arc<[WorkerHandle<T>]>,
    handed_over: Counter,
    turnover: Turnover,
}

/// The part of a thread that other threads see. Read-only, except for the counts.
struct WorkerHandle<T> {
    /// The count in `open`, without the indirection.
    load: Load,
    open: Arc<OpenConnections>,
    inbox: UnboundedSender<T>,
}

impl<T> Clone for Balance<T> {
    fn clone(&self) -> Self {
        Self {
            own: self.own,
            workers: Arc::clone(&self.workers),
            handed_over: self.handed_over.clone(),
            turnover: self.turnover,
        }
    }
}

impl<T> Balance<T> {
    /// The views of this many threads. Each thread receives connections from its receiver until all
    /// views are dropped.
    pub(super) fn new(workers: usize, metrics: &Metrics) -> Vec<(Self, UnboundedReceiver<T>)> {
        let mut handles = Vec::new();
        let mut inboxes = Vec::new();
        for worker in 0..workers {
            let load = metrics.load(worker);
            let open = OpenConnections::new(load.clone(), metrics.connections.clone());
            // The channel is unbounded, because admission limits the connections in it.
            let (inbox, receiver) = unbounded_channel();
            handles.push(WorkerHandle { load, open, inbox });
            inboxes.push(receiver);
        }
        let view = Self {
            own: 0,
            workers: handles.into(),
            handed_over: metrics.handed_over.clone(),
            turnover: Turnover { since: Instant::now(), ended: 0, before: 0 },
        };
        let view = |own| Self { own, ..view.clone() };
        inboxes.into_iter().enumerate().map(|(own, inbox)| (view(own), inbox)).collect()
    }

    /// The connections of this thread.
    pub(super) fn open(&self) -> &Arc<OpenConnections> {
        &self.workers[self.own].open
    }

    /// The other thread that should serve a connection that this thread has accepted. `None` if
    /// this thread should keep the connection.
    pub(super) fn less_loaded(&mut self) -> Option<OtherWorker<'_, T>> {
        // Sums over all threads, because a thread that hands over everything sees no connection
        // end.
        let mut open = self.workers.len() as i64;
        let mut ended = 0_u64;
        for worker in self.workers.iter() {
            open += worker.load.get();
            ended = ended.wrapping_add(worker.open.ended());
        }
        let short_lived = self.turnover.is_short_lived(open, ended, Instant::now());
        let load = |worker: usize| self.workers[worker].load.get();
        let chosen = less_loaded_than(self.own, self.workers.len(), short_lived, load)?;
        Some(OtherWorker { handle: &self.workers[chosen], handed_over: &self.handed_over })
    }
}

/// How fast connections end.
#[derive(Clone, Copy)]
struct Turnover {
    /// The beginning of the window.
    since: Instant,
    /// The connections that had ended at the beginning of the window.
    ended: u64,
    /// The connections that ended in the previous window.
    before: u64,
}

impl Turnover {
    /// Whether connections are short-lived. `open` is the number of open connections plus one per
    /// thread, and `ended` counts the connections that have ended since the start.
    fn is_short_lived(&mut self, open: i64, ended: u64, now: Instant) -> bool {
        let mut lately = ended.saturating_sub(self.ended);
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            self.before = if passed < 2 * WINDOW { lately } else { 0 };
            (self.since, self.ended, lately) = (now, ended, 0);
        }
        lately.max(self.before) > SHORT_LIVED_RATIO * open.unsigned_abs()
    }
}

/// Another thread, chosen for a connection.
pub(super) struct OtherWorker<'a, T> {
    handle: &'a WorkerHandle<T>,
    handed_over: &'a Counter,
}

impl<T> OtherWorker<'_, T> {
    /// Counts a connection on that thread. Call this before [`hand_over`](Self::hand_over).
    /// Otherwise a whole burst would go to one thread before that thread has counted the first.
    pub(super) fn count(&self) -> OpenGuard {
        self.handle.open.count()
    }

    /// Hands over a connection.
    ///
    /// # Errors
    /// The connection itself, if that thread has ended.
    pub(super) fn hand_over(&self, connection: T) -> Result<(), T> {
        self.handle.inbox.send(connection).map_err(|failed| failed.0)?;
        self.handed_over.inc();
        Ok(())
    }
}

/// The worker that should have a new connection instead of `own`, if there is one.
fn less_loaded_than(
    own: usize,
    workers: usize,
    short_lived: bool,
    load: impl Fn(usize) -> i64,
) -> Option<usize> {
    let here = load(own);
    // Starts after `own`: among equally loaded threads, different threads choose different ones.
    let others = || (1..workers).map(|step| (own + step) % workers).map(|worker| (load(worker), worker));
    let all = here + others().map(|(load, _)| load).sum::<i64>();
    // Short-lived connections are never collected: one ends before the next arrives.
    if !short_lived && all < SMALL_POOL {
        let (most, worker) = others().rev().max_by_key(|(load, _)| *load)?;
        return (most > here).then_some(worker);
    }
    let (least, worker) = others().min_by_key(|(load, _)| *load)?;
    let slack = if short_lived { least + 2 } else { (least / SLACK).min(MOST_SLACK) };
    (here > least + slack).then_some(worker)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets connections arrive one by one. Each item of `accepting` is the worker that accepts the
    /// next one. Returns the number of connections that each worker has at the end.
    fn spread(workers: usize, accepting: impl IntoIterator<Item = usize>) -> Vec<i64> {
        let mut loads = vec![0; workers];
        for own in accepting {
            let chosen = less_loaded_than(own, workers, false, |worker| loads[worker]).unwrap_or(own);
            loads[chosen] += 1;
        }
        loads
    }

    fn apart(loads: &[i64]) -> i64 {
        loads.iter().max().unwrap() - loads.iter().min().unwrap()
    }

    #[test]
    fn a_thread_that_has_as_many_as_the_others_keeps_what_it_accepts() {
        for alike in [0, 1, 5, 6, 15, 16, 1000] {
            assert_eq!(less_loaded_than(1, 4, false, |_| alike), None);
        }
        assert_eq!(less_loaded_than(0, 1, false, |_| 1000), None, "there is no other");
        assert_eq!(less_loaded_than(0, 2, false, |worker| [0, -1][worker]), None);
    }

    #[test]
    fn the_more_there_are_the_more_a_thread_may_have_beyond() {
        for (least, most) in [(6, 6), (15, 15), (16, 17), (31, 32), (32, 34), (256, 272), (10_000, 10_016)] {
            assert_eq!(less_loaded_than(0, 2, false, |worker| [most, least][worker]), None, "{most} {least}");
            assert_eq!(
                less_loaded_than(0, 2, false, |worker| [most + 1, least][worker]),
                Some(1),
                "{most} {least}"
            );
        }
    }

    #[test]
    fn a_thread_keeps_up_to_twice_as_many_short_lived_ones_and_two() {
        for (least, most) in [(0, 2), (1, 4), (16, 34), (1000, 2002)] {
            assert_eq!(less_loaded_than(0, 2, true, |worker| [most, least][worker]), None, "{most} {least}");
            assert_eq!(
                less_loaded_than(0, 2, true, |worker| [most + 1, least][worker]),
                Some(1),
                "{most} {least}"
            );
        }
    }

    #[test]
    fn connections_are_short_lived_when_many_more_end_than_there_are() {
        let start = Instant::now();
        let mut turnover = Turnover { since: start, ended: 0, before: 0 };
        assert!(!turnover.is_short_lived(1, 4, start) && turnover.is_short_lived(1, 5, start));
        assert!(!turnover.is_short_lived(25, 100, start) && turnover.is_short_lived(24, 100, start));
        // The previous window still counts, the one before it does not.
        let next = start + WINDOW;
        assert!(!turnover.is_short_lived(25, 100, next) && turnover.is_short_lived(24, 100, next));
        assert!(
            !turnover.is_short_lived(1, 104, next + WINDOW)
                && !turnover.is_short_lived(1, 104, next + 2 * WINDOW)
        );
        assert!(turnover.is_short_lived(1, 204, next + 2 * WINDOW));
        assert!(!turnover.is_short_lived(1, 204, next + 4 * WINDOW), "a pause has passed");
    }

    #[test]
    fn the_one_with_the_least_gets_it_and_of_several_the_next() {
        assert_eq!(less_loaded_than(0, 4, false, |worker| [19, 15, 14, 15][worker]), Some(2));
        assert_eq!(less_loaded_than(2, 4, false, |worker| [14, 14, 19, 14][worker]), Some(3));
        assert_eq!(less_loaded_than(3, 4, false, |worker| [14, 14, 14, 19][worker]), Some(0));
        assert_eq!(less_loaded_than(3, 4, false, |worker| [14, 0, 0, 19][worker]), Some(1));
    }

    #[test]
    fn a_few_are_brought_together() {
        for (loads, expected) in [
            // No other thread has more connections, or there are no connections yet.
            ([0, 0, 0], None),
            ([2, 0, 2], None),
            ([3, 2, 0], None),
            ([0, 1, 0], Some(1)),
            ([1, 2, 2], Some(1)),
            ([1, 1, 3], Some(2)),
            ([0, 5, 0], Some(1)),
            // There are more than a few.
            ([0, 6, 0], None),
            ([6, 0, 0], Some(1)),
            ([2, 3, 3], None),
            ([2, 1, 3], Some(1)),
        ] {
            assert_eq!(less_loaded_than(0, 3, false, |worker| loads[worker]), expected, "{loads:?}");
        }
        assert_eq!(less_loaded_than(0, 2, true, |worker| [0, 1][worker]), None, "they are short-lived");
    }

    #[test]
    fn all_at_one_listener_are_spread() {
        for (workers, connections, expected) in [
            (2, 2, vec![2, 0]),
            (2, 6, vec![6, 0]),
            (2, 8, vec![6, 2]),
            (2, 12, vec![6, 6]),
            (4, 2, vec![2, 0, 0, 0]),
            (4, 9, vec![6, 1, 1, 1]),
            (4, 24, vec![6; 4]),
            (4, 64, vec![16; 4]),
        ] {
            assert_eq!(spread(workers, std::iter::repeat_n(0, connections)), expected);
        }
        assert_eq!(spread(2, std::iter::repeat_n(0, 64)), [33, 31]);
    }

    proptest! {
        #[test]
        fn however_they_arrive_they_are_spread(
            workers in 1_usize..8,
            arrivals in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
        ) {
            let loads = spread(workers, arrivals.iter().map(|index| index.index(workers)));
            let least = loads.iter().min().unwrap();
            prop_assert!(apart(&loads) <= (1 + least / SLACK).max(SMALL_POOL - least), "{loads:?}");
        }
    }

    /// How many of a thousand connections are handed over; each client opens one when its last has
    /// ended.
    fn handed_over(workers: usize, clients: usize, short_lived: bool) -> usize {
        let (mut seed, mut loads, mut moved) = (1_u64, vec![0_i64; workers], 0);
        // xorshift64: the same every time.
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let mut serving = Vec::new();
        for round in 0..clients + 20_000 {
            if round >= clients {
                loads[serving.swap_remove(random(clients))] -= 1;
            }
            let own = random(workers);
            let other = less_loaded_than(own, workers, short_lived, |worker| loads[worker]);
            moved += usize::from(round >= clients && other.is_some());
            let chosen = other.unwrap_or(own);
            loads[chosen] += 1;
            serving.push(chosen);
        }
        moved / 20
    }

    #[test]
    fn few_short_lived_ones_are_handed_over() {
        for workers in [2, 4, 8] {
            for clients in [2, 4, 8, 16, 32, 64, 128, 512] {
                let moved = handed_over(workers, clients, true);
                assert!(moved < 125, "{workers} threads, {clients} clients: {moved} of a thousand");
            }
        }
        assert!(handed_over(4, 64, true) < 20);
        // The limit for long-lived ones would hand over most of them.
        assert!(handed_over(2, 16, false) > 400 && handed_over(8, 64, false) > 800);
    }

    /// As many connections as are kept on one thread.
    fn small_pool<T>(balance: &Balance<T>) -> Vec<OpenGuard> {
        (0..SMALL_POOL).map(|_| balance.open().count()).collect()
    }

    #[test]
    fn what_is_handed_over_counts_there_at_once() {
        let metrics = Metrics::new();
        let mut workers = Balance::<OpenGuard>::new(2, &metrics);
        let (mut other, mut inbox) = workers.pop().unwrap();
        let (mut own, _) = workers.pop().unwrap();
        let _kept = small_pool(&own);
        let there = own.less_loaded().unwrap();
        there.hand_over(there.count()).ok().unwrap();
        assert_eq!(
            (own.open().get(), other.open().get(), metrics.connections.get()),
            (SMALL_POOL, 1, SMALL_POOL + 1)
        );
        assert_eq!((metrics.load(1).get(), metrics.handed_over.get()), (1, 1));
        assert!(own.less_loaded().is_some() && other.less_loaded().is_none());
        drop(inbox.try_recv().unwrap());
        assert_eq!((other.open().get(), metrics.connections.get()), (0, SMALL_POOL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_whose_connections_are_short_lived_keeps_more_of_them() {
        let mut workers = Balance::<u8>::new(2, &Metrics::new());
        let (other, _inbox) = workers.pop().unwrap();
        let (mut own, _) = workers.pop().unwrap();
        let _kept = small_pool(&own);
        assert!(own.less_loaded().is_some());
        let _others: Vec<_> = (0..3).map(|_| other.open().count()).collect();
        for _ in 0..100 {
            drop(own.open().count());
        }
        assert!(own.less_loaded().is_none());
        // In the next window the previous one still counts. In the window after that it does not.
        tokio::time::advance(WINDOW).await;
        assert!(own.less_loaded().is_none());
        tokio::time::advance(WINDOW).await;
        assert!(own.less_loaded().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn none_of_a_few_short_lived_ones_is_handed_over() {
        let (workers, inboxes): (Vec<_>, Vec<_>) =
            Balance::<OpenGuard>::new(2, &Metrics::new()).into_iter().unzip();
        let (mut workers, mut serving, mut moved) = (workers, std::collections::VecDeque::new(), 0);
        for turn in 0..3_000 {
            if turn >= 3 {
                drop(serving.pop_front());
            }
            // Alternates irregularly, as a hash does.
            let own = &mut workers[(turn * turn / 3) % 2];
            serving.push_back(match own.less_loaded() {
                Some(other) => {
                    moved += usize::from(turn > 100);
                    other.count()
                }
                None => own.open().count(),
            });
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        assert_eq!((moved, inboxes.len()), (0, 2));
    }

    #[test]
    fn an_inbox_is_open_until_nobody_accepts_any_more() {
        let mut workers = Balance::<u8>::new(2, &Metrics::new());
        let (other, mut inbox) = workers.pop().unwrap();
        let (mut own, _) = workers.pop().unwrap();
        drop(other);
        let _kept = small_pool(&own);
        own.less_loaded().unwrap().hand_over(7).unwrap();
        drop(own);
        assert_eq!(inbox.blocking_recv(), Some(7), "it was sent before");
        assert_eq!(inbox.blocking_recv(), None);
    }

    #[test]
    fn a_thread_that_has_ended_gives_back_what_it_is_handed() {
        let metrics = Metrics::new();
        let mut workers = Balance::<u8>::new(2, &metrics);
        drop(workers.pop());
        let (mut own, _) = workers.pop().unwrap();
        let _kept = small_pool(&own);
        assert_eq!(own.less_loaded().unwrap().hand_over(7), Err(7));
        assert_eq!(metrics.handed_over.get(), 0);
    }
}
