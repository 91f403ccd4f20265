//! Writes a message: its head, then its body as it becomes available.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::Scratch;

/// The end of a chunk, the end of a chunked body, and both together.
const CHUNK_END: &[u8] = b"\r\n";
const BODY_END: &[u8] = b"0\r\n\r\n";
const BOTH_ENDS: &[u8] = b"\r\n0\r\n\r\n";

/// Pieces up to this size are copied into the buffer, which is cheaper than a vectored write.
const COPIED: usize = 4096;

/// Pieces are gathered until the buffer has this many bytes.
const GATHERED: usize = 16 * 1024;

/// How the body of a message is framed (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes are left.
    Sized(u64),
    /// `Transfer-Encoding: chunked` (RFC 9112 §7.1).
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

/// Why a body ended early.
pub enum BodyFailure<E> {
    /// The body reported an error.
    Failed(E),
    /// The body is longer or shorter than its head says.
    Length,
}

/// A message that is being written.
///
/// [`poll_fill`](Self::poll_fill) takes pieces of the body, and [`poll_drain`](Self::poll_drain)
/// writes them. Callers alternate until [`has_ended`](Self::has_ended). The body is read only a
/// little ahead of the writes. After each drain, [`take_failure`](Self::take_failure) reports
/// whether the body failed.
pub struct MessageWriter<B: Body> {
    body: B,
    /// Why the body ended early. Pieces taken before that are written first.
    failure: Option<BodyFailure<B::Error>>,
    framing: Framing,
    /// Written first: the head, lines before chunks, and small pieces.
    front: Scratch,
    /// How many bytes of `front` have been written.
    front_at: usize,
    /// Written second: a large piece of the body.
    piece: Bytes,
    /// Written last: the end of the chunk or of the body.
    back: &'static [u8],
    /// The reader accepts trailers.
    trailers: bool,
    /// The body has been taken to its end.
    ended: bool,
    /// A piece of the body has been taken.
    started: bool,
    written: u64,
    /// TLS may still hold buffered output.
    unflushed: bool,
    /// A write has not finished, so no more of the body is taken.
    blocked: bool,
}

impl<B: Body<Data = Bytes> + Unpin> MessageWriter<B> {
    /// `front` is the head. A body that has already ended is not polled.
    pub fn new(front: Scratch, framing: Framing, body: B) -> Self {
        let ended = body.is_end_stream();
        Self {
            // A body that has already ended is never polled, so its end is added here.
            back: if ended && framing == Framing::Chunked { BODY_END } else { b"" },
            body,
            // Otherwise the reader would take bytes of the next message for the missing ones.
            failure: (ended && matches!(framing, Framing::Sized(1..))).then_some(BodyFailure::Length),
            framing,
            front,
            front_at: 0,
            piece: Bytes::new(),
            trailers: true,
            ended,
            started: false,
            written: 0,
            unflushed: false,
            blocked: false,
        }
    }

    /// Omits the body.
    pub fn without_body(mut self) -> Self {
        self.ended = true;
        self.failure = None;
        self.back = b"";
        self
    }

    /// Omits trailers (RFC 9110 §6.5.1).
    pub fn without_trailers(mut self) -> Self {
        self.trailers = false;
        self
    }

    /// Whether the body has been taken to its end.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the last write waits for the reader.
    pub fn is_blocked(&self) -> bool {
        self.blocked || self.unflushed
    }

    /// How many bytes have been written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The body, unless a piece of it has been taken.
    pub fn into_untouched_body(self) -> Option<B> {
        (!self.started).then_some(self.body)
    }

