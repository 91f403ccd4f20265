//! The operations of the VBC API and their harmless values: the allow-list of a recording.
//!
//! The tables come from the specifications. A parameter or a member that no table lists is replaced
//! together with its name. A new operation of the API needs a new line here.

use super::kind::Kind::{
    self, Email, Extension, File, Id, Link, Name, Number, Phone, Phrase, Secret, Text, Time, Word,
};
use super::kind::{is_digits, is_id};

/// The JSON that is expected at a place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A string or a number of this kind.
    Value(Kind),
    /// An array of one shape.
    List(&'static Shape),
    /// An object with these members, in groups.
    Object(&'static [&'static [Member]]),
    /// No table lists this place.
    Unlisted,
    /// A place outside the API. Its values are kept, except known secrets.
    Open,
}

/// A member of an object: its name and its shape.
pub(crate) type Member = (&'static str, Shape);

/// One operation of the API.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    /// The suites that have the operation.
    suites: &'static [&'static str],
    /// The path after the suite and its version. `{}` stands for an identifier, `{user}` for an
    /// identifier or a login name.
    path: &'static str,
    pub(crate) query: &'static [&'static [Parameter]],
    pub(crate) request: Shape,
    pub(crate) response: Shape,
}

/// A parameter of a query: its name, and the kind of its value.
pub(crate) type Parameter = (&'static str, Kind);

use Shape::{List, Object, Open, Unlisted, Value};

/// Members of an object: single values by their kind, then nested shapes.
macro_rules! members {
    ($($kind:ident: $($name:literal),+;)* $(=> $($inner:literal: $shape:expr),+)?) => {
        &[$($(($name, Value($kind))),+,)* $($(($inner, $shape)),+)?]
    };
}

/// Parameters of a query by the kind of their values.
macro_rules! parameters {
    ($($kind:ident: $($name:literal),+;)+) => { &[$($(($name, $kind)),+),+] };
}

// Pages and links.
const HREF: Shape = Object(&[members! { Link: "href"; }]);
const LINKS: Shape = Object(&[members! {
    => "first": HREF, "prev": HREF, "self": HREF, "next": HREF, "last": HREF
}]);
const PAGE: &[Member] = members! {
    Number: "page_size", "page", "total_page", "total_pages", "total_items";
    => "_links": LINKS
};
const PAGED: &[Parameter] = parameters! { Number: "page", "page_size"; };

/// Errors of the gateway, of the suites and of this proxy (RFC 9457).
const ERROR: &[Member] = members! {
    Id: "code", "instance";
    Number: "status";
    Phrase: "message", "description", "msg", "title", "detail", "errorMessage", "error_description";
    Time: "nextAccessTime";
    Word: "type", "errorCode", "error";
    => "fault": Object(&[members! { Id: "code"; Phrase: "type", "message", "description"; }]),
        "invalid_parameters": List(&Object(&[members! { Word: "name"; Phrase: "reason"; }])),
        "errors": List(&Object(&[members! { Word: "field"; Phrase: "message"; }]))
};

// Provisioning.
const ADDRESS: Shape = Object(&[members! {
    Text: "address_1", "address_2", "city", "state", "postal_code";
    Word: "country", "time_zone";
}]);
const ACCOUNT: Shape = Object(&[members! { Id: "id"; Text: "name"; Word: "status"; => "address": ADDRESS }]);
const LOCATION: Shape = Object(&[members! { Id: "id"; Text: "name"; => "address": ADDRESS }]);
const DIDS: Shape = List(&Object(&[members! { Phone: "phone_number"; Text: "custom_tag"; }]));
const PERSON: &[Member] = members! {
    Id: "id";
    Email: "email", "login_name";
    Name: "first_name", "last_name";
};
const USER: Shape = Object(&[
    PERSON,
    members! {
        => "contact_numbers": List(&Object(&[members! { Word: "type"; Phone: "value"; }])),
            "extensions": List(&Object(&[members! { Extension: "extension_number"; => "dids": DIDS }]))
    },
]);
const EXTENSION: Shape = Object(&[members! {
    Extension: "extension_number";
    Id: "location_id", "external_id";
    Word: "vtt_enabled", "dnd_enabled", "block_caller_id", "service_type_name";
    Name: "caller_id";
    => "user": Object(&[PERSON]), "dids": DIDS,
        "extension_handsets": List(&Object(&[members! { Text: "handset_name"; Id: "sip_id"; }]))
}]);
const ONE_EXTENSION: Shape = Object(&[
    PAGE,
    members! { => "_embedded": Object(&[members! { => "extension": EXTENSION, "data": EXTENSION }]) },
]);
const EXTENSION_FILTERS: &[Parameter] = parameters! {
    Id: "location_id";
    Phone: "phone_number";
    Email: "login_name", "email";
};
const USER_FILTERS: &[Parameter] = parameters! {
    Name: "first_name", "last_name";
    Email: "login_name", "email";
};

/// A HAL page of elements of one shape, or a single element.
macro_rules! hal {
    ($name:literal: $shape:expr) => {
        Object(&[PAGE, &[("_embedded", Object(&[&[($name, List(&$shape))]]))]])
    };
}

// Call Recording.
const RECORDING: Shape = Object(&[members! {
    Id: "id", "call_id";
    Word: "call_direction";
    Phone: "caller_id", "dnis";
    Name: "cnam";
    Link: "download_url";
    Number: "duration", "file_size_in_bytes";
    Time: "start", "end";
    File: "file_name";
    => "_links": LINKS, "extensions": List(&Value(Extension)), "rule_ids": List(&Value(Id))
}]);
const RECORDINGS: Shape = hal!("recordings": RECORDING);
const JOB: Shape = Object(&[members! {
    Id: "id";
    Word: "status";
    Number: "files_completed", "files_total";
    Time: "valid_until";
    Link: "download_url";
    => "_links": LINKS
}]);
const JOBS: Shape = hal!("jobs": JOB);
const JOB_IDS: Shape = Object(&[members! { => "job_ids": List(&Value(Id)) }]);
/// The filters of a list of recordings and of an export, as parameters or as members.
macro_rules! recording_filters {
    ($into:ident) => {
        $into! {
            Word: "call_direction";
            Id: "call_id";
            Phone: "caller_id", "dnis";
            Name: "cnam";
            Number: "duration:gte", "duration:lte";
            Extension: "extension";
            Time: "start:gte", "start:lte";
        }
    };
}
const RECORDING_FILTERS: &[Parameter] = recording_filters!(parameters);
const EXPORT: Shape = Object(&[recording_filters!(members)]);
const ORDERED: &[Parameter] = parameters! { Word: "order"; };
const DOWNLOAD_PARAMETERS: &[Parameter] = parameters! { Id: "job_id", "jobId"; Email: "login_name"; };

// Reports.
const CALL_LOG: Shape = Object(&[members! {
    Id: "id", "destination_sip_id", "source_sip_id";
    Word: "in_network", "international", "direction", "result", "recorded";
    Phone: "from", "to";
    Number: "length", "charge", "rate";
    Time: "start", "end";
    Name: "destination_device_name", "destination_user_full_name", "source_device_name",
        "source_user_full_name";
    Email: "destination_user", "source_user";
    Extension: "destination_extension", "source_extension";
    Text: "custom_tag";
}]);
const CALL_LOG_FILTERS: &[Parameter] = parameters! {
    Time: "start:gte", "start:lte", "end:gte", "end:lte";
    Phone: "to", "from";
    Email: "source_user", "destination_user";
    Word: "direction";
};

// Telephony.
const PARTY: &[Member] = members! {
    Id: "account_id", "call_id", "leg_id";
    Word: "direction", "status";
    Phone: "from", "to";
    Time: "start_time", "end_time", "answer_time";
};
const LEG: Shape = Object(&[PARTY]);
const CALL: Shape = Object(&[PARTY, members! { => "legs": List(&LEG) }]);
const NUMBERED: &[Member] = members! {
    Number: "current_page", "next_page", "previous_page", "page_size", "pages";
    Link: "first_page_uri", "next_page_uri", "previous_page_uri";
    Word: "order";
};
const CALLS: Shape = Object(&[NUMBERED, members! { => "calls": List(&CALL) }]);
const LEGS: Shape = Object(&[NUMBERED, PARTY, members! { => "legs": List(&LEG) }]);
const CONTACT: Shape = Object(&[members! { Word: "type"; Phone: "destination"; }]);
const CALL_REQUEST: Shape = Object(&[members! {
    Word: "type", "state", "stream", "recording", "service";
    Secret: "dtmf", "url", "stream_url";
    => "from": CONTACT, "to": CONTACT
}]);
const MODIFIED: Shape =
    Object(&[PARTY, members! { Word: "call_state"; Phone: "destination"; => "legs": List(&LEG) }]);
const LAST: Shape = Object(&[members! { Time: "last_success", "last_request"; }]);
const DEVICE: Shape = Object(&[members! {
    Id: "account_id", "mac_address";
    Text: "device_ip";
    Word: "is_registered";
    Time: "last_request", "last_success";
    => "registration": LAST, "provisioned": LAST
}]);
const DEVICES: Shape = Object(&[NUMBERED, members! { => "devices": List(&DEVICE) }]);
const NUMBERED_FILTERS: &[Parameter] = parameters! {
    Extension: "extension";
    Number: "page", "page_size";
    Word: "order";
    Time: "start_time", "end_time";
};

// The Integration Platform.
const HEALTH: Shape = Object(&[members! { Word: "status"; Phrase: "message"; }]);
const UCIS: Shape = List(&Object(&[members! {
    Id: "id", "ucpAccountId";
    Word: "ucpLabel", "type";
    => "health": HEALTH
}]));
const VIS_SELF: Shape = Object(&[members! {
    Id: "id", "accountId";
    // The specification misspells `acountLabel`.
    Text: "acountLabel", "accountLabel";
    Name: "firstName", "lastName";
    Email: "emailAddress";
    Phone: "contactNumber";
    Word: "status";
    => "ucis": UCIS, "roles": List(&Object(&[members! { Word: "code", "name"; }]))
}]);
const VIS_ACCOUNT: Shape =
    Object(&[members! { Id: "id"; Text: "name", "org"; Word: "status"; => "ucis": UCIS }]);
const EVENT: Shape = Object(&[members! {
    Id: "id", "externalId", "accountId", "userId", "uciId";
    Word: "type", "direction", "state";
    Phone: "callerId", "phoneNumber";
    Number: "duration";
    Text: "smsData";
    Time: "startTime", "answerTime", "endTime";
}]);
const EVENTS: Shape = List(&EVENT);
const COUNT: Shape = Object(&[members! { Number: "count"; }]);
const TO_NUMBER: Shape = Object(&[members! { Phone: "phoneNumber"; }]);
const STATISTICS: Shape = Object(&[members! {
    Number: "totalAttempts", "totalSuccesses", "totalFailures", "lastHttpErrorCode";
    Word: "failed";
    Phrase: "lastErrorMessage";
}]);
const WEBHOOK: Shape = Object(&[members! {
    Id: "id", "userId", "accountId", "renewedBy";
    Secret: "url", "signingKey";
    Word: "status", "signingAlgo", "metadataPolicy";
    Time: "expireAt", "createdAt", "renewedAt", "purgeAt";
    => "events": List(&Value(Word)), "statistics": STATISTICS
}]);
const EVENT_FILTERS: &[Parameter] = parameters! {
    Word: "types", "direction", "states", "order", "sort";
    Time: "fromDate", "toDate";
    Number: "offset", "size";
};

const RECORDING_API: &[&str] = &["call_recording", "call_recording_india"];
const PROVISIONING: &[&str] = &["provisioning"];
const REPORTS: &[&str] = &["reports"];
const TELEPHONY: &[&str] = &["telephony"];
const VIS: &[&str] = &["vis"];

/// The given shape, or [`Unlisted`].
macro_rules! or_unlisted {
    () => {
        Unlisted
    };
    ($shape:expr) => {
        $shape
    };
}

/// An operation has a method, suites and a path, then the shape of the response. The parameters may
/// follow, and then the shape of the request.
macro_rules! operations {
    ($($method:ident $suites:ident $path:literal
        => $response:expr $(, [$($query:expr),*] $(, $request:expr)?)?;)+) => {
        pub(crate) static OPERATIONS: &[Operation] = &[$(Operation {
            method: stringify!($method),
            suites: $suites,
            path: $path,
            query: &[$($($query),*)?],
            request: or_unlisted!($($($request)?)?),
            response: $response,
        }),+];
    };
}

operations! {
    GET RECORDING_API "/api/accounts/{}/company_call_recordings"
        => RECORDINGS, [RECORDING_FILTERS, ORDERED, PAGED];
    GET RECORDING_API "/api/accounts/{}/company_call_recordings/{}" => RECORDING;
    DELETE RECORDING_API "/api/accounts/{}/company_call_recordings/{}" => Unlisted;
    POST RECORDING_API "/api/accounts/{}/company_call_recordings/export" => JOB_IDS, [], EXPORT;
    GET RECORDING_API "/api/accounts/{}/users/{user}/call_recordings"
        => RECORDINGS, [RECORDING_FILTERS, ORDERED, PAGED];
    GET RECORDING_API "/api/accounts/{}/users/{user}/call_recordings/jobs"
        => JOBS, [parameters! { Word: "status"; }, PAGED];
    GET RECORDING_API "/api/accounts/{}/users/{user}/call_recordings/jobs/{}" => JOB;
    GET RECORDING_API "/api/accounts/{}/users/{user}/call_recordings/{}" => RECORDING;
    DELETE RECORDING_API "/api/accounts/{}/users/{user}/call_recordings/{}" => Unlisted;
    POST RECORDING_API "/api/accounts/{}/users/{user}/call_recordings/export"
        => JOB_IDS, [], EXPORT;
    GET RECORDING_API "/api/audio/recording/{}" => Unlisted;
    GET RECORDING_API "/api/bulkDownload/retrieve" => Unlisted, [DOWNLOAD_PARAMETERS];
    GET PROVISIONING "/api/accounts/{}" => hal!("data": ACCOUNT);
    GET PROVISIONING "/api/accounts/{}/locations" => hal!("data": LOCATION), [PAGED];
    GET PROVISIONING "/api/accounts/{}/locations/{}" => hal!("data": LOCATION);
    GET PROVISIONING "/api/accounts/{}/extensions"
        => hal!("data": EXTENSION), [EXTENSION_FILTERS, PAGED];
    GET PROVISIONING "/api/accounts/{}/extensions/{}" => ONE_EXTENSION;
    GET PROVISIONING "/api/accounts/{}/users" => hal!("data": USER), [USER_FILTERS, PAGED];
    GET PROVISIONING "/api/accounts/{}/users/{user}" => hal!("data": USER);
    GET REPORTS "/accounts/{}/call-logs" => hal!("call_logs": CALL_LOG), [CALL_LOG_FILTERS, PAGED];
    GET TELEPHONY "/cc/accounts/{}/calls" => CALLS, [NUMBERED_FILTERS];
    POST TELEPHONY "/cc/accounts/{}/calls" => Value(Id), [], CALL_REQUEST;
    GET TELEPHONY "/cc/accounts/{}/calls/{}" => CALL;
    PUT TELEPHONY "/cc/accounts/{}/calls/{}" => MODIFIED, [], CALL_REQUEST;
    DELETE TELEPHONY "/cc/accounts/{}/calls/{}" => MODIFIED;
    GET TELEPHONY "/cc/accounts/{}/calls/{}/legs" => LEGS, [NUMBERED_FILTERS];
    GET TELEPHONY "/cc/accounts/{}/calls/{}/legs/{}" => LEG;
    PUT TELEPHONY "/cc/accounts/{}/calls/{}/legs/{}" => MODIFIED, [], CALL_REQUEST;
    DELETE TELEPHONY "/cc/accounts/{}/calls/{}/legs/{}" => MODIFIED;
    GET TELEPHONY "/registration/accounts/{}/devices" => DEVICES, [NUMBERED_FILTERS];
    GET TELEPHONY "/registration/accounts/{}/devices/{}" => DEVICE;
    GET VIS "/self" => VIS_SELF;
    GET VIS "/self/account" => VIS_ACCOUNT;
    GET VIS "/self/calls" => EVENTS, [EVENT_FILTERS];
    POST VIS "/self/calls" => EVENTS, [], TO_NUMBER;
    GET VIS "/self/calls/count" => COUNT, [EVENT_FILTERS];
    GET VIS "/self/calls/{}" => EVENTS;
    DELETE VIS "/self/calls/{}" => EVENTS;
    PUT VIS "/self/calls/{}/answer" => EVENTS;
    PUT VIS "/self/calls/{}/hold" => EVENTS;
    DELETE VIS "/self/calls/{}/hold" => EVENTS;
    PUT VIS "/self/calls/{}/vmtransfer" => EVENTS;
    POST VIS "/self/calls/{}/transfer" => EVENTS, [], TO_NUMBER;
    GET VIS "/self/events" => EVENTS, [EVENT_FILTERS];
    GET VIS "/self/events/count" => COUNT, [EVENT_FILTERS];
    GET VIS "/self/events/{}" => EVENTS;
    POST VIS "/self/webhooks" => WEBHOOK, [], WEBHOOK;
    GET VIS "/self/webhooks" => List(&WEBHOOK);
    GET VIS "/self/webhooks/{}" => WEBHOOK;
    DELETE VIS "/self/webhooks/{}" => WEBHOOK;
    PUT VIS "/self/webhooks/{}/renew" => WEBHOOK;
}

/// The first segments of every path of the API.
const TENANT: &[&str] = &["t", "vbc.prod"];

/// How a path matches the table.
pub(crate) struct PathMatch {
    /// The operation. `None` unless the whole path and the method match.
    pub(crate) operation: Option<&'static Operation>,
    /// The kind of each segment, as far as the path of some operation matches.
    pub(crate) segments: Vec<SegmentKind>,
}

/// The kind of a path segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// A fixed word of the path.
    Literal,
    /// A value of this kind.
    Value(Kind),
    /// No table lists the segment.
    Unlisted,
}

