//! The body of a response whose links are rewritten.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::COLLECTED;
use super::decode::{Coding, Decoder, Step};
use super::scan::Scanner;
use super::share::Share;
use crate::proxy::BoxError;
use vbc_http::codec::KeptBytes;

/// After this many decoded bytes without a link, a body passes unchanged: it may be a zip bomb.
const BOMB: usize = 64 << 20;

/// The largest piece of a collected body, in bytes.
const PIECE: usize = 64 * 1024;

/// The largest piece of input for a decoder, in bytes.
const PORTION: usize = 16 * 1024;

/// After this many bytes of a decoder's input and output together, other tasks get their turn.
const TURN: usize = 256 * 1024;

/// A body whose links are rewritten, if it has any.
///
/// [`collect`](Self::collect) reads the beginning. If that is the whole body, [`scan`](Self::scan)
/// searches it for links. Then call [`replace`](Self::replace), or
/// [`pass_through`](Self::pass_through), or neither to leave the body unchanged.
pub(in crate::proxy) struct RewrittenBody<B> {
    /// Bytes that have been read and not handed on.
    pieces: KeptBytes,
    /// The part of the memory budget that `pieces` uses.
    share: Share,
    /// The unread rest. `None` once it has ended.
    rest: Option<B>,
    /// Trailers, or the error that ended the body.
    last: Option<Result<HeaderMap, BoxError>>,
    /// Set if the body is rewritten while it is streamed.
    through: Option<Through>,
    /// Whether the length is announced.
    announced: bool,
    /// Whether the task has had a turn to write the pieces before a failure.
    flushed: bool,
}

/// The state of a body that is rewritten while it is streamed: decoded, if it has a coding, and
/// then scanned.
struct Through {
    decoder: Option<Decoder>,
    scanner: Scanner,
    /// Whether the input has ended.
    fed: bool,
}

/// The outcome of scanning a whole body.
pub(super) enum Scan {
    /// The body has no link, or is not valid in its coding.
    Unchanged,
    /// The decoded body with rewritten links.
    Rewritten(KeptBytes),
    /// The body has a link, and is too large to collect once decoded.
    Large,
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> RewrittenBody<B> {
    pub(super) fn new(body: B, share: Share) -> Self {
        Self {
            pieces: KeptBytes::new(COLLECTED),
            share,
            announced: body.size_hint().exact().is_some(),
            rest: Some(body),
            last: None,
            through: None,
            flushed: false,
        }
    }

    /// Reads until the end, a failure, more than `limit` bytes, or the end of the memory share.
    /// Cancel safe.
    pub(super) async fn collect(&mut self, limit: usize) {
        while self.pieces.len() <= limit && self.rest.is_some() {
            if let Some(piece) = poll_fn(|cx| self.poll_rest(cx)).await {
                let before = self.pieces.cost();
                self.pieces.push(&piece);
                if !self.share.take(self.pieces.cost() - before) {
                    break;
                }
            }
        }
    }

    /// Replaces the whole body with these bytes.
    pub(super) fn replace(&mut self, bytes: KeptBytes) {
        self.pieces = bytes;
        self.announced = true;
    }

    /// Whether the whole body has been read and has no trailers.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none() && self.last.is_none()
    }

