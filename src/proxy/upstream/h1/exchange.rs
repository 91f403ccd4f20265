//! One request, up to the head of its response.

use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{Method, Response, StatusCode};
use tokio::io::ReadBuf;

use super::head::Kind;
use super::response::StreamedBody;
use super::upload::{Stopped, Upload};
use super::{Connection, Pool, Switched, Wire};
use crate::proxy::continue_gate::ContinueGate;
use crate::proxy::request_body::{AttemptBody, RequestBody};
use crate::proxy::upstream::attempt::{FailedAttempt, Failure};
use crate::proxy::upstream::{Head, UpstreamError};
use vbc_http::codec::input::LEAST_READ;
use vbc_http::codec::{Framing, RemainingBody, block};

/// The size of the buffer for the first read of a response, in bytes. It is on the stack, and most
/// responses fit.
const FIRST_READ: usize = 16 * 1024;

/// After this many bytes of interim responses, other tasks get their turn.
const TURN: usize = 64 * 1024;

/// A request that waits for its response. Dropping it ends the connection.
///
/// [`poll_head`](Self::poll_head) sends the request and reads the head. When it is ready, call
/// exactly one of [`take_response`](Self::take_response), [`take_switched`](Self::take_switched)
/// and [`failure`](Self::failure).
pub(in crate::proxy::upstream) struct Exchange {
    /// `None` once the response has been taken.
    connection: Option<Connection>,
    /// The unwritten rest of the request, with its body.
    upload: Option<Upload>,
    request: RequestBody,
    /// Whether the request must not be sent again: something has been received, valid or not, or
    /// the client did not send the whole body.
    is_final: bool,
    /// Holds the request body back until a 100 arrives. `None` if the body is not held back.
    gate: Option<ContinueGate>,
    to_head: bool,
    upgrade: bool,
    /// The number of bytes of interim responses read in this turn.
    interim: usize,
}

/// The head of a response, and the framing of its body.
pub(in crate::proxy::upstream) struct ResponseHead {
    pub(in crate::proxy::upstream) head: Response<()>,
    framing: Framing,
    /// The connection ends with this response.
    last: bool,
    /// The body, if it came in the same read as the head.
    whole: Option<Bytes>,
}

/// The body of a response whose head has been read.
pub(in crate::proxy::upstream) enum BodyStart {
    /// The whole body, received with the head.
    Whole(Bytes),
    /// A body that is still being received.
    Streamed(StreamedBody),
}

/// The outcome of one read.
enum ReadOutcome {
    /// The upstream has ended the connection.
    End,
    /// The buffer has more bytes.
    More,
    /// A whole head was read. The buffer holds only bytes of the body, if any.
    Head(ResponseHead),
}

impl Exchange {
    /// An exchange that has written nothing yet. With a gate, the body waits until the gate opens.
    pub(in crate::proxy::upstream) fn new(
        connection: Connection,
        head: &Head,
        own_lines: &[u8],
        gate: Option<ContinueGate>,
        request: RequestBody,
        attempt: AttemptBody,
    ) -> Self {
        Self {
            upload: Some(Upload::new(head, own_lines, gate.is_some(), attempt)),
            request,
            connection: Some(connection),
            is_final: false,
            gate,
            to_head: head.method == Method::HEAD,
            upgrade: head.upgrade,
            interim: 0,
        }
    }

