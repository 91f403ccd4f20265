//! The operations of the VBC API, and what of each is harmless: the allow-list of a recording.
//!
//! The tables come from the specifications. A parameter, a member or a header field that no table
//! names is replaced, with its name. A new operation of the API is a new line here.

use super::kind::Kind::{
    self, Email, Extension, File, Id, Link, Name, Number, Phone, Phrase, Secret, Text, Time, Word,
};

/// What JSON may hold at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A string or a number of a kind.
    Value(Kind),
    /// An array of one shape.
    List(&'static Shape),
    /// An object with these members, in groups.
    Object(&'static [&'static [Member]]),
    /// No place that a table names.
    Unlisted,
    /// A place outside the API whose values are kept, without known secrets.
    Open,
}

/// A member of an object: its name, and what it may hold.
pub(super) type Member = (&'static str, Shape);

/// One operation of the API.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// The suites that have it.
    suites: &'static [&'static str],
    /// The path after the suite and its version; `{}` stands for an identifier, `{user}` for a
    /// login name or an identifier.
    path: &'static str,
    pub(super) query: &'static [&'static [Parameter]],
    pub(super) request: Shape,
    pub(super) response: Shape,
}

#[cfg(test)]
impl Operation {
    pub(super) fn request_path(&self) -> String {
        format!("/t/vbc.prod/{}{}", self.suites[0], self.path)
    }
}

