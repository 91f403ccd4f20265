//! Counts the instructions of a request, which hardly vary, unlike times (`scripts/instructions`).
//!
//! The program (`VBC_PROXY_BINARY`, or the one that cargo built for this bench) runs under
//! callgrind with the shipped defaults. A figure is the difference between a long run and a short
//! one, divided by the difference in requests. `-- --check` fails if a figure is more than three
//! per cent off `benches/instructions.txt`. `-- --write` writes that file. Needs valgrind and
//! strace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;

use vbc_proxy::Simulator;

const SHORT: usize = 300;
/// The requests of a long run, enough that the varying cost of a start hardly matters.
const LONG: usize = 4_300;
/// How far a figure may be from the committed one, in per cent.
const TOLERANCE: f64 = 3.0;

/// Name, request and response.
type Workload = (&'static str, Vec<u8>, Vec<u8>);

fn workloads() -> Vec<Workload> {
    let response = |kind: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let head = |line: &str| format!("{line}\r\nHost: localhost\r\nUser-Agent: bench/1\r\nAccept: */*\r\n");
    let text = response("text/plain", &[b'x'; 1024]);
    let item = r#"{"id":"12345","name":"a name","self":"/t/vbc.prod/x/1"},"#;
    let json = format!("[{}{{}}]", item.repeat(18));
    let get = format!("{}\r\n", head("GET /t/vbc.prod/provisioning/v1/api/x?page=1 HTTP/1.1")).into_bytes();
    let post = format!(
        "{}Content-Type: application/json\r\nContent-Length: 4096\r\n\r\n{}",
        head("POST /t/vbc.prod/telephony/v3/x HTTP/1.1"),
        "y".repeat(4096)
    );
    vec![
        ("GET, 1 KB of text", get.clone(), text.clone()),
        ("GET, 1 KB of JSON", get, response("application/json", json.as_bytes())),
        ("POST, 4 KB", post.into_bytes(), text),
    ]
}

fn main() -> ExitCode {
    let wants = |flag: &str| std::env::args().any(|argument| argument == flag);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sim = runtime.block_on(Simulator::start()).unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt");
    let known = fs::read_to_string(&committed).unwrap_or_default();
    let mut page = String::new();
    let mut wrong = false;
    for (name, request, response) in workloads() {
        let run = |count| Run {
            request: &request,
            response: &response,
            count,
            token_url: format!("{}/token", sim.url()),
        };
        let figure = (run(LONG).instructions() - run(SHORT).instructions()) / (LONG - SHORT) as u64;
        let calls = run(LONG).calls().minus(run(SHORT).calls());
        let line = format!("{name}: {figure}\n");
        let before =
            known.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse::<f64>().ok());
        let change = before.map(|before| (figure as f64 / before - 1.0) * 100.0);
        let shown = change.map_or("not committed".to_owned(), |change| format!("{change:+.2} %"));
        println!("{name:<20} {figure:>8} instructions ({shown}), {calls}");
        if wants("--check") {
            wrong |= change.is_none_or(|change| change.abs() > TOLERANCE) || !calls.is_least(LONG - SHORT);
        }
        page.push_str(&line);
    }
    if wants("--write") {
        fs::write(&committed, page).unwrap();
    }
    if wrong {
        println!(
            "A figure is missing from benches/instructions.txt or differs from it by more than {TOLERANCE} %, or a request \
             takes more than two receives or two sends. If a new figure is intended, run \
             `scripts/instructions --write` and give the reason in the commit."
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The numbers of system calls that move bytes.
struct Calls {
    receives: usize,
    sends: usize,
}

impl Calls {
    fn minus(self, other: Self) -> Self {
        Self { receives: self.receives - other.receives, sends: self.sends - other.sends }
    }

    /// Whether a request takes at most two receives and two sends. Timers and signals may add one
    /// of each in a hundred requests.
    fn is_least(&self, requests: usize) -> bool {
        let most = 2 * requests + requests / 100;
        self.receives <= most && self.sends <= most
    }
}

impl std::fmt::Display for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = |calls: usize| calls as f64 / (LONG - SHORT) as f64;
        write!(f, "{:.2} receives and {:.2} sends a request", each(self.receives), each(self.sends))
    }
}

struct Run<'a> {
    request: &'a [u8],
    response: &'a [u8],
    count: usize,
    token_url: String,
}

