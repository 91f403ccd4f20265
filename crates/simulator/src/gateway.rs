//! The gateway in front of the suites: its checks in VBC's order, and its error bodies.

use http::StatusCode;
use http::header::{
    ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, SERVER, WWW_AUTHENTICATE,
};

use crate::api::{self, ApiRequest, accept};
use crate::fault::{Backend, RetryAfter, StatusFault, Substitute};
use crate::options::SimulatorOptions;
use crate::request::ReceivedRequest;
use crate::response::{Response, chunk, empty, http_date, ordered, set};
use crate::state::State;
use crate::tokens::Owner;
use vbc_base::clock::{Timestamp, after, until};

const CHALLENGE: &str = "OAuth2 realm=\"WSO2 API Manager\", error=\"invalid_token\", \
                         error_description=\"The provided token is invalid\"";

/// The routes whose pattern matches a path, each with the segments that `{}` matched.
type RouteMatches<'a> = Vec<(&'static api::Route, Vec<&'a str>)>;

/// Why the gateway responds instead of the suite.
pub(crate) enum GatewayError<'a> {
    /// The path does not belong to a suite.
    UnknownContext(&'a str),
    /// The suite has no such path.
    NoResource,
    /// The path does not support the method.
    MethodNotAllowed(RouteMatches<'a>),
    /// The request has no bearer.
    MissingCredentials,
    /// The bearer is unknown, revoked or expired. `jwt` is set if it has three parts.
    InvalidCredentials { jwt: bool },
    /// The application is not subscribed to the suite.
    NotSubscribed,
    /// The quota is used up until this time.
    Throttled { until: Timestamp },
}

impl GatewayError<'_> {
    /// The gateway's response for the error.
    fn response(&self) -> Response {
        let error = |status, code: &str, message: &str, description: &str| {
            ordered(status, &[("code", code), ("message", message), ("description", description)])
        };
        let mut response = match self {
            Self::UnknownContext(path) => {
                let description = format!("The requested resource ({path}) is not available.");
                error(404, "404", "Not Found", &description)
            }
            Self::NoResource => {
                error(404, "404", "Not Found", "No matching resource found for given API Request")
            }
            Self::MethodNotAllowed(matched) => {
                let description = "Method not allowed for given API resource";
                let mut response = error(405, "405", "Method Not Allowed", description);
                set(&mut response, ALLOW, &format!("{}, OPTIONS", methods(matched, ", ")));
                response
            }
            Self::MissingCredentials => error(
                401,
                "900902",
                "Missing Credentials",
                "Invalid Credentials. Make sure your API invocation call has a header: 'Authorization : Bearer \
                 ACCESS_TOKEN' or 'Authorization : Basic ACCESS_TOKEN' or 'ApiKey : API_KEY'",
            ),
            Self::InvalidCredentials { jwt } => {
                let what = if *jwt { "Invalid JWT token" } else { "Invalid Credentials" };
                let rest = "Make sure you have provided the correct security credentials";
                error(401, "900901", "Invalid Credentials", &format!("{what}. {rest}"))
            }
            Self::NotSubscribed => error(
                403,
                "900908",
                "Resource forbidden ",
                "User is NOT authorized to access the Resource. API Subscription validation failed.",
            ),
            Self::Throttled { until } => {
                let at = until.strftime("%Y-%b-%d %H:%M:%S+0000 UTC").to_string();
                let description = format!("You have exceeded your quota .You can access API after {at}");
                let mut response = ordered(
                    429,
                    &[
                        ("code", "900803"),
                        ("message", "Message throttled out"),
                        ("description", &description),
                        ("nextAccessTime", &at),
                    ],
                );
                set(&mut response, RETRY_AFTER, &http_date(*until));
                response
            }
        };
        if response.status() == 401 {
            set(&mut response, WWW_AUTHENTICATE, CHALLENGE);
        }
        response
    }
}