/// A parameter of a query: its name, and the kind of its value.
pub(super) type Parameter = (&'static str, Kind);

use Shape::{List, Object, Open, Unlisted, Value};

const fn of(kind: Kind) -> Shape {
    Value(kind)
}

// Pages and links.
const HREF: Shape = Object(&[&[("href", of(Link))]]);
const LINKS: Member =
    ("_links", Object(&[&[("first", HREF), ("prev", HREF), ("self", HREF), ("next", HREF), ("last", HREF)]]));
const PAGE: &[Member] = &[
    ("page_size", of(Number)),
    ("page", of(Number)),
    ("total_page", of(Number)),
    ("total_pages", of(Number)),
    ("total_items", of(Number)),
    LINKS,
];
const PAGED: &[Parameter] = &[("page", Number), ("page_size", Number)];

/// Errors of the gateway, of the suites, and this proxy's own (RFC 9457).
pub(super) const ERROR: &[Member] = &[
    ("code", of(Id)),
    ("message", of(Phrase)),
    ("description", of(Phrase)),
    ("nextAccessTime", of(Time)),
    (
        "fault",
        Object(&[&[
            ("code", of(Id)),
            ("type", of(Phrase)),
            ("message", of(Phrase)),
            ("description", of(Phrase)),
        ]]),
    ),
    ("status", of(Number)),
    ("msg", of(Phrase)),
    ("title", of(Phrase)),
    ("type", of(Word)),
    ("detail", of(Phrase)),
    ("instance", of(Id)),
    ("invalid_parameters", List(&Object(&[&[("name", of(Word)), ("reason", of(Phrase))]]))),
    ("errorCode", of(Word)),
    ("errorMessage", of(Phrase)),
    ("errors", List(&Object(&[&[("field", of(Word)), ("message", of(Phrase))]]))),
    ("error", of(Word)),
    ("error_description", of(Phrase)),
];

// Provisioning.
const ADDRESS: Shape = Object(&[&[
    ("address_1", of(Text)),
    ("address_2", of(Text)),
    ("city", of(Text)),
    ("state", of(Text)),
    ("postal_code", of(Text)),
    ("country", of(Word)),
    ("time_zone", of(Word)),
]]);
const ACCOUNT: Shape =
    Object(&[&[("id", of(Id)), ("name", of(Text)), ("status", of(Word)), ("address", ADDRESS)]]);
const LOCATION: Shape = Object(&[&[("id", of(Id)), ("name", of(Text)), ("address", ADDRESS)]]);
const DIDS: Member = ("dids", List(&Object(&[&[("phone_number", of(Phone)), ("custom_tag", of(Text))]])));
const PERSON: &[Member] = &[
    ("id", of(Id)),
    ("email", of(Email)),
    ("login_name", of(Email)),
    ("first_name", of(Name)),
    ("last_name", of(Name)),
];
const USER: Shape = Object(&[
    PERSON,
    &[
        ("contact_numbers", List(&Object(&[&[("type", of(Word)), ("value", of(Phone))]]))),
        ("extensions", List(&Object(&[&[("extension_number", of(Extension)), DIDS]]))),
    ],
]);
const EXTENSION: Shape = Object(&[&[
    ("extension_number", of(Extension)),
    ("user", Object(&[PERSON])),
    ("location_id", of(Id)),
    ("vtt_enabled", of(Word)),
    ("dnd_enabled", of(Word)),
    ("block_caller_id", of(Word)),
    ("caller_id", of(Name)),
    ("external_id", of(Id)),
    ("service_type_name", of(Word)),
    DIDS,
    ("extension_handsets", List(&Object(&[&[("handset_name", of(Text)), ("sip_id", of(Id))]]))),
]]);
const EXTENSIONS_ASKED: &[Parameter] =
    &[("location_id", Id), ("phone_number", Phone), ("login_name", Email), ("email", Email)];
const USERS_ASKED: &[Parameter] =
    &[("first_name", Name), ("last_name", Name), ("login_name", Email), ("email", Email)];

/// A HAL page of one shape, or a single one of it.
macro_rules! hal {
    ($name:literal: $shape:expr) => {
        Object(&[PAGE, &[("_embedded", Object(&[&[($name, List(&$shape))]]))]])
    };
}

// Call Recording.
const RECORDING_MEMBERS: &[Member] = &[
    ("_links", Object(&[&[("self", HREF)]])),
    ("id", of(Id)),
    ("call_id", of(Id)),
    ("call_direction", of(Word)),
    ("caller_id", of(Phone)),
    ("cnam", of(Name)),
    ("dnis", of(Phone)),
    ("download_url", of(Link)),
    ("duration", of(Number)),
    ("start", of(Time)),
    ("end", of(Time)),
    ("extensions", List(&of(Extension))),
    ("file_name", of(File)),
    ("file_size_in_bytes", of(Number)),
    ("rule_ids", List(&of(Id))),
];
const RECORDING: Shape = Object(&[RECORDING_MEMBERS]);
const RECORDINGS: Shape = hal!("recordings": RECORDING);
const JOB_MEMBERS: &[Member] = &[
    ("_links", Object(&[&[("self", HREF)]])),
    ("id", of(Id)),
    ("status", of(Word)),
    ("files_completed", of(Number)),
    ("files_total", of(Number)),
    ("valid_until", of(Time)),
    ("download_url", of(Link)),
];
const JOBS: Shape = hal!("jobs": Object(&[JOB_MEMBERS]));
const JOB_IDS: Shape = Object(&[&[("job_ids", List(&of(Id)))]]);
const RECORDINGS_ASKED: &[Parameter] = &[
    ("call_direction", Word),
    ("call_id", Id),
    ("caller_id", Phone),
    ("cnam", Name),
    ("dnis", Phone),
    ("duration:gte", Number),
    ("duration:lte", Number),
    ("extension", Extension),
    ("order", Word),
    ("start:gte", Time),
    ("start:lte", Time),
];
const EXPORT: Shape = Object(&[&[
    ("call_direction", of(Word)),
    ("call_id", of(Id)),
    ("caller_id", of(Phone)),
    ("cnam", of(Name)),
    ("dnis", of(Phone)),
    ("duration:gte", of(Number)),
    ("duration:lte", of(Number)),
    ("extension", of(Extension)),
    ("start:gte", of(Time)),
    ("start:lte", of(Time)),
]]);

// Reports.
const CALL_LOG: Shape = Object(&[&[
    ("id", of(Id)),
    ("in_network", of(Word)),
    ("international", of(Word)),
    ("from", of(Phone)),
    ("to", of(Phone)),
    ("direction", of(Word)),
    ("length", of(Number)),
    ("start", of(Time)),
    ("end", of(Time)),
    ("charge", of(Number)),
    ("rate", of(Number)),
    ("destination_device_name", of(Name)),
    ("destination_user_full_name", of(Name)),
    ("destination_user", of(Email)),
    ("destination_sip_id", of(Id)),
    ("destination_extension", of(Extension)),
    ("source_device_name", of(Name)),
    ("source_user_full_name", of(Name)),
    ("source_user", of(Email)),
    ("source_sip_id", of(Id)),
    ("source_extension", of(Extension)),
    ("custom_tag", of(Text)),
    ("result", of(Word)),
    ("recorded", of(Word)),
]]);
const CALL_LOGS_ASKED: &[Parameter] = &[
    ("start:gte", Time),
    ("start:lte", Time),
    ("end:gte", Time),
    ("end:lte", Time),
    ("to", Phone),
    ("from", Phone),
    ("source_user", Email),
    ("destination_user", Email),
    ("direction", Word),
];

// Telephony.
const PARTY: &[Member] = &[
    ("account_id", of(Id)),
    ("call_id", of(Id)),
    ("direction", of(Word)),
    ("from", of(Phone)),
    ("to", of(Phone)),
    ("start_time", of(Time)),
    ("end_time", of(Time)),
    ("answer_time", of(Time)),
    ("status", of(Word)),
];
const LEG: Shape = Object(&[PARTY, &[("leg_id", of(Id))]]);
const CALL: Shape = Object(&[PARTY, &[("leg_id", of(Id)), ("legs", List(&LEG))]]);
const NUMBERED: &[Member] = &[
    ("current_page", of(Number)),
    ("first_page_uri", of(Link)),
    ("next_page", of(Number)),
    ("next_page_uri", of(Link)),
    ("previous_page", of(Number)),
    ("previous_page_uri", of(Link)),
    ("order", of(Word)),
    ("page_size", of(Number)),
    ("pages", of(Number)),
];
const CALLS: Shape = Object(&[NUMBERED, &[("calls", List(&CALL))]]);
const LEGS: Shape = Object(&[NUMBERED, &[("legs", List(&LEG))], PARTY, &[("leg_id", of(Id))]]);
const CONTACT: Shape = Object(&[&[("type", of(Word)), ("destination", of(Phone))]]);
const CALL_ASKED: Shape = Object(&[&[
    ("type", of(Word)),
    ("from", CONTACT),
    ("to", CONTACT),
    ("state", of(Word)),
    ("dtmf", of(Secret)),
]]);
const LEG_ASKED: Shape = Object(&[&[
    ("to", Object(&[&[("type", of(Word)), ("destination", of(Phone))]])),
    ("state", of(Word)),
    ("dtmf", of(Secret)),
    ("url", of(Secret)),
]]);
const MODIFIED: Shape = Object(&[
    PARTY,
    &[("leg_id", of(Id)), ("call_state", of(Word)), ("destination", of(Phone)), ("legs", List(&LEG))],
]);
const DEVICE_MEMBERS: &[Member] = &[
    ("account_id", of(Id)),
    ("device_ip", of(Text)),
    ("mac_address", of(Id)),
    ("is_registered", of(Word)),
    ("last_request", of(Time)),
    ("last_success", of(Time)),
    ("registration", Object(&[&[("last_success", of(Time)), ("last_request", of(Time))]])),
    ("provisioned", Object(&[&[("last_success", of(Time)), ("last_request", of(Time))]])),
];
const DEVICE: Shape = Object(&[DEVICE_MEMBERS]);
const DEVICES: Shape = Object(&[NUMBERED, &[("devices", List(&DEVICE))]]);
const NUMBERED_ASKED: &[Parameter] = &[
    ("extension", Extension),
    ("page", Number),
    ("page_size", Number),
    ("order", Word),
    ("start_time", Time),
    ("end_time", Time),
];

// The Integration Platform.
const HEALTH: Shape = Object(&[&[("status", of(Word)), ("message", of(Phrase))]]);
const UCIS: Member = (
    "ucis",
    List(&Object(&[&[
        ("id", of(Id)),
        ("ucpLabel", of(Word)),
        ("ucpAccountId", of(Id)),
        ("health", HEALTH),
        ("type", of(Word)),
    ]])),
);
const VIS_SELF: Shape = Object(&[&[
    ("id", of(Id)),
    ("accountId", of(Id)),
    ("acountLabel", of(Text)),
    ("accountLabel", of(Text)),
    ("firstName", of(Name)),
    ("lastName", of(Name)),
    ("emailAddress", of(Email)),
    ("contactNumber", of(Phone)),
    ("status", of(Word)),
    UCIS,
    ("roles", List(&Object(&[&[("code", of(Word)), ("name", of(Word))]]))),
]]);
const VIS_ACCOUNT: Shape =
    Object(&[&[("id", of(Id)), ("name", of(Text)), ("org", of(Text)), ("status", of(Word)), UCIS]]);
const EVENT: Shape = Object(&[&[
    ("id", of(Id)),
    ("externalId", of(Id)),
    ("type", of(Word)),
    ("accountId", of(Id)),
    ("userId", of(Id)),
    ("uciId", of(Id)),
    ("direction", of(Word)),
    ("callerId", of(Phone)),
    ("phoneNumber", of(Phone)),
    ("duration", of(Number)),
    ("smsData", of(Text)),
    ("state", of(Word)),
    ("startTime", of(Time)),
    ("answerTime", of(Time)),
    ("endTime", of(Time)),
]]);
const EVENTS: Shape = List(&EVENT);
const COUNT: Shape = Object(&[&[("count", of(Number))]]);
const TO_NUMBER: Shape = Object(&[&[("phoneNumber", of(Phone))]]);
const WEBHOOK: Shape = Object(&[&[
    ("id", of(Id)),
    ("userId", of(Id)),
    ("accountId", of(Id)),
    ("url", of(Secret)),
    ("status", of(Word)),
    ("events", List(&of(Word))),
    ("signingAlgo", of(Word)),
    ("signingKey", of(Secret)),
    ("metadataPolicy", of(Word)),
    ("expireAt", of(Time)),
    ("createdAt", of(Time)),
    ("renewedAt", of(Time)),
    ("renewedBy", of(Id)),
    ("purgeAt", of(Time)),
    (
        "statistics",
        Object(&[&[
            ("totalAttempts", of(Number)),
            ("totalSuccesses", of(Number)),
            ("totalFailures", of(Number)),
            ("failed", of(Word)),
            ("lastHttpErrorCode", of(Number)),
            ("lastErrorMessage", of(Phrase)),
        ]]),
    ),
]]);
const EVENTS_ASKED: &[Parameter] = &[
    ("types", Word),
    ("fromDate", Time),
    ("toDate", Time),
    ("direction", Word),
    ("states", Word),
    ("offset", Number),
    ("size", Number),
    ("order", Word),
    ("sort", Word),
];

const RECORDING_SUITES: &[&str] = &["call_recording", "call_recording_india"];
const PROVISIONING: &[&str] = &["provisioning"];
const REPORTS: &[&str] = &["reports"];
const TELEPHONY: &[&str] = &["telephony"];
const VIS: &[&str] = &["vis"];

macro_rules! operations {
    ($($method:ident $suites:ident $path:literal ? $query:expr, $request:expr => $response:expr;)+) => {
        pub(super) static OPERATIONS: &[Operation] = &[$(Operation {
            method: stringify!($method),
            suites: $suites,
            path: $path,
            query: &$query,
            request: $request,
            response: $response,
        }),+];
    };
}

operations! {
    GET RECORDING_SUITES "/api/accounts/{}/company_call_recordings" ? [RECORDINGS_ASKED, PAGED], Unlisted => RECORDINGS;
    GET RECORDING_SUITES "/api/accounts/{}/company_call_recordings/{}" ? [], Unlisted => RECORDING;
    DELETE RECORDING_SUITES "/api/accounts/{}/company_call_recordings/{}" ? [], Unlisted => Unlisted;
    POST RECORDING_SUITES "/api/accounts/{}/company_call_recordings/export" ? [], EXPORT => JOB_IDS;
    GET RECORDING_SUITES "/api/accounts/{}/users/{user}/call_recordings" ? [RECORDINGS_ASKED, PAGED], Unlisted => RECORDINGS;
    GET RECORDING_SUITES "/api/accounts/{}/users/{user}/call_recordings/jobs" ? [&[("status", Word)], PAGED], Unlisted => JOBS;
    GET RECORDING_SUITES "/api/accounts/{}/users/{user}/call_recordings/jobs/{}" ? [], Unlisted => Object(&[JOB_MEMBERS]);
    GET RECORDING_SUITES "/api/accounts/{}/users/{user}/call_recordings/{}" ? [], Unlisted => RECORDING;
    DELETE RECORDING_SUITES "/api/accounts/{}/users/{user}/call_recordings/{}" ? [], Unlisted => Unlisted;
    POST RECORDING_SUITES "/api/accounts/{}/users/{user}/call_recordings/export" ? [], EXPORT => JOB_IDS;
    GET RECORDING_SUITES "/api/audio/recording/{}" ? [], Unlisted => Unlisted;
    GET RECORDING_SUITES "/api/bulkDownload/retrieve" ? [&[("job_id", Id), ("jobId", Id), ("login_name", Email)]], Unlisted => Unlisted;
    GET PROVISIONING "/api/accounts/{}" ? [], Unlisted => hal!("data": ACCOUNT);
    GET PROVISIONING "/api/accounts/{}/locations" ? [PAGED], Unlisted => hal!("data": LOCATION);
    GET PROVISIONING "/api/accounts/{}/locations/{}" ? [], Unlisted => hal!("data": LOCATION);
    GET PROVISIONING "/api/accounts/{}/extensions" ? [EXTENSIONS_ASKED, PAGED], Unlisted => hal!("data": EXTENSION);
    GET PROVISIONING "/api/accounts/{}/extensions/{}" ? [], Unlisted => Object(&[PAGE, &[("_embedded", Object(&[&[("extension", EXTENSION), ("data", EXTENSION)]]))]]);
    GET PROVISIONING "/api/accounts/{}/users" ? [USERS_ASKED, PAGED], Unlisted => hal!("data": USER);
    GET PROVISIONING "/api/accounts/{}/users/{user}" ? [], Unlisted => hal!("data": USER);
    GET REPORTS "/accounts/{}/call-logs" ? [CALL_LOGS_ASKED, PAGED], Unlisted => hal!("call_logs": CALL_LOG);
    GET TELEPHONY "/cc/accounts/{}/calls" ? [NUMBERED_ASKED], Unlisted => CALLS;
    POST TELEPHONY "/cc/accounts/{}/calls" ? [], CALL_ASKED => MODIFIED;
    GET TELEPHONY "/cc/accounts/{}/calls/{}" ? [], Unlisted => CALL;
    PUT TELEPHONY "/cc/accounts/{}/calls/{}" ? [], CALL_ASKED => MODIFIED;
    DELETE TELEPHONY "/cc/accounts/{}/calls/{}" ? [], Unlisted => MODIFIED;
    GET TELEPHONY "/cc/accounts/{}/calls/{}/legs" ? [NUMBERED_ASKED], Unlisted => LEGS;
    GET TELEPHONY "/cc/accounts/{}/calls/{}/legs/{}" ? [], Unlisted => LEG;
    PUT TELEPHONY "/cc/accounts/{}/calls/{}/legs/{}" ? [], LEG_ASKED => MODIFIED;
    DELETE TELEPHONY "/cc/accounts/{}/calls/{}/legs/{}" ? [], Unlisted => MODIFIED;
    GET TELEPHONY "/registration/accounts/{}/devices" ? [NUMBERED_ASKED], Unlisted => DEVICES;
    GET TELEPHONY "/registration/accounts/{}/devices/{}" ? [], Unlisted => DEVICE;
    GET VIS "/self" ? [], Unlisted => VIS_SELF;
    GET VIS "/self/account" ? [], Unlisted => VIS_ACCOUNT;
    GET VIS "/self/calls" ? [EVENTS_ASKED], Unlisted => EVENTS;
    POST VIS "/self/calls" ? [], TO_NUMBER => EVENTS;
    GET VIS "/self/calls/count" ? [EVENTS_ASKED], Unlisted => COUNT;
    GET VIS "/self/calls/{}" ? [], Unlisted => EVENTS;
    DELETE VIS "/self/calls/{}" ? [], Unlisted => EVENTS;
    PUT VIS "/self/calls/{}/answer" ? [], Unlisted => EVENTS;
    PUT VIS "/self/calls/{}/hold" ? [], Unlisted => EVENTS;
    DELETE VIS "/self/calls/{}/hold" ? [], Unlisted => EVENTS;
    PUT VIS "/self/calls/{}/vmtransfer" ? [], Unlisted => EVENTS;
    POST VIS "/self/calls/{}/transfer" ? [], TO_NUMBER => EVENTS;
    GET VIS "/self/events" ? [EVENTS_ASKED], Unlisted => EVENTS;
    GET VIS "/self/events/count" ? [EVENTS_ASKED], Unlisted => COUNT;
    GET VIS "/self/events/{}" ? [], Unlisted => EVENTS;
    POST VIS "/self/webhooks" ? [], WEBHOOK => WEBHOOK;
    GET VIS "/self/webhooks" ? [], Unlisted => List(&WEBHOOK);
    GET VIS "/self/webhooks/{}" ? [], Unlisted => WEBHOOK;
    DELETE VIS "/self/webhooks/{}" ? [], Unlisted => WEBHOOK;
    PUT VIS "/self/webhooks/{}/renew" ? [], Unlisted => WEBHOOK;
}

/// How the paths of the API begin.
const TENANT: &[&str] = &["t", "vbc.prod"];

/// Where a path stands in the table.
pub(super) struct Found {
    /// The operation, where the whole path and the method are one's.
    pub(super) operation: Option<&'static Operation>,
    /// What each part of the path is, as far as an operation's path begins so. A literal part is
    /// [`Part::Literal`].
    pub(super) parts: Vec<Part>,
}

/// A part of a path, between two slashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A fixed word of the path.
    Literal,
    /// A value of a kind.
    Value(Kind),
    /// Nothing that a table names.
    Unlisted,
}

