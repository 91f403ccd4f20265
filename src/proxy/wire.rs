//! What stands between the upstream's socket and hyper.
//!
//! hyper's client is lenient with answers: it takes `Transfer-Encoding` beside `Content-Length`, codings it does not
//! decode, a bare LF for a line end, and looks at no length at all where there is no body. So every head of an
//! answer is read here first, by the letter. Bodies are passed without a look.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::hold::Hold;
use super::tunnel::Tunnel;
use super::upstream::UpstreamError;
use crate::server::syntax;

/// The largest head of an answer, in bytes and in lines.
const HEAD_BYTES: usize = 64 * 1024;
const HEAD_LINES: usize = 100;

/// How much of heads is read before others have their turn: more than almost every head has.
const TURN: usize = 64 * 1024;

/// A stream of which the kernel keeps what has not been read.
pub(super) trait Kept {
    /// From now on it keeps up to about this many bytes.
    fn keep(&self, bytes: usize);
}

/// Where so much may be read at once, the kernel may keep so much.
const LARGE_READ: usize = 128 * 1024;
const LARGE_KEPT: usize = 512 * 1024;

/// What a connection and those who use it tell each other.
#[derive(Clone, Default)]
pub(super) struct Watch(Rc<Watched>);

#[derive(Default)]
struct Watched {
    phase: Cell<Phase>,
    read: Cell<u64>,
    failure: Cell<Option<UpstreamError>>,
    /// How much of a body may be read at once; 0 is as much as there is room for.
    room: Cell<usize>,
    /// What a 100 releases.
    hold: RefCell<Option<Hold>>,
    /// Who asked for a websocket.
    taker: RefCell<Option<oneshot::Sender<Tunnel>>>,
    switched: Cell<bool>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// Bodies, and what comes unasked, which hyper does not take.
    #[default]
    Pass,
    /// A request is about to be written; until then nothing is an answer.
    Armed,
    /// The next byte belongs to the head of an answer.
    Head,
}

impl Watched {
    /// The request has begun to be written.
    fn begun(&self) {
        if self.phase.get() == Phase::Armed {
            self.phase.set(Phase::Head);
        }
    }
}

impl Watch {
    /// A request is about to be sent; its body may wait for a 100, and it may ask for a websocket: `taker` is given the
    /// connection then, after a 101.
    pub(super) fn expect_answer(&self, hold: Option<Hold>, taker: Option<oneshot::Sender<Tunnel>>) {
        self.0.phase.set(Phase::Armed);
        self.0.hold.replace(hold);
        self.0.taker.replace(taker);
    }

    /// Who is to be given the connection, once an upgrade that was asked for has been agreed to.
    pub(super) fn taker(&self) -> Option<oneshot::Sender<Tunnel>> {
        self.0.taker.take().filter(|_| self.0.switched.get())
    }

    /// No more than this of a body is read at once from now on.
    pub(super) fn make_room(&self, room: usize) {
        self.0.room.set(room);
    }

    /// How many bytes have been read so far.
    pub(super) fn read(&self) -> u64 {
        self.0.read.get()
    }

    /// Why the answer was refused, if it was.
    pub(super) fn failure(&self) -> Option<UpstreamError> {
        self.0.failure.get()
    }
}