/// Looks up a path, which starts with a slash and has no query. `HEAD` counts as `GET`.
pub(crate) fn find(method: &str, path: &str) -> PathMatch {
    let method = if method == "HEAD" { "GET" } else { method };
    let path: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let mut best = PathMatch { operation: None, segments: vec![SegmentKind::Unlisted; path.len()] };
    let mut longest = 0;
    for operation in OPERATIONS {
        for suite in operation.suites {
            let (segments, is_whole) = compare(operation, suite, &path);
            // The table lists literal segments before identifiers, so the first path that matches
            // as a whole is right.
            if is_whole && operation.method == method {
                return PathMatch { operation: Some(operation), segments };
            }
            let known = segments.iter().take_while(|kind| **kind != SegmentKind::Unlisted).count();
            if known > longest {
                longest = known;
                best.segments = segments;
            }
        }
    }
    best
}

/// The segments of a path under one operation, and whether the whole path matches.
fn compare(operation: &Operation, suite: &str, path: &[&str]) -> (Vec<SegmentKind>, bool) {
    let mut wanted = operation.path.split('/').skip(1);
    let mut segments = Vec::with_capacity(path.len());
    for (at, segment) in path.iter().enumerate() {
        // Like the gateway, ignore one slash at the end.
        let is_end = segment.is_empty() && at + 1 == path.len();
        let kind = match at {
            0 | 1 if TENANT[at] == *segment => SegmentKind::Literal,
            2 if suite == *segment => SegmentKind::Literal,
            0..=2 => SegmentKind::Unlisted,
            3 if is_version(segment) => SegmentKind::Literal,
            _ if is_end => SegmentKind::Literal,
            _ => match wanted.next() {
                Some("{}") => SegmentKind::Value(Id),
                Some("{user}") if is_id(segment) => SegmentKind::Value(Id),
                Some("{user}") => SegmentKind::Value(Email),
                Some(word) if word == *segment => SegmentKind::Literal,
                _ => SegmentKind::Unlisted,
            },
        };
        segments.push(kind);
        if kind == SegmentKind::Unlisted {
            segments.resize(path.len(), SegmentKind::Unlisted);
            return (segments, false);
        }
    }
    let is_whole = path.len() > 3 && wanted.next().is_none();
    (segments, is_whole)
}

