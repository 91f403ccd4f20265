//! HTTP/2 for clients (RFC 9113).
//!
//! The h2 crate does the framing, through hyper. This module adds what it leaves open: which
//! requests are ambiguous ([`head`]), which frames are a flood ([`flood`]), and every deadline.

mod flood;
mod head;
mod streams;
mod transport;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::incoming::Incoming;
use crate::lazy_timer::LazyTimer;
use crate::{Abort, DrainSignal, Handler, Limits, Stream};
use streams::{OpenStream, ResponseBody, Spawner, Streams};
use transport::Transport;

/// Concurrent requests on one connection.
const STREAMS: u32 = 128;
/// How many bytes a client may send before they are read: on a stream, and in total.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most output that is buffered for a stream whose client does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// How many streams a client may reset before they are accepted. Then how many this side may reset
/// because of the client's errors.
const RESETS: usize = 20;
const ERRORS: usize = 256;
/// How long a closing connection without streams may write nothing before it ends.
const CLOSE_TIME: Duration = Duration::from_secs(2);

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
            // The stream is opened here and not in the future, because hyper spawns the future
            // before polling it.
            let stream = streams.open();
            async move { respond(&*handler, request, &limits, stream).await }
        }
    });
    let io = TokioIo::new(Transport::new(stream, limits, Rc::clone(&streams)));
    let mut connection = pin!(builder::<H>(&streams, &limits).serve_connection(io, service));
    let mut phase = Phase::Open(Quiet::default());
    let ended = poll_fn(|cx| {
        loop {
            let last = streams.are_spent(limits.requests) || drain.poll_begun(cx).is_ready();
            if last && matches!(phase, Phase::Open(_)) {
                connection.as_mut().graceful_shutdown();
                phase = Phase::closing();
            }
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            if matches!(phase, Phase::Open(_)) && streams.are_spent(limits.requests) {
                continue;
            }
            if streams.poll_none(cx).is_pending() {
                if let Phase::Closing { .. } = phase {
                    phase = Phase::closing();
                }
                return Poll::Pending;
            }
            match &mut phase {
                Phase::Open(idle) => ready!(idle.poll(cx, &streams.opened, limits.idle_timeout)),
                Phase::Closing { whole, quiet } => {
                    // The GOAWAY has been sent. The connection ends even if the client does not
                    // close it.
                    if whole.poll_after(cx, limits.body_timeout).is_pending() {
                        ready!(quiet.poll(cx, &streams.written, CLOSE_TIME));
                    }
                    return Poll::Ready(None);
                }
            }
            connection.as_mut().graceful_shutdown();
            phase = Phase::closing();
        }
    })
    .await;
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

fn builder<H: Handler>(streams: &Rc<Streams>, limits: &Limits) -> Builder<Spawner> {
    let mut builder = Builder::new(Spawner { streams: Rc::clone(streams), patience: limits.body_timeout });
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
    builder
}

/// Whether a connection takes further requests.
enum Phase {
    /// The connection takes further requests. It closes when no stream is opened for the idle
    /// timeout.
    Open(Quiet),
    /// A GOAWAY has been sent. Once all streams have ended, the connection ends when nothing more
    /// is written, or when `whole` fires. Until then hyper may hold the end of the last responses.
    Closing { whole: LazyTimer, quiet: Quiet },
}

impl Phase {
    fn closing() -> Self {
        Self::Closing { whole: LazyTimer::default(), quiet: Quiet::default() }
    }
}

/// Detects that a counter has stopped. Its timer keeps running while the counter moves.
#[derive(Default)]
struct Quiet {
    timer: LazyTimer,
    /// The counter when the timer was set.
    count: u64,
}

impl Quiet {
    /// Ready when `counter` has not moved for `after`.
    fn poll(&mut self, cx: &mut Context<'_>, counter: &Cell<u64>, after: Duration) -> Poll<()> {
        loop {
            if !self.timer.is_set() {
                self.count = counter.get();
            }
            ready!(self.timer.poll_after(cx, after));
            self.timer.clear();
            if self.count == counter.get() {
                return Poll::Ready(());
            }
        }
    }
}

async fn respond<H: Handler>(
    handler: &H,
    request: Request<hyper::body::Incoming>,
    limits: &Limits,
    stream: OpenStream,
) -> Result<Response<ResponseBody<H::Body>>, Abort> {
    let is_head = request.method() == Method::HEAD;
    let (mut parts, body) = request.into_parts();
    let response = match head::normalize(&mut parts, &body, limits) {
        Ok(()) => {
            let body = Incoming::http2(body, limits.body_timeout);
            handler.handle(Request::from_parts(parts, body)).await?
        }
        Err(rejection) => handler.reject(rejection),
    };
    let (mut parts, body) = response.into_parts();
    head::strip_connection(&mut parts.headers);
    let silent = is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_head
        && !parts.headers.contains_key(header::CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream())
    {
        // hyper adds the length only if it sends the body.
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(Response::from_parts(parts, ResponseBody::new(body, silent, stream)))
}

#[cfg(test)]
mod tests;
