//! HTTP/2 towards clients (RFC 9113).
//!
//! Framing is the h2 crate's; here is what it leaves open: which requests are refused as ambiguous, how a request
//! and an answer are told in the words of HTTP/1.1 that the [`Handler`] speaks, and every deadline. All bytes pass
//! [`Wire`].

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, uri};
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::body::Incoming;
use super::flood::FloodMeter;
use super::h1::{LINGER_BYTES, LINGER_TIME, valid_host};
use super::lazy_timer::LazyTimer;
use super::{DrainSignal, Handler, Limits, Refusal, Stream};
use crate::codec::syntax::decimal;

/// Requests under way at once on one connection.
const STREAMS: u32 = 128;
/// What a client may send ahead of us, by stream and in all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is kept of a stream's answer while its client does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client opened and reset before we looked at them, and those we had to reset: more is an attack.
const RESETS: usize = 20;
const ERRORS: usize = 256;
/// How long the last words of a connection without streams may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Answers are handed to a stream in pieces of at most this, so that a slow reader is seen to move.
const PIECE: usize = 16 * 1024;

/// Drives one connection, which begins with the client's preface, to its end.
pub(super) async fn connection<H: Handler>(
    stream: impl Stream,
    limits: Limits,
    mut drain: DrainSignal,
    handler: H,
) {
    let streams = Rc::new(Streams::default());
    let handler = Rc::new(handler);
    let service = hyper::service::service_fn({
        let streams = Rc::clone(&streams);
        move |request: Request<hyper::body::Incoming>| {
            let handler = Rc::clone(&handler);
            // Before the future is first polled: hyper spawns it next.
            let open = streams.open();
            async move { answer(&*handler, request, &limits, open).await }
        }
    });
    let mut builder = Builder::new(Spawner { streams: Rc::clone(&streams), patience: limits.body_timeout });
    builder
        .timer(TokioTimer::new())
        .auto_date_header(H::DATE)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(ERRORS);
    let io = TokioIo::new(Wire::new(stream, limits, Rc::clone(&streams)));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut idle = Idle::default();
    let mut closing: Option<Closing> = None;
    let ended = poll_fn(|cx| {
        loop {
            let last = streams.are_spent(limits.requests) || drain.poll_begun(cx).is_ready();
            if last && closing.is_none() {
                connection.as_mut().graceful_shutdown();
                closing = Some(Closing::default());
            }
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            if closing.is_none() && streams.are_spent(limits.requests) {
                continue;
            }
            if streams.poll_none(cx).is_pending() {
                closing = closing.take().map(|_| Closing::default());
                return Poll::Pending;
            }
            match &mut closing {
                // GOAWAY has been sent; a peer that does not go is left.
                Some(closing) => return closing.poll(cx, &streams, limits.body_timeout).map(|()| None),
                None => ready!(idle.poll(cx, &streams, limits.idle_timeout)),
            }
            connection.as_mut().graceful_shutdown();
            closing = Some(Closing::default());
        }
    })
    .await;
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// One request and its answer.
async fn answer<H: Handler>(
    handler: &H,
    request: Request<hyper::body::Incoming>,
    limits: &Limits,
    open: OpenStream,
) -> Result<Response<Outgoing<H::Body>>, super::Abort> {
    let is_head = request.method() == Method::HEAD;
    let (mut parts, body) = request.into_parts();
    let response = match in_the_words_of_http1(&mut parts, &body, limits) {
        Ok(()) => {
            let body = Incoming::http2(body, limits.body_timeout);
            handler.handle(Request::from_parts(parts, body)).await?
        }
        Err(refusal) => handler.refuse(refusal),
    };
    let (mut parts, body) = response.into_parts();
    strip_connection(&mut parts.headers);
    let silent = is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_head
        && !parts.headers.contains_key(header::CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream())
    {
        // hyper says it only where it sends the body too.
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(Response::from_parts(parts, Outgoing { body, rest: Bytes::new(), silent, open }))
}

/// Refuses what RFC 9113 §8 leaves ambiguous, and says the rest as an HTTP/1.1 head would.
fn in_the_words_of_http1(
    parts: &mut http::request::Parts,
    body: &hyper::body::Incoming,
    limits: &Limits,
) -> Result<(), Refusal> {
    const NO_PATH: Refusal = Refusal::Malformed("the :path is not a path");
    if parts.headers.len() > limits.headers {
        return Err(Refusal::HeadTooLarge);
    }
    // It has an authority for its target, and is answered by its method alone.
    if parts.method == Method::CONNECT {
        return Ok(());
    }
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    if target == "*" && parts.method != Method::OPTIONS {
        return Err(Refusal::Malformed("only OPTIONS takes the target *"));
    }
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(Refusal::Malformed("the :scheme is not http or https"));
    }
    check_values(&parts.headers)?;
    check_authority(&parts.uri, &mut parts.headers)?;
    if !body.is_end_stream() && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if parts.uri.authority().is_some() {
        let mut origin_form = uri::Parts::default();
        origin_form.path_and_query = std::mem::take(&mut parts.uri).into_parts().path_and_query;
        parts.uri = Uri::from_parts(origin_form).map_err(|_| NO_PATH)?;
    }
    // The URI type takes a query alone, which it shows as it is, and a fragment alone, of which an empty path is left.
    let shown = parts.uri.path_and_query().is_some_and(|target| target.as_str().starts_with(['/', '*']));
    if !shown || parts.uri.path().is_empty() {
        return Err(NO_PATH);
    }
    Ok(())
}

/// HTTP/1.1 would take away white space around a value (RFC 9113 §8.2.1), and the library takes an empty length for 0.
fn check_values(headers: &HeaderMap) -> Result<(), Refusal> {
    for (name, value) in headers {
        let value = value.as_bytes();
        if matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) {
            return Err(Refusal::Malformed("white space around a value"));
        }
        if *name == header::CONTENT_LENGTH && decimal(value).is_none() {
            return Err(Refusal::Malformed("content-length is not one number of decimal digits"));
        }
    }
    Ok(())
}