/// Looks up a path, which begins with a slash and has no query. `HEAD` counts as `GET`.
pub(super) fn find(method: &str, path: &str) -> Found {
    let method = if method == "HEAD" { "GET" } else { method };
    let asked: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let mut best = Found { operation: None, parts: vec![Part::Unlisted; asked.len()] };
    let mut most = 0;
    for operation in OPERATIONS {
        for suite in operation.suites {
            let (parts, all) = compare(operation, suite, &asked);
            let known = parts.iter().take_while(|part| **part != Part::Unlisted).count();
            let is_it = all && operation.method == method;
            // Literal parts are listed before identifiers, so the first whole match is the right one.
            if (is_it && best.operation.is_none()) || known > most && best.operation.is_none() {
                most = known;
                best = Found { operation: is_it.then_some(operation), parts };
            }
        }
    }
    best
}

/// The parts of a path under one operation, and whether the whole path is its.
fn compare(operation: &Operation, suite: &str, asked: &[&str]) -> (Vec<Part>, bool) {
    // One slash at the end changes nothing, as the gateway takes it.
    let is_end = |at: usize, part: &str| part.is_empty() && at + 1 == asked.len();
    let mut wanted = operation.path.split('/').skip(1);
    let mut parts = Vec::with_capacity(asked.len());
    for (at, part) in asked.iter().enumerate() {
        let kind = match at {
            0 | 1 if TENANT[at] == *part => Part::Literal,
            2 if suite == *part => Part::Literal,
            0..=2 => Part::Unlisted,
            3 if is_version(part) => Part::Literal,
            _ if is_end(at, part) => Part::Literal,
            _ => match wanted.next() {
                Some("{}") => Part::Value(Id),
                Some("{user}") => Part::Value(if super::kind::is_harmless(Id, part) { Id } else { Email }),
                Some(word) if word == *part => Part::Literal,
                _ => Part::Unlisted,
            },
        };
        parts.push(kind);
        if kind == Part::Unlisted {
            parts.resize(asked.len(), Part::Unlisted);
            return (parts, false);
        }
    }
    let all = asked.len() > 3 && wanted.next().is_none();
    (parts, all)
}

