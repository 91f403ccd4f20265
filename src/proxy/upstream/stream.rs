//! One exchange on a stream of HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::Again;
use super::error::{UpstreamError, is_unprocessed, stream_error};
use super::h2::Lease;
use crate::headers;
use crate::proxy::body::{AttemptBody, BoxError};

/// Pieces below this size are merged, up to about a frame of the usual size.
const SMALL: usize = 1024;
const MERGED: usize = 16 * 1024;

/// A request on its way. Dropping it resets the stream, and so ends the upload.
pub(super) struct Exchange {
    response: ResponseFuture,
    upload: Option<Upload>,
    /// Whether the response is one without a body, whatever length it names.
    to_head: bool,
    lease: Lease,
}

/// Why there is no head of a response.
pub(super) enum Failure {
    Stream(h2::Error),
    /// The client's body ended early.
    Body,
}

impl Exchange {
    /// Opens the stream; gives the body back where there is none to be had.
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
                    begun: false,
                });
                Ok(Self { response, upload, to_head, lease })
            }
        }
    }

    /// Sends the body until the head of the response comes.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<RecvStream>, Failure>> {
        if let Some(upload) = &mut self.upload {
            match upload.poll(cx) {
                Poll::Ready(UploadEnd::Whole) => self.upload = None,
                Poll::Ready(UploadEnd::CutShort) => return Poll::Ready(Err(Failure::Body)),
                // What the upstream makes of it, the response tells.
                Poll::Ready(UploadEnd::Unwanted) | Poll::Pending => {}
            }
        }
        Pin::new(&mut self.response).poll(cx).map_err(Failure::Stream)
    }

    /// The response. An upload that goes on does so in a task of its own: a client may read only when it has sent all.
    pub(super) fn response(
        self,
        head: Response<RecvStream>,
    ) -> Result<Response<StreamedBody>, UpstreamError> {
        if head.status() == StatusCode::SWITCHING_PROTOCOLS {
            // There is no such thing in HTTP/2 (RFC 9113 §8.6).
            return Err(UpstreamError::Protocol);
        }
        let length = announced(head.headers())?;
        let bodiless = self.to_head || head.status() == StatusCode::NOT_MODIFIED;
        Ok(head.map(|stream| {
            let ended = stream.is_end_stream();
            let mut response = StreamedBody {
                left: if ended || bodiless { Some(0) } else { length },
                under_way: (!ended).then(|| UnderWay {
                    stream,
                    in_trailers: false,
                    _upload: self.upload.map(Upload::go_on),
                    _lease: self.lease,
                }),
            };
            if bodiless {
                response.under_way = None;
            }
            response
        }))
    }

    /// What a failure means, and whether the request may be sent again.
    pub(super) fn fail(self, failure: Failure) -> (UpstreamError, Again) {
        let Failure::Stream(error) = failure else { return (UpstreamError::Terminated, Again::No) };
        tracing::debug!(%error, "a stream failed");
        if is_unprocessed(&error) {
            return (
                UpstreamError::Refusing,
                match self.upload {
                    Some(Upload { body, begun: false, .. }) => Again::Untouched(body),
                    _ => Again::Unprocessed,
                },
            );
        }
        let again = if error.is_io() && self.lease.reused { Again::Unanswered } else { Again::No };
        match stream_error(&error) {
            UpstreamError::Protocol if !self.lease.is_settled() => (UpstreamError::NoHttp2, Again::No),
            error => (error, again),
        }
    }
}

/// The length of a response's body. h2 checks it against what comes, but looks at one line only.
fn announced(headers: &HeaderMap) -> Result<Option<u64>, UpstreamError> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    match headers::length(first) {
        Some(length) if lengths.all(|other| other == first) => Ok(Some(length)),
        _ => Err(UpstreamError::Protocol),
    }
}

/// A request body on its way: no more of it is taken from the client than the upstream has room for.
struct Upload {
    stream: SendStream<Bytes>,
    body: AttemptBody,
    /// What the upstream has no room for yet.
    piece: Bytes,
    /// What came after pieces that were merged.
    following: Option<Option<Result<Frame<Bytes>, BoxError>>>,
    /// Something has been taken out of `body`.
    begun: bool,
}

enum UploadEnd {
    Whole,
    /// The upstream wants no more of it.
    Unwanted,
    /// The client did not send all of it. The stream is reset, so that nobody takes it for whole.
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
            self.begun = true;
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

    /// A piece, with those after it that are there already where it is small. The library queues a
    /// frame for each, which takes hundreds of bytes, and its limit counts those of the body alone.
    fn merged(&mut self, cx: &mut Context<'_>, first: Bytes) -> Bytes {
        if first.len() >= SMALL {
            return first;
        }
        let mut merged = BytesMut::new();
        while merged.len() < MERGED && !self.body.is_end_stream() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => {
                    // There is a piece to be sent before the client is waited for.
                    self.body.is_fed();
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

    fn go_on(mut self) -> UploadTask {
        let task = tokio::task::spawn_local(async move {
            std::future::poll_fn(|cx| self.poll(cx)).await;
        });
        UploadTask(task.abort_handle())
    }
}

/// An upload that outlasts the head of its response, but not the response.
struct UploadTask(AbortHandle);

impl Drop for UploadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The body of a response. Dropped before its end it resets the stream.
pub(super) struct StreamedBody {
    /// What is left of the announced length.
    left: Option<u64>,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    stream: RecvStream,
    in_trailers: bool,
    _upload: Option<UploadTask>,
    _lease: Lease,
}

impl StreamedBody {
    pub(super) fn abandon(&mut self) {
        self.under_way = None;
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let Some(under_way) = &mut self.under_way else { return Poll::Ready(None) };
        let frame = ready!(under_way.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let (Some(data), Some(left)) = (frame.data_ref(), &mut self.left)
        {
            // h2 ends a stream whose data are not of the announced length.
            *left = left.saturating_sub(data.len() as u64);
        }
        if under_way.stream.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.under_way = None;
        }
        Poll::Ready(frame)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.under_way.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl UnderWay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        if !self.in_trailers {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Passed on, so the upstream may send as much again.
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

/// Whatever reset the stream in the middle of a body: it is not whole.
fn cut(error: &h2::Error) -> UpstreamError {
    tracing::debug!(%error, "an answer was cut short");
    stream_error(error)
}
