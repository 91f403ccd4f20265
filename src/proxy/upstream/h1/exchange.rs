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
use super::response::{Rest, StreamedBody};
use super::upload::{Stopped, Upload};
use super::{Connection, Wire};
use crate::http1::input::LEAST_READ;
use crate::http1::{Framing, block};
use crate::proxy::body::{AttemptBody, RequestBody};
use crate::proxy::continue_gate::ContinueGate;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::pools::Pools;
use crate::proxy::upstream::{Again, Head, UpstreamError};

/// How much of a head is read at once, on the stack: most answers.
const READ: usize = 16 * 1024;

/// How many bytes of interim answers are read before others have their turn: more than almost every response has.
const TURN: usize = 64 * 1024;

/// A request on its way. Dropping it ends the connection.
pub(in crate::proxy::upstream) struct Exchange {
    /// `None` once there is a response.
    connection: Option<Connection>,
    /// What is still to be written, and whose body that is.
    upload: Option<Upload>,
    request: RequestBody,
    /// The upstream takes no more of the request: the connection is not used again.
    cut: bool,
    /// Something of a response has come.
    answered: bool,
    /// The client has not sent what it announced: there is nothing to be sent again.
    without_body: bool,
    /// What a 100 releases.
    hold: Option<ContinueGate>,
    to_head: bool,
    upgrade: bool,
    /// Bytes of interim answers since others had their turn.
    interim: usize,
}

/// The head of a response, and how its body is framed.
pub(in crate::proxy::upstream) struct ResponseHead {
    pub(in crate::proxy::upstream) head: Response<()>,
    framing: Framing,
    last: bool,
    /// Its body, where that came along.
    whole: Option<Bytes>,
}

/// A response's body.
pub(in crate::proxy::upstream) enum BodyStart {
    /// All of it is there.
    Whole(Bytes),
    Streamed(Box<StreamedBody>),
}

/// What came of reading.
enum Read {
    End,
    More,
    /// A whole head, out of a buffer that is not kept.
    Head(ResponseHead),
}