/// `v1`: the gateway serves a default version under a path without one.
fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|digits| matches!(digits.len(), 1 | 2) && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The members of an object of this shape; an array stands for each of its elements.
pub(super) fn member(shape: Shape, name: &str, is_top: bool) -> Shape {
    let found = |groups: &[&[Member]]| {
        groups.iter().copied().flatten().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
    };
    let own = match shape {
        Open => return Open,
        Object(groups) => found(groups),
        List(inner) => match *inner {
            Object(groups) => found(groups),
            _ => None,
        },
        Value(_) | Unlisted => None,
    };
    own.or_else(|| found(&[ERROR]).filter(|_| is_top)).unwrap_or(Unlisted)
}

/// What an array of this shape holds; where one value was specified, each element is such a value.
pub(super) fn element(shape: Shape) -> Shape {
    match shape {
        List(inner) => *inner,
        other => other,
    }
}

/// Whether a name is a parameter's or a member's of any operation.
pub(super) fn is_listed_name(text: &str) -> bool {
    let asked =
        |operation: &Operation| operation.query.iter().copied().flatten().any(|(name, _)| *name == text);
    let sent = |operation: &Operation| matches!(operation.request, Object(groups) if groups.iter().copied().flatten().any(|(name, _)| *name == text));
    OPERATIONS.iter().any(|operation| asked(operation) || sent(operation))
}

