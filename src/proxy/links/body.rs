//! The body of a response that is looked into.

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
use crate::http1::KeptBytes;
use crate::proxy::body::{BoxError, ResponseBody};

/// Decoded without a link up to here, a response goes as it came: so much in so little is a bomb.
const BOMB: usize = 64 << 20;

/// How much of what was collected is handed on at once.
const PIECE: usize = 64 * 1024;

/// How much is given to a decoder at once.
const PORTION: usize = 16 * 1024;

/// How much goes into a decoder and comes out before others have their turn.
const TURN: usize = 256 * 1024;

/// A body, some of which may have been read, on its way through a scanner or not.
pub(in crate::proxy) struct RewrittenBody {
    pieces: KeptBytes,
    /// What of it is in memory.
    share: Share,
    /// `None` once it has ended.
    rest: Option<Box<ResponseBody>>,
    /// How it ended, if not plainly.
    last: Option<Result<HeaderMap, BoxError>>,
    through: Option<Through>,
    /// Its length was told.
    announced: bool,
    /// What comes before a failure has had a turn to be written.
    flushed: bool,
}

/// What a body is passed through.
struct Through {
    decoder: Option<Decoder>,
    scanner: Scanner,
    /// Everything is in the decoder.
    fed: bool,
}

/// What a whole body turned out to be.
pub(super) enum Found {
    /// Without a link, or not what its coding says.
    Nothing,
    /// What it is now.
    Links(KeptBytes),
    /// More than may be collected, with a link in it.
    Large,
}

impl RewrittenBody {
    pub(super) fn new(body: ResponseBody, share: Share) -> Self {
        Self {
            pieces: KeptBytes::new(COLLECTED),
            share,
            announced: body.size_hint().exact().is_some(),
            rest: Some(Box::new(body)),
            last: None,
            through: None,
            flushed: false,
        }
    }

    /// Reads up to the end, a failure, more than `limit` bytes, or more than there is memory for. Cancel safe.
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

    /// From here on it is these bytes.
    pub(super) fn become_bytes(&mut self, bytes: KeptBytes) {
        self.pieces = bytes;
        self.announced = true;
    }

    /// Whether it is all there.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none() && self.last.is_none()
    }

    /// Whether it broke off.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.last, Some(Err(_)))
    }

    /// Looks through a whole body, without giving up the thread for long.
    pub(super) async fn find(&mut self, coding: Option<Coding>, mut scanner: Scanner, limit: usize) -> Found {
        let mut out = KeptBytes::new(limit);
        let Some(coding) = coding else {
            self.pieces.sealed().iter().for_each(|piece| out.append(&scanner.feed(piece.clone())));
            out.append(&scanner.finish());
            return if scanner.found() { Found::Links(out) } else { Found::Nothing };
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
                        return Found::Large;
                    } else if large {
                        out = KeptBytes::default();
                    }
                }
                Ok(Step::Hungry) => match input.next() {
                    // What goes in counts too: it may be all framing, of which nothing comes out.
                    Some(portion) => {
                        turn += portion.len();
                        decoder.push(portion);
                    }
                    None => decoder.finish(),
                },
                Ok(Step::End) => break,
                Err(_) => return Found::Nothing,
            }
            if seen > BOMB {
                return Found::Nothing;
            }
            if turn >= TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
        out.append(&scanner.finish());
        match scanner.found() {
            false => Found::Nothing,
            true if large => Found::Large,
            true => Found::Links(out),
        }
    }

    /// From here on everything goes through the scanner, decoded first.
    pub(super) fn pass_through(&mut self, coding: Option<Coding>, scanner: Scanner) {
        self.through = Some(Through { decoder: coding.map(Decoder::new), scanner, fed: false });
    }

    /// The next piece of the rest; `None` where it has ended.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        match ready!(Pin::new(&mut **rest).poll_frame(cx)) {
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
        // What has been taken is no longer in our share, so it gets no more at once than of other answers.
        match self.pieces.pop(PIECE) {
            Some(piece) => Poll::Ready(Some(piece)),
            None => self.poll_rest(cx),
        }
    }

    /// The next piece of what is passed on; `None` at the end.
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
                    // What comes behind it is no part of the text; its end is still waited for.
                    while let Some(_ignored) = match self.poll_piece(cx) {
                        Poll::Pending => {
                            self.through = Some(through);
                            return Poll::Pending;
                        }
                        Poll::Ready(piece) => piece,
                    } {}
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
                        // Cut short, what was held back is no longer waited for.
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

/// A block in the portions in which it is decoded.
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

impl Body for RewrittenBody {
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
            // A failure that is known at once would cut the connection before the head is out.
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