impl Run<'_> {
    fn instructions(&self) -> u64 {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("callgrind.out");
        let arguments = ["--tool=callgrind".to_owned(), format!("--callgrind-out-file={}", out.display())];
        self.under("valgrind", &arguments, directory.path());
        let text = fs::read_to_string(&out).unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("callgrind's totals");
        total.trim().parse().unwrap()
    }

    fn calls(&self) -> Calls {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("strace.out");
        let names = "trace=recvfrom,recvmsg,read,readv,sendto,sendmsg,write,writev";
        let arguments = ["-f", "-c", "-e", names, "-o", out.to_str().unwrap()].map(str::to_owned);
        self.under("strace", &arguments, directory.path());
        let text = fs::read_to_string(&out).unwrap();
        let count = |names: &[&str]| {
            let fields = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let found = fields.filter(|fields| fields.last().is_some_and(|name| names.contains(name)));
            found.map(|fields| fields[3].parse::<usize>().unwrap()).sum()
        };
        Calls {
            receives: count(&["recvfrom", "recvmsg", "read", "readv"]),
            sends: count(&["sendto", "sendmsg", "write", "writev"]),
        }
    }

    /// Sends the requests, one after another on one connection, through a proxy that runs under
    /// `tool`.
    fn under(&self, tool: &str, arguments: &[String], directory: &Path) {
        let upstream = upstream(self.request.to_owned(), self.response.to_owned());
        let config = self.configuration(directory, &upstream);
        let mut proxy = Command::new(tool)
            .args(arguments)
            .arg(
                std::env::var("VBC_PROXY_BINARY")
                    .unwrap_or_else(|_| env!("CARGO_BIN_EXE_vbc-proxy").to_owned()),
            )
            .args(["serve", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{tool}: {error}; install it (apt-get install {tool})"));
        let mut line = String::new();
        BufReader::new(proxy.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        let mut buffer = vec![0; 64 * 1024];
        for _ in 0..self.count {
            client.write_all(self.request).unwrap();
            read_message(&mut client, &mut buffer);
        }
        drop(client);
        end(&mut proxy);
    }

    fn configuration(&self, directory: &Path, upstream: &str) -> PathBuf {
        let path = directory.join("proxy.toml");
        let text = format!(
            "listen.address = \"127.0.0.1:0\"\nlisten.workers = 1\nadmin.address = \"off\"\nstore.kind = \"memory\"\n\
             upstream.url = \"http://{upstream}\"\noauth.token_url = \"{}\"\n\
             credentials.default = {{ client_id = \"sim-client\", client_secret = \"sim-secret\", \
             username = \"alice\", password = \"sim-password\" }}\n",
            self.token_url
        );
        fs::write(&path, text).unwrap();
        path
    }
}

/// Drains the proxy and waits for its end, since the tools write their files only then.
fn end(proxy: &mut Child) {
    // The proxy is a child of strace, but the same process as valgrind.
    let id = proxy.id().to_string();
    let child = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let target = child.split_whitespace().next().unwrap_or(&id).to_owned();
    Command::new("kill").args(["-TERM", &target]).status().unwrap();
    assert!(proxy.wait().unwrap().success());
}

/// Responds to every request with these bytes. Returns the address.
fn upstream(request: Vec<u8>, response: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let body = request.len() - request.windows(4).position(|end| end == b"\r\n\r\n").unwrap() - 4;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, response) = (stream.unwrap(), response.clone());
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while read_message_of(&mut stream, &mut buffer, Some(body)) {
                    stream.write_all(&response).unwrap();
                }
            });
        }
    });
    address
}

fn read_message(stream: &mut TcpStream, buffer: &mut [u8]) {
    assert!(read_message_of(stream, buffer, None), "the proxy closed the connection");
}

/// Reads a head and a body of this length, or of the announced one.
fn read_message_of(stream: &mut TcpStream, buffer: &mut [u8], body: Option<usize>) -> bool {
    let mut filled = 0;
    loop {
        let Ok(read @ 1..) = stream.read(&mut buffer[filled..]) else { return false };
        filled += read;
        let Some(head) = buffer[..filled].windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let announced = || {
            let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
            let at = text.find("content-length: ").expect("a length") + 16;
            text[at..].split("\r\n").next().unwrap().parse().unwrap()
        };
        if filled >= head + 4 + body.unwrap_or_else(announced) {
            return true;
        }
    }
}