    /// Takes one large piece of the body, or several small ones. Pending while the body is pending;
    /// pieces taken before that can be written already.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended
            && !self.blocked
            && self.failure.is_none()
            && self.piece.is_empty()
            && self.back.is_empty()
            && self.front.len() - self.front_at < GATHERED
        {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            let taken = match frame.transpose() {
                Ok(frame) => self.take(frame),
                Err(error) => Err(BodyFailure::Failed(error)),
            };
            self.failure = taken.err();
        }
        Poll::Ready(())
    }

    /// Takes the reason why the body ended early. Call it after everything taken has been written.
    pub fn take_failure(&mut self) -> Option<BodyFailure<B::Error>> {
        self.failure.take()
    }

    /// Writes everything that has been taken.
    pub fn poll_drain<W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
    ) -> Poll<io::Result<()>> {
        self.blocked = true;
        while !self.is_drained() {
            ready!(self.poll_write(cx, stream))?;
        }
        self.blocked = false;
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether everything that has been taken is written.
    pub fn is_drained(&self) -> bool {
        self.front_at == self.front.len() && self.piece.is_empty() && self.back.is_empty()
    }

    fn poll_write<W: AsyncWrite + Unpin + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
    ) -> Poll<io::Result<()>> {
        let front = &self.front[self.front_at..];
        let stream = Pin::new(stream);
        let written = match (self.piece.is_empty() && self.back.is_empty(), front.is_empty()) {
            (true, _) => ready!(stream.poll_write(cx, front))?,
            (false, true) if self.back.is_empty() => ready!(stream.poll_write(cx, &self.piece))?,
            (false, _) => {
                let parts = [IoSlice::new(front), IoSlice::new(&self.piece), IoSlice::new(self.back)];
                ready!(stream.poll_write_vectored(cx, &parts))?
            }
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written += written as u64;
        self.unflushed = true;
        let of_front = written.min(front.len());
        self.front_at += of_front;
        let of_piece = (written - of_front).min(self.piece.len());
        if of_piece == self.piece.len() {
            // Frees the buffer of the piece, so that the next read can reuse it.
            self.piece = Bytes::new();
        } else {
            self.piece.advance(of_piece);
        }
        self.back = &self.back[written - of_front - of_piece..];
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), BodyFailure<B::Error>> {
        self.started = true;
        let Some(frame) = frame else { return self.end() };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => self.take_data(data)?,
            Err(frame) => return self.take_trailers(&frame.into_trailers().unwrap_or_default()),
        }
        if self.body.is_end_stream() { self.end() } else { Ok(()) }
    }

    fn take_data(&mut self, data: Bytes) -> Result<(), BodyFailure<B::Error>> {
        let copied = data.len() <= COPIED;
        match &mut self.framing {
            // Otherwise the reader would take the surplus bytes for the next message.
            Framing::Sized(left) => *left = left.checked_sub(data.len() as u64).ok_or(BodyFailure::Length)?,
            Framing::Chunked => {
                self.compact();
                write_hexadecimal(data.len(), &mut self.front);
                self.front.extend_from_slice(b"\r\n");
            }
            Framing::UntilClose => {}
        }
        if copied {
            self.compact();
            self.front.extend_from_slice(&data);
        } else {
            self.piece = data;
        }
        match (self.framing, copied) {
            (Framing::Chunked, true) => self.front.extend_from_slice(CHUNK_END),
            (Framing::Chunked, false) => self.back = CHUNK_END,
            _ => {}
        }
        Ok(())
    }

    fn take_trailers(&mut self, trailers: &HeaderMap) -> Result<(), BodyFailure<B::Error>> {
        if self.framing != Framing::Chunked || trailers.is_empty() || !self.trailers {
            return self.end();
        }
        self.compact();
        self.front.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            write_line(name, value, &mut self.front);
        }
        self.front.extend_from_slice(b"\r\n");
        self.ended = true;
        Ok(())
    }

    fn end(&mut self) -> Result<(), BodyFailure<B::Error>> {
        self.ended = true;
        match self.framing {
            Framing::Sized(0) | Framing::UntilClose => Ok(()),
            Framing::Sized(_) => Err(BodyFailure::Length),
            Framing::Chunked => {
                self.back = if self.back.is_empty() { BODY_END } else { BOTH_ENDS };
                Ok(())
            }
        }
    }

    fn compact(&mut self) {
        if self.front_at > 0 {
            self.front.drain(..self.front_at);
            self.front_at = 0;
        }
    }
}

/// Writes a field line.
pub fn write_line(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    let name = name.as_str().as_bytes();
    let value = value.as_bytes();
    // One check of the capacity for all four parts.
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes decimal digits.
pub fn write_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_hexadecimal(mut number: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[number % 16];
        number /= 16;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    /// An endless body of small pieces, which counts them.
    struct Endless(usize);

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0 += 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1000])))))
        }
    }

    #[tokio::test]
    async fn no_more_is_asked_for_while_the_reader_takes_nothing_and_pieces_go_out_together() {
        let (mut near, mut far) = duplex(4096);
        let mut message = MessageWriter::new(Scratch::default(), Framing::Chunked, Endless(0));
        let mut poll = |message: &mut MessageWriter<Endless>| {
            let cx = &mut Context::from_waker(std::task::Waker::noop());
            for _ in 0..5 {
                assert!(message.poll_fill(cx).is_ready());
                assert!(message.poll_drain(cx, &mut near).is_pending());
            }
            message.body.0
        };
        let asked = poll(&mut message);
        assert_eq!(asked, GATHERED.div_ceil(1000 + 7));
        // Everything taken is written before more is taken.
        let mut read = vec![0; 4096];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(poll(&mut message), asked);
        assert!(read.starts_with(b"3e8\r\nxxx") && !message.is_drained());
    }

    #[tokio::test]
    async fn a_piece_that_has_been_written_is_let_go() {
        let (mut near, mut far) = duplex(1 << 20);
        let mut buffer = bytes::BytesMut::zeroed(100_000);
        let body = http_body_util::Full::new(buffer.split().freeze());
        let mut message = MessageWriter::new(Scratch::default(), Framing::Sized(100_000), body);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(message.poll_fill(cx).is_ready() && !buffer.try_reclaim(100_000));
        assert!(message.poll_drain(cx, &mut near).is_ready() && buffer.try_reclaim(100_000));
        far.read_exact(&mut vec![0; 100_000]).await.unwrap();
    }

    proptest::proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_writes_them(number: u64) {
            for number in [number, number % 1000, 0, u64::MAX] {
                let (mut decimal, mut hexadecimal) = (Vec::new(), Vec::new());
                write_decimal(number, &mut decimal);
                write_hexadecimal(number as usize, &mut hexadecimal);
                proptest::prop_assert_eq!(decimal, number.to_string().into_bytes());
                proptest::prop_assert_eq!(hexadecimal, format!("{number:x}").into_bytes());
            }
        }
    }
}
