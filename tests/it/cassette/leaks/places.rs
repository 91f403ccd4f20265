//! The places in a request and its response that can contain a secret.

use std::io::Write;

/// A secret in pieces, and the name for places that have one.
pub(super) struct Case<'c> {
    pub(super) name: &'c str,
    pub(super) pieces: &'c [String],
}

/// A request and its response.
pub(super) struct Exchange {
    line: String,
    request_lines: Vec<String>,
    request_body: Vec<u8>,
    status: String,
    headers: Vec<String>,
    response_body: Vec<u8>,
    trailers: Vec<String>,
}

/// A place, and a function that puts a secret there.
pub(super) type Named = (&'static str, fn(&Case<'_>) -> Exchange);

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const CALLS: &str = "/t/vbc.prod/telephony/v3/cc/accounts/self/calls";
const HOOKS: &str = "/t/vbc.prod/vis/v1/self/webhooks";
const NONE: &str = "/t/vbc.prod/none/v1/things";
const CALL: &str = "6c0a3c5a-1f0e-4f7b-9d57-0a1b2c3d4e5f";

/// All places, in groups.
pub(super) const PLACES: [&[Named]; 4] = [&TARGETS, &HEADERS, &BODIES, &RESPONSES];

fn get(target: impl std::fmt::Display) -> Exchange {
    Exchange {
        line: format!("GET {target}"),
        request_lines: Vec::new(),
        request_body: Vec::new(),
        status: "200 OK".to_owned(),
        headers: Vec::new(),
        response_body: Vec::new(),
        trailers: Vec::new(),
    }
}

impl Exchange {
    /// The bytes of the request. Its number tells the upstream which response to send.
    pub(super) fn request(&self, index: usize) -> Vec<u8> {
        let mut head = format!("{} HTTP/1.1\r\nHost: localhost\r\nConnection: close, te\r\n", self.line);
        head += &format!("TE: trailers\r\nX-Try: {index}\r\n");
        self.request_lines.iter().for_each(|line| head += &format!("{line}\r\n"));
        if !self.request_body.is_empty() {
            head += &format!("Content-Length: {}\r\n", self.request_body.len());
        }
        [head.as_bytes(), b"\r\n", &self.request_body].concat()
    }

    /// The bytes of the response.
    pub(super) fn response(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        self.headers.iter().for_each(|line| head += &format!("{line}\r\n"));
        if self.trailers.is_empty() {
            head += &format!("Content-Length: {}\r\n\r\n", self.response_body.len());
            return [head.as_bytes(), &self.response_body].concat();
        }
        let trailers: String = self.trailers.iter().map(|line| format!("{line}\r\n")).collect();
        format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n{trailers}\r\n").into_bytes()
    }

    fn with_lines(mut self, lines: Vec<String>) -> Self {
        self.request_lines = lines;
        self
    }

    fn responding(mut self, lines: Vec<String>) -> Self {
        self.headers = lines;
        self
    }

    fn in_json(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.headers.push("Content-Type: application/json".to_owned());
        self.response_body = body.into();
        self
    }

    fn status(mut self, status: &str) -> Self {
        self.status = status.to_owned();
        self
    }
}

/// Percent-encodes characters that no URI contains. Existing percent-encodings stay.
fn in_url(piece: &str) -> String {
    let each = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~%=".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    piece.bytes().map(each).collect()
}

/// The piece as a JSON string. A piece that is escaped already stays unchanged.
fn in_json(piece: &str) -> String {
    if piece.starts_with("\\u") { format!("\"{piece}\"") } else { serde_json::to_string(piece).unwrap() }
}

fn in_xml(piece: &str) -> String {
    if piece.starts_with("&#") {
        piece.to_owned()
    } else {
        piece.replace('&', "&amp;").replace('"', "&quot;")
    }
}

