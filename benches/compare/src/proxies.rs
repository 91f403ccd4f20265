//! The proxies, each tuned in its own favour.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::machine::Meter;
use crate::upstream::token;

/// Debian installs nginx and HAProxy in directories that only root's path contains.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin";

/// Environment variables that proxies inherit: where the training writes its profile, and settings
/// to try another allocator.
const PASSED: [&str; 3] = ["LLVM_PROFILE_FILE", "GLIBC_TUNABLES", "LD_PRELOAD"];

/// A proxy that can be started.
#[derive(Clone)]
pub(crate) enum Kind {
    /// The reference: every ratio is to nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// The plain proxy on hyper: the path of its binary.
    Hyper(PathBuf),
    /// This proxy: its name in tables, and the path of its binary.
    Ours(&'static str, PathBuf),
}

impl Kind {
    /// The proxy's name in tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Hyper(_) => "hyper",
            Self::Ours(name, _) => name,
        }
    }
}

/// How a proxy runs.
#[derive(Clone)]
pub(crate) struct Setting<'a> {
    /// The address of the API.
    pub(crate) api: SocketAddr,
    /// Trust roots, if the upstream is reached by https.
    pub(crate) authority: Option<&'a str>,
    /// The core that the proxy is pinned to. `None` if it may use every core.
    pub(crate) core: Option<usize>,
    /// Whether its buffers are tuned for large bodies.
    pub(crate) bulk: bool,
    /// The URL of the token endpoint; only ours uses it.
    pub(crate) token_url: &'a str,
    /// The number of credentials; only ours has any.
    pub(crate) credentials: usize,
}

/// A running proxy. Dropping it ends the process.
pub(crate) struct Proxy {
    child: Child,
    /// Measures the process and its core.
    pub(crate) meter: Meter,
    /// The admin listener; only ours has one.
    pub(crate) admin: Option<SocketAddr>,
    _directory: tempfile::TempDir,
}

impl Proxy {
    /// Starts the proxy and waits until it accepts connections.
    pub(crate) fn start(kind: &Kind, setting: &Setting) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        if let Some(pem) = setting.authority {
            fs::write(folder.join("ca.pem"), pem).unwrap();
        }
        let listen = free();
        let (program, arguments, text) = match kind {
            Kind::Nginx => (
                "nginx".into(),
                ["-p", ".", "-e", "log", "-c", "conf"].to_vec(),
                nginx(folder, listen, setting),
            ),
            Kind::Haproxy => ("haproxy".into(), ["-db", "-f", "conf"].to_vec(), haproxy(listen, setting)),
            Kind::Hyper(path) => {
                (fs::canonicalize(path).unwrap(), ["serve", "--config", "conf"].to_vec(), hyper(setting))
            }
            Kind::Ours(_, path) => {
                (fs::canonicalize(path).unwrap(), ["serve", "--config", "conf"].to_vec(), ours(setting))
            }
        };
        fs::write(folder.join("conf"), text).unwrap();
        fs::set_permissions(folder.join("conf"), fs::Permissions::from_mode(0o600)).unwrap();
        let everything = format!("0-{}", crate::machine::cores() - 1);
        let output = fs::File::create(folder.join("output")).unwrap();
        let mut child = Command::new("taskset")
            .args(["-c", &setting.core.map_or(everything, |core| core.to_string())])
            .arg(program)
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| PASSED.contains(&name.as_str())))
            .env("PATH", PATH)
            .env("BEARER", token(0))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .expect("taskset runs");
        let said = || fs::read_to_string(folder.join("output")).unwrap();
        let (address, admin) = if let Kind::Ours(..) | Kind::Hyper(_) = kind {
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let mut found = line
                .split("http://")
                .skip(1)
                .filter_map(|rest| rest.split(|c: char| c.is_whitespace() || c == ')').next()?.parse().ok());
            let address = found.next().unwrap_or_else(|| panic!("{line}{}", said()));
            (address, found.next())
        } else {
            (listen, None)
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "{}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
        let meter = Meter { address, process: child.id(), core: setting.core };
        Self { child, meter, admin, _directory: directory }
    }

    /// Asks the process to end, and waits until it has.
    pub(crate) fn terminate(mut self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        let _ = self.child.wait();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        // A killed nginx leaves its workers running, so it is asked to stop first.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        for _ in 0..100 {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn nginx(directory: &Path, listen: SocketAddr, setting: &Setting) -> String {
    let directory = directory.display();
    let workers = if setting.core.is_some() { 1 } else { crate::machine::cores() };
    let root = crate::machine::says("id", &["-u"]) == "0";
    let user = if root { "user root;" } else { "" };
    // nginx allocates buffers for each response: large ones help long bodies and slow down short
    // ones.
    let buffers = if setting.bulk {
        "proxy_buffer_size 128k; proxy_buffers 8 256k; proxy_busy_buffers_size 512k; proxy_max_temp_file_size 0;
         client_body_buffer_size 512k; proxy_request_buffering off;"
    } else {
        "proxy_buffer_size 8k; proxy_buffers 8 8k; client_body_buffer_size 16k;"
    };
    let (scheme, tls) = match setting.authority {
        None => ("http", ""),
        Some(_) => (
            "https",
            "proxy_ssl_protocols TLSv1.3; proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem;
             proxy_ssl_name localhost; proxy_ssl_server_name on; proxy_ssl_session_reuse on;",
        ),
    };
    format!(
        "daemon off; worker_processes {workers}; {user}
         pid {directory}/pid; error_log {directory}/log crit; worker_rlimit_nofile 20000;
         events {{ worker_connections 15000; multi_accept on; }}
         http {{
             access_log off; tcp_nodelay on; server_tokens off;
             client_body_temp_path {directory}/client; proxy_temp_path {directory}/proxy;
             fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
             scgi_temp_path {directory}/scgi;
             keepalive_requests 100000000; keepalive_timeout 1h; client_max_body_size 0;
             upstream api {{
                 server {api} max_fails=0;
                 keepalive 256; keepalive_requests 100000000; keepalive_timeout 1h;
             }}
             server {{
                 listen {listen} backlog=4096;
                 location / {{
                     proxy_pass {scheme}://api; proxy_http_version 1.1; proxy_set_header Connection \"\";
                     proxy_set_header Host localhost; proxy_set_header Authorization \"Bearer {token}\";
                     {buffers} {tls}
                 }}
             }}
         }}\n",
        api = setting.api,
        token = token(0),
    )
}