    /// Sends the request until the head of its response comes.
    pub(in crate::proxy::upstream) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, UpstreamError>> {
        let Self { connection: Some(connection), is_final, .. } = self else {
            return Poll::Ready(Err(UpstreamError::Terminated));
        };
        let wire = &mut *connection.wire.borrow_mut();
        if let Err(stopped) = ready!(poll_upload(cx, wire, &mut self.upload, &self.request)) {
            *is_final |= matches!(stopped, Stopped::Body);
            return Poll::Ready(Err(UpstreamError::Terminated));
        }
        loop {
            if !wire.input.bytes.is_empty()
                && let Some((length, kind)) = wire.head.read(&wire.input.bytes)?
            {
                if let Kind::Switches | Kind::Final = kind {
                    let may_switch = self.upgrade && self.upload.is_none();
                    return Poll::Ready(take_head(wire, length, kind, may_switch));
                }
                wire.input.bytes.advance(length);
                wire.head.skip();
                self.interim += length;
                if kind == Kind::Continue
                    && let Some(gate) = self.gate.take()
                {
                    gate.release();
                }
                if self.interim > TURN {
                    // An upstream that sends interim responses faster than they are read would
                    // block the thread, and with it the timer that ends the exchange.
                    self.interim = 0;
                    let _ = pin!(tokio::task::yield_now()).poll(cx);
                    return Poll::Pending;
                }
                continue;
            }
            let outcome = ready!(poll_more(cx, wire, self.to_head));
            // An error means that invalid bytes were received.
            *is_final |= !matches!(outcome, Ok(ReadOutcome::End));
            match outcome? {
                ReadOutcome::End if wire.input.bytes.is_empty() => {
                    return Poll::Ready(Err(UpstreamError::Terminated));
                }
                ReadOutcome::End => return Poll::Ready(Err(UpstreamError::Protocol)),
                ReadOutcome::More => {}
                ReadOutcome::Head(received) => return Poll::Ready(Ok(received)),
            }
        }
    }

    /// The response. The rest of the upload continues in its own task, because some clients read
    /// the response only after they have sent the whole request.
    pub(in crate::proxy::upstream) fn take_response(
        &mut self,
        received: ResponseHead,
        pool: &Rc<Pool>,
    ) -> Result<Response<BodyStart>, UpstreamError> {
        let ResponseHead { head, framing, last, whole } = received;
        let bodiless = is_without_body(self.to_head, &head);
        let rest = if bodiless { RemainingBody::NONE } else { RemainingBody::of_response(framing) };
        let connection = self.connection.take().ok_or(UpstreamError::Terminated)?;
        {
            let mut wire = connection.wire.borrow_mut();
            wire.uploads = self.upload.is_some() || wire.broken;
        }
        let last = last || matches!(rest, RemainingBody::UntilClose);
        let whole = whole.or_else(|| rest.is_none().then(Bytes::new));
        if let Some(whole) = whole {
            connection.finish(last, pool);
            return Ok(head.map(|()| BodyStart::Whole(whole)));
        }
        // The upstream responded without waiting for a held body, so the body is not sent.
        if self.gate.as_ref().is_some_and(ContinueGate::is_held) {
            self.upload = None;
        }
        let upload = self.upload.take().map(|upload| upload.spawn(Rc::clone(&connection.wire)));
        let body = StreamedBody::new(connection, rest, last, upload, pool);
        Ok(head.map(|()| BodyStart::Streamed(body)))
    }

    /// Whether bytes that the client has sent still wait to be written to the upstream.
    pub(in crate::proxy::upstream) fn is_writing(&self) -> bool {
        self.upload.as_ref().is_some_and(Upload::is_writing)
    }

    /// The connection after a 101.
    pub(in crate::proxy::upstream) fn take_switched(&mut self) -> Option<Switched> {
        // This exchange is the only owner of the wire: a request without a body has no upload task.
        let wire = Rc::into_inner(self.connection.take()?.wire)?.into_inner();
        Some(Switched { stream: wire.stream, first: wire.input.bytes.freeze(), open: wire.open })
    }

    /// The outcome of an exchange whose head could not be read.
    pub(in crate::proxy::upstream) fn failure(&mut self, error: UpstreamError) -> FailedAttempt {
        if self.is_final {
            return FailedAttempt::Final(error);
        }
        let pooled = self.connection.as_ref().is_some_and(|connection| connection.pooled);
        let failure = Failure { error, connection: None };
        match self.upload.take() {
            Some(upload) if upload.written() == 0 => match upload.into_untouched_body() {
                Some(body) if pooled => FailedAttempt::Uncounted(body),
                untouched => FailedAttempt::Unprocessed(failure, untouched),
            },
            // This includes a connection that was opened ahead of the first request: the upstream
            // may have closed it meanwhile.
            _ if pooled => FailedAttempt::Unanswered(failure),
            _ => FailedAttempt::Final(error),
        }
    }
}