impl Case<'_> {
    /// Each piece with its own name.
    fn named(&self) -> impl Iterator<Item = (String, &String)> {
        let name =
            |index: usize| if index == 0 { self.name.to_owned() } else { format!("{}{index}", self.name) };
        self.pieces.iter().enumerate().map(move |(index, piece)| (name(index), piece))
    }

    fn each(&self, write: impl Fn(&str, &str) -> String) -> Vec<String> {
        self.named().map(|(name, piece)| write(&name, piece)).collect()
    }

    fn query(&self) -> String {
        self.each(|name, piece| format!("{name}={}", in_url(piece))).join("&")
    }

    fn segments(&self) -> String {
        self.each(|_, piece| in_url(piece)).join("/")
    }

    /// A header for each piece.
    fn lines(&self, before: &str) -> Vec<String> {
        self.each(|name, piece| format!("{}{piece}", before.replace('$', name)))
    }

    fn members(&self) -> String {
        self.each(|name, piece| format!("\"{name}\":{}", in_json(piece))).join(",")
    }

    fn values(&self) -> String {
        self.each(|_, piece| in_json(piece)).join(",")
    }

    fn object(&self) -> String {
        format!("{{{}}}", self.members())
    }

    /// A list of users whose `member` has the pieces as values.
    fn in_member(&self, member: &str) -> String {
        let users = self.each(|_, piece| format!("{{\"{member}\":{}}}", in_json(piece)));
        format!("{{\"page\":1,\"_embedded\":{{\"data\":[{}]}}}}", users.join(","))
    }
}

const TARGETS: [Named; 16] = [
    ("a parameter of an operation", |case| get(format_args!("{USERS}?page=1&{}", case.query()))),
    ("a parameter elsewhere", |case| get(format_args!("{NONE}?{}", case.query()))),
    ("a query without names", |case| get(format_args!("{USERS}?{}", case.segments()))),
    ("the name of a parameter", |case| get(format_args!("{USERS}?{}=1", case.segments()))),
    ("a parameter that is repeated", |case| get(format_args!("{USERS}?page=1&page={}", case.segments()))),
    ("a value of an operation", |case| get(format_args!("{USERS}?page_size={}", case.segments()))),
    ("an address of an operation", |case| get(format_args!("{USERS}?email={}", case.segments()))),
    ("a time of an operation", |case| {
        get(format_args!("/t/vbc.prod/reports/accounts/1/call-logs?start:gte={}", case.segments()))
    }),
    ("a segment elsewhere", |case| get(format_args!("{NONE}/{}", case.segments()))),
    ("a segment after an operation", |case| get(format_args!("{CALLS}/{CALL}/token/{}", case.segments()))),
    ("a segment after token", |case| get(format_args!("/token/{}", case.segments()))),
    ("an identifier", |case| get(format_args!("{CALLS}/{}", case.segments()))),
    ("an account", |case| {
        get(format_args!("/t/vbc.prod/reports/v1/accounts/{}/call-logs?page=1", case.segments()))
    }),
    ("a parameter of a segment", |case| get(format_args!("{USERS};{}={}", case.name, case.segments()))),
    ("a suite", |case| get(format_args!("/t/vbc.prod/{}/v1/self", case.segments()))),
    ("a query within a query", |case| {
        let inner = format!("http://h/a?{}", case.query());
        get(format_args!("{USERS}?{}={}", case.name, in_url(&inner.replace('%', "%25"))))
    }),
];

const HEADERS: [Named; 17] = [
    ("a header", |case| get(USERS).with_lines(case.lines("X-$: "))),
    ("a header elsewhere", |case| get(NONE).with_lines(case.lines("$: "))),
    ("a cookie", |case| get(USERS).with_lines(case.lines("Cookie: $="))),
    ("a referer", |case| {
        get(USERS).with_lines(vec![format!("Referer: http://localhost/a?{}", case.query())])
    }),
    ("a user agent", |case| get(USERS).with_lines(case.lines("User-Agent: tool/1.0 "))),
    ("credentials", |case| {
        get(USERS).with_lines(vec![format!("Authorization: {} {}", case.name, case.pieces[0])])
    }),
    ("a language", |case| get(USERS).with_lines(case.lines("Accept-Language: en, "))),
    ("what is accepted", |case| get(USERS).with_lines(case.lines("Accept: application/json;$="))),
    ("a tag", |case| get(USERS).with_lines(case.each(|_, piece| format!("If-None-Match: \"{piece}\"")))),
    ("a date", |case| get(USERS).with_lines(case.lines("If-Modified-Since: "))),
    ("a range", |case| get(USERS).with_lines(case.lines("Range: bytes="))),
    ("who has forwarded", |case| get(USERS).with_lines(case.lines("X-Forwarded-For: "))),
    ("a number of a request", |case| get(USERS).with_lines(case.lines("X-Request-Id: "))),
    ("a trace", |case| get(USERS).with_lines(case.lines("Traceparent: 00-"))),
    ("a type", |case| {
        let mut exchange = get(CALLS).with_lines(case.lines("Content-Type: application/json; $="));
        (exchange.line, exchange.request_body) = (format!("POST {CALLS}"), b"{}".to_vec());
        // There can be only one `Content-Type`.
        exchange.request_lines.truncate(1);
        exchange
    }),
    ("an address of a sender", |case| get(USERS).with_lines(case.lines("From: "))),
    ("a control of caches", |case| get(USERS).with_lines(case.lines("Cache-Control: no-cache, $="))),
];

