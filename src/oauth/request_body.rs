//! The form of a request, with a flag for whether the connection has taken it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use zeroize::Zeroizing;

/// A body of one piece.
pub(super) struct RequestBody {
    bytes: Bytes,
    taken: TakenFlag,
}

/// Whether the connection has taken the body. It may not have been written yet.
#[derive(Clone)]
pub(super) struct TakenFlag(Arc<AtomicBool>);

impl TakenFlag {
    pub(super) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The form. It has secrets, so it is zeroed when the last reference is dropped.
struct ZeroizingForm(Zeroizing<String>);

impl AsRef<[u8]> for ZeroizingForm {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl RequestBody {
    /// An empty body counts as taken: the head alone is the request.
    pub(super) fn new(text: String) -> (Self, TakenFlag) {
        let bytes = Bytes::from_owner(ZeroizingForm(Zeroizing::new(text)));
        let taken = TakenFlag(Arc::new(AtomicBool::new(bytes.is_empty())));
        (Self { bytes, taken: taken.clone() }, taken)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.0.store(true, Ordering::Release);
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_is_taken_when_its_first_piece_is() {
        let (mut body, taken) = RequestBody::new("grant_type=password".to_owned());
        assert_eq!(body.size_hint().exact(), Some(19));
        assert!(!taken.is_taken() && !body.is_end_stream());
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, "grant_type=password");
        assert!(taken.is_taken() && body.is_end_stream());
        assert!(body.frame().await.is_none());
    }
}
