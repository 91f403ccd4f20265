//! A message on its way out: its head, then its body as it comes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::Scratch;

/// What ends a chunk, a chunked body, and both.
const CHUNK_END: &[u8] = b"\r\n";
const BODY_END: &[u8] = b"0\r\n\r\n";
const BOTH_ENDS: &[u8] = b"\r\n0\r\n\r\n";

/// A piece up to this size is copied behind what is to be written, which costs less than to write two places at once; until
/// there is so much.
const COPIED: usize = 4096;
const GATHERED: usize = 16 * 1024;

/// How the body of a message is framed (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are left.
    Sized(u64),
    /// `Transfer-Encoding: chunked` (RFC 9112 §7.1).
    Chunked,
    /// It ends with the connection.
    ToTheEnd,
}

/// Why a body did not come to its end.
pub enum Stopped<E> {
    /// It has failed.
    Failed(E),
    /// It is not as long as it said.
    Length,
}

/// One message. Little more of its body is taken than has been written: [`poll_fill`](Self::poll_fill) takes what is there,
/// [`poll_drain`](Self::poll_drain) writes it.
pub struct Sending<B: Body> {
    body: B,
    /// Why the body does not come to its end. What came before goes out first.
    failure: Option<Stopped<B::Error>>,
    framing: Framing,
    /// What is written next: the head or the line before a chunk, a piece of the body, and what ends it.
    front: Scratch,
    front_at: usize,
    piece: Bytes,
    back: &'static [u8],
    /// Who reads it says that trailers are of use.
    trailers: bool,
    /// The body has been taken to its end.
    ended: bool,
    /// A piece of the body has been taken.
    begun: bool,
    written: u64,
    /// What has been written may still be in a buffer of TLS.
    unflushed: bool,
    /// Whoever reads it has not taken all that there was: no more is asked for.
    blocked: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    /// `front` is the head. A body that has ended is not asked.
    pub fn new(front: Scratch, framing: Framing, body: B) -> Self {
        let ended = body.is_end_stream();
        Self {
            // One that turned out empty when it was sent before.
            back: if ended && framing == Framing::Chunked { BODY_END } else { b"" },
            body,
            // What is announced and not there would be the next message.
            failure: (ended && matches!(framing, Framing::Sized(1..))).then_some(Stopped::Length),
            framing,
            front,
            front_at: 0,
            piece: Bytes::new(),
            trailers: true,
            ended,
            begun: false,
            written: 0,
            unflushed: false,
            blocked: false,
        }
    }

    /// The body is not sent.
    pub fn without_body(mut self) -> Self {
        self.ended = true;
        self.failure = None;
        self.back = b"";
        self
    }

    /// Trailers are left out (RFC 9110 §6.5.1).
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

    /// The body, if nothing of it has been taken.
    pub fn into_untouched_body(self) -> Option<B> {
        (!self.begun).then_some(self.body)
    }

    /// Takes what is there of the body: a large piece, or small ones. Pending where the body is; then there may be something
    /// to be written all the same.
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
                Err(error) => Err(Stopped::Failed(error)),
            };
            self.failure = taken.err();
        }
        Poll::Ready(())
    }

    /// Why the body does not come to its end: once what came before it has been written.
    pub fn take_failure(&mut self) -> Option<Stopped<B::Error>> {
        self.failure.take()
    }

    /// Writes all that has been taken.
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

    /// Whether all that was taken has been written.
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
            // What it lies in can be read into again.
            self.piece = Bytes::new();
        } else {
            self.piece.advance(of_piece);
        }
        self.back = &self.back[written - of_front - of_piece..];
        Poll::Ready(Ok(()))
    }

    /// Puts a piece behind what is to be written.
    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), Stopped<B::Error>> {
        self.begun = true;
        let Some(frame) = frame else { return self.end() };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => self.take_data(data)?,
            Err(frame) => return self.take_trailers(&frame.into_trailers().unwrap_or_default()),
        }
        if self.body.is_end_stream() { self.end() } else { Ok(()) }
    }

    fn take_data(&mut self, data: Bytes) -> Result<(), Stopped<B::Error>> {
        let copied = data.len() <= COPIED;
        match &mut self.framing {
            // More than it said would be the next message.
            Framing::Sized(left) => *left = left.checked_sub(data.len() as u64).ok_or(Stopped::Length)?,
            Framing::Chunked => {
                self.make_room();
                write_hexadecimal(data.len(), &mut self.front);
                self.front.extend_from_slice(b"\r\n");
            }
            Framing::ToTheEnd => {}
        }
        if copied {
            self.make_room();
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

    fn take_trailers(&mut self, trailers: &HeaderMap) -> Result<(), Stopped<B::Error>> {
        if self.framing != Framing::Chunked || trailers.is_empty() || !self.trailers {
            return self.end();
        }
        self.make_room();
        self.front.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            write_line(name, value, &mut self.front);
        }
        self.front.extend_from_slice(b"\r\n");
        self.ended = true;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stopped<B::Error>> {
        self.ended = true;
        match self.framing {
            Framing::Sized(0) | Framing::ToTheEnd => Ok(()),
            Framing::Sized(_) => Err(Stopped::Length),
            Framing::Chunked => {
                self.back = if self.back.is_empty() { BODY_END } else { BOTH_ENDS };
                Ok(())
            }
        }
    }

    /// What has been written of the front goes.
    fn make_room(&mut self) {
        if self.front_at > 0 {
            self.front.drain(..self.front_at);
            self.front_at = 0;
        }
    }
}

/// A field line.
pub fn write_line(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    // Room is looked for once.
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A number, as `Content-Length` has it.
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

    /// Gives small pieces for ever, and counts them.
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
        let mut sending = Sending::new(Scratch::new(), Framing::Chunked, Endless(0));
        let mut poll = |sending: &mut Sending<Endless>| {
            let cx = &mut Context::from_waker(std::task::Waker::noop());
            for _ in 0..5 {
                assert!(sending.poll_fill(cx).is_ready());
                assert!(sending.poll_drain(cx, &mut near).is_pending());
            }
            sending.body.0
        };
        let asked = poll(&mut sending);
        assert_eq!(asked, GATHERED.div_ceil(1000 + 7));
        // All that was taken is written before there is more.
        let mut read = vec![0; 4096];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(poll(&mut sending), asked);
        assert!(read.starts_with(b"3e8\r\nxxx") && !sending.is_drained());
    }

    #[tokio::test]
    async fn a_piece_that_has_been_written_is_let_go() {
        let (mut near, mut far) = duplex(1 << 20);
        let mut room = bytes::BytesMut::zeroed(100_000);
        let body = http_body_util::Full::new(room.split().freeze());
        let mut sending = Sending::new(Scratch::new(), Framing::Sized(100_000), body);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(sending.poll_fill(cx).is_ready() && !room.try_reclaim(100_000));
        assert!(sending.poll_drain(cx, &mut near).is_ready() && room.try_reclaim(100_000));
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
