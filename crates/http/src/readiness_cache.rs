//! Avoids reads from streams that have nothing to read.
//!
//! A connection is polled for many reasons, and each time it checks whether the other side has
//! gone. Polling an empty socket is as expensive as parsing a header.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Stream;

/// A stream that remembers that it has nothing to read, until it wakes its task.
///
/// After a read that found nothing, reads do not reach the inner stream until that stream wakes its
/// task, or another task reads. Writes pass through.
pub struct ReadinessCache<S> {
    stream: S,
    /// The alarm that the inner stream rings, and its waker. Allocated once: an allocation for each
    /// wait would keep pages from returning to the system while the connection is idle.
    alarm: Option<(Arc<Alarm>, Waker)>,
    /// The task that read last, to notice when another task reads.
    task: Option<Waker>,
}

#[derive(Default)]
struct Alarm {
    task: Mutex<Option<Waker>>,
    /// The stream may have bytes: the last read was ready, or the stream has woken its task since.
    rung: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        // Waking under the lock is safe: the runtime takes no lock of this module.
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }
}

impl<S> ReadinessCache<S> {
    /// Wraps a stream; its first read is passed on.
    pub fn new(stream: S) -> Self {
        Self { stream, alarm: None, task: None }
    }

    /// The wrapped stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Stream> Stream for ReadinessCache<S> {
    fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    fn has_been_reset(&self) -> bool {
        self.stream.has_been_reset()
    }

    fn sends_close_notify(&self) -> bool {
        self.stream.sends_close_notify()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadinessCache<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (alarm, waker) = this.alarm.get_or_insert_with(|| {
            let alarm = Arc::new(Alarm::default());
            (Arc::clone(&alarm), alarm.into())
        });
        if this.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            *alarm.task.lock() = Some(cx.waker().clone());
            this.task = Some(cx.waker().clone());
            // The wake-up may have gone to the task that read before.
            alarm.rung.store(true, Ordering::Release);
        }
        if !alarm.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // The flag is cleared before the read, so that a wake-up during the read is not lost.
        alarm.rung.store(false, Ordering::Release);
        let polled = Pin::new(&mut this.stream).poll_read(&mut Context::from_waker(waker), buf);
        if polled.is_ready() {
            alarm.rung.store(true, Ordering::Release);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadinessCache<S> {
    crate::write_through::write_through!(this => this.stream);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Counts its reads.
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

    #[tokio::test]
    async fn a_stream_is_asked_again_only_when_something_has_come() {
        let ((mut far, near), asked) = (duplex(64), Rc::new(Cell::new(0)));
        let mut stream = ReadinessCache::new(Counted(near, Rc::clone(&asked)));
        let mut polls = 0;
        let mut buffer = [0; 8];
        let read = poll_fn(|cx| {
            polls += 1;
            let mut buf = ReadBuf::new(&mut buffer);
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
        let mut stream = ReadinessCache::new(near);
        // Another task reads without result, and ends.
        let asks = async {
            let asked = poll_fn(|cx| {
                let mut buffer = [0; 8];
                Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut buffer)).is_pending())
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
}
