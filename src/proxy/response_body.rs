//! The bodies of responses, both the upstream's and the proxy's own.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::BoxError;
use super::links::RewrittenBody;
use super::upstream::UpstreamBody;
use vbc_cassette::ReplayedBody;
use vbc_http::codec::KeptBytes;

/// The body of a response.
pub(super) enum ResponseBody {
    /// The upstream's body.
    Upstream(UpstreamBody),
    /// The body of an upstream's 401. Its beginning was read to judge the 401.
    Prefixed(Box<PrefixedBody>),
    /// An upstream's body with rewritten links.
    Rewritten(Box<RewrittenBody<ResponseBody>>),
    /// A body that is replayed from a cassette.
    Replayed(Box<ReplayedBody>),
    /// The proxy's own body.
    Own(Full<Bytes>),
    /// No body, although a length is announced: for a 304.
    Absent(u64),
}

/// A body whose beginning has been read.
pub(super) struct PrefixedBody {
    pub(super) prefix: KeptBytes,
    pub(super) rest: UpstreamBody,
}

impl ResponseBody {
    /// Takes the whole body, if it is the upstream's and has been received. Leaves an empty body.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Self::Upstream(body) => body.take_whole(),
            _ => None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Upstream(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Prefixed(body) => match body.prefix.pop(usize::MAX) {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                None => Pin::new(&mut body.rest).poll_frame(cx).map_err(Into::into),
            },
            Self::Rewritten(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Replayed(body) => Pin::new(&mut **body).poll_frame(cx).map_err(Into::into),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never: Infallible| match never {}),
            Self::Absent(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(body) => body.is_end_stream(),
            Self::Prefixed(body) => body.prefix.is_empty() && body.rest.is_end_stream(),
            Self::Rewritten(body) => body.is_end_stream(),
            Self::Replayed(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
            Self::Absent(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(body) => body.size_hint(),
            Self::Prefixed(body) => {
                let read = body.prefix.len() as u64;
                let rest = body.rest.size_hint().exact();
                rest.map_or_else(SizeHint::default, |rest| SizeHint::with_exact(read + rest))
            }
            Self::Rewritten(body) => body.size_hint(),
            Self::Replayed(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
            Self::Absent(length) => SizeHint::with_exact(*length),
        }
    }
}