/// The kind of a member or a parameter whose name says that it is about a person, in a place that no
/// table names.
pub(super) fn personal(name: &str) -> Option<Kind> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    Some(match &*plain.to_ascii_lowercase() {
        "firstname" | "lastname" | "fullname" | "cnam" => Name,
        "email" | "emailaddress" | "loginname" | "username" => Email,
        "phone" | "phonenumber" | "contactnumber" | "callerid" | "dnis" | "from" | "to" => Phone,
        _ => return None,
    })
}

/// The kind of a parameter's value.
pub(super) fn parameter(operation: Option<&Operation>, name: &str) -> Option<Kind> {
    let listed = operation?.query.iter().copied().flatten();
    listed.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_by_its_path_with_and_without_a_version() {
        for operation in OPERATIONS {
            let path = operation.request_path().replace("{user}", "jane").replace("{}", "self");
            let suite = operation.suites[0];
            let versioned = path.replacen(&format!("/{suite}/"), &format!("/{suite}/v3/"), 1);
            for path in [versioned, path.clone() + "/", path] {
                let found = find(operation.method, &path);
                assert!(found.operation.is_some_and(|found| std::ptr::eq(found, operation)), "{path}");
                assert!(!found.parts.contains(&Part::Unlisted), "{path}");
            }
        }
        assert!(find("HEAD", "/t/vbc.prod/vis/v1/self").operation.is_some());
    }

    #[test]
    fn a_path_is_known_as_far_as_an_operation_begins_so() {
        let found = find("GET", "/t/vbc.prod/reports/accounts/123/other/call-logs");
        assert!(found.operation.is_none());
        assert_eq!(
            found.parts[..5],
            [Part::Literal, Part::Literal, Part::Literal, Part::Literal, Part::Value(Id)]
        );
        assert_eq!(found.parts[5..], [Part::Unlisted, Part::Unlisted]);
        for (method, path) in [
            ("PATCH", "/t/vbc.prod/vis/v1/self"),
            ("GET", "/token/t/vbc.prod/vis/v1/self"),
            ("GET", "/t/other.prod/vis/v1/self"),
            ("GET", "/t/vbc.prod/vis/v1x/self"),
            ("GET", "/t/vbc.prod/vis"),
            ("GET", "/"),
        ] {
            assert!(find(method, path).operation.is_none(), "{path}");
        }
    }
}
