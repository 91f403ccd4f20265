//! The gateway in front of the suites: its checks, in its order, with its words.

use http::StatusCode;
use http::header::{
    ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, SERVER, WWW_AUTHENTICATE,
};

use crate::api::{self, Call, accept};
use crate::fault::{Backend, Instead, RetryAfter, StatusFault};
use crate::options::SimulatorOptions;
use crate::request::Arrived;
use crate::response::{Answer, chunk, empty, http_date, ordered, set};
use crate::state::State;
use crate::tokens::Owner;
use vbc_base::clock::{Timestamp, after, until};

const CHALLENGE: &str = "OAuth2 realm=\"WSO2 API Manager\", error=\"invalid_token\", \
                         error_description=\"The provided token is invalid\"";

/// The routes of a path, and what their patterns took.
type Matched<'a> = Vec<(&'static api::Route, Vec<&'a str>)>;

/// Why the gateway answers instead of the suite.
pub(crate) enum Fault<'a> {
    UnknownContext(&'a str),
    NoResource,
    MethodNotAllowed(Matched<'a>),
    MissingCredentials,
    InvalidCredentials { jwt: bool },
    NotSubscribed,
    Throttled { until: Timestamp },
}

impl Fault<'_> {
    /// The one place that writes the gateway's errors.
    fn answer(&self) -> Answer {
        let error = |status, code: &str, message: &str, description: &str| {
            ordered(status, &[("code", code), ("message", message), ("description", description)])
        };
        let mut answer = match self {
            Self::UnknownContext(path) => {
                let description = format!("The requested resource ({path}) is not available.");
                error(404, "404", "Not Found", &description)
            }
            Self::NoResource => {
                error(404, "404", "Not Found", "No matching resource found for given API Request")
            }
            Self::MethodNotAllowed(matched) => {
                let description = "Method not allowed for given API resource";
                let mut answer = error(405, "405", "Method Not Allowed", description);
                set(&mut answer, ALLOW, &format!("{}, OPTIONS", methods(matched, ", ")));
                answer
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
                let mut answer = ordered(
                    429,
                    &[
                        ("code", "900803"),
                        ("message", "Message throttled out"),
                        ("description", &description),
                        ("nextAccessTime", &at),
                    ],
                );
                set(&mut answer, RETRY_AFTER, &http_date(*until));
                answer
            }
        };
        if answer.status() == 401 {
            set(&mut answer, WWW_AUTHENTICATE, CHALLENGE);
        }
        answer
    }
}

/// Answers a request outside the identity endpoints.
pub(crate) fn answer(
    state: &mut State,
    arrived: &Arrived,
    options: &SimulatorOptions,
    now: Timestamp,
) -> Answer {
    let answer = pass(state, arrived, options, now).unwrap_or_else(|fault| fault.answer());
    dress(state, answer)
}

/// What every answer of the gateway wears.
fn dress(state: &mut State, mut answer: Answer) -> Answer {
    set(&mut answer, SERVER, "WSO2-PassThrough-HTTP");
    if let Ok(id) = HeaderValue::from_str(&state.answers.uuid()) {
        answer.headers_mut().insert(HeaderName::from_static("activityid"), id);
    }
    chunk(&mut answer);
    answer
}

/// The checks in order; then the suite.
fn pass<'a>(
    state: &mut State,
    arrived: &'a Arrived,
    options: &SimulatorOptions,
    now: Timestamp,
) -> Result<Answer, Fault<'a>> {
    let path = arrived.path();
    let (suite, rest) = api::suite(path).ok_or(Fault::UnknownContext(path))?;
    let method = arrived.head.method.as_str();
    let mut matched = api::matching(suite, rest);
    if matched.is_empty() {
        return Err(Fault::NoResource);
    }
    if method == "OPTIONS" {
        return Ok(preflight(&matched));
    }
    let Some(found) = matched.iter().position(|(route, _)| route.method == method) else {
        return Err(Fault::MethodNotAllowed(matched));
    };
    let (route, parameters) = matched.swap_remove(found);
    let token = arrived.authorization("bearer").ok_or(Fault::MissingCredentials)?;
    let jwt = token.matches('.').count() == 2;
    let row = state.tokens.accept(token, now).ok_or(Fault::InvalidCredentials { jwt })?;
    let (owner, age) = (row.owner.clone(), until(row.issued, now));
    let app = state.world.apps.get(&*owner.client);
    let subscribed = app.is_some_and(|app| app.subscriptions.contains(&suite.context));
    if !subscribed || state.unsubscribed.contains(suite.context) {
        return Err(Fault::NotSubscribed);
    }
    throttle(state, &owner, now)?;
    let account = api::account_of(state, &owner);
    match state.faults.backend(&arrived.subject(), age) {
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
    let instance = state.answers.uuid();
    let call = Call {
        state,
        instance,
        account,
        owner: &owner,
        parameters,
        path,
        query: arrived.query(),
        headers: &arrived.head.headers,
        body: &arrived.body.data,
        base: &options.public_base,
        now,
    };
    let answer = (route.run)(call);
    Ok(if is_refused(arrived, &answer) { empty(406) } else { answer })
}

