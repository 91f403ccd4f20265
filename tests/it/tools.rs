//! Unmodified tools as child processes: with a base URL, and with `http_proxy` if they support it.
//! All access tokens are revoked first, so the first request gets a 401 that the proxy cures.
//! `scripts/test` installs the tools; their scripts are in `tests/it/tools`.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use aws_lc_rs::digest;
use serde_json::Value;
use vbc_base::secret::hex;
use vbc_simulator::RecordedRequest;

use crate::harness::{PATIENCE, World, output};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const CALLS: &str = "/t/vbc.prod/telephony/v3/cc/accounts/self/calls";

/// How a tool is configured to use the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    BaseUrl,
    HttpProxy,
}

/// A tool, with the command that starts it, without the script's own arguments.
struct Tool {
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// The options that set its proxy, for tools that do not use the environment.
    proxy_options: fn(&World) -> Vec<String>,
}

impl Tool {
    fn new(command: &[&str]) -> Self {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Self { command, environment: Vec::new(), proxy_options: |_| Vec::new() }
    }

    /// Runs the tool's jobs. Returns status and body of each.
    async fn run(&self, world: &World, by: By, upload: &Path, jobs: &[&str]) -> Vec<(u16, String)> {
        let (ours, theirs) = (format!("http://{}", world.address), world.sim.url());
        let mut command = Command::new(&self.command[0]);
        // The program must not use proxy settings or configuration files of this machine.
        command.env_clear().env("PATH", std::env::var("PATH").unwrap());
        let home = tempfile::tempdir().unwrap();
        command.env("HOME", home.path()).current_dir(home.path()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let base = match by {
            By::BaseUrl => &ours,
            By::HttpProxy => {
                command.env("http_proxy", &ours).args((self.proxy_options)(world));
                &theirs
            }
        };
        command.args(&self.command[1..]).arg(base).arg(upload).args(jobs);
        said(&output(command, PATIENCE).await, jobs)
    }
}

/// Parses the output: one line per job, with name, status and body.
fn said(output: &Output, jobs: &[&str]) -> Vec<(u16, String)> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), jobs.len(), "{out}\n{err}");
    let responses = lines.iter().zip(jobs).map(|(line, job)| {
        let mut words = line.splitn(3, ' ');
        assert_eq!(words.next(), Some(*job), "{out}\n{err}");
        let status = words.next().unwrap().parse().unwrap_or_else(|_| panic!("{line}\n{err}"));
        (status, words.next().unwrap_or_default().to_owned())
    });
    responses.collect()
}

/// Runs all jobs of a tool in one configuration, after all access tokens were revoked.
async fn works_by(tool: &Tool, by: By) {
    let world = World::start().await;
    assert_eq!(world.get(USERS).await.status, 200);
    world.sim.revoke_all_access();
    let directory = tempfile::tempdir().unwrap();
    let upload = directory.path().join("call.json");
    let note = "a note of some length. ".repeat(2500);
    let body = format!(
        "{{\"type\":\"click2dial\",\"from\":{{\"destination\":\"1001\"}},\
         \"to\":{{\"destination\":\"15550100\"}},\"note\":\"{note}\"}}"
    );
    std::fs::write(&upload, &body).unwrap();
    let jobs = match by {
        By::BaseUrl => ["list", "call", "missing", "upload"],
        // The first request gets a 401. It is the upload, so that the retry has a body.
        By::HttpProxy => ["upload", "list", "call", "missing"],
    };
    let responses = tool.run(&world, by, &upload, &jobs).await;

    let response = |job| &responses[jobs.iter().position(|other| *other == job).unwrap()];
    let (status, list) = response("list");
    let list: Value = serde_json::from_str(list).unwrap();
    assert_eq!((*status, list["_embedded"]["data"].as_array().map(Vec::len)), (200, Some(3)), "{list}");
    for job in ["call", "upload"] {
        let (status, call) = response(job);
        assert!(*status == 200 || *status == 201, "{job}: {status} {call}");
        assert_eq!(call.len(), 36, "{job}: {call}");
    }
    assert_eq!(response("missing").0, 404);

    // The first request got a 401 that was cured. All others were sent once.
    let stats = world.sim.stats();
    assert_eq!((stats.logins.ok, stats.refreshes.ok, stats.calls_placed), (1, 1, 2));
    assert_eq!(stats.by_status.get(&401), Some(&1), "{:?}", stats.by_status);
    let arrived = arrivals(&world, CALLS);
    let sum = hex(digest::digest(&digest::SHA256, body.as_bytes()).as_ref());
    let uploads = arrived.iter().filter(|seen| seen.body_sha256 == sum).count();
    assert_eq!(uploads, if by == By::HttpProxy { 2 } else { 1 }, "{arrived:?}");
    assert_eq!(
        arrivals(&world, &format!("{USERS}?page_size=3&a=%2F")).len(),
        if by == By::BaseUrl { 2 } else { 1 }
    );
}

fn arrivals(world: &World, target: &str) -> Vec<RecordedRequest> {
    world.sim.requests().into_iter().filter(|seen| seen.target == target).collect()
}

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tools").join(name).display().to_string()
}

/// A Python that has the module, since another one may come first in the path.
pub(crate) fn python(module: &str) -> String {
    let print = format!("import sys, {module}; print(sys.executable)");
    let found = ["python3", "/usr/bin/python3"].iter().find_map(|python| {
        let output = Command::new(python).args(["-c", &print]).output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    });
    found.unwrap_or_else(|| panic!("no python3 has {module} (scripts/test installs it)"))
}

#[tokio::test]
async fn curl_works_in_every_version_it_is_asked_for() {
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let mut tool = Tool::new(&["sh", &script("curl.sh")]);
        tool.environment.push(("CURL_VERSION", version.to_owned()));
        works_by(&tool, By::BaseUrl).await;
        works_by(&tool, By::HttpProxy).await;
    }
}

#[tokio::test]
async fn wget_works() {
    let tool = Tool::new(&["sh", &script("wget.sh")]);
    works_by(&tool, By::BaseUrl).await;
    works_by(&tool, By::HttpProxy).await;
}

#[tokio::test]
async fn pythons_urllib_works() {
    let tool = Tool::new(&[&python("urllib.request"), &script("with_urllib.py")]);
    works_by(&tool, By::BaseUrl).await;
    works_by(&tool, By::HttpProxy).await;
}

#[tokio::test]
async fn pythons_requests_works() {
    let tool = Tool::new(&[&python("requests"), &script("with_requests.py")]);
    works_by(&tool, By::BaseUrl).await;
    works_by(&tool, By::HttpProxy).await;
}

#[tokio::test]
async fn nodes_fetch_works() {
    // Node's `fetch` ignores `http_proxy`.
    works_by(&Tool::new(&["node", &script("fetch.mjs")]), By::BaseUrl).await;
}

#[tokio::test]
async fn javas_http_client_works() {
    let mut tool = Tool::new(&["java", "-XX:TieredStopAtLevel=1", &script("Tool.java")]);
    works_by(&tool, By::BaseUrl).await;
    // Java reads the proxy from properties, and by default bypasses it for loopback.
    tool.proxy_options = |world| {
        vec![
            format!("-Dhttp.proxyHost={}", world.address.ip()),
            format!("-Dhttp.proxyPort={}", world.address.port()),
            "-Dhttp.nonProxyHosts=".into(),
        ]
    };
    works_by(&tool, By::HttpProxy).await;
}