/// Responds to a request outside the identity endpoints.
pub(crate) fn respond(
    state: &mut State,
    request: &ReceivedRequest,
    options: &SimulatorOptions,
    now: Timestamp,
) -> Response {
    let response = pass(state, request, options, now).unwrap_or_else(|error| error.response());
    dress(state, response)
}

/// Adds the headers that every response of the gateway has, and makes the body chunked.
fn dress(state: &mut State, mut response: Response) -> Response {
    set(&mut response, SERVER, "WSO2-PassThrough-HTTP");
    if let Ok(id) = HeaderValue::from_str(&state.response_ids.uuid()) {
        response.headers_mut().insert(HeaderName::from_static("activityid"), id);
    }
    chunk(&mut response);
    response
}

/// Runs the checks in order, then the suite.
fn pass<'a>(
    state: &mut State,
    request: &'a ReceivedRequest,
    options: &SimulatorOptions,
    now: Timestamp,
) -> Result<Response, GatewayError<'a>> {
    let path = request.path();
    let (suite, rest) = api::suite(path).ok_or(GatewayError::UnknownContext(path))?;
    let method = request.head.method.as_str();
    let mut matched = api::matching(suite, rest);
    if matched.is_empty() {
        return Err(GatewayError::NoResource);
    }
    if method == "OPTIONS" {
        return Ok(preflight(&matched));
    }
    let Some(found) = matched.iter().position(|(route, _)| route.method == method) else {
        return Err(GatewayError::MethodNotAllowed(matched));
    };
    let (route, parameters) = matched.swap_remove(found);
    let token = request.authorization("bearer").ok_or(GatewayError::MissingCredentials)?;
    let jwt = token.matches('.').count() == 2;
    let row = state.tokens.accept(token, now).ok_or(GatewayError::InvalidCredentials { jwt })?;
    let owner = row.owner.clone();
    let age = until(row.issued, now);
    let app = state.world.apps.get(&*owner.client);
    let subscribed = app.is_some_and(|app| app.subscriptions.contains(&suite.context));
    if !subscribed || state.unsubscribed.contains(suite.context) {
        return Err(GatewayError::NotSubscribed);
    }
    throttle(state, &owner, now)?;
    let account = api::account_of(state, &owner);
    match state.faults.backend(&request.subject(), age) {
        Some(Backend::TokenTooOld) => return Ok(api::token_too_old()),
        Some(Backend::Refuses) => return Ok(suite.unauthorized()),
        None => {}
    }
    if suite.finds_too_old(state, age) {
        return Ok(api::token_too_old());
    }
    if let Some(refusal) = (suite.refusal)(state, &owner) {
        return Ok(refusal);
    }
    let instance = state.response_ids.uuid();
    let admitted = ApiRequest {
        state,
        instance,
        account,
        owner: &owner,
        parameters,
        path,
        query: request.query(),
        headers: &request.head.headers,
        body: &request.body.data,
        base: &options.public_base,
        now,
    };
    let response = (route.run)(admitted);
    Ok(if is_refused(request, &response) { empty(406) } else { response })
}

/// Whether the client rejects the response's type, or a body without a content coding. Only
/// successful responses to safe methods are checked.
///
/// A rejection needs an explicit weight of 0. A type that `Accept` does not mention is sent anyway,
/// as clients in VBC's documentation expect.
fn is_refused(request: &ReceivedRequest, response: &Response) -> bool {
    let headers = &request.head.headers;
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let refuses = |content_type: &str| {
        accept::media(headers, content_type) == Some(0) || accept::refuses_identity(headers)
    };
    request.head.method.is_safe() && response.status().is_success() && content_type.is_some_and(refuses)
}