/// Whether the client takes what it asked for neither by its type nor without a content coding. It
/// has to say so with a weight of 0: a type that is only not mentioned is sent, as the
/// documentation's own clients expect.
fn is_refused(arrived: &Arrived, answer: &Answer) -> bool {
    let headers = &arrived.head.headers;
    let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let refuses = |content_type: &str| {
        accept::media(headers, content_type) == Some(0) || accept::refuses_identity(headers)
    };
    arrived.head.method.is_safe() && answer.status().is_success() && content_type.is_some_and(refuses)
}

/// A fixed window of one minute, aligned with UTC, for each application and user.
fn throttle(state: &mut State, owner: &Owner, now: Timestamp) -> Result<(), Fault<'static>> {
    let own = state.world.apps.get(&*owner.client).and_then(|app| app.quota);
    let Some(quota) = own.unwrap_or(state.quota) else { return Ok(()) };
    let minute = now.as_second().div_euclid(60);
    let window = state.windows.entry((owner.client.clone(), owner.user.clone())).or_insert((minute, 0));
    if window.0 != minute {
        *window = (minute, 0);
    }
    if window.1 >= quota {
        let until = Timestamp::from_second((minute + 1) * 60).unwrap_or(now);
        return Err(Fault::Throttled { until });
    }
    window.1 += 1;
    Ok(())
}

fn methods(matched: &Matched<'_>, separator: &str) -> String {
    matched.iter().map(|(route, _)| route.method).collect::<Vec<_>>().join(separator)
}

fn preflight(matched: &Matched<'_>) -> Answer {
    let mut answer = empty(200);
    let mut add = |name: &'static str, value: &str| {
        set(&mut answer, HeaderName::from_static(name), value);
    };
    add("access-control-allow-origin", "*");
    add("access-control-allow-methods", &methods(matched, ","));
    add(
        "access-control-allow-headers",
        "authorization,Access-Control-Allow-Origin,Content-Type,SOAPAction,apikey,Internal-Key",
    );
    answer
}

/// The answer to a request that a fault keeps from being executed.
pub(crate) fn injected(state: &mut State, arrived: &Arrived, instead: &Instead, now: Timestamp) -> Answer {
    let answer = match instead {
        Instead::Status(fault) => injected_status(arrived, fault, now),
        Instead::Throttle200 => {
            let mut answer = Fault::Throttled { until: next_minute(now) }.answer();
            answer.headers_mut().remove(RETRY_AFTER);
            *answer.status_mut() = StatusCode::OK;
            answer
        }
        Instead::Redirect(location) => {
            let mut answer = empty(302);
            set(&mut answer, LOCATION, location);
            answer
        }
    };
    if arrived.endpoint.is_none() { dress(state, answer) } else { answer }
}

/// An injected status, with the body that usually comes with it.
fn injected_status(arrived: &Arrived, fault: &StatusFault, now: Timestamp) -> Answer {
    let mut answer = match (&fault.body, arrived.endpoint, fault.status) {
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
        (None, _, 401) => Fault::InvalidCredentials { jwt: true }.answer(),
        (None, _, 403) => Fault::NotSubscribed.answer(),
        (None, _, 429) => Fault::Throttled { until: next_minute(now) }.answer(),
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
    answer.headers_mut().remove(RETRY_AFTER);
    match fault.retry_after {
        RetryAfter::None => {}
        RetryAfter::Delta(seconds) => set(&mut answer, RETRY_AFTER, &seconds.to_string()),
        RetryAfter::Date(seconds) => {
            let at = after(now, std::time::Duration::from_secs(seconds.into()));
            set(&mut answer, RETRY_AFTER, &http_date(at));
        }
    }
    answer
}

fn next_minute(now: Timestamp) -> Timestamp {
    Timestamp::from_second((now.as_second().div_euclid(60) + 1) * 60).unwrap_or(now)
}

/// A request larger than is taken.
pub(crate) fn too_large(state: &mut State) -> Answer {
    dress(state, empty(413))
}
