//! Which thread serves a connection.
//!
//! The kernel spreads connections by a hash over the threads' listeners: of 64 that live long two threads may get 38 and 26,
//! and they stay so. So a thread that accepts a connection and has more than another hands it over, before a byte of it is
//! read. A few are not spread but brought together ([`FEW`]).
//!
//! Once, at the beginning: nothing is done per request. What a thread knows of the others is two
//! numbers each, which may be a moment old: two that hand over at once may choose the same. They are off by one then,
//! and the next connection makes up for it.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::open::{Counted, Open};
use crate::metrics::{Load, Metrics};

/// So many connections that stay are not spread but brought together on one thread, while there are no more: they are one
/// client's, as a rule (a browser opens six). A core is not what they wait for, with an upstream that is milliseconds away. On one thread they
/// share upstream connections, and it is woken for several at once: spread over two they cost a quarter more.
const FEW: i64 = 6;

/// Of connections that stay a thread has no more than an even share and one in so many, up to `MOST_SLACK`: with few of
/// them every one counts, and 64 on two threads are no further apart than 33 and 31. Without slack half of those that
/// come would be handed over for ever where some thousands come and go.
const SLACK: i64 = 16;

/// Thousands of connections that rest do not allow a hundred new ones to be all on one thread.
const MOST_SLACK: i64 = 16;

/// When within a `WINDOW` so many times more connections end than there are open, they are brief: they live for less than a
/// fortieth of a second, as where each request has a connection of its own and the upstream is near.
///
/// Of these the hash gives each thread as many as the others over time, and to hand one over (out of one epoll, into the
/// other, a thread woken) is a good part of what it costs. The narrow limit would hand over half of them on two threads,
/// seven of eight on eight. So of brief ones a thread hands over when it has more than twice as many as another and two:
/// one in nine at worst, mostly far fewer. Where they are not brief, so few come that it does not matter.
const BRIEF: u64 = 4;
const WINDOW: Duration = Duration::from_millis(100);

/// One thread's view of all. A clone keeps the others' inboxes open: gone when the thread has nothing more to accept.
pub(super) struct Balance<T> {
    own: usize,
    seats: Arc<[Seat<T>]>,
    handed_over: Counter,
    pace: Pace,
}

/// Of a thread, what the others know. Not written to.
struct Seat<T> {
    /// The count of `open`, at hand.
    load: Load,
    open: Arc<Open>,
    inbox: UnboundedSender<T>,
}

impl<T> Clone for Balance<T> {
    fn clone(&self) -> Self {
        let (seats, handed_over) = (Arc::clone(&self.seats), self.handed_over.clone());
        Self { own: self.own, seats, handed_over, pace: self.pace }
    }
}

impl<T> Balance<T> {
    /// For so many threads; each gets what is handed over to it from its receiver, until all of these are gone.
    pub(super) fn new(workers: usize, metrics: &Metrics) -> Vec<(Self, UnboundedReceiver<T>)> {
        let (mut seats, mut inboxes) = (Vec::new(), Vec::new());
        for worker in 0..workers {
            let load = metrics.load(worker);
            let open = Open::new(load.clone(), metrics.connections.clone());
            // It has no limit of its own: what is in it is counted and admitted.
            let (inbox, receiver) = unbounded_channel();
            seats.push(Seat { load, open, inbox });
            inboxes.push(receiver);
        }
        let seats: Arc<[Seat<T>]> = seats.into();
        let pace = Pace { since: Instant::now(), ended: 0, before: 0 };
        let view =
            |own| Self { own, seats: Arc::clone(&seats), handed_over: metrics.handed_over.clone(), pace };
        inboxes.into_iter().enumerate().map(|(own, inbox)| (view(own), inbox)).collect()
    }

    /// The connections of this thread.
    pub(super) fn open(&self) -> &Arc<Open> {
        &self.seats[self.own].open
    }

    /// Which other thread should serve a connection that this one has accepted; none where this one keeps it.
    pub(super) fn elsewhere(&mut self) -> Option<Elsewhere<'_, T>> {
        let load = |worker: usize| self.seats[worker].load.get();
        // Over all of them: of those that come and go here a thread that hands over everything would see none end.
        let (open, ended) =
            self.seats.iter().fold((self.seats.len() as i64, 0_u64), |(open, ended), seat| {
                (open + seat.load.get(), ended.wrapping_add(seat.open.ended()))
            });
        let brief = self.pace.is_brief(open, ended, Instant::now());
        let chosen = better_than(self.own, self.seats.len(), brief, load)?;
        Some(Elsewhere { seat: &self.seats[chosen], handed_over: &self.handed_over })
    }
}