/// A stream whose answers are checked.
pub(super) struct Wire<S> {
    stream: S,
    watch: Watch,
    head: Head,
    /// Bytes of a head that came in pieces; `ready` of them are checked and wait for room.
    held: Vec<u8>,
    ready: usize,
    /// Bytes of heads since the thread was last given to others.
    interim: usize,
    /// The kernel has been told to keep much.
    keeps_much: bool,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, watch: Watch) -> Self {
        Self {
            stream,
            watch,
            head: Head::default(),
            held: Vec::new(),
            ready: 0,
            interim: 0,
            keeps_much: false,
        }
    }

    /// Checks what was just read into `buf` behind `before`; an incomplete head is held back.
    fn check(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> Result<(), UpstreamError> {
        if self.held.is_empty() {
            let checked = self.heads(&buf.filled()[before..])?;
            self.held.extend_from_slice(&buf.filled()[before + checked..]);
            buf.set_filled(before + checked);
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(&buf.filled()[before..]);
        buf.set_filled(before);
        self.ready = self.heads(&held)?;
        self.held = held;
        Ok(())
    }

    /// Reads heads up to the final one. Gives how many bytes may pass: whole heads, and everything behind a final
    /// one.
    fn heads(&mut self, bytes: &[u8]) -> Result<usize, UpstreamError> {
        let mut passed = 0;
        while let Some((length, kind)) = self.head.read(&bytes[passed..])? {
            self.head = Head::default();
            passed += length;
            if kind == Answer::Continue
                && let Some(hold) = self.watch.0.hold.take()
            {
                hold.release();
            }
            if kind == Answer::Switches {
                if self.watch.0.taker.borrow().is_none() {
                    return Err(refused("an upgrade that nobody asked for"));
                }
                self.watch.0.switched.set(true);
            }
            if matches!(kind, Answer::Final | Answer::Switches) {
                self.watch.0.phase.set(Phase::Pass);
                return Ok(bytes.len());
            }
        }
        Ok(passed)
    }

    fn fail(&self, error: UpstreamError) -> io::Error {
        self.watch.0.failure.set(Some(error));
        io::ErrorKind::InvalidData.into()
    }

    fn release(&mut self, buf: &mut ReadBuf<'_>) {
        let fits = self.ready.min(buf.remaining());
        buf.put_slice(&self.held[..fits]);
        self.ready -= fits;
        self.held.drain(..fits);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }
}

impl<S: AsyncRead + Kept + Unpin> Wire<S> {
    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = self.watch.0.room.get();
        if room >= LARGE_READ && !self.keeps_much {
            self.keeps_much = true;
            self.stream.keep(LARGE_KEPT);
        }
        if room == 0 || buf.remaining() <= room || self.watch.0.phase.get() != Phase::Pass {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Kept + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.ready > 0 {
                this.release(buf);
                return Poll::Ready(Ok(()));
            }
            if this.interim > TURN {
                // An upstream that sends interim answers faster than they are read would keep the thread, and with it
                // the timer that ends this, for as long as it likes.
                this.interim = 0;
                let yielding = pin!(tokio::task::yield_now());
                return yielding.poll(cx).map(Ok);
            }
            let before = buf.filled().len();
            ready!(this.poll_stream(cx, buf))?;
            let count = buf.filled().len() - before;
            this.watch.0.read.set(this.watch.0.read.get() + count as u64);
            if this.watch.0.phase.get() != Phase::Head {
                this.interim = 0;
                return Poll::Ready(Ok(()));
            }
            this.interim += count;
            if count == 0 {
                let partial = !this.held.is_empty();
                return Poll::Ready(if partial { Err(this.fail(UpstreamError::Protocol)) } else { Ok(()) });
            }
            if let Err(error) = this.check(buf, before) {
                buf.set_filled(before);
                return Poll::Ready(Err(this.fail(error)));
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buf));
        this.watch.0.begun();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs));
        this.watch.0.begun();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// One head, line by line.
#[derive(Default)]
struct Head {
    /// Bytes already searched for a line end.
    searched: usize,
    line_start: usize,
    lines: usize,
    status: Option<Status>,
    content_length: Option<u64>,
    chunked: bool,
    /// `Connection` lists `upgrade`.
    upgrades: bool,
    /// `Upgrade` lines, and whether one is not `websocket`.
    protocols: usize,
    foreign: bool,
}

#[derive(Clone, Copy)]
struct Status {
    http_11: bool,
    answer: Answer,
}

/// What a status says about what comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// 100: the body may come.
    Continue,
    /// Another 1xx.
    Interim,
    /// 101: what follows is no HTTP.
    Switches,
    Final,
}

