//! The streams of one connection: their number, their tasks, and the progress of their responses.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::lazy_timer::LazyTimer;

/// Responses are handed to a stream in pieces of at most this size, so that the progress of a slow
/// reader is visible.
const PIECE: usize = 16 * 1024;

/// The streams of one connection.
#[derive(Default)]
pub(super) struct Streams {
    /// Streams whose response has not been sent to its end.
    open: Cell<usize>,
    /// Streams opened so far.
    pub(super) opened: Cell<u64>,
    /// The stream whose task is spawned next.
    next: RefCell<Option<Rc<Progress>>>,
    /// The task that waits for the last open stream to end.
    waiting: RefCell<Option<Waker>>,
    /// Bytes that the socket has taken.
    pub(super) written: Cell<u64>,
}

/// The progress of a stream's response.
#[derive(Default)]
struct Progress {
    /// hyper holds a piece of the response, and waits for the client to take it.
    handed: Cell<bool>,
    pieces: Cell<u64>,
}

/// A stream that counts as open until this is dropped.
pub(super) struct OpenStream {
    streams: Rc<Streams>,
    progress: Rc<Progress>,
}

impl Streams {
    /// Opens a stream. Call it right before the stream's task is spawned.
    pub(super) fn open(self: &Rc<Self>) -> OpenStream {
        let progress = Rc::new(Progress::default());
        *self.next.borrow_mut() = Some(Rc::clone(&progress));
        self.open.set(self.open.get() + 1);
        self.opened.set(self.opened.get() + 1);
        OpenStream { streams: Rc::clone(self), progress }
    }

    /// Whether the limit of requests is reached. 0 means no limit.
    pub(super) fn are_spent(&self, most: u32) -> bool {
        most > 0 && self.opened.get() >= u64::from(most)
    }

    pub(super) fn poll_none(&self, cx: &Context<'_>) -> Poll<()> {
        if self.open.get() == 0 {
            return Poll::Ready(());
        }
        // Each stream ends in its own task, possibly after the last event that wakes the
        // connection.
        self.waiting.borrow_mut().get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        Poll::Pending
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let left = self.streams.open.get() - 1;
        self.streams.open.set(left);
        if left == 0
            && let Some(waiting) = self.streams.waiting.take()
        {
            waiting.wake();
        }
    }
}

/// Spawns the task of each stream, and ends it when the client takes none of the response for too
/// long.
#[derive(Clone)]
pub(super) struct Spawner {
    pub(super) streams: Rc<Streams>,
    pub(super) patience: Duration,
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, task: F) {
        let Some(progress) = self.streams.next.take() else {
            tokio::task::spawn_local(async move {
                task.await;
            });
            return;
        };
        tokio::task::spawn_local(run(task, progress, self.patience));
    }
}

/// Runs the task of a stream until it ends, or its response makes no progress for `patience`.
async fn run(task: impl Future, progress: Rc<Progress>, patience: Duration) {
    let mut task = pin!(task);
    let stalled = LazyTimer::default();
    let mut pieces = 0;
    poll_fn(|cx| {
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            if !progress.handed.get() {
                stalled.clear();
                return Poll::Pending;
            }
            if !stalled.is_set() {
                pieces = progress.pieces.get();
            }
            ready!(stalled.poll_after(cx, patience));
            stalled.clear();
            if pieces == progress.pieces.get() {
                // Dropping the task resets its stream.
                tracing::debug!("a stream is reset: the client does not read its response");
                return Poll::Ready(());
            }
        }
    })
    .await;
}

/// The body of a response on its way to a stream.
pub(super) struct ResponseBody<B> {
    body: B,
    /// The rest of a frame that is larger than [`PIECE`].
    rest: Bytes,
    /// The response has no body, even if the handler returned one.
    silent: bool,
    stream: OpenStream,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, silent: bool, stream: OpenStream) -> Self {
        Self { body, rest: Bytes::new(), silent, stream }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let progress = &this.stream.progress;
        if this.rest.is_empty() {
            progress.handed.set(false);
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        progress.handed.set(true);
        progress.pieces.set(progress.pieces.get() + 1);
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.silent || (self.rest.is_empty() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.size_hint().exact();
        left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + self.rest.len() as u64))
    }
}