/// Whether a segment is a version, such as `v1`. The gateway serves the default version if a path
/// has none.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|digits| is_digits(digits, 1..=2))
}

/// The shape of an object's member. For a list of objects, it is the shape of the member in each
/// object. With `is_top`, the members of errors are listed too.
pub(crate) fn member(shape: Shape, name: &str, is_top: bool) -> Shape {
    let groups = match shape {
        Open => return Open,
        Object(groups) | List(&Object(groups)) => groups,
        _ => &[],
    };
    let errors: &[&[Member]] = if is_top { &[ERROR] } else { &[] };
    let mut members = groups.iter().chain(errors).copied().flatten();
    members.find(|(known, _)| *known == name).map_or(Unlisted, |(_, shape)| *shape)
}

/// The shape of an array's elements. If the table expects a single value instead of an array, each
/// element has the shape of that value.
pub(crate) fn element(shape: Shape) -> Shape {
    match shape {
        List(inner) => *inner,
        other => other,
    }
}

/// Whether a query parameter or a request member of any operation has this name.
pub(crate) fn is_listed_name(text: &str) -> bool {
    OPERATIONS.iter().any(|operation| {
        parameter(Some(operation), text).is_some()
            || match operation.request {
                Object(groups) => groups.iter().copied().flatten().any(|(name, _)| *name == text),
                _ => false,
            }
    })
}