/// A body of a request or of a response, with its type.
type Body = fn(&Case<'_>) -> (&'static str, Vec<u8>);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn multipart(case: &Case<'_>) -> Vec<u8> {
    let part = |name: &str, piece: &str| {
        format!(
            "--bnd\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{piece}\"\r\n\r\n{piece}\r\n"
        )
    };
    (case.each(part).concat() + "--bnd--\r\n").into_bytes()
}

const JSON: &str = "application/json";

const KINDS: [Body; 24] = [
    |case| (JSON, case.object().into()),
    |case| (JSON, case.each(|_, piece| format!("{{{}:1}}", in_json(piece))).remove(0).into()),
    |case| (JSON, format!("{{\"from\":{{\"{}\":[{}]}}}}", case.name, case.object()).into()),
    |case| (JSON, format!("[{}]", case.values()).into()),
    |case| (JSON, case.each(|_, piece| in_json(piece)).remove(0).into()),
    |case| (JSON, format!("{{\"note\":{}}}", serde_json::to_string(&case.object()).unwrap()).into()),
    |case| {
        (JSON, format!("{{\"type\":\"click2dial\",\"from\":{{\"destination\":[{}]}}}}", case.values()).into())
    },
    |case| (JSON, format!("{{\"type\":{}}}", in_json(&case.pieces[0])).into()),
    |case| (JSON, case.in_member("id").into()),
    |case| (JSON, format!("{}\n{}", case.object(), case.object()).into()),
    |case| (JSON, format!("{{\"page\":1,{}", case.members()).into()),
    |case| ("image/png", case.object().into()),
    |case| ("application/octet-stream", case.object().into()),
    |case| ("audio/mpeg", [b"ID3\xff\x00".as_slice(), case.pieces.concat().as_bytes(), b"\xff"].concat()),
    |case| ("application/x-www-form-urlencoded", case.query().into()),
    |case| ("multipart/form-data; boundary=bnd", multipart(case)),
    |case| {
        (
            "application/xml",
            case.each(|name, piece| format!("<a><{name}>{}</{name}></a>", in_xml(piece))).concat().into(),
        )
    },
    |case| {
        ("text/xml", case.each(|name, piece| format!("<a {name}=\"{}\"/>", in_xml(piece))).concat().into())
    },
    |case| ("text/plain", case.each(|name, piece| format!("{name}: {piece}\n")).concat().into()),
    |case| ("text/plain", case.pieces.join("\n").into()),
    |case| ("text/csv", format!("{},b\n{},1\n", case.name, case.pieces.join(",")).into()),
    |case| ("text/event-stream", format!("data: {}\n\n", case.object()).into()),
    |case| ("text/html", format!("<!DOCTYPE html><p>{}</p>", case.pieces.join("<b>and</b>")).into()),
    |case| ("application/gzip", gzip(case.object().as_bytes())),
];

/// A request or a response with a body of one kind.
fn with_body(case: &Case<'_>, kind: usize, target: &str, is_request: bool) -> Exchange {
    let (of_type, body) = KINDS[kind](case);
    let mut exchange = get(target);
    let line = format!("Content-Type: {of_type}");
    if is_request {
        (exchange.line, exchange.request_body) = (format!("POST {target}"), body);
        exchange.request_lines.push(line);
    } else {
        exchange.response_body = body;
        exchange.headers.push(line);
        // Every other body is compressed.
        if kind % 2 == 1 {
            exchange.response_body = gzip(&exchange.response_body);
            exchange.headers.push("Content-Encoding: gzip".to_owned());
        }
    }
    exchange
}