/// `:authority` and `Host` name the same host, which stands in `Host` afterwards (RFC 9113 §8.3.1).
fn check_authority(uri: &Uri, headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(Refusal::Malformed("more than one Host"));
    }
    match (uri.authority(), host) {
        (None, None) => Err(Refusal::Malformed("a request needs an :authority or a Host")),
        (Some(authority), Some(host))
            if !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) =>
        {
            Err(Refusal::Malformed("the :authority and the Host differ"))
        }
        (Some(authority), None) => {
            if !valid_host(authority.as_str().as_bytes()) {
                return Err(Refusal::Malformed("the :authority is not a host name with an optional port"));
            }
            let host = HeaderValue::from_str(authority.as_str());
            headers.insert(header::HOST, host.map_err(|_| Refusal::Malformed("the :authority is no host"))?);
            Ok(())
        }
        (_, Some(host)) if !valid_host(host.as_bytes()) => {
            Err(Refusal::Malformed("the Host is not a host name with an optional port"))
        }
        _ => Ok(()),
    }
}

/// Takes out what only HTTP/1 says about its connection (RFC 9113 §8.2.2).
fn strip_connection(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION]
    {
        headers.remove(name);
    }
}

/// The streams of one connection.
#[derive(Default)]
struct Streams {
    count: Cell<usize>,
    /// How many there have been.
    opened: Cell<u64>,
    /// The one whose task is spawned next.
    next: RefCell<Option<Rc<Progress>>>,
    /// Who waits for the last one to end.
    waiting: RefCell<Option<Waker>>,
    /// Bytes that the socket has taken.
    written: Cell<u64>,
}

/// How far the answer of a stream has come.
#[derive(Default)]
struct Progress {
    /// Part of the answer is in hyper's hands, which waits for the client to take it.
    handed: Cell<bool>,
    pieces: Cell<u64>,
}

/// A stream whose answer has not been sent to its end.
struct OpenStream {
    streams: Rc<Streams>,
    progress: Rc<Progress>,
}

impl Streams {
    fn open(self: &Rc<Self>) -> OpenStream {
        let progress = Rc::new(Progress::default());
        *self.next.borrow_mut() = Some(Rc::clone(&progress));
        self.count.set(self.count.get() + 1);
        self.opened.set(self.opened.get() + 1);
        OpenStream { streams: Rc::clone(self), progress }
    }

    /// Whether there have been as many as there may be, where there is such a limit.
    fn are_spent(&self, most: u32) -> bool {
        most > 0 && self.opened.get() >= u64::from(most)
    }

