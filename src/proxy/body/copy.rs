//! What is kept of a request body for its second sending: in memory first, in a file from there on.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use super::spool::{Disk, Spool};
use crate::http1::KeptBytes;

/// One frame of a body.
#[derive(Clone)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// How far a sending has come in what is kept.
#[derive(Clone, Copy, Default)]
pub(super) struct Position {
    /// Bytes handed out.
    bytes: u64,
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

/// Why there is no copy. The text is what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum ReplayLoss {
    OverMemory,
    OverDisk,
    DiskFull,
    DiskFailed,
    NoDescriptor,
    /// The request needs it no more.
    Done,
}

impl ReplayLoss {
    pub(in crate::proxy) fn why(self) -> &'static str {
        match self {
            Self::OverMemory => {
                "the request body is over retry.memory, retry.disk is off, and so it could not be sent again"
            }
            Self::OverDisk => "the request body is over retry.disk and could not be sent again",
            Self::DiskFull => "retry.disk_total is used up, and so the request body could not be sent again",
            Self::DiskFailed => {
                "the request body could not be kept in retry.disk_path, and so it could not be sent again"
            }
            Self::NoDescriptor => {
                "no file descriptor was left to keep the request body, and so it could not be sent again"
            }
            Self::Done => "the request body could not be sent again",
        }
    }
}

/// The copy of a body.
pub(super) enum Copy {
    Memory { data: KeptBytes, trailers: Option<Box<HeaderMap>> },
    Disk(Box<Spool>),
    ReplayLoss(ReplayLoss),
}

impl Copy {
    /// For a body that announces at least this many bytes; one over the limits is not kept at all.
    pub(super) fn new(announced: u64, memory: u64, disk: &Disk) -> Self {
        match announced > memory.max(disk.limit()) {
            true => Self::ReplayLoss(Self::over(disk)),
            false => {
                let most = usize::try_from(memory).unwrap_or(usize::MAX);
                Self::Memory { data: KeptBytes::new(most), trailers: None }
            }
        }
    }

    fn over(disk: &Disk) -> ReplayLoss {
        if disk.limit() == 0 { ReplayLoss::OverMemory } else { ReplayLoss::OverDisk }
    }

    pub(super) fn lost(&self) -> Option<ReplayLoss> {
        match self {
            Self::ReplayLoss(why) => Some(*why),
            _ => None,
        }
    }

    /// Whether all that is kept has been handed out.
    pub(super) fn is_behind(&self, at: Position) -> bool {
        match self {
            Self::Memory { data, trailers } => {
                at.bytes >= data.len() as u64 && (at.trailers || trailers.is_none())
            }
            Self::Disk(spool) => at.bytes >= spool.len() && (at.trailers || spool.trailers().is_none()),
            Self::ReplayLoss(_) => true,
        }
    }

    /// The next piece of what is kept; `None` where a sending has to go on with what comes.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        at: Position,
    ) -> Poll<Option<Result<Piece, std::io::Error>>> {
        if self.is_behind(at) {
            return Poll::Ready(None);
        }
        Poll::Ready(match self {
            Self::Memory { data, trailers } => {
                let piece = data.at(usize::try_from(at.bytes).unwrap_or(usize::MAX)).map(Piece::Data);
                let trailers = || trailers.as_deref().cloned().map(Piece::Trailers);
                piece.or_else(trailers).map(Ok)
            }
            Self::Disk(spool) if at.bytes < spool.len() => {
                Some(ready!(spool.poll_read(cx, at.bytes)).map(Piece::Data))
            }
            Self::Disk(spool) => spool.trailers().cloned().map(|trailers| Ok(Piece::Trailers(trailers))),
            Self::ReplayLoss(_) => None,
        })
    }

    /// Ready when there is room for one more piece: at once, unless a file is being written and is behind. A file
    /// that fails is given up.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Disk(spool) = self
            && let Err(error) = ready!(spool.poll_room(cx))
        {
            spool.disk().failed(&error);
            *self = Self::ReplayLoss(ReplayLoss::DiskFailed);
        }
        Poll::Ready(())
    }

    /// Keeps a piece, as far as the limits let it.
    pub(super) fn push(&mut self, piece: &Piece, memory: u64, disk: &Rc<Disk>) {
        if let (Self::Memory { data: kept, .. }, Piece::Data(data)) = (&mut *self, piece)
            && (kept.len() + data.len()) as u64 > memory
        {
            *self = match disk.limit() > memory {
                true => match Spool::begin(disk, kept) {
                    Ok(spool) => Self::Disk(Box::new(spool)),
                    Err(lost) => Self::ReplayLoss(lost),
                },
                false => Self::ReplayLoss(Self::over(disk)),
            };
        }
        match (&mut *self, piece) {
            (Self::Memory { data, .. }, Piece::Data(piece)) => data.push(piece),
            (Self::Memory { trailers, .. }, Piece::Trailers(end)) => *trailers = Some(Box::new(end.clone())),
            (Self::Disk(spool), Piece::Data(data)) => {
                if let Err(lost) = spool.push(data) {
                    *self = Self::ReplayLoss(lost);
                }
            }
            (Self::Disk(spool), Piece::Trailers(trailers)) => spool.end(trailers.clone()),
            (Self::ReplayLoss(_), _) => {}
        }
    }
}
