//! One request on its way to the upstream and back. Read this first.

mod hooks;

use std::rc::Rc;

use http::{Request, Response, StatusCode, Version, header};
use http_body_util::Full;

use super::admission::{Admission, Admitted};
use super::connection::{AccessLine, Call, Connection, Outgoing, X_REQUEST_ID};
use super::error::Error;
use super::links::{Coding, Rewrite};
use super::outgoing::to_websocket;
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::retry::{self, Next, Retry};
use super::upstream::UpstreamBody;
use super::{gate, page};
use crate::metrics::Source;
pub use hooks::Hooks;
use vbc_http::codec::fields;
use vbc_http::headers::{self, ResponseSurvey};
use vbc_http::{Abort, Incoming, LazyTimer};

/// Forwards one request. It shows every decision, in order.
///
/// The rare arms are boxed, to keep this future small: it is moved, and every connection's task
/// stores one.
///
/// # Errors
/// Why the client gets no response from the upstream: the request was refused, no token was
/// available, or the exchange failed.
async fn forward(
    connection: &Connection,
    mut request: Request<Incoming>,
    call: &mut Call,
) -> Result<Response<Outgoing>, Error> {
    let proxy = &*connection.proxy;
    let admitted = match connection.admit(&mut request, call)? {
        Admission::Forward(admitted) => admitted,
        Admission::Respond(response) => return Ok(connection.own(response, &call.id)),
    };
    let (parts, body) = request.into_parts();
    let body = RequestBody::new(body, proxy.memory, &proxy.disk);
    if proxy.records {
        body.tap(parts.extensions.get());
    }
    // The connection's timer wakes only one task. HTTP/2 requests wait concurrently, so each has
    // its own timer.
    let own_timer = (parts.version == Version::HTTP_2).then(Rc::<LazyTimer>::default);
    let timer = own_timer.as_ref().unwrap_or(&connection.timer);
    let bearer = match proxy.cached_bearer(parts.uri.path()) {
        Some(bearer) => bearer,
        None => Box::pin(proxy.bearer(parts.uri.path())).await?,
    };
    let mut head = proxy.outgoing(parts, call.survey, bearer)?;
    let mut retry: Option<Box<Retry<'_>>> = None;
    let mut response = loop {
        let response = match proxy.upstream.send(&head, &body, timer).await {
            Ok(response) => response,
            // If the client's upload fails, the connection to the upstream fails too. The upload's
            // failure is the cause, so report that.
            Err(error) => return Err(body.failure().map_or(Error::Upstream(error), Error::Body)),
        };
        if response.status() != StatusCode::UNAUTHORIZED {
            proxy.note_accepted(&head.bearer, response.status());
            if let Some(retry) = retry.take() {
                retry.accepted();
            }
            break response.map(ResponseBody::Upstream);
        }
        // `Retry` allows at most three attempts.
        match Box::pin(retry::after_401(&mut retry, proxy, response, &head, &body)).await? {
            Next::Send(bearer) => head.bearer = bearer,
            Next::PassOn(response) => break response,
        }
    };
    // A rewrite may wait for the upstream's whole body. Drop the client's body and an unfinished
    // `Retry` first, so that they are not kept meanwhile.
    body.keep_no_more();
    drop((body, retry));
    fields::recycle(std::mem::take(&mut head.headers));
    drop(head);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        drop(admitted);
        return Ok(switch(connection, response, call));
    }
    let survey = ResponseSurvey::of(response.headers());
    if let Some(rewrite) = &admitted.rewrite
        && let Some(coding) = rewrite.head(survey, &mut response)
        && !rewrite_received(rewrite, coding, &mut response)
    {
        let rewritten = Box::pin(rewrite.body(coding, response)).await;
        response = rewritten.map(|body| ResponseBody::Rewritten(Box::new(body)));
    }
    Ok(finish(connection, response, survey, admitted, call))
}

/// Forwards a request, or responds with the reason why the request cannot be forwarded. Writes the
/// access line.
///
/// # Errors
/// [`Abort`] if a configured fault resets the connection.
pub(super) async fn respond(
    connection: &Connection,
    request: Request<Incoming>,
    line: Option<AccessLine>,
    hooks: Option<&Hooks>,
) -> Result<Response<Outgoing>, Abort> {
    if let Some(hooks) = hooks {
        return Box::pin(connection.handle_with_hooks(request, hooks)).await;
    }
    let mut call = Call::new(&connection.proxy, &request);
    let mut response = match forward(connection, request, &mut call).await {
        Ok(response) => response,
        Err(error) => connection.fail(&error, &call.id),
    };
    gate::allow_page(call.origin.as_ref(), response.headers_mut());
    if let Some(line) = line {
        line.write(connection, response.status(), &call.id, None);
    }
    Ok(response)
}

/// Rewrites the links in a body that has no coding and has been received completely: the usual
/// case. For any other body, changes nothing and returns false.
fn rewrite_received(
    rewrite: &Rewrite<'_>,
    coding: Option<Coding>,
    response: &mut Response<ResponseBody>,
) -> bool {
    if coding.is_some() {
        return false;
    }
    let Some(whole) = response.body_mut().take_whole() else { return false };
    let bytes = rewrite.whole(whole, response.headers_mut());
    *response.body_mut() = ResponseBody::Own(Full::new(bytes));
    true
}

/// The upstream's response as the client gets it.
fn finish(
    connection: &Connection,
    mut response: Response<ResponseBody>,
    survey: ResponseSurvey,
    admitted: Admitted<'_>,
    call: &Call,
) -> Response<Outgoing> {
    strip(&mut response, survey, call);
    if response.status() == StatusCode::NOT_MODIFIED {
        // A 304 has no body, but announces the length of the body that the client has cached.
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(headers::length);
        if let Some(length) = length {
            *response.body_mut() = ResponseBody::Absent(length);
        }
    }
    if admitted.is_navigation {
        page::confine(response.status(), response.headers_mut());
    }
    connection.count(response, Source::Upstream, Some(admitted.in_flight))
}

/// Prepares the upstream's 101 for the client. Once the 101 is sent,
/// [`tunnel`](super::Connection::tunnel) takes over the connection.
fn switch(connection: &Connection, mut response: Response<ResponseBody>, call: &Call) -> Response<Outgoing> {
    if let ResponseBody::Upstream(UpstreamBody::Switched(switched)) = response.body_mut() {
        connection.switched.set(switched.take());
    }
    let survey = ResponseSurvey::of(response.headers());
    strip(&mut response, survey, call);
    to_websocket(response.headers_mut());
    connection.count(response, Source::Upstream, None)
}

/// Removes the fields that are not meant for the client, and adds the request id.
fn strip(response: &mut Response<ResponseBody>, survey: ResponseSurvey, call: &Call) {
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    if survey.strip {
        headers::strip_response(headers);
    }
    headers::keep_one_length(headers);
    if !survey.request_id || survey.strip && !headers.contains_key(X_REQUEST_ID) {
        headers.insert(X_REQUEST_ID, call.id.clone());
    }
}