impl Head {
    /// Reads on. Gives the length of the head once it is complete, and what it is.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<(usize, Answer)>, UpstreamError> {
        if let Some(done) = self.good_lines(bytes)? {
            return Ok(Some(done));
        }
        while let Some(at) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + at;
            if end >= HEAD_BYTES {
                return Err(UpstreamError::HeadTooLarge);
            }
            let line = bytes[self.line_start..end].strip_suffix(b"\r").ok_or(UpstreamError::Protocol)?;
            self.searched = end + 1;
            self.line_start = self.searched;
            match self.status {
                None => self.status = Some(status_line(line)?),
                Some(status) if line.is_empty() => return self.complete(self.searched, status).map(Some),
                Some(status) => {
                    let (name, value) = self.count().and(syntax::field(line).map_err(refused))?;
                    self.field(name, value, status)?;
                }
            }
            if let Some(done) = self.good_lines(bytes)? {
                return Ok(Some(done));
            }
        }
        self.searched = bytes.len();
        // What cannot become an answer is not waited for.
        let begun = bytes.len().min(PREFIX.len());
        if self.status.is_none() && bytes[..begun] != PREFIX[..begun] {
            return Err(UpstreamError::Protocol);
        }
        if bytes.len() > HEAD_BYTES { Err(UpstreamError::HeadTooLarge) } else { Ok(None) }
    }

    /// Reads the field lines that are all there and plainly good: almost always all of them. Gives what [`read`](Self::read)
    /// does, if the end of the head is reached; what is left is looked at more closely.
    fn good_lines(&mut self, bytes: &[u8]) -> Result<Option<(usize, Answer)>, UpstreamError> {
        let Some(status) = self.status else { return Ok(None) };
        while self.searched == self.line_start {
            let rest = &bytes[self.line_start..];
            if rest.starts_with(b"\r\n") {
                let end = self.line_start + 2;
                return if end <= HEAD_BYTES { self.complete(end, status).map(Some) } else { Ok(None) };
            }
            let Some((name, value, length)) = syntax::good_line(rest) else { break };
            let end = self.line_start + length;
            if end > HEAD_BYTES {
                break;
            }
            (self.searched, self.line_start) = (end, end);
            self.count()?;
            self.field(name, value, status)?;
        }
        Ok(None)
    }

    fn complete(&self, end: usize, status: Status) -> Result<(usize, Answer), UpstreamError> {
        if self.is_sound(status) { Ok((end, status.answer)) } else { Err(UpstreamError::Protocol) }
    }

    /// Counts a field line.
    fn count(&mut self) -> Result<(), UpstreamError> {
        self.lines += 1;
        if self.lines > HEAD_LINES { Err(UpstreamError::HeadTooLarge) } else { Ok(()) }
    }

    /// Whether the fields, taken together, leave no doubt what comes next.
    fn is_sound(&self, status: Status) -> bool {
        if status.answer == Answer::Switches {
            let framed = self.chunked || self.content_length.is_some();
            return status.http_11 && self.upgrades && self.protocols == 1 && !self.foreign && !framed;
        }
        !(self.chunked && self.content_length.is_some())
    }

    fn field(&mut self, name: &[u8], value: &[u8], status: Status) -> Result<(), UpstreamError> {
        if name.len() == 14 && name.eq_ignore_ascii_case(b"content-length") {
            let length = syntax::decimal(value).ok_or(UpstreamError::Protocol)?;
            if self.content_length.is_some_and(|other| other != length) {
                return Err(UpstreamError::Protocol);
            }
            self.content_length = Some(length);
        }
        if name.len() == 17 && name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !status.http_11 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(UpstreamError::Protocol);
            }
            self.chunked = true;
        }
        if status.answer == Answer::Switches {
            self.upgrades |= name.eq_ignore_ascii_case(b"connection") && syntax::lists(value, b"upgrade");
            if name.eq_ignore_ascii_case(b"upgrade") {
                self.protocols += 1;
                self.foreign |= !value.eq_ignore_ascii_case(b"websocket");
            }
        }
        Ok(())
    }
}

const PREFIX: &[u8] = b"HTTP/1.";

/// `HTTP-version SP status-code SP [reason]` (RFC 9112 §4); the last space is often forgotten, which harms nobody.
fn status_line(line: &[u8]) -> Result<Status, UpstreamError> {
    let rest = line.strip_prefix(PREFIX).ok_or(UpstreamError::Protocol)?;
    let (http_11, code, reason) = match rest {
        [b'1', b' ', a, b, c, reason @ ..] => (true, [a, b, c], reason),
        [b'0', b' ', a, b, c, reason @ ..] => (false, [a, b, c], reason),
        _ => return Err(UpstreamError::Protocol),
    };
    let is_code = matches!(code[0], b'1'..=b'5') && code.iter().all(|digit| digit.is_ascii_digit());
    let is_reason = matches!(reason.first(), None | Some(b' '));
    if !is_code || !is_reason || !reason.iter().all(|byte| syntax::is_field_byte(*byte)) {
        return Err(UpstreamError::Protocol);
    }
    let answer = match code.map(|digit| *digit) {
        [b'1', b'0', b'0'] => Answer::Continue,
        [b'1', b'0', b'1'] => Answer::Switches,
        [b'1', ..] => Answer::Interim,
        _ => Answer::Final,
    };
    Ok(Status { http_11, answer })
}

