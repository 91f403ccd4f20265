//! One request on a stream of an HTTP/2 connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use super::attempt::{FailedAttempt, Failure};
use super::error::{UpstreamError, is_unprocessed, stream_error};
use super::pools::Lease;
use super::upload_task::UploadTask;
use crate::proxy::BoxError;
use crate::proxy::request_body::AttemptBody;
use vbc_http::headers;

/// Upload pieces below this many bytes are merged. A merged piece has about [`MERGED`] bytes at
/// most, the usual size of a frame.
const SMALL: usize = 1024;
const MERGED: usize = 16 * 1024;

/// A request that waits for its response. Dropping it resets the stream, which ends the upload.
pub(super) struct Exchange {
    response: ResponseFuture,
    upload: Option<Upload>,
    /// A response to HEAD has no body, even if it announces a length.
    to_head: bool,
    lease: Lease,
}

/// Why no head of a response arrived.
pub(super) enum Stopped {
    /// The stream failed.
    Stream(h2::Error),
    /// The client's body ended early.
    Body,
}

impl Exchange {
    /// Opens the stream. Returns the body if the connection takes no more streams.
    pub(super) fn begin(
        lease: Lease,
        request: Request<()>,
        body: AttemptBody,
    ) -> Result<Self, Box<AttemptBody>> {
        let Some(mut sender) = lease.sender() else { return Err(Box::new(body)) };
        let to_head = request.method() == Method::HEAD;
        let ended = body.is_end_stream();
        match sender.send_request(request, ended) {
            Err(_) => Err(Box::new(body)),
            Ok((response, stream)) => {
                let upload = (!ended).then(|| Upload {
                    stream,
                    body,
                    piece: Bytes::new(),
                    following: None,
                    started: false,
                });
                Ok(Self { response, upload, to_head, lease })
            }
        }
    }

    /// Sends the body until the head of the response comes.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<RecvStream>, Stopped>> {
        if let Some(upload) = &mut self.upload {
            match upload.poll(cx) {
                Poll::Ready(UploadEnd::Whole) => self.upload = None,
                Poll::Ready(UploadEnd::CutShort) => return Poll::Ready(Err(Stopped::Body)),
                // The response will say why the upstream wants no more of the body.
                Poll::Ready(UploadEnd::Unwanted) | Poll::Pending => {}
            }
        }
        Pin::new(&mut self.response).poll(cx).map_err(Stopped::Stream)
    }

    /// The response. The rest of the upload continues in its own task, because some clients read
    /// the response only after they have sent the whole request.
    pub(super) fn into_response(
        self,
        head: Response<RecvStream>,
    ) -> Result<Response<StreamedBody>, UpstreamError> {
        if head.status() == StatusCode::SWITCHING_PROTOCOLS {
            // HTTP/2 has no 101 (RFC 9113 §8.6).
            return Err(UpstreamError::Protocol);
        }
        let length = announced(head.headers())?;
        let bodiless = self.to_head || head.status() == StatusCode::NOT_MODIFIED;
        Ok(head.map(|stream| {
            let ended = stream.is_end_stream();
            let mut response = StreamedBody {
                left: if ended || bodiless { Some(0) } else { length },
                open: (!ended).then(|| OpenStream {
                    stream,
                    in_trailers: false,
                    _upload: self.upload.map(Upload::spawn),
                    _lease: self.lease,
                }),
            };
            if bodiless {
                response.open = None;
            }
            response
        }))
    }

    /// The outcome of an exchange that got no head.
    pub(super) fn failure(self, stopped: Stopped) -> FailedAttempt {
        let Stopped::Stream(error) = stopped else { return FailedAttempt::Final(UpstreamError::Terminated) };
        tracing::debug!(%error, "a stream failed");
        let connection = Some(self.lease.number());
        if is_unprocessed(&error) {
            let untouched = self.upload.and_then(|upload| (!upload.started).then_some(upload.body));
            return FailedAttempt::Unprocessed(
                Failure { error: UpstreamError::Refusing, connection },
                untouched,
            );
        }
        match stream_error(&error) {
            UpstreamError::Protocol if !self.lease.is_settled() => {
                FailedAttempt::Final(UpstreamError::NoHttp2)
            }
            cause if error.is_io() && self.lease.reused => {
                FailedAttempt::Unanswered(Failure { error: cause, connection })
            }
            cause => FailedAttempt::Final(cause),
        }
    }
}

/// The announced length of a body. `None` if no length is announced. h2 checks the body against one
/// `Content-Length` line only, so further lines must agree here.
fn announced(headers: &HeaderMap) -> Result<Option<u64>, UpstreamError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    match headers::length(first) {
        Some(length) if lengths.all(|other| other == first) => Ok(Some(length)),
        _ => Err(UpstreamError::Protocol),
    }
}