    /// Whether the body ended with an error.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.last, Some(Err(_)))
    }

    /// Scans a whole body. Yields to other tasks regularly.
    pub(super) async fn scan(&mut self, coding: Option<Coding>, mut scanner: Scanner, limit: usize) -> Scan {
        let mut out = KeptBytes::new(limit);
        let Some(coding) = coding else {
            self.pieces.sealed().iter().for_each(|piece| out.append(&scanner.feed(piece.clone())));
            out.append(&scanner.finish());
            return if scanner.found() { Scan::Rewritten(out) } else { Scan::Unchanged };
        };
        let Self { pieces, share, .. } = self;
        let mut input = pieces.sealed().iter().flat_map(portions);
        let mut decoder = Decoder::new(coding);
        let (mut seen, mut turn, mut large) = (0, 0, false);
        loop {
            match decoder.next() {
                Ok(Step::Data(data)) => {
                    seen += data.len();
                    turn += data.len();
                    let before = out.cost();
                    let data = scanner.feed(data);
                    if !large {
                        out.append(&data);
                    }
                    large = large || seen > limit || !share.take(out.cost() - before);
                    if large && scanner.found() {
                        return Scan::Large;
                    } else if large {
                        out = KeptBytes::default();
                    }
                }
                Ok(Step::Hungry) => match input.next() {
                    // The input counts too, because it may produce no output.
                    Some(portion) => {
                        turn += portion.len();
                        decoder.push(portion);
                    }
                    None => decoder.finish(),
                },
                Ok(Step::End) => break,
                Err(_) => return Scan::Unchanged,
            }
            if seen > BOMB {
                return Scan::Unchanged;
            }
            if turn >= TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
        out.append(&scanner.finish());
        if !scanner.found() {
            Scan::Unchanged
        } else if large {
            Scan::Large
        } else {
            Scan::Rewritten(out)
        }
    }

    /// Decodes and scans the body as it is handed on.
    pub(super) fn pass_through(&mut self, coding: Option<Coding>, scanner: Scanner) {
        self.through = Some(Through { decoder: coding.map(Decoder::new), scanner, fed: false });
    }

    /// The next piece of the rest. `None` at its end.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        match ready!(Pin::new(rest).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Poll::Ready(Some(data)),
                Err(frame) => self.last = frame.into_trailers().ok().map(Ok),
            },
            Some(Err(error)) => self.last = Some(Err(error)),
            None => {}
        }
        self.rest = None;
        Poll::Ready(None)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        // Handed-on bytes no longer count towards the share, so pieces must not be large.
        match self.pieces.pop(PIECE) {
            Some(piece) => Poll::Ready(Some(piece)),
            None => self.poll_rest(cx),
        }
    }

    /// Drops the rest of the input.
    fn poll_to_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while ready!(self.poll_piece(cx)).is_some() {}
        Poll::Ready(())
    }

    /// The next piece for the client. `None` at the end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let Some(mut through) = self.through.take() else {
            return self.poll_piece(cx).map(|piece| piece.map(Ok));
        };
        let mut turn = 0;
        loop {
            let scanned = match through.next() {
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
                Ok(Step::Data(data)) => through.scanner.feed(data),
                Ok(Step::End) => {
                    // Bytes after the end of the coding are dropped, up to the end of the body.
                    if self.poll_to_end(cx).is_pending() {
                        self.through = Some(through);
                        return Poll::Pending;
                    }
                    if self.is_broken() {
                        return Poll::Ready(None);
                    }
                    let held = through.scanner.finish();
                    return Poll::Ready((!held.is_empty()).then_some(Ok(held)));
                }
                Ok(Step::Hungry) => {
                    let Poll::Ready(piece) = self.poll_piece(cx) else {
                        self.through = Some(through);
                        return Poll::Pending;
                    };
                    match (piece, &through.decoder) {
                        // The body was cut short, so the bytes that the scanner holds back are
                        // dropped.
                        (None, _) if self.is_broken() => return Poll::Ready(None),
                        (Some(piece), Some(decoder)) => {
                            turn += piece.len();
                            decoder.push(piece);
                            if turn < TURN {
                                continue;
                            }
                            cx.waker().wake_by_ref();
                            self.through = Some(through);
                            return Poll::Pending;
                        }
                        (Some(piece), None) => through.scanner.feed(piece),
                        (None, decoder) => {
                            if let Some(decoder) = decoder {
                                decoder.finish();
                            }
                            through.fed = true;
                            continue;
                        }
                    }
                }
            };
            if !scanned.is_empty() {
                self.through = Some(through);
                return Poll::Ready(Some(Ok(scanned)));
            }
        }
    }
}

/// Splits a block into pieces of input for a decoder.
fn portions(block: &Bytes) -> impl Iterator<Item = Bytes> {
    (0..block.len()).step_by(PORTION).map(|at| block.slice(at..block.len().min(at + PORTION)))
}

impl Through {
    fn next(&mut self) -> std::io::Result<Step> {
        match &mut self.decoder {
            Some(decoder) => decoder.next(),
            None if self.fed => Ok(Step::End),
            None => Ok(Step::Hungry),
        }
    }
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Body for RewrittenBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(data) = ready!(this.poll_data(cx)) {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        if this.is_broken() && !std::mem::replace(&mut this.flushed, true) {
            // An immediate failure would cut the connection before the head has been written.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(this.last.take().map(|last| last.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref().is_none_or(|rest| rest.is_end_stream());
        self.pieces.is_empty() && rest && self.last.is_none() && self.through.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.rest {
            _ if !self.announced || self.through.is_some() || self.last.is_some() => None,
            Some(rest) => rest.size_hint().exact(),
            None => Some(0),
        };
        let read = self.pieces.len() as u64;
        rest.map_or_else(SizeHint::default, |rest| SizeHint::with_exact(read + rest))
    }
}
