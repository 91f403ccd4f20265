//! A request body in a file without a name.
//!
//! The data plane's thread never touches the file. It collects pieces into jobs for a thread that
//! may block, one job at a time. If the next job is full before the last one is written, the upload
//! waits. So a body of any size takes about two buffers of memory.

use std::cell::Cell;
use std::fs::{File, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use prometheus_client::metrics::gauge::Gauge;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep};

use super::loss::ReplayLoss;
use crate::config;
use vbc_http::codec::KeptBytes;
use vbc_http::descriptors::{Descriptor, Descriptors};

/// The size of one write and of one read, in bytes.
const BUFFER: usize = 256 * 1024;

/// How long an upload waits for a write. If the disk is slower, the copy is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a failed disk is not used. During that time no request waits for the disk, and no jobs
/// queue up after a job that hangs.
const DISK_PAUSE: Duration = Duration::from_secs(60);

/// Opens a file without a name in a directory.
type Open = fn(&Path) -> io::Result<File>;

/// The directory for files, and their limits. Each thread has its own `Disk`; all share `used`.
pub(in crate::proxy) struct Disk {
    directory: PathBuf,
    open: Open,
    /// The disk has failed and is not used before this time.
    paused: Cell<Option<Instant>>,
    limit: u64,
    total: i64,
    used: Gauge,
    descriptors: Arc<Descriptors>,
}

impl Disk {
    pub(in crate::proxy) fn new(config: &config::Retry, used: Gauge, descriptors: &Arc<Descriptors>) -> Self {
        let total = i64::try_from(config.disk_total).unwrap_or(i64::MAX);
        Self {
            directory: config.disk_path.clone(),
            open: unnamed,
            paused: Cell::new(None),
            limit: config.disk,
            total,
            used,
            descriptors: Arc::clone(descriptors),
        }
    }

    /// Notes that a file could not be written. Logs one warning for all files that fail together.
    pub(super) fn failed(&self, error: &io::Error) {
        if !self.is_paused() {
            tracing::warn!(
                %error,
                "cannot write to retry.disk_path; for a minute, bodies over retry.memory cannot be retried"
            );
            self.paused.set(Some(Instant::now() + DISK_PAUSE));
        }
    }

    fn is_paused(&self) -> bool {
        self.paused.get().is_some_and(|until| Instant::now() < until)
    }

    /// The largest body that is kept, in bytes. Zero turns files off.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }
}

/// Opens a file without a name. Blocks.
fn unnamed(directory: &Path) -> io::Result<File> {
    let file = tempfile::tempfile_in(directory)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// The file, and the space reserved for it. Dropping the last reference releases the space. A write
/// that outlives its request may hold that reference.
struct Backing {
    directory: PathBuf,
    open: Open,
    file: OnceLock<File>,
    reserved: AtomicI64,
    used: Gauge,
    /// The right to the descriptor of `file`. Declared after `file`, so that the file is closed
    /// before the right is given back.
    _descriptor: Descriptor,
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.used.dec_by(*self.reserved.get_mut());
    }
}

