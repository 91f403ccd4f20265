//! Answers, which may have been looked into.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::BoxError;
use crate::cassette::PlayedBody;
use crate::http1::KeptBytes;
use crate::proxy::links::RewrittenBody;
use crate::proxy::tunnel::Tunnel;
use crate::proxy::upstream::UpstreamBody;

/// The body of a response.
pub(in crate::proxy) enum ResponseBody {
    /// The upstream's.
    Upstream(UpstreamBody),
    /// The same; what was read to judge a 401 comes first.
    PrefixedBody(Box<PrefixedBody>),
    /// The upstream's, looked into for links.
    RewrittenBody(Box<RewrittenBody>),
    /// Recorded.
    Played(Box<PlayedBody>),
    /// Ours.
    Own(Full<Bytes>),
    /// None, of this length: what a 304 says.
    Absent(u64),
}

/// A body of which some has been read.
pub(in crate::proxy) struct PrefixedBody {
    pub(in crate::proxy) prefix: KeptBytes,
    pub(in crate::proxy) rest: UpstreamBody,
}

impl ResponseBody {
    pub(in crate::proxy) fn own(body: Full<Bytes>) -> Self {
        Self::Own(body)
    }

    /// What a 101 has brought.
    pub(in crate::proxy) fn take_tunnel(&mut self) -> Option<Tunnel> {
        match self {
            Self::Upstream(body) => body.take_tunnel(),
            Self::PrefixedBody(_)
            | Self::RewrittenBody(_)
            | Self::Played(_)
            | Self::Own(_)
            | Self::Absent(_) => None,
        }
    }

    /// All of it, where the upstream's is there already.
    pub(in crate::proxy) fn take_whole(&mut self) -> Option<Bytes> {
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
            Self::PrefixedBody(judged) => match judged.prefix.pop(usize::MAX) {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                None => Pin::new(&mut judged.rest).poll_frame(cx).map_err(Into::into),
            },
            Self::RewrittenBody(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Played(body) => Pin::new(&mut **body).poll_frame(cx).map_err(Into::into),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never: Infallible| match never {}),
            Self::Absent(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(body) => body.is_end_stream(),
            Self::PrefixedBody(judged) => judged.prefix.is_empty() && judged.rest.is_end_stream(),
            Self::RewrittenBody(body) => body.is_end_stream(),
            Self::Played(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
            Self::Absent(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(body) => body.size_hint(),
            Self::PrefixedBody(judged) => {
                let hint = judged.rest.size_hint();
                let read = judged.prefix.len() as u64;
                hint.exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(read + left))
            }
            Self::RewrittenBody(body) => body.size_hint(),
            Self::Played(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
            Self::Absent(length) => SizeHint::with_exact(*length),
        }
    }
}
