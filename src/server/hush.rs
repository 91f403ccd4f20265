//! Wake-ups that say nothing new, kept from the task of a connection.
//!
//! Whoever takes a piece of a body out of hyper wakes the connection that it came on, so that the next one is read; also
//! where it was the last, behind which there is nothing to read. A connection that is polled for nothing costs more than
//! a tenth of a request.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};

thread_local! {
    static HUSH: Cell<Hush> = const { Cell::new(Hush::Off) };
}

/// What becomes of wake-ups on this thread.
#[derive(Default)]
enum Hush {
    #[default]
    Off,
    /// A body is being asked for its next piece.
    On,
    /// That was to wake this task.
    Kept(Arc<Task>),
}

/// A task whose wake-ups can be kept.
struct Task(Waker);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        // Of a thread that is ending nothing is kept. Nor is what other threads wake: each has its own.
        match HUSH.try_with(Cell::take) {
            Ok(Hush::On) => HUSH.set(Hush::Kept(self)),
            Ok(Hush::Kept(first)) => {
                HUSH.set(Hush::Kept(first));
                self.0.wake_by_ref();
            }
            Ok(Hush::Off) | Err(_) => self.0.wake_by_ref(),
        }
    }
}

/// Polls a connection of hyper so that [`poll_body`] can keep wake-ups from it.
#[derive(Default)]
pub(crate) struct Hushed {
    /// The waker of the task, and the one that hyper is given.
    wakers: Option<(Waker, Waker)>,
}

impl Hushed {
    /// Calls `poll` with the waker in place of the task's.
    pub(crate) fn poll<T>(&mut self, cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        let task = cx.waker();
        if self.wakers.as_ref().is_none_or(|(known, _)| !known.will_wake(task)) {
            self.wakers = None;
        }
        let (_, ours) =
            self.wakers.get_or_insert_with(|| (task.clone(), Arc::new(Task(task.clone())).into()));
        poll(&mut Context::from_waker(ours))
    }
}

/// The next frame of a body. The last piece of a body of known length wakes nobody.
pub(crate) fn poll_body(
    body: &mut hyper::body::Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            HUSH.set(Hush::Off);
        }
    }
    HUSH.set(Hush::On);
    // Also where hyper panics: the next wake-up is somebody else's.
    let ended = Ended;
    let polled = Pin::new(&mut *body).poll_frame(cx);
    let kept = HUSH.take();
    drop(ended);
    // hyper gives the last piece when it has read it to its end: the connection is past this body.
    let last = matches!(polled, Poll::Ready(Some(Ok(_)))) && body.is_end_stream();
    if let Hush::Kept(task) = kept
        && !last
    {
        task.0.wake_by_ref();
    }
    polled
}
