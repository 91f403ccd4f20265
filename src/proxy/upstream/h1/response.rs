//! The body of a response on an HTTP/1.1 connection.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use super::head::{HEAD_BYTES, HEAD_LINES};
use super::{Connection, Pool, ReadBudget};
use crate::proxy::upstream::UpstreamError;
use crate::proxy::upstream::upload_task::UploadTask;
use vbc_http::RequestRejection;
use vbc_http::codec::input::LEAST_READ;
use vbc_http::codec::{RemainingBody, Step};

/// The body of a response. Reading it to its end returns its connection to the pool. Dropping it
/// earlier ends the connection.
pub(in crate::proxy::upstream) struct StreamedBody {
    connection: Option<Connection>,
    rest: RemainingBody,
    /// Whether a length was announced.
    sized: bool,
    /// Whether the connection ends with this response.
    last: bool,
    /// The task that still sends the rest of the request.
    upload: Option<UploadTask>,
    /// Why the body is cut short. It is reported one poll late, so that earlier pieces are written
    /// to the client first.
    failure: Option<UpstreamError>,
    pool: Rc<Pool>,
}

impl StreamedBody {
    pub(super) fn new(
        mut connection: Connection,
        rest: RemainingBody,
        last: bool,
        upload: Option<UploadTask>,
        pool: &Rc<Pool>,
    ) -> Self {
        connection.reading = Some(pool.begin_reading());
        let sized = matches!(rest, RemainingBody::Sized(_));
        Self { connection: Some(connection), rest, sized, last, upload, failure: None, pool: Rc::clone(pool) }
    }

    /// Ends a response that was read completely. If the request is still being sent, the connection
    /// cannot be reused: it ends here, together with the upload.
    fn finish(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        self.upload = None;
        connection.finish(self.last, &self.pool);
    }

    /// Ends the connection.
    pub(in crate::proxy::upstream) fn abandon(&mut self) {
        self.upload = None;
        self.connection = None;
    }

    /// The whole body, if its length is known and it has been read.
    pub(in crate::proxy::upstream) fn take_whole(&mut self) -> Option<Bytes> {
        let RemainingBody::Sized(length) = self.rest else { return None };
        let whole = {
            let read = &mut self.connection.as_ref()?.wire.borrow_mut().input.bytes;
            let length = usize::try_from(length).ok().filter(|length| *length <= read.len())?;
            read.split_to(length).freeze()
        };
        self.rest = RemainingBody::NONE;
        self.finish();
        Some(whole)
    }

    pub(in crate::proxy::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        loop {
            let Some(connection) = &self.connection else {
                return Poll::Ready(self.failure.take().map(Err));
            };
            let mut wire = connection.wire.borrow_mut();
            let take = |read: &mut BytesMut, length| read.split_to(length).freeze();
            let step = self.rest.step(&mut wire.input.bytes, (HEAD_BYTES, HEAD_LINES), take);
            let mut step = step.map_err(broken);
            if matches!(step, Ok(Step::More)) {
                let most = connection.reading.as_ref().map_or(LEAST_READ, ReadBudget::bytes);
                step = match ready!(wire.poll_body(cx, most, &self.pool)) {
                    // After a reset, an end of the connection is not the end of the body.
                    Ok(0) if matches!(self.rest, RemainingBody::UntilClose) && !wire.broken => Ok(Step::End),
                    Ok(0) | Err(_) => Err(UpstreamError::Terminated),
                    Ok(_) => continue,
                };
            }
            drop(wire);
            return Poll::Ready(match step {
                Ok(Step::Data(data)) => {
                    // Finished here, because not every reader polls again after the last piece.
                    if self.rest.is_none() {
                        self.finish();
                    }
                    Some(Ok(Frame::data(data)))
                }
                Ok(Step::Trailers(trailers)) => {
                    self.finish();
                    Some(Ok(Frame::trailers(trailers)))
                }
                Ok(Step::End | Step::More) => {
                    self.finish();
                    None
                }
                Err(error) => {
                    self.abandon();
                    self.failure = Some(error);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            });
        }
    }

    pub(in crate::proxy::upstream) fn is_end_stream(&self) -> bool {
        self.connection.is_none() && self.failure.is_none()
    }

    pub(in crate::proxy::upstream) fn size_hint(&self) -> SizeHint {
        match &self.rest {
            RemainingBody::Sized(left) if self.sized => SizeHint::with_exact(*left),
            // A chunked body stays chunked, so it has no exact length, even at its end.
            _ => SizeHint::default(),
        }
    }
}

fn broken(why: RequestRejection) -> UpstreamError {
    tracing::debug!(%why, "the body of the upstream's response is malformed");
    UpstreamError::Protocol
}