fn refused(why: &'static str) -> UpstreamError {
    tracing::debug!(why, "an answer was refused");
    UpstreamError::Protocol
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    impl Kept for tokio::io::DuplexStream {
        fn keep(&self, _: usize) {}
    }

    const SWITCHES: &str = "HTTP/1.1 101 Switching\r\nupgrade: WebSocket\r\nConnection: x, upgrade\r\n\r\n";

    /// What passes of `answer` to one request, read as it comes in pieces of `step` bytes.
    async fn passed(answer: &[u8], step: usize) -> (Vec<u8>, Option<UpstreamError>) {
        let (read, failure, _) = passed_to(answer, step, None).await;
        (read, failure)
    }

    /// The same of a request that may ask for a websocket; also whether the connection has become one.
    async fn passed_to(
        answer: &[u8],
        step: usize,
        taker: Option<oneshot::Sender<Tunnel>>,
    ) -> (Vec<u8>, Option<UpstreamError>, bool) {
        let (near, mut far) = tokio::io::duplex(step);
        let watch = Watch::default();
        let mut wire = Wire::new(near, watch.clone());
        watch.expect_answer(None, taker);
        wire.write_all(b"q").await.unwrap();
        let answer = answer.to_vec();
        let sending = tokio::spawn(async move {
            far.read_u8().await.unwrap();
            let _ = far.write_all(&answer).await;
        });
        let mut read = Vec::new();
        let _ = wire.read_to_end(&mut read).await;
        drop(wire);
        sending.await.unwrap();
        (read, watch.failure(), watch.taker().is_some())
    }

    #[tokio::test]
    async fn behind_an_upgrade_that_was_asked_for_everything_passes() {
        for step in [1, 7, 4096] {
            let interim = "HTTP/1.1 103 Early\r\n\r\n";
            let answer = format!("{interim}{SWITCHES}HTTP/1.1 101 bad\n\n\0");
            let passed = passed_to(answer.as_bytes(), step, Some(oneshot::channel().0)).await;
            assert_eq!(passed, (answer.into_bytes(), None, true));
            let refused = "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
            let passed = passed_to(refused.as_bytes(), step, Some(oneshot::channel().0)).await;
            assert_eq!(passed, (refused.into(), None, false));
            for bad in [
                SWITCHES.replace("WebSocket", "h2c"),
                SWITCHES.replace("x, upgrade", "x, upgraded"),
                SWITCHES.replace("HTTP/1.1", "HTTP/1.0"),
                SWITCHES.replace("upgrade: WebSocket", "upgrade: WebSocket\r\nContent-Length: 0"),
                SWITCHES.replace("upgrade: WebSocket", "upgrade: WebSocket\r\nUpgrade: WebSocket"),
            ] {
                let passed = passed_to(bad.as_bytes(), step, Some(oneshot::channel().0)).await;
                assert_eq!(passed, (vec![], Some(UpstreamError::Protocol), false), "{bad}");
            }
        }
    }

    #[tokio::test]
    async fn good_answers_pass_byte_for_byte_however_they_come() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\n\0\r",
            "HTTP/1.1 200\r\n\r\nto the end",
            "HTTP/1.0 299 \u{e4}\r\nX: \u{e4}\t1\r\nX:\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok",
        ] {
            for step in [1, 7, 4096] {
                assert_eq!(passed(answer.as_bytes(), step).await, (answer.as_bytes().to_vec(), None));
            }
        }
    }

    #[tokio::test]
    async fn bad_answers_do_not_pass() {
        let head = |line: &str| format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\nok");
        let large = format!("X: {}", "a".repeat(HEAD_BYTES));
        let many = "X: a\r\n".repeat(HEAD_LINES + 1);
        let cases = [
            (head("Content-Length: 2\r\nContent-Length: 3"), UpstreamError::Protocol),
            (head("Content-Length: 2, 2"), UpstreamError::Protocol),
            (head("Content-Length: +2"), UpstreamError::Protocol),
            (head("Content-Length:"), UpstreamError::Protocol),
            (head("Content-Length: 2\r\nTransfer-Encoding: chunked"), UpstreamError::Protocol),
            (head("Transfer-Encoding: gzip, chunked"), UpstreamError::Protocol),
            (head("Transfer-Encoding: identity"), UpstreamError::Protocol),
            (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), UpstreamError::Protocol),
            (head("X: a\0b"), UpstreamError::Protocol),
            (head("X: a\rb"), UpstreamError::Protocol),
            (head("X: a\nY: b"), UpstreamError::Protocol),
            (head("X: a\r\n b"), UpstreamError::Protocol),
            (head("X : a"), UpstreamError::Protocol),
            (head("no colon"), UpstreamError::Protocol),
            (head(&large), UpstreamError::HeadTooLarge),
            (head(&many), UpstreamError::HeadTooLarge),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(), UpstreamError::Protocol),
            ("HTTP/1.1 101 Switching\r\n\r\n".into(), UpstreamError::Protocol),
            (SWITCHES.into(), UpstreamError::Protocol),
            ("HTTP/1.1 20 OK\r\n\r\n".into(), UpstreamError::Protocol),
            ("HTTP/1.1 2000 OK\r\n\r\n".into(), UpstreamError::Protocol),
            ("HTTP/1.1  200 OK\r\n\r\n".into(), UpstreamError::Protocol),
            ("HTTP/2 200 OK\r\n\r\n".into(), UpstreamError::Protocol),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), UpstreamError::Protocol),
            ("SSH-2.0-OpenSSH_9.6".into(), UpstreamError::Protocol),
            ("HTTP/1.1 200 OK\r\nContent-Le".into(), UpstreamError::Protocol),
        ];
        for (answer, error) in cases {
            for step in [1, 4096] {
                assert_eq!(passed(answer.as_bytes(), step).await, (vec![], Some(error)), "{answer:?}");
            }
        }
    }
}
