//! The copy of a request body for retries: first in memory, then in a file.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use super::loss::ReplayLoss;
use super::spool::{Disk, Spool};
use vbc_http::codec::KeptBytes;

/// One frame of a body.
#[derive(Clone)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// How far an attempt has read the copy.
#[derive(Clone, Copy, Default)]
pub(super) struct Position {
    /// Bytes that have been handed out.
    bytes: u64,
    /// The trailers have been handed out.
    trailers: bool,
}

impl Position {
    pub(super) fn advance(&mut self, piece: &Piece) {
        match piece {
            Piece::Data(data) => self.bytes += data.len() as u64,
            Piece::Trailers(_) => self.trailers = true,
        }
    }
}

/// The copy of a body.
pub(super) enum Copy {
    /// Within `retry.memory`.
    Memory { data: KeptBytes, trailers: Option<Box<HeaderMap>> },
    /// Within `retry.disk`.
    Disk(Box<Spool>),
    /// No copy, for this reason.
    Lost(ReplayLoss),
}

impl Copy {
    /// The copy of a body that announces at least this many bytes. A body over the limits is not
    /// copied at all.
    pub(super) fn new(announced: u64, memory: u64, disk: &Disk) -> Self {
        if announced > memory.max(disk.limit()) {
            return Self::Lost(Self::over(disk));
        }
        let most = usize::try_from(memory).unwrap_or(usize::MAX);
        Self::Memory { data: KeptBytes::new(most), trailers: None }
    }

    fn over(disk: &Disk) -> ReplayLoss {
        if disk.limit() == 0 { ReplayLoss::OverMemory } else { ReplayLoss::OverDisk }
    }

    pub(super) fn loss(&self) -> Option<ReplayLoss> {
        match self {
            Self::Lost(why) => Some(*why),
            _ => None,
        }
    }

    /// Whether an attempt at this position has read the whole copy.
    pub(super) fn is_read_to_end(&self, at: Position) -> bool {
        match self {
            Self::Memory { data, trailers } => {
                at.bytes >= data.len() as u64 && (at.trailers || trailers.is_none())
            }
            Self::Disk(spool) => at.bytes >= spool.len() && (at.trailers || spool.trailers().is_none()),
            Self::Lost(_) => true,
        }
    }

    /// The next piece of the copy. `None` if the attempt has read the whole copy, and continues
    /// with the client's next piece.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        at: Position,
    ) -> Poll<Option<Result<Piece, std::io::Error>>> {
        if self.is_read_to_end(at) {
            return Poll::Ready(None);
        }
        Poll::Ready(match self {
            Self::Memory { data, trailers } => {
                match data.at(usize::try_from(at.bytes).unwrap_or(usize::MAX)) {
                    Some(data) => Some(Ok(Piece::Data(data))),
                    None => trailers.as_deref().cloned().map(|trailers| Ok(Piece::Trailers(trailers))),
                }
            }
            Self::Disk(spool) if at.bytes < spool.len() => {
                Some(ready!(spool.poll_read(cx, at.bytes)).map(Piece::Data))
            }
            Self::Disk(spool) => spool.trailers().cloned().map(|trailers| Ok(Piece::Trailers(trailers))),
            Self::Lost(_) => None,
        })
    }

    /// Ready when the copy can take another piece: immediately, unless writes to the file fall
    /// behind. Drops the copy if the file cannot be written, or a write takes too long.
    pub(super) fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Disk(spool) = self
            && let Err(error) = ready!(spool.poll_capacity(cx))
        {
            spool.disk().failed(&error);
            *self = Self::Lost(ReplayLoss::DiskFailed);
        }
        Poll::Ready(())
    }

    /// Adds a piece, or drops the copy if that would exceed the limits.
    pub(super) fn push(&mut self, piece: &Piece, memory: u64, disk: &Rc<Disk>) {
        if let (Self::Memory { data: kept, .. }, Piece::Data(data)) = (&mut *self, piece)
            && (kept.len() + data.len()) as u64 > memory
        {
            let spool = if disk.limit() > memory { Spool::begin(disk, kept) } else { Err(Self::over(disk)) };
            *self = spool.map_or_else(Self::Lost, |spool| Self::Disk(Box::new(spool)));
        }
        match (&mut *self, piece) {
            (Self::Memory { data, .. }, Piece::Data(piece)) => data.push(piece),
            (Self::Memory { trailers, .. }, Piece::Trailers(end)) => *trailers = Some(Box::new(end.clone())),
            (Self::Disk(spool), Piece::Data(data)) => {
                if let Err(lost) = spool.push(data) {
                    *self = Self::Lost(lost);
                }
            }
            (Self::Disk(spool), Piece::Trailers(trailers)) => spool.end(trailers.clone()),
            (Self::Lost(_), _) => {}
        }
    }
}