/// Writes as much of the request as the upstream accepts. Returns pending after the first write,
/// because no response can have come yet. The check before that write has registered the task for
/// reads.
fn poll_upload(
    cx: &mut Context<'_>,
    wire: &mut Wire,
    rest: &mut Option<Upload>,
    request: &RequestBody,
) -> Poll<Result<(), Stopped>> {
    let Some(upload) = rest else { return Poll::Ready(Ok(())) };
    let before = upload.written();
    let is_first = before == 0;
    // The upstream has closed the connection meanwhile, or has sent bytes that belong to no
    // response.
    if is_first && !wire.is_quiet(cx) {
        return Poll::Ready(Err(Stopped::Unwritable));
    }
    let sent = upload.poll(cx, &mut *wire.stream);
    // The deadline counts from the last bytes that the upstream accepted, not from whole pieces.
    if upload.written() > before {
        request.note_progress();
    }
    match sent {
        Poll::Pending => {}
        Poll::Ready(Ok(())) => *rest = None,
        Poll::Ready(Err(Stopped::Unwritable)) if upload.written() > 0 => {
            // The upstream may have responded before it closed.
            wire.broken = true;
            *rest = None;
        }
        Poll::Ready(stopped) => return Poll::Ready(stopped),
    }
    if is_first && !wire.broken { Poll::Pending } else { Poll::Ready(Ok(())) }
}

/// Takes a complete final head, or a 101, out of the buffer.
fn take_head(
    wire: &mut Wire,
    length: usize,
    kind: Kind,
    may_switch: bool,
) -> Result<ResponseHead, UpstreamError> {
    // A 101 is valid only after a complete request for an upgrade.
    if kind == Kind::Switches && !may_switch {
        tracing::debug!("refused the upstream's response: a 101 without a request for an upgrade");
        return Err(UpstreamError::Protocol);
    }
    let (framing, last) = (wire.head.framing(), wire.head.is_last());
    let head = wire.head.take(&wire.input.bytes.split_to(length).freeze())?;
    Ok(ResponseHead { head, framing, last, whole: None })
}

/// Whether a response has no body, regardless of its fields (RFC 9112 §6.3).
fn is_without_body<B>(to_head: bool, head: &Response<B>) -> bool {
    to_head || matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Reads once. Usually that returns a whole head, and often a whole response. Then only copies of
/// the head and the body are kept, and the connection needs no buffer.
fn poll_more(
    cx: &mut Context<'_>,
    wire: &mut Wire,
    to_head: bool,
) -> Poll<Result<ReadOutcome, UpstreamError>> {
    if !wire.input.bytes.is_empty() {
        return Poll::Ready(match ready!(wire.poll_read(cx, LEAST_READ)) {
            Ok(0) => Ok(ReadOutcome::End),
            Ok(_) => Ok(ReadOutcome::More),
            // After a reset, the bytes before it are not reliable.
            Err(_) => Err(UpstreamError::Terminated),
        });
    }
    let mut buffer = [const { MaybeUninit::uninit() }; FIRST_READ];
    let mut buf = ReadBuf::uninit(&mut buffer);
    if ready!(Pin::new(&mut *wire.stream).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty() {
        return Poll::Ready(Ok(ReadOutcome::End));
    }
    let bytes = buf.filled();
    match wire.head.read(bytes)? {
        Some((length, Kind::Final)) => {
            let (framing, last) = (wire.head.framing(), wire.head.is_last());
            let (head, rest) = bytes.split_at(length);
            let head = wire.head.take(&block::keep(head))?;
            let is_whole = framing == Framing::Sized(rest.len() as u64) && !is_without_body(to_head, &head);
            if !is_whole {
                wire.input.bytes.extend_from_slice(rest);
            }
            let whole = is_whole.then(|| block::keep_body(rest).freeze());
            return Poll::Ready(Ok(ReadOutcome::Head(ResponseHead { head, framing, last, whole })));
        }
        // The interim head is read again from the buffer, with the bytes that follow.
        Some(_) => wire.head.skip(),
        None => {}
    }
    wire.input.bytes.extend_from_slice(bytes);
    Poll::Ready(Ok(ReadOutcome::More))
}