impl Exchange {
    /// Begins nothing yet; the body waits for `hold`.
    pub(in crate::proxy::upstream) fn new(
        connection: Connection,
        head: &Head,
        own_lines: &[u8],
        hold: Option<ContinueGate>,
        request: RequestBody,
        attempt: AttemptBody,
    ) -> Self {
        Self {
            upload: Some(Upload::new(head, own_lines, hold.is_some(), attempt)),
            request,
            connection: Some(connection),
            cut: false,
            answered: false,
            without_body: false,
            hold,
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
        let Some(connection) = &self.connection else {
            return Poll::Ready(Err(UpstreamError::Terminated));
        };
        let wire = &mut *connection.wire.borrow_mut();
        if let Some(upload) = &mut self.upload {
            let first = !upload.has_written();
            // An end that has come meanwhile, or bytes that belong to nobody: no request goes out on this connection.
            if first && !wire.is_quiet(cx) {
                return Poll::Ready(Err(UpstreamError::Terminated));
            }
            let before = upload.written();
            let sent = upload.poll(cx, &mut *wire.stream);
            // The deadline of an upload goes by what the upstream takes, however large the pieces are.
            if upload.written() > before {
                self.request.moved();
            }
            match sent {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.upload = None,
                Poll::Ready(Err(Stopped::Unwritable)) if upload.has_written() => {
                    // It may have answered before it hung up.
                    self.cut = true;
                    wire.broken = true;
                    self.upload = None;
                }
                Poll::Ready(Err(stopped)) => {
                    self.without_body = matches!(stopped, Stopped::Body);
                    return Poll::Ready(Err(UpstreamError::Terminated));
                }
            }
            if first && !self.cut {
                // The look before the first byte has made sure that what comes wakes this task.
                return Poll::Pending;
            }
        }
        loop {
            if !wire.input.bytes.is_empty()
                && let Some((length, kind)) = wire.head.read(&wire.input.bytes)?
            {
                match kind {
                    Kind::Switches if !self.upgrade => {
                        tracing::debug!("an answer was refused: an upgrade that nobody asked for");
                        return Poll::Ready(Err(UpstreamError::Protocol));
                    }
                    // It cannot mean a request that it has not read.
                    Kind::Switches if self.upload.is_some() => {
                        return Poll::Ready(Err(UpstreamError::Protocol));
                    }
                    Kind::Switches | Kind::Final => {
                        let (framing, last) = (wire.head.framing(), wire.head.is_last());
                        let head = wire.head.take(&wire.input.bytes.split_to(length).freeze())?;
                        return Poll::Ready(Ok(ResponseHead { head, framing, last, whole: None }));
                    }
                    Kind::Continue | Kind::Interim => {
                        wire.input.bytes.advance(length);
                        wire.head.skip();
                        self.interim += length;
                    }
                }
                if kind == Kind::Continue
                    && let Some(hold) = self.hold.take()
                {
                    hold.release();
                }
                if self.interim > TURN {
                    // An upstream that sends interim answers faster than they are read would keep the thread, and with it
                    // the timer that ends this, for as long as it likes.
                    self.interim = 0;
                    let _ = pin!(tokio::task::yield_now()).poll(cx);
                    return Poll::Pending;
                }
                continue;
            }
            let read = ready!(poll_more(cx, wire, self.to_head));
            // What is refused has come too.
            self.answered |= !matches!(read, Ok(Read::End));
            match read? {
                Read::End if wire.input.bytes.is_empty() => {
                    return Poll::Ready(Err(UpstreamError::Terminated));
                }
                Read::End => return Poll::Ready(Err(UpstreamError::Protocol)),
                Read::More => {}
                Read::Head(received) => return Poll::Ready(Ok(received)),
            }
        }
    }

    /// The response. A request that goes on does so in a task of its own: a client may read only when it has sent all.
    pub(in crate::proxy::upstream) fn response(
        &mut self,
        received: ResponseHead,
        pools: &Rc<Pools>,
    ) -> Result<Response<BodyStart>, UpstreamError> {
        let ResponseHead { head, framing, last, whole } = received;
        let rest = if is_without_body(self.to_head, &head) { Rest::NONE } else { framing.into() };
        let connection = self.connection.take().ok_or(UpstreamError::Terminated)?;
        // One whose body is held is not wanted any more.
        let held = self.hold.as_ref().is_some_and(ContinueGate::is_held);
        let uploads = self.upload.is_some() || self.cut;
        connection.wire.borrow_mut().uploads = uploads;
        let last = last || matches!(rest, Rest::ToTheEnd);
        if let Some(whole) = whole {
            connection.finish(last, pools);
            return Ok(head.map(|()| BodyStart::Whole(whole)));
        }
        if matches!(rest, Rest::Sized(0)) {
            connection.finish(last, pools);
            return Ok(head.map(|()| BodyStart::Whole(Bytes::new())));
        }
        let upload = self.upload.take().filter(|_| !held);
        let upload = upload.map(|upload| upload.go_on(Rc::clone(&connection.wire)));
        let response = StreamedBody::new(connection, rest, last, upload, pools);
        Ok(head.map(|()| BodyStart::Streamed(Box::new(response))))
    }

    /// Whether it is the upstream that is waited for: it has not taken all that the client has sent.
    pub(in crate::proxy::upstream) fn is_writing(&self) -> bool {
        self.upload.as_ref().is_some_and(Upload::is_writing)
    }

    /// What follows a 101 on its connection.
    pub(in crate::proxy::upstream) fn take_tunnel(&mut self) -> Option<Tunnel> {
        // Nobody else has it, since the request has no body.
        let wire = Rc::into_inner(self.connection.take()?.wire)?.into_inner();
        Some(Tunnel::new(wire.stream, wire.input.bytes.freeze(), wire.open))
    }

    /// Whether a request that failed may be sent again.
    pub(in crate::proxy::upstream) fn again(&mut self) -> Again {
        if self.answered || self.without_body {
            return Again::No;
        }
        let pooled = self.connection.as_ref().is_some_and(|connection| connection.pooled);
        match self.upload.take() {
            Some(upload) if !upload.has_written() => match upload.into_untouched_body() {
                Some(body) if pooled => Again::Stale(body),
                Some(body) => Again::Unsent(body),
                None => Again::Unprocessed,
            },
            // One that was made ahead and idle may be as dead as one that was used.
            _ if pooled => Again::Unanswered,
            _ => Again::No,
        }
    }
}

/// Whether a response has no body, whatever its fields say (RFC 9112 §6.3).
fn is_without_body<B>(to_head: bool, head: &Response<B>) -> bool {
    to_head || matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Reads once. Almost always that brings a whole head, and often a whole response: then nothing but copies of them is kept.
fn poll_more(cx: &mut Context<'_>, wire: &mut Wire, to_head: bool) -> Poll<Result<Read, UpstreamError>> {
    if !wire.input.bytes.is_empty() {
        return Poll::Ready(match ready!(wire.poll_read(cx, LEAST_READ)) {
            Ok(0) => Ok(Read::End),
            Ok(_) => Ok(Read::More),
            // A reset says nothing about what came before it.
            Err(_) => Err(UpstreamError::Terminated),
        });
    }
    let mut room = [const { MaybeUninit::uninit() }; READ];
    let mut buf = ReadBuf::uninit(&mut room);
    if ready!(Pin::new(&mut *wire.stream).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty() {
        return Poll::Ready(Ok(Read::End));
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
            return Poll::Ready(Ok(Read::Head(ResponseHead { head, framing, last, whole })));
        }
        // Read again, and then with what follows.
        Some(_) => wire.head.skip(),
        None => {}
    }
    wire.input.bytes.extend_from_slice(bytes);
    Poll::Ready(Ok(Read::More))
}
