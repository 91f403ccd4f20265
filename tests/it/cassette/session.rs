//! Two hundred requests of all kinds, and the services that respond to them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::Value;
use vbc_proxy::Simulator;
use vbc_simulator::SimulatorOptions;

use crate::harness::{Client, PATIENCE, RawUpstream, Received, UpstreamConnection, output};
use crate::process::{Issued, Relay};

/// Credentials that clients send, and secrets that servers issue to them.
pub(super) const SECRETS: [&str; 14] = [
    "their-bearer-value",
    "dGhlaXI6cGFzc3dvcmQ",
    "their-api-key-value",
    "their-query-token",
    "their-cookie-value",
    "a-new-cookie-value",
    "their-signing-key",
    "their-text-value",
    "their-xml-value",
    "their-part-value",
    "their-untyped-value",
    "their-header-value",
    "sim-secret",
    "sim-password",
];

/// Personal data in requests, and in responses that are not the simulator's.
pub(super) const PERSONAL: [&str; 7] = [
    "15551230001",
    "555-123-0002",
    "Wilhelmina",
    "Featherstone",
    "wilhelmina.f@mail.example.org",
    "15551230003",
    "wilhelmina%40mail.example.org",
];

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

/// Requests as groups of curl options. The path of the URL comes last.
pub(super) struct Session(Vec<Vec<String>>);

impl Session {
    pub(super) fn of_users(count: usize) -> Self {
        Self((1..=count).map(|page| vec![format!("{USERS}?page_size=1&page={page}")]).collect())
    }

    /// 200 requests of all kinds.
    pub(super) fn of_200() -> Self {
        let mut groups = Vec::new();
        let json = ["-H", "Content-Type: application/json"];
        for n in 0..8 {
            let mut ask = |words: &[&str]| groups.push(words.iter().map(|word| (*word).to_owned()).collect());
            ask(&[&format!("{USERS}?page={}&page_size=50", n + 1)]);
            ask(&["/t/vbc.prod/provisioning/api/accounts/self/extensions?page_size=20"]);
            ask(&[
                "-H",
                "X-Api-Key: their-api-key-value",
                "/t/vbc.prod/call_recording/api/accounts/self/company_call_recordings",
            ]);
            ask(&[
                "-H",
                "Authorization: Bearer their-bearer-value",
                "/t/vbc.prod/provisioning/api/accounts/self",
            ]);
            let call = r#"{"type":"click2dial","from":{"type":"extension","destination":"1001"},"to":{"type":"pstn","destination":"15551230001"}}"#;
            ask(&[&json[..], &["-d", call, "/t/vbc.prod/telephony/v3/cc/accounts/self/calls"]].concat());
            ask(&[&format!("/stream/{n}")]);
            ask(&["-L", &format!("/old/{n}")]);
            // All these requests use only two paths, and each path forces one refresh. More
            // refreshes within a minute would be delayed.
            ask(&[&format!("/t/vbc.prod/retry{}/a", n % 2)]);
            ask(&["-u", "their:password", &format!("/t/vbc.prod/denied{}/a?n={n}", n % 2)]);
            ask(&[&format!("/error/{}", [404, 500, 503, 429, 400][n % 5])]);
            ask(&["--compressed", &format!("/gzip?phone=15551230003&n={n}")]);
            ask(&["-H", &format!("Range: bytes={n}-99"), "/audio"]);
            ask(&["-I", "/audio"]);
            ask(&["-H", "If-None-Match: \"one\"", "/etag"]);
            ask(&["-X", "DELETE", &format!("/empty/{n}")]);
            ask(&["-b", "sid=their-cookie-value", &format!("/cookie?access_token=their-query-token&n={n}")]);
            let person = r#"{"first_name":"Wilhelmina","last_name":"Featherstone","email":"wilhelmina.f@mail.example.org","note":"call 555-123-0002"}"#;
            ask(&[&json[..], &["-X", "PUT", "-d", person, &format!("/echo/users/Wilhelmina?n={n}")]].concat());
            ask(&[
                "-d",
                "password=their-bearer-value&to=15551230001",
                &format!("/echo?email=wilhelmina%40mail.example.org&n={n}"),
            ]);
            ask(&[&format!("/cut/{n}")]);
            ask(&[
                "-H",
                "Transfer-Encoding: chunked",
                "-d",
                "plain text about +1 (555) 123-0001",
                &format!("/echo?chunked={n}"),
            ]);
            let webhook = r#"{"url":"http://127.0.0.1:9/hook","events":["CALL"],"signingAlgo":"HMAC_SHA256","signingKey":"their-signing-key"}"#;
            ask(&[&json[..], &["-d", webhook, "/t/vbc.prod/vis/v1/self/webhooks"]].concat());
            let text = "user: Wilhelmina Featherstone\npassword: their-text-value\nAuthorization: Bearer their-text-value\n\
                        call 555-123-0002 or wilhelmina.f@mail.example.org\n";
            ask(&["-H", "Content-Type: text/plain", "--data-binary", text, &format!("/echo?text={n}")]);
            let xml = "<login phone=\"+15551230001\">\n<password>their-xml-value</password>\n\
                       <entry key=\"apiKey\">their-xml-value</entry>\n<name>Featherstone</name>\n</login>";
            ask(&[
                "-H",
                "Content-Type: application/xml",
                "-H",
                "X-Vonage-Key: their-header-value",
                "-d",
                xml,
                &format!("/echo?xml={n}"),
            ]);
            ask(&[
                "-F",
                "password=their-part-value",
                "-F",
                "first_name=Wilhelmina",
                "-F",
                "x=y",
                &format!("/echo?parts={n}"),
            ]);
            let lines = "{\"token\":\"their-untyped-value\",\"to\":\"15551230001\"}\n{\"log\":\"secret=their-untyped-value\"}\n";
            ask(&["--data-binary", lines, &format!("/echo?apikey=their-query-token&lines={n}")]);
        }
        assert_eq!(groups.len(), 200);
        Self(groups)
    }