impl Backing {
    fn reserve(&self, bytes: u64, total: i64) -> Result<(), ReplayLoss> {
        let bytes = i64::try_from(bytes).map_err(|_| ReplayLoss::DiskFull)?;
        if self.used.inc_by(bytes).saturating_add(bytes) > total {
            self.used.dec_by(bytes);
            return Err(ReplayLoss::DiskFull);
        }
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Writes pieces at this position. Blocks.
    fn write(&self, pieces: &[Bytes], mut at: u64) -> io::Result<()> {
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let file = (self.open)(&self.directory)?;
                self.file.get_or_init(|| file)
            }
        };
        for piece in pieces {
            file.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Reads `length` bytes at this position. Blocks.
    fn read(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let file = self.file.get().ok_or_else(|| io::Error::other("nothing was written yet"))?;
        let mut buffer = vec![0; length];
        file.read_exact_at(&mut buffer, at)?;
        Ok(buffer.into())
    }
}

/// One body. Its bytes up to `written` are in the file, the next `in_job` bytes are in the current
/// job, and the rest is in `pending`.
pub(super) struct Spool {
    disk: Rc<Disk>,
    backing: Arc<Backing>,
    written: u64,
    in_job: u64,
    job: Option<JoinHandle<io::Result<()>>>,
    pending: BytesMut,
    trailers: Option<HeaderMap>,
    reading: Option<(u64, JoinHandle<io::Result<Bytes>>)>,
    late: Option<Pin<Box<Sleep>>>,
}

impl Spool {
    /// A spool that begins with the bytes that were kept in memory.
    pub(super) fn begin(disk: &Rc<Disk>, kept: &mut KeptBytes) -> Result<Self, ReplayLoss> {
        if disk.is_paused() {
            return Err(ReplayLoss::DiskFailed);
        }
        let descriptor = disk.descriptors.take().ok_or(ReplayLoss::NoDescriptor)?;
        let backing = Arc::new(Backing {
            directory: disk.directory.clone(),
            open: disk.open,
            file: OnceLock::new(),
            reserved: AtomicI64::new(0),
            used: disk.used.clone(),
            _descriptor: descriptor,
        });
        let bytes = kept.len() as u64;
        backing.reserve(bytes, disk.total)?;
        let mut spool = Self {
            disk: Rc::clone(disk),
            backing,
            written: 0,
            in_job: 0,
            job: None,
            pending: BytesMut::new(),
            trailers: None,
            reading: None,
            late: None,
        };
        spool.write(kept.sealed().to_vec(), bytes);
        Ok(spool)
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn len(&self) -> u64 {
        self.written + self.in_job + self.pending.len() as u64
    }

    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    pub(super) fn end(&mut self, trailers: HeaderMap) {
        self.trailers = Some(trailers);
    }

    /// Adds a piece. The caller has waited for [`poll_capacity`](Self::poll_capacity).
    pub(super) fn push(&mut self, data: &Bytes) -> Result<(), ReplayLoss> {
        if self.len() + data.len() as u64 > self.disk.limit {
            return Err(ReplayLoss::OverDisk);
        }
        self.backing.reserve(data.len() as u64, self.disk.total)?;
        self.pending.extend_from_slice(data);
        Ok(())
    }

    /// Ready for another piece once less than a buffer is pending.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or a write takes longer than [`WRITE_TIMEOUT`].
    pub(super) fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_job(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending if self.pending.len() >= BUFFER => {
                let late = self.late.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
                ready!(late.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Pending => {}
            Poll::Ready(Ok(())) if self.pending.len() >= BUFFER => {
                let full = self.pending.split().freeze();
                let bytes = full.len() as u64;
                self.write(vec![full], bytes);
            }
            Poll::Ready(Ok(())) => {}
        }
        self.late = None;
        Poll::Ready(Ok(()))
    }

    /// The bytes from `at` on, as many as one read returns.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or could not be written.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, at: u64) -> Poll<io::Result<Bytes>> {
        if let Some((from, job)) = &mut self.reading {
            let (from, read) = (*from, ready!(Pin::new(job).poll(cx)));
            self.reading = None;
            // The read may belong to an earlier attempt at another position.
            if from == at {
                return Poll::Ready(read.unwrap_or_else(|error| Err(io::Error::other(error))));
            }
        }
        if at >= self.written + self.in_job {
            let begin = usize::try_from(at - self.written - self.in_job).unwrap_or(usize::MAX);
            let rest = self.pending.get(begin..).unwrap_or_default();
            return Poll::Ready(Ok(Bytes::copy_from_slice(rest)));
        }
        if at >= self.written {
            ready!(self.poll_job(cx))?;
        }
        let length = usize::try_from(self.written - at).unwrap_or(BUFFER).min(BUFFER);
        let backing = Arc::clone(&self.backing);
        let job = tokio::task::spawn_blocking(move || backing.read(at, length));
        self.reading = Some((at, job));
        self.poll_read(cx, at)
    }

    fn write(&mut self, pieces: Vec<Bytes>, bytes: u64) {
        let (backing, at) = (Arc::clone(&self.backing), self.written);
        self.in_job = bytes;
        self.job = Some(tokio::task::spawn_blocking(move || backing.write(&pieces, at)));
    }

    /// Ready once no job is left.
    fn poll_job(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(job) = &mut self.job {
            let done = ready!(Pin::new(job).poll(cx));
            self.job = None;
            done.unwrap_or_else(|error| Err(io::Error::other(error)))?;
            self.written += std::mem::take(&mut self.in_job);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