/// The kind of a value that no table lists, if its name marks it as personal data.
pub(crate) fn personal(name: &str) -> Option<Kind> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    Some(match &*plain.to_ascii_lowercase() {
        "firstname" | "lastname" | "fullname" | "cnam" => Name,
        "email" | "emailaddress" | "loginname" | "username" => Email,
        "phone" | "phonenumber" | "contactnumber" | "callerid" | "dnis" | "from" | "to" => Phone,
        _ => return None,
    })
}

/// The kind of a parameter's value.
pub(crate) fn parameter(operation: Option<&Operation>, name: &str) -> Option<Kind> {
    let mut listed = operation?.query.iter().copied().flatten();
    listed.find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Operation {
        pub(crate) fn request_path(&self) -> String {
            format!("/t/vbc.prod/{}{}", self.suites[0], self.path)
        }
    }

    #[test]
    fn every_operation_is_found_by_its_path_with_and_without_a_version() {
        for operation in OPERATIONS {
            let path = operation.request_path().replace("{user}", "jane").replace("{}", "self");
            let suite = operation.suites[0];
            let versioned = path.replacen(&format!("/{suite}/"), &format!("/{suite}/v3/"), 1);
            for path in [versioned, path.clone() + "/", path] {
                let found = find(operation.method, &path);
                assert!(found.operation.is_some_and(|found| std::ptr::eq(found, operation)), "{path}");
                assert!(!found.segments.contains(&SegmentKind::Unlisted), "{path}");
            }
        }
        assert!(find("HEAD", "/t/vbc.prod/vis/v1/self").operation.is_some());
    }

    #[test]
    fn a_path_is_known_as_far_as_an_operation_begins_so() {
        let found = find("GET", "/t/vbc.prod/reports/accounts/123/other/call-logs");
        assert!(found.operation.is_none());
        assert_eq!(
            found.segments[..5],
            [
                SegmentKind::Literal,
                SegmentKind::Literal,
                SegmentKind::Literal,
                SegmentKind::Literal,
                SegmentKind::Value(Id)
            ]
        );
        assert_eq!(found.segments[5..], [SegmentKind::Unlisted, SegmentKind::Unlisted]);
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
