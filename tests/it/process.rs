//! The program as a child process, and a token endpoint that records the tokens it issues.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::harness::{Client, RawUpstream, Response, within};

/// A running program. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
}

/// One of the program's two outputs, line by line and as a whole.
struct Stream {
    lines: mpsc::UnboundedReceiver<String>,
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(source: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::unbounded_channel();
        let text: Arc<Mutex<String>> = Arc::default();
        let written = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(source).lines() {
                let Ok(line) = line else { break };
                let mut written = written.lock();
                written.push_str(&line);
                written.push('\n');
                drop(written);
                let _ = sender.send(line);
            }
        });
        Self { lines, text, reader: Some(reader) }
    }

    /// The whole text, once the program has ended.
    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text.lock().clone()
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    /// Starts the program in `directory`, with these arguments and only these variables.
    pub(crate) fn start(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(directory, arguments, variables, Stdio::null())
    }

    /// Starts the program after a shell has run `setup`, for example to set a limit.
    pub(crate) fn start_after(directory: &Path, setup: &str, arguments: &[&str]) -> Self {
        let script = format!("{setup}; exec \"$0\" \"$@\"");
        let program = ["-c", &script, env!("CARGO_BIN_EXE_vbc-proxy")];
        let mut shell = Command::new("/bin/sh");
        shell.args(program);
        Self::spawn_as(shell, directory, arguments, &[], Stdio::null())
    }

    /// Starts the program with a pipe to its standard input.
    pub(crate) fn start_to_write(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn(directory, arguments, variables, Stdio::piped())
    }

    fn spawn(directory: &Path, arguments: &[&str], variables: &[(&str, &str)], stdin: Stdio) -> Self {
        Self::spawn_as(Command::new(env!("CARGO_BIN_EXE_vbc-proxy")), directory, arguments, variables, stdin)
    }

    /// Starts the program with this many file descriptors.
    pub(crate) fn start_with_descriptors(directory: &Path, arguments: &[&str], most: usize) -> Self {
        let mut shell = Command::new("/bin/sh");
        let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_vbc-proxy")]);
        Self::spawn_as(shell, directory, arguments, &[], Stdio::null())
    }

    fn spawn_as(
        mut command: Command,
        directory: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        stdin: Stdio,
    ) -> Self {
        let mut child = command
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir(directory)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Stream::of(child.stdout.take().unwrap());
        let stderr = Stream::of(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        Self { child, stdin, stdout, stderr }
    }

    /// Writes a line to its standard input.
    pub(crate) fn write_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("a pipe"), "{line}").unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Runs the program to its end.
    pub(crate) async fn run(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        Self::start(directory, arguments, variables).end().await
    }

    /// The next line on standard output.
    pub(crate) async fn line(&mut self) -> String {
        match within(self.stdout.lines.recv()).await {
            Some(line) => line,
            None => panic!("no more output; standard error:\n{}", self.stderr.finish()),
        }
    }

    /// Reads the line with the addresses for clients and of the admin listener.
    pub(crate) async fn listening(&mut self) -> (SocketAddr, SocketAddr) {
        addresses(&self.line().await, "vbc-proxy listening on http://", " (admin http://")
    }

    /// Reads the line with the addresses of the simulated service and of its control plane.
    pub(crate) async fn simulating(&mut self) -> (SocketAddr, SocketAddr) {
        addresses(&self.line().await, "vbc-proxy simulator on http://", " (control http://")
    }

    /// Waits for a line on standard error that contains `text`.
    pub(crate) async fn logged(&mut self, text: &str) -> String {
        within(async {
            while let Some(line) = self.stderr.lines.recv().await {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("{text:?} was not logged:\n{}", self.stderr.finish());
        })
        .await
    }

    /// Limits the size of files that it writes from now on.
    pub(crate) fn limit_file_size(&self, bytes: Option<u64>) {
        self.limit(Resource::Fsize, Rlimit { current: bytes, maximum: None });
    }

    /// Lowers its limit of descriptors below the number of open ones, so that it can open no more.
    pub(crate) fn take_descriptors(&self) {
        self.limit(Resource::Nofile, Rlimit { current: Some(3), maximum: Some(3) });
    }

    fn limit(&self, resource: Resource, limit: Rlimit) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::prlimit(Some(pid), resource, limit).unwrap();
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// The most resident memory it has had, in bytes.
    pub(crate) fn peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    /// The number of its open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn memory(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes * 1024
    }

    /// The name and the niceness of each thread.
    pub(crate) fn niceness(&self) -> Vec<(String, i32)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // A thread may have ended in between.
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        // The name is in parentheses. The niceness is the seventeenth field after it.
        let found = stats.map(|stat| {
            let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(") ").unwrap();
            (name.to_owned(), rest.split(' ').nth(16).unwrap().parse().unwrap())
        });
        found.collect()
    }

    /// Sends a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        self.signals(&[name]);
    }

    /// Sends several signals, one immediately after the other.
    pub(crate) fn signals(&self, names: &[&str]) {
        // Every shell has `kill`, but a program of that name may be missing.
        let kill = |name: &&str| format!("kill -{name} {}", self.child.id());
        let command = names.iter().map(kill).collect::<Vec<_>>().join(" && ");
        assert!(Command::new("/bin/sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Repeats a signal until the program ends. The program counts repetitions only from a second
    /// after the first signal.
    pub(crate) async fn signal_to_the_end(mut self, name: &str) -> Output {
        within(async {
            // Only `try_wait` reaps the process, so until then no other process has its number.
            while self.child.try_wait().unwrap().is_none() {
                self.signal(name);
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.collect()
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(mut self) -> Output {
        self.child.kill().unwrap();
        self.collect()
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Output {
        within(async { while self.stdout.lines.recv().await.is_some() {} }).await;
        self.collect()
    }

    /// Asks it to drain, and waits for its end.
    pub(crate) async fn terminate(self) -> Output {
        self.signal("TERM");
        self.end().await
    }

    fn collect(&mut self) -> Output {
        let status = self.child.wait().unwrap();
        assert!(status.code().is_some() || status.signal().is_some());
        Output { code: status.code(), stdout: self.stdout.finish(), stderr: self.stderr.finish() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn addresses(line: &str, first: &str, second: &str) -> (SocketAddr, SocketAddr) {
    let parse = || {
        let (one, rest) = line.strip_prefix(first)?.split_once(second)?;
        Some((one.parse().ok()?, rest.strip_suffix(')')?.parse().ok()?))
    };
    parse().unwrap_or_else(|| panic!("unexpected first line: {line}"))
}

/// Sends a GET on its own connection.
pub(crate) async fn get(address: SocketAddr, target: &str) -> Response {
    let mut client = Client::connect(address).await;
    client.request(&format!("GET {target} HTTP/1.1"), b"").await;
    client.response().await
}

/// A proxy.toml for the demo identity with free ports. `lines` are added, as `section.key = value`.
pub(crate) fn configuration(upstream: &str, token_url: &str, lines: &str) -> String {
    format!(
        r#"listen.address = "127.0.0.1:0"
listen.workers = 2
admin.address = "127.0.0.1:0"
upstream.url = "{upstream}"
oauth.token_url = "{token_url}"
credentials.default.client_id = "sim-client"
credentials.default.client_secret = "sim-secret"
credentials.default.username = "alice"
credentials.default.password_file = "password"
{lines}
"#
    )
}

/// Writes proxy.toml and the password into a directory for `serve`.
pub(crate) fn lay_out(directory: &Path, configuration: &str, password: &str) {
    use std::os::unix::fs::PermissionsExt;
    for (name, text) in [("proxy.toml", configuration), ("password", password)] {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A token endpoint in front of the simulator's that records every token it passes on.
pub(crate) struct Relay {
    upstream: RawUpstream,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    issued: Mutex<Vec<Issued>>,
    under_way: AtomicUsize,
    arrived: AtomicUsize,
    responded: AtomicUsize,
    changed: Notify,
    /// If set, a request waits for a permit before it is passed on.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

/// The tokens of one response.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) id: String,
}

impl Relay {
    pub(crate) async fn to(simulator: SocketAddr) -> Self {
        let shared: Arc<Shared> = Arc::default();
        let noting = Arc::clone(&shared);
        let upstream = RawUpstream::scripted(move |mut connection| {
            let shared = Arc::clone(&noting);
            async move {
                let Some(request) = connection.request().await else { return };
                shared.under_way.fetch_add(1, Ordering::SeqCst);
                shared.arrived.fetch_add(1, Ordering::SeqCst);
                shared.changed.notify_waiters();
                let gate = shared.gate.lock().clone();
                if let Some(gate) = gate {
                    gate.acquire().await.unwrap().forget();
                }
                // Gives the test time to kill the process.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                let mut client = Client::connect(simulator).await;
                client.write(&request.head).await;
                client.write(b"\r\nConnection: close\r\n\r\n").await;
                client.write(&request.body).await;
                let response = client.read_to_end().await;
                shared.note(&response);
                shared.responded.fetch_add(1, Ordering::SeqCst);
                shared.under_way.fetch_sub(1, Ordering::SeqCst);
                shared.changed.notify_waiters();
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                connection.write(&response).await;
            }
        })
        .await;
        Self { upstream, shared }
    }

    pub(crate) fn token_url(&self) -> String {
        format!("{}/token", self.upstream.url())
    }

    /// From now on a request waits for a permit.
    pub(crate) fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.shared.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// Everything issued so far, oldest first.
    pub(crate) fn issued(&self) -> Vec<Issued> {
        self.shared.issued.lock().clone()
    }

    /// Waits until no request is under way.
    pub(crate) async fn quiet(&self) {
        self.wait(|shared| shared.under_way.load(Ordering::SeqCst) == 0).await;
    }

    /// The numbers of requests that arrived and of responses that were made.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.shared.arrived.load(Ordering::SeqCst), self.shared.responded.load(Ordering::SeqCst))
    }

    /// Waits for one more request than `before`.
    pub(crate) async fn arrived(&self, before: usize) {
        self.wait(|shared| shared.arrived.load(Ordering::SeqCst) > before).await;
    }

    /// Waits for one more response than `before`. The proxy has not received it yet.
    pub(crate) async fn responded(&self, before: usize) {
        self.wait(|shared| shared.responded.load(Ordering::SeqCst) > before).await;
    }

    async fn wait(&self, wanted: impl Fn(&Shared) -> bool) {
        within(async {
            loop {
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                if wanted(&self.shared) {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }
}

impl Shared {
    fn note(&self, response: &[u8]) {
        let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") else { return };
        let Ok(body) = serde_json::from_slice::<Value>(&response[end + 4..]) else { return };
        if let Some(access) = body["access_token"].as_str() {
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let (refresh, id) = (text("refresh_token"), text("id_token"));
            self.issued.lock().push(Issued { access: access.to_owned(), refresh, id });
        }
    }
}