/// The upload of a request body. It takes no more from the client than the upstream's window
/// allows.
struct Upload {
    stream: SendStream<Bytes>,
    body: AttemptBody,
    /// A piece that waits for the upstream's window.
    piece: Bytes,
    /// The frame that followed merged pieces. The inner `None` is the end of the body.
    following: Option<Option<Result<Frame<Bytes>, BoxError>>>,
    /// Whether something has been taken from `body`.
    started: bool,
}

/// How an upload ended.
enum UploadEnd {
    /// The whole body has been sent.
    Whole,
    /// The upstream accepts no more of the body.
    Unwanted,
    /// The client did not send the whole body. The stream is reset: otherwise the body would look
    /// complete.
    CutShort,
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<UploadEnd> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(UploadEnd::Unwanted);
            }
            if !self.piece.is_empty() {
                self.stream.reserve_capacity(self.piece.len());
                while self.stream.capacity() == 0 {
                    match ready!(self.stream.poll_capacity(cx)) {
                        Some(Ok(_)) => {}
                        _ => return Poll::Ready(UploadEnd::Unwanted),
                    }
                }
                let fits = self.stream.capacity().min(self.piece.len());
                let part = self.piece.split_to(fits);
                let ended = self.following.is_none() && self.body.is_end_stream();
                let last = self.piece.is_empty() && ended;
                match self.stream.send_data(part, last) {
                    Ok(()) if last => return Poll::Ready(UploadEnd::Whole),
                    Ok(()) => continue,
                    Err(_) => return Poll::Ready(UploadEnd::Unwanted),
                }
            }
            let frame = match self.following.take() {
                Some(frame) => frame,
                None => ready!(Pin::new(&mut self.body).poll_frame(cx)),
            };
            self.started = true;
            let ended = match frame {
                None => self.stream.send_data(Bytes::new(), true),
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(UploadEnd::CutShort);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => {
                        self.piece = self.merged(cx, data);
                        continue;
                    }
                    Ok(_) if !self.body.is_end_stream() => continue,
                    Ok(_) => self.stream.send_data(Bytes::new(), true),
                    Err(frame) => self.stream.send_trailers(frame.into_trailers().unwrap_or_default()),
                },
            };
            return Poll::Ready(if ended.is_ok() { UploadEnd::Whole } else { UploadEnd::Unwanted });
        }
    }

    /// The next piece to send. A small piece is merged with the pieces that follow it. h2 queues a
    /// frame for each piece. A queued frame costs hundreds of bytes that h2's buffer limit does not
    /// count.
    fn merged(&mut self, cx: &mut Context<'_>, first: Bytes) -> Bytes {
        if first.len() >= SMALL {
            return first;
        }
        let mut merged = BytesMut::new();
        while merged.len() < MERGED && !self.body.is_end_stream() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => {
                    // There is already a piece to send, so the upload does not wait for the client.
                    self.body.has_enough();
                    break;
                }
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    if merged.is_empty() {
                        merged.extend_from_slice(&first);
                    }
                    merged.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
                }
                Poll::Ready(other) => {
                    self.following = Some(other);
                    break;
                }
            }
        }
        if merged.is_empty() { first } else { merged.freeze() }
    }

    fn spawn(mut self) -> UploadTask {
        UploadTask::spawn(async move {
            std::future::poll_fn(|cx| self.poll(cx)).await;
        })
    }
}

/// The body of a response. Dropping it before its end resets the stream.
pub(super) struct StreamedBody {
    /// The rest of the announced length.
    left: Option<u64>,
    /// `None` once the stream has ended.
    open: Option<OpenStream>,
}

struct OpenStream {
    stream: RecvStream,
    in_trailers: bool,
    _upload: Option<UploadTask>,
    _lease: Lease,
}

impl StreamedBody {
    pub(super) fn abandon(&mut self) {
        self.open = None;
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let Some(open) = &mut self.open else { return Poll::Ready(None) };
        let frame = ready!(open.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let (Some(data), Some(left)) = (frame.data_ref(), &mut self.left)
        {
            // h2 itself resets a stream whose body differs from the announced length.
            *left = left.saturating_sub(data.len() as u64);
        }
        if open.stream.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.open = None;
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl OpenStream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if !self.in_trailers {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // The piece is passed on, so the upstream may send the same number of bytes
                    // again.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(cut(&error)))),
                None => self.in_trailers = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(None) => None,
            Err(error) => Some(Err(cut(&error))),
        })
    }
}

/// The error of a body that ended early.
fn cut(error: &h2::Error) -> UpstreamError {
    tracing::debug!(%error, "a response was cut short");
    stream_error(error)
}