/// Counts the request, or rejects it if the quota is used up. Each application and user has one
/// count, which starts again with every minute of UTC.
fn throttle(state: &mut State, owner: &Owner, now: Timestamp) -> Result<(), GatewayError<'static>> {
    let own = state.world.apps.get(&*owner.client).and_then(|app| app.quota);
    let Some(quota) = own.unwrap_or(state.quota) else { return Ok(()) };
    let minute = now.as_second().div_euclid(60);
    let window = state.windows.entry((owner.client.clone(), owner.user.clone())).or_insert((minute, 0));
    if window.0 != minute {
        *window = (minute, 0);
    }
    if window.1 >= quota {
        let until = Timestamp::from_second((minute + 1) * 60).unwrap_or(now);
        return Err(GatewayError::Throttled { until });
    }
    window.1 += 1;
    Ok(())
}

fn methods(matched: &RouteMatches<'_>, separator: &str) -> String {
    matched.iter().map(|(route, _)| route.method).collect::<Vec<_>>().join(separator)
}

fn preflight(matched: &RouteMatches<'_>) -> Response {
    let mut response = empty(200);
    let mut add = |name: &'static str, value: &str| {
        set(&mut response, HeaderName::from_static(name), value);
    };
    add("access-control-allow-origin", "*");
    add("access-control-allow-methods", &methods(matched, ","));
    add(
        "access-control-allow-headers",
        "authorization,Access-Control-Allow-Origin,Content-Type,SOAPAction,apikey,Internal-Key",
    );
    response
}

/// The response to a request that a fault prevents from being executed.
pub(crate) fn injected(
    state: &mut State,
    request: &ReceivedRequest,
    instead: &Substitute,
    now: Timestamp,
) -> Response {
    let response = match instead {
        Substitute::Status(fault) => injected_status(request, fault, now),
        Substitute::Throttle200 => {
            let mut response = GatewayError::Throttled { until: next_minute(now) }.response();
            response.headers_mut().remove(RETRY_AFTER);
            *response.status_mut() = StatusCode::OK;
            response
        }
        Substitute::Redirect(location) => {
            let mut response = empty(302);
            set(&mut response, LOCATION, location);
            response
        }
    };
    if request.endpoint.is_none() { dress(state, response) } else { response }
}

/// The response with an injected status. Its body is the fault's, or the usual one of VBC for the
/// status.
fn injected_status(request: &ReceivedRequest, fault: &StatusFault, now: Timestamp) -> Response {
    let mut response = match (&fault.body, request.endpoint, fault.status) {
        (Some(body), ..) => {
            let content_type = fault.content_type.as_deref().unwrap_or("application/json");
            crate::response::text(fault.status, content_type, body.clone())
        }
        (None, Some(_), 502) => {
            ordered(502, &[("error_description", "Service Unavailable Error."), ("error", "server_error")])
        }
        (None, Some(_), status) if status != 429 => {
            ordered(status, &[("error_description", "Internal Server Error."), ("error", "server_error")])
        }
        (None, _, 401) => GatewayError::InvalidCredentials { jwt: true }.response(),
        (None, _, 403) => GatewayError::NotSubscribed.response(),
        (None, _, 429) => GatewayError::Throttled { until: next_minute(now) }.response(),
        (None, _, status) => {
            let (code, message) = match status {
                500 => ("900900", "Unclassified Authentication Failure"),
                502 | 503 => ("101503", "Error connecting to the back end"),
                504 => ("101504", "Connection timed out"),
                _ => ("303001", "Runtime Error"),
            };
            ordered(status, &[("code", code), ("message", message), ("description", message)])
        }
    };
    response.headers_mut().remove(RETRY_AFTER);
    match fault.retry_after {
        RetryAfter::None => {}
        RetryAfter::Delta(seconds) => set(&mut response, RETRY_AFTER, &seconds.to_string()),
        RetryAfter::Date(seconds) => {
            let at = after(now, std::time::Duration::from_secs(seconds.into()));
            set(&mut response, RETRY_AFTER, &http_date(at));
        }
    }
    response
}

fn next_minute(now: Timestamp) -> Timestamp {
    Timestamp::from_second((now.as_second().div_euclid(60) + 1) * 60).unwrap_or(now)
}

/// The response to a request whose body is over the limit.
pub(crate) fn too_large(state: &mut State) -> Response {
    dress(state, empty(413))
}
