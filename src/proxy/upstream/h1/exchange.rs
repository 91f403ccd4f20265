//! One request, up to the head of its answer.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::{Method, Response, StatusCode};

use super::Connection;
use super::answer::{Answer, Rest};
use super::head::Kind;
use super::upload::{Stopped, Upload};
use crate::http1::Framing;
use crate::http1::input::LEAST_READ;
use crate::proxy::body::{AttemptBody, RequestBody};
use crate::proxy::hold::Hold;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::pools::Pools;
use crate::proxy::upstream::{Again, Head, UpstreamError};

/// How many bytes of interim answers are read before others have their turn: more than almost every answer has.
const TURN: usize = 64 * 1024;

/// A request on its way. Dropping it ends the connection.
pub(in crate::proxy::upstream) struct Exchange {
    connection: Connection,
    /// What is still to be written, and whose body that is.
    upload: Option<Upload>,
    request: RequestBody,
    /// The upstream takes no more of the request: the connection is not used again.
    cut: bool,
    /// Something of an answer has come.
    answered: bool,
    /// The client has not sent what it announced: there is nothing to be sent again.
    without_body: bool,
    /// What a 100 releases.
    hold: Option<Hold>,
    to_head: bool,
    upgrade: bool,
    /// Bytes of interim answers since others had their turn.
    interim: usize,
}

/// The head of an answer, and how its body is framed.
pub(in crate::proxy::upstream) struct Received {
    pub(in crate::proxy::upstream) head: Response<()>,
    framing: Framing,
    last: bool,
}

impl Exchange {
    /// Begins nothing yet; the body waits for `hold`.
    pub(in crate::proxy::upstream) fn new(
        connection: Connection,
        head: &Head,
        own_lines: &[u8],
        hold: Option<Hold>,
        request: RequestBody,
        attempt: AttemptBody,
    ) -> Self {
        let buffer = std::mem::take(&mut connection.wire.borrow_mut().out);
        Self {
            upload: Some(Upload::new(head, own_lines, hold.is_some(), attempt, buffer)),
            request,
            connection,
            cut: false,
            answered: false,
            without_body: false,
            hold,
            to_head: head.method == Method::HEAD,
            upgrade: head.upgrade,
            interim: 0,
        }
    }

    /// Sends the request until the head of its answer comes.
    pub(in crate::proxy::upstream) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received, UpstreamError>> {
        let wire = &mut *self.connection.wire.borrow_mut();
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
                Poll::Ready(Ok(())) => {
                    wire.out = upload.take_buffer();
                    self.upload = None;
                }
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
                        let head = wire.head.take(&mut wire.input.bytes, length)?;
                        return Poll::Ready(Ok(Received { head, framing, last }));
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
            match ready!(wire.poll_read(cx, LEAST_READ)) {
                Ok(0) if !wire.input.bytes.is_empty() => return Poll::Ready(Err(UpstreamError::Protocol)),
                Ok(0) | Err(_) => return Poll::Ready(Err(UpstreamError::Terminated)),
                Ok(_) => self.answered = true,
            }
        }
    }

    /// The answer. A request that goes on does so in a task of its own: a client may read only when it has sent all.
    pub(in crate::proxy::upstream) fn answer(
        self,
        received: Received,
        pools: &Rc<Pools>,
    ) -> Response<Answer> {
        let Received { head, framing, last } = received;
        let bodiless = matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let rest = if self.to_head || bodiless { Rest::NONE } else { framing.into() };
        let connection = self.connection;
        // One whose body is held is not wanted any more.
        let held = self.hold.is_some_and(|hold| hold.is_held());
        let whole = self.upload.is_none() && !self.cut;
        let upload = self.upload.filter(|_| !held).map(|upload| upload.go_on(Rc::clone(&connection.wire)));
        connection.wire.borrow_mut().uploads = !whole;
        let last = last || matches!(rest, Rest::ToTheEnd);
        head.map(|()| Answer::new(connection, rest, last, upload, pools))
    }

    /// What follows a 101 on its connection.
    pub(in crate::proxy::upstream) fn into_tunnel(self) -> Option<Tunnel> {
        // Nobody else has it, since the request has no body.
        let wire = Rc::into_inner(self.connection.wire)?.into_inner();
        Some(Tunnel::new(wire.stream, wire.input.bytes.freeze(), wire.open))
    }

    /// Whether a request that failed may be sent again.
    pub(in crate::proxy::upstream) fn again(self) -> Again {
        if self.answered || self.without_body {
            return Again::No;
        }
        match self.upload {
            Some(upload) if !upload.has_written() => match upload.into_untouched_body() {
                Some(body) if self.connection.pooled => Again::Stale(body),
                Some(body) => Again::Unsent(body),
                None => Again::Unprocessed,
            },
            // One that was made ahead and idle may be as dead as one that was used.
            _ if self.connection.pooled => Again::Unanswered,
            _ => Again::No,
        }
    }
}