fn haproxy(listen: SocketAddr, setting: &Setting) -> String {
    let threads = if setting.core.is_some() { 1 } else { crate::machine::cores() };
    let buffers = if setting.bulk { "tune.bufsize 131072" } else { "" };
    let tls = match setting.authority {
        None => "",
        Some(_) => "ssl ca-file ca.pem verify required verifyhost localhost ssl-min-ver TLSv1.3",
    };
    format!(
        "global
             nbthread {threads}
             maxconn 9000
             tune.maxaccept 64
             {buffers}
         defaults
             mode http
             option http-keep-alive
             http-reuse always
             timeout connect 5s
             timeout client 1h
             timeout server 1h
         frontend near
             bind {listen} backlog 4096
             default_backend far
         backend far
             http-request set-header Authorization \"Bearer {token}\"
             http-request set-header Host localhost
             server api {api} pool-max-conn 256 {tls}\n",
        api = setting.api,
        token = token(0),
    )
}

/// The plain proxy on hyper has hyper's default buffers, for large bodies too.
fn hyper(setting: &Setting) -> String {
    let (scheme, roots) =
        if setting.authority.is_some() { ("https", "upstream.ca_file = \"ca.pem\"\n") } else { ("http", "") };
    format!("listen.address = \"127.0.0.1:0\"\nupstream.url = \"{scheme}://{}\"\n{roots}", setting.api)
}

/// The shipped defaults: everything is on.
fn ours(setting: &Setting) -> String {
    let (scheme, roots) =
        if setting.authority.is_some() { ("https", "upstream.ca_file = \"ca.pem\"\n") } else { ("http", "") };
    let mut text = format!(
        "listen.address = \"127.0.0.1:0\"\nprocess.core_dumps = true\nadmin.address = \"127.0.0.1:0\"\nupstream.url = \"{scheme}://{}\"\n\
         oauth.token_url = \"{}\"\n{roots}",
        setting.api, setting.token_url
    );
    if setting.credentials > 1 {
        // Ten thousand logins would spend their time waiting for the disk.
        text.push_str("store.kind = \"memory\"\n");
    }
    for number in 0..setting.credentials {
        let name = if number == 0 { "default".to_owned() } else { format!("c{number:05}") };
        text.push_str(&format!(
            "[credentials.{name}]\nclient_id = \"i\"\nclient_secret = \"s\"\nusername = \"{name}\"\npassword = \"p\"\n"
        ));
    }
    text
}
