//! One request on its way to the upstream and back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};

use super::Proxy;
use super::body::{RequestBody, ResponseBody};
use super::error::Error;
use super::retry::{Next, Retry, UnauthorizedResponse};
use super::timer::LazyTimer;
use super::upstream::{Asking, Head, UpstreamBody, UpstreamError};
use crate::headers::Survey;
use crate::http1::fields;
use crate::server::{Incoming, Refusal};

const NOT_FOR_HTTP2: Error = Error::Refused(Refusal::Malformed(
    "the request target has a byte that HTTP/2 cannot carry, and upstream.http is h2",
));

/// One request, all decisions in order: the bearer, the sending, the further ones after a 401
/// (`retry`).
///
/// A future by hand: of almost every request nothing has to be waited for but the response, and the rest should neither take
/// room in it nor be moved with it.
pub(super) struct Forward<'a> {
    proxy: &'a Proxy,
    timer: &'a LazyTimer,
    /// What is sent, while that is all there is to do.
    sent: Option<(Head, RequestBody)>,
    stage: Stage<'a>,
}

#[expect(clippy::large_enum_variant, reason = "it is the large one that almost every request needs")]
enum Stage<'a> {
    /// The token was there, and a connection.
    Asking(Asking<'a>),
    /// Anything else.
    Later(Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Error>> + 'a>>),
}

impl<'a> Forward<'a> {
    pub(super) fn new(
        proxy: &'a Proxy,
        timer: &'a LazyTimer,
        request: Request<Incoming>,
        survey: Survey,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let body = RequestBody::new(body, proxy.memory, &proxy.disk);
        if proxy.hooks.is_some() {
            body.tap(parts.extensions.get());
        }
        let later = |stage| Self { proxy, timer, sent: None, stage: Stage::Later(stage) };
        let Some(bearer) = proxy.bearer_at_hand(parts.uri.path()) else {
            return later(Box::pin(async move {
                let bearer = proxy.bearer(parts.uri.path()).await?;
                let head = proxy.outgoing(parts, survey, bearer);
                if head.raw_target.is_some() && !proxy.upstream.has_http1() {
                    return Err(NOT_FOR_HTTP2);
                }
                send(proxy, timer, head, body).await
            }));
        };
        let head = proxy.outgoing(parts, survey, bearer);
        if head.raw_target.is_some() && !proxy.upstream.has_http1() {
            return later(Box::pin(async { Err(NOT_FOR_HTTP2) }));
        }
        match proxy.upstream.ask_at_hand(&head, &body, timer) {
            Some(asking) => Self { proxy, timer, sent: Some((head, body)), stage: Stage::Asking(asking) },
            None => later(Box::pin(send(proxy, timer, head, body))),
        }
    }
}

impl Future for Forward<'_> {
    type Output = Result<Response<ResponseBody>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let (proxy, timer) = (this.proxy, this.timer);
        let asking = match &mut this.stage {
            Stage::Later(later) => return later.as_mut().poll(cx),
            Stage::Asking(asking) => asking,
        };
        let outcome = ready!(Pin::new(asking).poll(cx));
        let Some((head, body)) = this.sent.take() else { unreachable!("polled after it was ready") };
        let later: Pin<Box<dyn Future<Output = _>>> = match outcome {
            Ok(Ok(response)) if response.status() != StatusCode::UNAUTHORIZED => {
                body.keep_no_more();
                proxy.note_accepted(&head.bearer, response.status());
                fields::recycle(head.headers);
                return Poll::Ready(Ok(response.map(ResponseBody::Upstream)));
            }
            Ok(Ok(response)) => Box::pin(refused(proxy, timer, head, body, response)),
            Ok(Err(failed)) => Box::pin(async move {
                let sent = proxy.upstream.send_again(&head, &body, timer, failed).await;
                answered(proxy, timer, head, body, sent).await
            }),
            Err(error) => return Poll::Ready(Err(because(error, &body))),
        };
        // What has failed is gone before anything else begins.
        this.stage = Stage::Later(later);
        Pin::new(this).poll(cx)
    }
}

async fn send(
    proxy: &Proxy,
    timer: &LazyTimer,
    head: Head,
    body: RequestBody,
) -> Result<Response<ResponseBody>, Error> {
    let sent = proxy.upstream.send(&head, &body, timer).await;
    answered(proxy, timer, head, body, sent).await
}

async fn answered(
    proxy: &Proxy,
    timer: &LazyTimer,
    head: Head,
    body: RequestBody,
    sent: Result<Response<UpstreamBody>, UpstreamError>,
) -> Result<Response<ResponseBody>, Error> {
    let response = sent.map_err(|error| because(error, &body))?;
    if response.status() == StatusCode::UNAUTHORIZED {
        return refused(proxy, timer, head, body, response).await;
    }
    body.keep_no_more();
    proxy.note_accepted(&head.bearer, response.status());
    Ok(response.map(ResponseBody::Upstream))
}

/// Why a sending failed: the upstream's connection ends too because the client's upload did.
fn because(error: UpstreamError, body: &RequestBody) -> Error {
    body.take_failure().unwrap_or(Error::Upstream(error))
}

/// What becomes of a request that got a 401.
async fn refused(
    proxy: &Proxy,
    timer: &LazyTimer,
    mut head: Head,
    body: RequestBody,
    mut response: Response<UpstreamBody>,
) -> Result<Response<ResponseBody>, Error> {
    let mut retry: Option<Retry<'_>> = None;
    loop {
        let refused = UnauthorizedResponse::read(response).await?;
        let verdict = refused.verdict();
        let tried = retry.get_or_insert_with(|| Retry::new(proxy, verdict));
        match tried.after(verdict, &head, &body).await? {
            Next::Send(bearer) => head.bearer = bearer,
            Next::PassOn(why) => {
                body.keep_no_more();
                return Ok(refused.pass_on(why));
            }
        }
        let sent = proxy.upstream.send(&head, &body, timer).await;
        response = sent.map_err(|error| because(error, &body))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            body.keep_no_more();
            proxy.note_accepted(&head.bearer, response.status());
            if let Some(retry) = retry {
                retry.accepted();
            }
            return Ok(response.map(ResponseBody::Upstream));
        }
    }
}