/// How fast connections end.
#[derive(Clone, Copy)]
struct Pace {
    since: Instant,
    /// How many had ended by then.
    ended: u64,
    /// How many ended in the window before.
    before: u64,
}

impl Pace {
    /// Whether connections are brief, when so many are open (one more on each thread) and so many have ended.
    fn is_brief(&mut self, open: i64, ended: u64, now: Instant) -> bool {
        let mut lately = ended.saturating_sub(self.ended);
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            self.before = if passed < 2 * WINDOW { lately } else { 0 };
            (self.since, self.ended, lately) = (now, ended, 0);
        }
        lately.max(self.before) > BRIEF * open.unsigned_abs()
    }
}

/// Another thread.
pub(super) struct Elsewhere<'a, T> {
    seat: &'a Seat<T>,
    handed_over: &'a Counter,
}

impl<T> Elsewhere<'_, T> {
    /// Counts a connection that is to be handed over there: from now on, or a burst would go to one thread before that
    /// has taken the first.
    pub(super) fn count(&self) -> Counted {
        self.seat.open.count()
    }

    /// Hands it over.
    ///
    /// # Errors
    /// The connection itself, where that thread has ended.
    pub(super) fn hand_over(&self, connection: T) -> Result<(), T> {
        self.seat.inbox.send(connection).map_err(|failed| failed.0)?;
        self.handed_over.inc();
        Ok(())
    }
}