    pub(super) fn name(&self, index: usize) -> String {
        self.0[index].join(" ")
    }

    /// Sends every request in one run of curl. Returns head and body of each response.
    pub(super) async fn ask(&self, address: SocketAddr) -> Vec<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("curl");
        command.arg("-q");
        for (index, group) in self.0.iter().enumerate() {
            if index > 0 {
                command.arg("--next");
            }
            command.args(["-sS", "-i", "-N", "--max-time", "20", "-o", &format!("{index}")]);
            let (path, options) = group.split_last().unwrap();
            command.args(options).arg(format!("http://{address}{path}"));
        }
        command.env_clear().current_dir(directory.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var("PATH").unwrap());
        // curl exits with an error if a response is cut short.
        output(command, PATIENCE).await;
        let read = |index: usize| std::fs::read(directory.path().join(index.to_string())).unwrap_or_default();
        (0..self.0.len()).map(read).collect()
    }

    /// A response without the parts that the recorder must change: set cookies, details, repeated
    /// credentials, and codings with their lengths.
    pub(super) fn comparable(&self, output: &[u8]) -> Vec<u8> {
        const CHANGED: [&str; 8] = [
            "set-cookie:",
            "proxy-status:",
            "echoed token",
            "password=",
            "x-refused:",
            "content-encoding:",
            "their-",
            "hidden-",
        ];
        let has = |text: &[u8], word: &str| {
            text.to_ascii_lowercase().windows(word.len()).any(|window| window == word.as_bytes())
        };
        // A replayed response has no content coding, so it is recognized by its content.
        let is_coded = |text: &[u8]| has(text, "\"items\":[{");
        if !is_coded(output) && !CHANGED.iter().any(|word| has(output, word)) {
            return output.to_vec();
        }
        let lines = output.split_inclusive(|byte| *byte == b'\n');
        let left =
            lines.filter(|line| !has(line, "content-length:") && !CHANGED.iter().any(|word| has(line, word)));
        left.collect::<Vec<_>>().concat()
    }
}

/// The upstream of the proxy, which passes some paths on to the simulator. The token endpoint is a
/// relay in front of the simulator that records the issued tokens.
pub(super) struct Backend {
    upstream: RawUpstream,
    relay: Relay,
    cured: Arc<AtomicUsize>,
    _simulator: Simulator,
}

#[derive(Default)]
struct Shared {
    simulator: OnceLock<SocketAddr>,
    url: OnceLock<String>,
    /// Paths that have responded with 401 once.
    refused: Mutex<HashSet<String>>,
    cured: Arc<AtomicUsize>,
}

