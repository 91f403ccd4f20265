//! nginx, HAProxy and Caddy as child processes, and a plain proxy on hyper in this process. Each
//! has its own upstream. `scripts/test` installs the programs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hyper::header::HeaderValue;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::hyper_proxy::{Proxy, connector};
use super::wire::Upstream;
use crate::harness::{reserve, within};

/// A running server that forwards to its upstream. It is killed on drop.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) upstream: Upstream,
    running: Running,
}

enum Running {
    Program { child: Child, _directory: TempDir },
    Task(JoinHandle<std::io::Result<()>>),
}

impl Peer {
    pub(super) async fn nginx(upstream: Upstream) -> Self {
        Self::start(upstream, "nginx", nginx_conf, |directory| {
            vec!["-p".into(), directory.into(), "-e".into(), "log".into(), "-c".into(), "conf".into()]
        })
        .await
    }

    pub(super) async fn haproxy(upstream: Upstream) -> Self {
        Self::start(upstream, "haproxy", haproxy_conf, |directory| {
            vec!["-db".into(), "-f".into(), directory.join("conf").into_os_string()]
        })
        .await
    }

    pub(super) async fn caddy(upstream: Upstream) -> Self {
        Self::start(upstream, "caddy", caddy_conf, |directory| {
            let conf = directory.join("conf").into_os_string();
            vec!["run".into(), "--adapter".into(), "caddyfile".into(), "--config".into(), conf]
        })
        .await
    }

    /// The proxy that `scripts/bench` measures as well.
    pub(super) async fn hyper(upstream: Upstream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let uri = format!("http://{}", upstream.address).parse().unwrap();
        let proxy = Proxy::new(connector(), uri, HeaderValue::from_static("Bearer hyper"));
        let running = Running::Task(tokio::spawn(proxy.serve(listener)));
        Self { address, upstream, running }
    }

    async fn start(
        upstream: Upstream,
        program: &str,
        conf: impl Fn(&Path, SocketAddr, SocketAddr) -> String,
        arguments: impl Fn(&Path) -> Vec<std::ffi::OsString>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (address, reserved) = reserve();
        let text = conf(directory.path(), address, upstream.address);
        std::fs::write(directory.path().join("conf"), text).unwrap();
        let output = std::fs::File::create(directory.path().join("output")).unwrap();
        let mut child = Command::new(program)
            .args(arguments(directory.path()))
            .env_clear()
            // Debian installs some in directories that are only in root's path.
            .env("HOME", directory.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error} (scripts/test installs it)"));
        within(async {
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = child.try_wait().unwrap() {
                    let said = std::fs::read_to_string(directory.path().join("output")).unwrap();
                    panic!("{program} ended with {status}: {said}");
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        drop(reserved);
        let running = Running::Program { child, _directory: directory };
        Self { address, upstream, running }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Program { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Running::Task(task) => task.abort(),
        }
    }
}

fn nginx_conf(directory: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "daemon off; master_process off; worker_processes 1;
         pid {directory}/pid; error_log {directory}/log;
         events {{ worker_connections 512; }}
         http {{
             access_log off;
             client_body_temp_path {directory}/client; proxy_temp_path {directory}/proxy;
             fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
             scgi_temp_path {directory}/scgi;
             proxy_ignore_client_abort on;
             # It waits for what never comes in cases where we do not.
             proxy_read_timeout 500ms; lingering_timeout 500ms; lingering_time 1s;
             upstream raw {{ server {upstream} max_fails=0; keepalive 16; }}
             server {{
                 listen {listen};
                 location / {{
                     proxy_pass http://raw;
                     proxy_http_version 1.1; proxy_set_header Connection \"\";
                     proxy_next_upstream off;
                 }}
             }}
         }}\n"
    )
}

fn haproxy_conf(_: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global
             nbthread 1
             maxconn 500
         defaults
             mode http
             option http-keep-alive
             http-reuse always
             retries 0
             timeout connect 5s
             timeout client 10s
             timeout server 10s
             timeout http-request 10s
         frontend near
             bind {listen}
             default_backend far
         backend far
             server raw {upstream}\n"
    )
}

fn caddy_conf(directory: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "{{
             admin off
             auto_https off
             storage file_system {directory}/storage
             servers {{
                 timeouts {{
                     read_header 10s
                     read_body 10s
                 }}
             }}
         }}
         http://:{port} {{
             bind {}
             reverse_proxy {upstream} {{
                 lb_try_duration 0
                 transport http {{
                     # It waits for what never comes in cases where we do not.
                     response_header_timeout 500ms
                 }}
             }}
         }}\n",
        listen.ip(),
        port = listen.port()
    )
}