    /// Waits until there is none.
    fn poll_none(&self, cx: &Context<'_>) -> Poll<()> {
        if self.count.get() == 0 {
            return Poll::Ready(());
        }
        // Each ends in a task of its own, which may be later than the last byte that wakes the connection.
        self.waiting.borrow_mut().get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        Poll::Pending
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let left = self.streams.count.get() - 1;
        self.streams.count.set(left);
        if left == 0
            && let Some(waiting) = self.streams.waiting.take()
        {
            waiting.wake();
        }
    }
}

/// A connection that has been told to go. The end of its last answers may still be in the library's hands.
#[derive(Default)]
struct Closing {
    quiet: LazyTimer,
    written: u64,
    whole: LazyTimer,
}

impl Closing {
    /// Waits until nothing is written any more, or for `longest`.
    fn poll(&mut self, cx: &mut Context<'_>, streams: &Streams, longest: Duration) -> Poll<()> {
        if self.whole.poll_after(cx, longest).is_ready() {
            return Poll::Ready(());
        }
        loop {
            if !self.quiet.is_set() {
                self.written = streams.written.get();
            }
            ready!(self.quiet.poll_after(cx, CLOSE_TIME));
            self.quiet.clear();
            if self.written == streams.written.get() {
                return Poll::Ready(());
            }
        }
    }
}

/// Runs lazily across requests.
#[derive(Default)]
struct Idle {
    deadline: LazyTimer,
    opened: u64,
}

impl Idle {
    fn poll(&mut self, cx: &mut Context<'_>, streams: &Streams, after: Duration) -> Poll<()> {
        loop {
            if !self.deadline.is_set() {
                self.opened = streams.opened.get();
            }
            ready!(self.deadline.poll_after(cx, after));
            self.deadline.clear();
            if self.opened == streams.opened.get() {
                return Poll::Ready(());
            }
        }
    }
}

/// Spawns the task of each stream, and ends the one whose client takes nothing of its answer for too long.
#[derive(Clone)]
struct Spawner {
    streams: Rc<Streams>,
    patience: Duration,
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, task: F) {
        let Some(progress) = self.streams.next.take() else {
            tokio::task::spawn_local(async move {
                task.await;
            });
            return;
        };
        let patience = self.patience;
        tokio::task::spawn_local(async move {
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
                        tracing::debug!("a stream is reset: the client does not read its answer");
                        return Poll::Ready(());
                    }
                }
            })
            .await;
        });
    }
}

/// The body of an answer on its way to a stream.
struct Outgoing<B> {
    body: B,
    /// Of the last piece, what was too much for one.
    rest: Bytes,
    /// The answer has no body, whatever the handler gave.
    silent: bool,
    open: OpenStream,
}

impl<B: Body<Data = Bytes>> Body for Outgoing<B>
where
    B: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let progress = &this.open.progress;
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
        let hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        hint.exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + rest))
    }
}

/// The socket under HTTP/2: every byte of a connection passes here, both ways.
struct Wire<S: Stream> {
    stream: S,
    limits: Limits,
    streams: Rc<Streams>,
    meter: FloodMeter,
    /// Runs while a write makes no progress.
    writing: LazyTimer,
    closing: Option<(LazyTimer, usize)>,
}

impl<S: Stream> Wire<S> {
    fn new(stream: S, limits: Limits, streams: Rc<Streams>) -> Self {
        let meter = FloodMeter::new(limits.head_bytes, Instant::now());
        Self { stream, limits, streams, meter, writing: LazyTimer::default(), closing: None }
    }

    /// Fails what is pending when it has been so for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.writing.clear();
            return polled;
        }
        ready!(self.writing.poll_after(cx, self.limits.body_timeout));
        // Closed politely, the socket would keep what was not read for minutes more.
        self.stream.reset_on_close();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: Stream> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if let Err(flood) = this.meter.read(&buf.filled()[before..], Instant::now()) {
            // Without last words, which a client that floods would have to be waited for to read.
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::other(flood)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            this.meter.sent(written);
            this.streams.written.set(this.streams.written.get().wrapping_add(written as u64));
        }
        this.in_time(cx, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.in_time(cx, polled)
    }

    /// Ends the sending side, then reads on for a moment: closing with unread input would send a reset, which can
    /// overtake the GOAWAY.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            let polled = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.in_time(cx, polled))?;
        }
        let (deadline, read) = this.closing.get_or_insert_default();
        let mut room = [0; 4096];
        while *read < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => *read += buf.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(deadline.poll_after(cx, LINGER_TIME));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "h2_tests.rs"]
mod tests;