macro_rules! bodies {
    ($($kind:literal)*) => {
        [$(
            (concat!("request body ", $kind, " of an operation"), |case| with_body(case, $kind, CALLS, true)),
            (concat!("request body ", $kind, " elsewhere"), |case| with_body(case, $kind, NONE, true)),
            (concat!("response body ", $kind, " of an operation"), |case| with_body(case, $kind, USERS, false)),
            (concat!("response body ", $kind, " elsewhere"), |case| with_body(case, $kind, NONE, false)),
        )*]
    };
}

const BODIES: [Named; 96] = bodies!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);

const RESPONSES: [Named; 26] = [
    ("a reason", |case| get(USERS).status(&format!("200 {}", case.pieces.join(" ")))),
    ("a reason elsewhere", |case| get(NONE).status(&format!("404 {}", case.pieces.join(" ")))),
    ("a trailer", |case| {
        let mut exchange = get(USERS);
        exchange.trailers = case.lines("X-$: ");
        exchange
    }),
    ("a location", |case| {
        get(USERS).status("302 Found").responding(vec![format!("Location: https://h/a?{}", case.query())])
    }),
    ("a path of a location", |case| {
        get(USERS).status("302 Found").responding(vec![format!("Location: {CALLS}/{}", case.segments())])
    }),
    ("a fragment", |case| {
        get(NONE).status("302 Found").responding(vec![format!("Location: https://h/cb#{}", case.query())])
    }),
    ("a link in a header", |case| {
        get(USERS).responding(vec![format!("Link: <{USERS}?page=2&{}>; rel=next", case.query())])
    }),
    ("a header of a response", |case| get(USERS).responding(case.lines("X-$: "))),
    ("a header of a response elsewhere", |case| get(NONE).responding(case.lines("$: "))),
    ("a cookie that is set", |case| get(USERS).responding(case.lines("Set-Cookie: $="))),
    ("a tag of a response", |case| get(USERS).responding(case.each(|_, piece| format!("ETag: \"{piece}\"")))),
    ("a file name", |case| get(USERS).responding(case.lines("Content-Disposition: attachment; filename="))),
    ("a challenge", |case| get(USERS).responding(case.lines("WWW-Authenticate: $ realm="))),
    ("a server", |case| get(USERS).responding(case.lines("Server: "))),
    ("a time to wait", |case| get(USERS).status("429 Too").responding(case.lines("Retry-After: "))),
    ("a date of a response", |case| get(USERS).responding(case.lines("Last-Modified: "))),
    ("a warning", |case| get(USERS).responding(case.lines("Warning: 199 - "))),
    ("a type of a response", |case| {
        let mut exchange = get(USERS).responding(case.lines("Content-Type: application/json; $="));
        exchange.headers.truncate(1);
        exchange.response_body = b"{}".to_vec();
        exchange
    }),
    ("an activity", |case| get(USERS).responding(case.lines("activityid: "))),
    ("a link of a page", |case| {
        get(USERS)
            .in_json(format!("{{\"_links\":{{\"next\":{{\"href\":\"{USERS}?page=2&{}\"}}}}}}", case.query()))
    }),
    ("a path of a link", |case| {
        let body = format!(
            "{{\"_links\":{{\"self\":{{\"href\":\"https://api.vonage.com{CALLS}/{}\"}}}}}}",
            case.segments()
        );
        get(USERS).in_json(body)
    }),
    ("a message", |case| {
        let body =
            format!("{{\"code\":404,\"message\":{},\"description\":\"\"}}", in_json(&case.pieces.join(" ")));
        get(USERS).status("404 Not Found").in_json(body.replace("\\\\u", "\\u"))
    }),
    ("a title", |case| {
        get(USERS).status("400 Bad").in_json(format!("{{\"title\":{}}}", in_json(&case.pieces[0])))
    }),
    ("a status", |case| get(USERS).in_json(case.in_member("status"))),
    ("a name of a person", |case| get(USERS).in_json(case.in_member("first_name"))),
    ("a hook", |case| {
        let mut exchange = get(HOOKS);
        exchange.line = format!("POST {HOOKS}");
        exchange.request_body = format!(
            "{{\"url\":\"https://h/{}\",\"signingKey\":{}}}",
            case.segments(),
            in_json(&case.pieces[0])
        )
        .into();
        exchange.request_lines.push("Content-Type: application/json".to_owned());
        exchange.status("201 Created").in_json(case.object())
    }),
];
