//! What is not asked again before it has woken us: sockets and timers.
//!
//! A connection is polled for many reasons, and each time it asks the socket whether the other side has gone, and its timer
//! whether it is late. The runtime's own answer, that nothing has happened, costs as much as parsing a header does.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Stream;

/// A stream whose reading side is left alone while it sleeps.
pub struct Drowsy<S> {
    stream: S,
    /// What wakes the task that reads, and the same as a waker. It is made once: a connection that rests would else keep a page
    /// of memory for it, between what has been given back.
    alarm: Option<(Arc<Alarm>, Waker)>,
    /// The task that reads.
    task: Option<Waker>,
}

#[derive(Default)]
struct Alarm {
    task: Mutex<Option<Waker>>,
    /// Something may have come since the stream said that nothing had.
    rung: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        // It only says so to the runtime, which takes no lock of ours.
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }
}

impl<S> Drowsy<S> {
    /// Wraps a stream. Both directions count as ready.
    pub fn new(stream: S) -> Self {
        Self { stream, alarm: None, task: None }
    }

    /// The wrapped stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Stream> Stream for Drowsy<S> {
    fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    fn has_been_reset(&self) -> bool {
        self.stream.has_been_reset()
    }

    fn takes_leave(&self) -> bool {
        self.stream.takes_leave()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Drowsy<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (alarm, waker) = this.alarm.get_or_insert_with(|| {
            let alarm = Arc::new(Alarm::default());
            (Arc::clone(&alarm), alarm.into())
        });
        if this.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            *alarm.task.lock() = Some(cx.waker().clone());
            this.task = Some(cx.waker().clone());
            // Another may have been woken for what has come.
            alarm.rung.store(true, Ordering::Release);
        }
        if !alarm.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Before the stream is asked: what wakes while it is asked counts.
        alarm.rung.store(false, Ordering::Release);
        let polled = Pin::new(&mut this.stream).poll_read(&mut Context::from_waker(waker), buf);
        if polled.is_ready() {
            alarm.rung.store(true, Ordering::Release);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Drowsy<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A timer that is left alone while it runs.
#[derive(Debug)]
pub struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Whom it wakes.
    task: Option<Waker>,
}

impl Timer {
    /// A timer that ends at `deadline`.
    pub fn until(deadline: Instant) -> Self {
        Self { sleep: Box::pin(sleep_until(deadline)), task: None }
    }

    /// When the timer ends.
    pub fn deadline(&self) -> Instant {
        self.sleep.deadline()
    }

    /// Moves the end to `deadline`.
    pub fn reset(&mut self, deadline: Instant) {
        self.task = None;
        self.sleep.as_mut().reset(deadline);
    }

    /// Ready once the deadline has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waits = self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
        if waits && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        // A task that has used up its turn is told "not yet" by a sleep that has not even begun; and it is at the end of
        // their turn that tasks begin to wait.
        let polled = pin!(unconstrained(self.sleep.as_mut())).poll(cx);
        if polled.is_pending() && !waits {
            self.task = Some(cx.waker().clone());
        }
        polled
    }
}

/// A deadline that costs a timer only while something is really waited for.
#[derive(Debug, Default)]
pub(super) struct Deadline(Option<Timer>);

impl Deadline {
    /// Waits until `after` from the first call since the last `clear`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        self.0.get_or_insert_with(|| Timer::until(Instant::now() + after)).poll(cx)
    }

    /// Waits until `deadline`, or until an earlier one that was set since the last `clear`.
    pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Timer::until(deadline));
        if timer.deadline() > deadline {
            timer.reset(deadline);
        }
        timer.poll(cx)
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Counts how often it is asked.
    struct Counted(DuplexStream, Rc<Cell<u32>>);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1.set(self.1.get() + 1);
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_begun_at_the_end_of_a_turn_ends_all_the_same() {
        let (mut works, mut timer) = (true, Timer::until(Instant::now() + Duration::from_secs(1)));
        let waiting = poll_fn(|cx| {
            // As any work that goes on until the turn is used up; in the next turn there is none.
            while std::mem::take(&mut works) {
                works = pin!(tokio::task::coop::consume_budget()).poll(cx).is_ready();
            }
            timer.poll(cx)
        });
        tokio::time::timeout(Duration::from_secs(2), waiting).await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_is_asked_again_only_when_something_has_come() {
        let ((mut far, near), asked) = (duplex(64), Rc::new(Cell::new(0)));
        let mut stream = Drowsy::new(Counted(near, Rc::clone(&asked)));
        let mut polls = 0;
        let mut room = [0; 8];
        let read = poll_fn(|cx| {
            polls += 1;
            let mut buf = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut stream).poll_read(cx, &mut buf);
            if polls < 5 {
                cx.waker().wake_by_ref();
            }
            polled.map(|read| read.map(|()| buf.filled().len()))
        });
        let write = async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            far.write_all(b"abc").await.unwrap();
        };
        let (read, ()) = tokio::join!(read, write);
        assert_eq!(read.unwrap(), 3);
        assert_eq!((asked.get(), polls > 5), (2, true));
        drop(far);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn whoever_reads_is_woken_also_where_another_asked_before() {
        let (mut far, near) = duplex(64);
        let mut stream = Drowsy::new(near);
        // A task of its own asks, in vain, and is gone.
        let asks = async {
            let asked = poll_fn(|cx| {
                let mut room = [0; 8];
                Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut room)).is_pending())
            });
            assert!(asked.await);
            stream
        };
        let mut stream = tokio::spawn(asks).await.unwrap();
        let (read, ()) = tokio::join!(async { stream.read_u8().await.unwrap() }, async {
            tokio::task::yield_now().await;
            far.write_u8(7).await.unwrap();
        });
        assert_eq!(read, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_ends_when_it_should_however_often_it_is_asked_and_reset() {
        let start = Instant::now();
        let mut timer = Timer::until(start + Duration::from_secs(5));
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if polls < 5 {
                cx.waker().wake_by_ref();
            }
            timer.poll(cx)
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 5);
        timer.reset(start + Duration::from_secs(60));
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