/// The worker that should have a new connection instead of `own`, if there is one.
fn better_than(own: usize, workers: usize, brief: bool, load: impl Fn(usize) -> i64) -> Option<usize> {
    let here = load(own);
    // Of those that are alike the next one, so that not all choose the first.
    let others = || (1..workers).map(|step| (own + step) % workers).map(|worker| (load(worker), worker));
    let all = here + others().map(|(load, _)| load).sum::<i64>();
    // Of brief ones each is gone before there is another beside it.
    if !brief && all < FEW {
        let (most, worker) = others().rev().max_by_key(|(load, _)| *load)?;
        return (most > here).then_some(worker);
    }
    let (least, worker) = others().min_by_key(|(load, _)| *load)?;
    let slack = if brief { least + 2 } else { (least / SLACK).min(MOST_SLACK) };
    (here > least + slack).then_some(worker)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lets these workers accept one connection each, one after the other; gives how many each of them has then.
    fn spread(workers: usize, accepting: impl IntoIterator<Item = usize>) -> Vec<i64> {
        let mut loads = vec![0; workers];
        for own in accepting {
            let chosen = better_than(own, workers, false, |worker| loads[worker]).unwrap_or(own);
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
            assert_eq!(better_than(1, 4, false, |_| alike), None);
        }
        assert_eq!(better_than(0, 1, false, |_| 1000), None, "there is no other");
        assert_eq!(better_than(0, 2, false, |worker| [0, -1][worker]), None);
    }

    #[test]
    fn the_more_there_are_the_more_a_thread_may_have_beyond() {
        for (least, most) in [(6, 6), (15, 15), (16, 17), (31, 32), (32, 34), (256, 272), (10_000, 10_016)] {
            assert_eq!(better_than(0, 2, false, |worker| [most, least][worker]), None, "{most} {least}");
            assert_eq!(
                better_than(0, 2, false, |worker| [most + 1, least][worker]),
                Some(1),
                "{most} {least}"
            );
        }
    }

    #[test]
    fn of_brief_ones_a_thread_keeps_up_to_twice_as_many_and_two() {
        for (least, most) in [(0, 2), (1, 4), (16, 34), (1000, 2002)] {
            assert_eq!(better_than(0, 2, true, |worker| [most, least][worker]), None, "{most} {least}");
            assert_eq!(
                better_than(0, 2, true, |worker| [most + 1, least][worker]),
                Some(1),
                "{most} {least}"
            );
        }
    }

    #[test]
    fn connections_are_brief_when_many_more_end_than_there_are() {
        let start = Instant::now();
        let mut pace = Pace { since: start, ended: 0, before: 0 };
        assert!(!pace.is_brief(1, 4, start) && pace.is_brief(1, 5, start));
        assert!(!pace.is_brief(25, 100, start) && pace.is_brief(24, 100, start));
        // The window before still counts, the one before that does not.
        let next = start + WINDOW;
        assert!(!pace.is_brief(25, 100, next) && pace.is_brief(24, 100, next));
        assert!(!pace.is_brief(1, 104, next + WINDOW) && !pace.is_brief(1, 104, next + 2 * WINDOW));
        assert!(pace.is_brief(1, 204, next + 2 * WINDOW));
        assert!(!pace.is_brief(1, 204, next + 4 * WINDOW), "a pause has passed");
    }

    #[test]
    fn the_one_with_the_least_gets_it_and_of_several_the_next() {
        assert_eq!(better_than(0, 4, false, |worker| [19, 15, 14, 15][worker]), Some(2));
        assert_eq!(better_than(2, 4, false, |worker| [14, 14, 19, 14][worker]), Some(3));
        assert_eq!(better_than(3, 4, false, |worker| [14, 14, 14, 19][worker]), Some(0));
        assert_eq!(better_than(3, 4, false, |worker| [14, 0, 0, 19][worker]), Some(1));
    }

    #[test]
    fn a_few_are_brought_together() {
        for (loads, expected) in [
            // Here are as many as anywhere, or there are none yet.
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
            assert_eq!(better_than(0, 3, false, |worker| loads[worker]), expected, "{loads:?}");
        }
        assert_eq!(better_than(0, 2, true, |worker| [0, 1][worker]), None, "they are brief");
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
            prop_assert!(apart(&loads) <= (1 + least / SLACK).max(FEW - least), "{loads:?}");
        }
    }

    /// Clients of which each opens a connection when its last has ended: how many of a thousand are handed over.
    fn handed_over(workers: usize, clients: usize, brief: bool) -> usize {
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
            let elsewhere = better_than(own, workers, brief, |worker| loads[worker]);
            moved += usize::from(round >= clients && elsewhere.is_some());
            let chosen = elsewhere.unwrap_or(own);
            loads[chosen] += 1;
            serving.push(chosen);
        }
        moved / 20
    }

    #[test]
    fn of_brief_ones_few_are_handed_over() {
        for workers in [2, 4, 8] {
            for clients in [2, 4, 8, 16, 32, 64, 128, 512] {
                let moved = handed_over(workers, clients, true);
                assert!(moved < 125, "{workers} threads, {clients} clients: {moved} of a thousand");
            }
        }
        assert!(handed_over(4, 64, true) < 20);
        // What it is there for.
        assert!(handed_over(2, 16, false) > 400 && handed_over(8, 64, false) > 800);
    }

    /// As many as are kept together.
    fn many<T>(balance: &Balance<T>) -> Vec<Counted> {
        (0..FEW).map(|_| balance.open().count()).collect()
    }

    #[test]
    fn what_is_handed_over_counts_there_at_once() {
        let metrics = Metrics::new();
        let mut workers = Balance::<Counted>::new(2, &metrics);
        let (mut other, mut inbox) = workers.pop().unwrap();
        let (mut own, _) = workers.pop().unwrap();
        let _kept = many(&own);
        let there = own.elsewhere().unwrap();
        there.hand_over(there.count()).ok().unwrap();
        assert_eq!((own.open().get(), other.open().get(), metrics.connections.get()), (FEW, 1, FEW + 1));
        assert_eq!((metrics.load(1).get(), metrics.handed_over.get()), (1, 1));
        assert!(own.elsewhere().is_some() && other.elsewhere().is_none());
        drop(inbox.try_recv().unwrap());
        assert_eq!((other.open().get(), metrics.connections.get()), (0, FEW));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_whose_connections_are_brief_keeps_more_of_them() {
        let mut workers = Balance::<u8>::new(2, &Metrics::new());
        let (other, _inbox) = workers.pop().unwrap();
        let (mut own, _) = workers.pop().unwrap();
        let _kept = many(&own);
        assert!(own.elsewhere().is_some());
        let _beside: Vec<_> = (0..3).map(|_| other.open().count()).collect();
        for _ in 0..100 {
            drop(own.open().count());
        }
        assert!(own.elsewhere().is_none());
        // It had as many in the window that has passed, and then none.
        tokio::time::advance(WINDOW).await;
        assert!(own.elsewhere().is_none());
        tokio::time::advance(WINDOW).await;
        assert!(own.elsewhere().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_few_brief_ones_none_is_handed_over() {
        let (workers, inboxes): (Vec<_>, Vec<_>) =
            Balance::<Counted>::new(2, &Metrics::new()).into_iter().unzip();
        let (mut workers, mut serving, mut moved) = (workers, std::collections::VecDeque::new(), 0);
        for turn in 0..3_000 {
            if turn >= 3 {
                drop(serving.pop_front());
            }
            // By a hash: now one, now the other.
            let own = &mut workers[(turn * turn / 3) % 2];
            serving.push_back(match own.elsewhere() {
                Some(elsewhere) => {
                    moved += usize::from(turn > 100);
                    elsewhere.count()
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
        let _kept = many(&own);
        own.elsewhere().unwrap().hand_over(7).unwrap();
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
        let _kept = many(&own);
        assert_eq!(own.elsewhere().unwrap().hand_over(7), Err(7));
        assert_eq!(metrics.handed_over.get(), 0);
    }
}