impl Backend {
    pub(super) async fn start() -> Self {
        let shared: Arc<Shared> = Arc::default();
        let responding = Arc::clone(&shared);
        let upstream = RawUpstream::scripted(move |mut connection| {
            let shared = Arc::clone(&responding);
            async move {
                while let Some(request) = connection.request().await {
                    if !shared.respond(&mut connection, &request).await {
                        return;
                    }
                }
            }
        })
        .await;
        let options = SimulatorOptions { public_base: upstream.url(), ..SimulatorOptions::default() };
        let simulator = Simulator::bind(options).await.unwrap();
        shared.simulator.set(simulator.address()).unwrap();
        shared.url.set(upstream.url()).unwrap();
        let relay = Relay::to(simulator.address()).await;
        Self { upstream, relay, cured: Arc::clone(&shared.cured), _simulator: simulator }
    }

    pub(super) fn url(&self) -> String {
        self.upstream.url()
    }

    pub(super) fn token_url(&self) -> String {
        self.relay.token_url()
    }

    pub(super) fn issued(&self) -> Vec<Issued> {
        self.relay.issued()
    }

    /// The number of 401s that a retry cured.
    pub(super) fn cured(&self) -> usize {
        self.cured.load(Ordering::SeqCst)
    }
}

fn whole(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

const JSON: &str = "Content-Type: application/json\r\n";

impl Shared {
    /// Responds to a request. Returns whether the connection continues.
    async fn respond(&self, connection: &mut UpstreamConnection, request: &Received) -> bool {
        let target = request.line.split(' ').nth(1).unwrap().to_owned();
        let first = target.trim_start_matches('/').split(['/', '?']).next().unwrap();
        let url = self.url.get().unwrap();
        let bearer = request.header("authorization").unwrap_or_default();
        let response = match first {
            "t" if target.contains("/denied") || target.contains("/retry") => {
                if target.contains("/retry") && !self.refused.lock().insert(target.clone()) {
                    self.cured.fetch_add(1, Ordering::SeqCst);
                    whole("200 OK", JSON, br#"{"cured":true}"#)
                } else {
                    let body = format!(r#"{{"code":"900901","message":"echoed token {bearer}"}}"#);
                    whole("401 Unauthorized", &format!("{JSON}X-Refused: {bearer}\r\n"), body.as_bytes())
                }
            }
            "t" => {
                let mut simulator = Client::connect(*self.simulator.get().unwrap()).await;
                simulator.write(&[&request.head[..], b"\r\nConnection: close\r\n\r\n"].concat()).await;
                simulator.write(&request.body).await;
                connection.write(&simulator.read_to_end().await).await;
                return false;
            }
            "stream" => return stream(connection).await,
            "cut" => {
                connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").await;
                return false;
            }
            "old" => whole("302 Found", &format!("Location: {url}/new?{target}\r\n"), b""),
            "new" => {
                whole("200 OK", JSON, format!(r#"{{"self":"{url}/new","name":"Wilhelmina"}}"#).as_bytes())
            }
            "error" => {
                let status = target.rsplit('/').next().unwrap();
                let body = format!(r#"{{"status":{status},"title":"no 15551230003","name":"Featherstone"}}"#);
                whole(&format!("{status} Whatever"), &format!("{JSON}Retry-After: 1\r\n"), body.as_bytes())
            }
            "gzip" => {
                let body = gzip(r#"{"phone_number":"+15551230001","items":[{"first_name":"Wilhelmina"}]}"#);
                whole("200 OK", &format!("{JSON}Content-Encoding: gzip\r\n"), &body)
            }
            "audio" => audio(request),
            "etag" => b"HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\n\r\n".to_vec(),
            "empty" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "cookie" => whole("200 OK", "Set-Cookie: sid=a-new-cookie-value; Path=/; HttpOnly\r\n", b"set"),
            "echo" => {
                let kind = request.header("content-type").unwrap_or("text/plain");
                whole("200 OK", &format!("Content-Type: {kind}\r\n"), &request.body)
            }
            other => panic!("{other}"),
        };
        connection.write(&response).await;
        true
    }
}

async fn stream(connection: &mut UpstreamConnection) -> bool {
    connection
        .write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for index in 0..5 {
        let event =
            format!("id: {index}\ndata: {{\"caller_id\":\"15551230003\",\"cnam\":\"Wilhelmina\"}}\n\n");
        connection.write(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await;
        tokio::task::yield_now().await;
    }
    connection.write(b"0\r\n\r\n").await;
    true
}

fn audio(request: &Received) -> Vec<u8> {
    let sound: Vec<u8> = (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let kind = "Content-Type: audio/mpeg\r\nAccept-Ranges: bytes\r\n";
    if request.line.starts_with("HEAD") {
        return format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: {}\r\n\r\n", sound.len()).into_bytes();
    }
    let range = request.header("range").unwrap().trim_start_matches("bytes=").to_owned();
    let (from, to) = range.split_once('-').unwrap();
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
    let range = format!("{kind}Content-Range: bytes {from}-{to}/{}\r\n", sound.len());
    whole("206 Partial Content", &range, &sound[from..=to])
}

/// Personal data in a response of the simulator: full names, login names, addresses, and telephone
/// numbers in every notation.
pub(super) fn people(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let body = text.split("\r\n\r\n").last().unwrap_or_default();
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_str::<Value>(body) {
        collect(&value, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(members) => {
            if let (Some(first), Some(last)) = (value["first_name"].as_str(), value["last_name"].as_str()) {
                found.push(format!("{first} {last}"));
            }
            for (name, member) in members {
                let named =
                    ["first_name", "last_name", "email", "cnam", "login_name"].contains(&name.as_str());
                match member.as_str() {
                    // A first name may be part of another word.
                    Some(text) if named && text.contains(['@', ' ', '.']) => found.push(text.to_owned()),
                    Some(text) if named && text.len() > 2 => found.push(format!("\"{text}\"")),
                    Some(text) if is_number(text) && !name.contains("time") => found.extend(writings(text)),
                    _ => collect(member, found),
                }
            }
        }
        _ => {}
    }
}

/// Whether this is a telephone number of the simulator: `1AAA55501NN`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.len() == 11 && digits.starts_with('1') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The number with and without its prefix, grouped and ungrouped.
fn writings(number: &str) -> Vec<String> {
    let national = &number[number.len() - 10..];
    let (area, rest) = national.split_at(3);
    let (office, line) = rest.split_at(3);
    vec![
        national.to_owned(),
        format!("{area}-{office}-{line}"),
        format!("{area} {office} {line}"),
        format!("{area}.{office}.{line}"),
        format!("({area}) {office}-{line}"),
    ]
}

/// Everything in a cassette: its lines, and every text in them, decoded.
pub(super) fn contents(cassette: &str) -> Vec<String> {
    let mut found: Vec<String> = cassette.lines().map(str::to_owned).collect();
    for line in cassette.lines() {
        texts(&serde_json::from_str(line).unwrap(), &mut found);
    }
    found
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => {
            for (name, member) in members {
                if let Some(text) = member.as_str().filter(|_| name == "base64") {
                    let bytes = STANDARD.decode(text).unwrap();
                    found.push(String::from_utf8_lossy(&unpacked(&bytes).unwrap_or(bytes)).into_owned());
                }
                texts(member, found);
            }
        }
        Value::String(text) => {
            found.push(text.clone());
            found.push(percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned());
            if let Some(bytes) = STANDARD.decode(text).ok().filter(|bytes| bytes.len() > 8) {
                found.push(String::from_utf8_lossy(&unpacked(&bytes).unwrap_or(bytes)).into_owned());
            }
        }
        _ => {}
    }
}

fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).ok().map(|_| plain)
}

#[test]
fn contents_are_found_in_every_coding() {
    let line = serde_json::json!({
        "a": { "base64": STANDARD.encode(gzip("in a file")) }, "b": "in%20a%20target", "c": ["in a \"quote\""],
        "d": STANDARD.encode("in base64"),
    });
    let found = contents(&line.to_string());
    for text in ["in a file", "in a target", "in a \"quote\"", "in base64"] {
        assert!(found.iter().any(|found| found.contains(text)), "{text}");
    }
    let person = r#"{"first_name":"Jo","last_name":"Do","email":"a@b.c","n":[{"x":"+12015550100"}]}"#;
    let found = people(format!("\r\n\r\n{person}").as_bytes());
    for text in ["Jo Do", "a@b.c", "2015550100", "201-555-0100"] {
        assert!(found.contains(&text.to_owned()), "{text} in {found:?}");
    }
}
