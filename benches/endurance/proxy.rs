//! The proxy as a process, and the memory and sockets that it uses.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use vbc_proxy::Simulator;

/// A running proxy.
pub(crate) struct Proxy {
    process: Child,
    /// Where it listens on TCP.
    pub(crate) address: String,
    /// Where it listens on a unix socket.
    pub(crate) socket: PathBuf,
    /// A client configuration that trusts its certificate.
    pub(crate) tls: Arc<rustls::ClientConfig>,
    _directory: tempfile::TempDir,
    _sim: Simulator,
}

impl Proxy {
    /// Starts a proxy in front of `upstream`, with these additional lines of configuration.
    pub(crate) async fn start(upstream: &str, tls: bool, lines: &str) -> Self {
        let sim = Simulator::start().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        let key = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        fs::write(folder.join("cert.pem"), key.cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), key.signing_key.serialize_pem()).unwrap();
        let socket = folder.join("proxy.sock");
        let url = sim.url();
        let mut file = format!(
            "listen.address = [\"127.0.0.1:0\", \"unix:{}\"]\nadmin.address = \"off\"\nlog.level = \"warn\"\n\
             store.kind = \"memory\"\nprocess.core_dumps = true\nupstream.url = \"{upstream}\"\noauth.token_url = \"{url}/token\"\n\
             credentials.default = {{ client_id = \"sim-client\", client_secret = \"sim-secret\", \
             username = \"alice\", password = \"sim-password\" }}\n{lines}\n",
            socket.display()
        );
        if tls {
            file.push_str("listen.tls = { cert = \"cert.pem\", key = \"key.pem\" }\n");
        }
        fs::write(folder.join("proxy.toml"), file).unwrap();
        fs::set_permissions(folder.join("proxy.toml"), fs::Permissions::from_mode(0o600)).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_vbc-proxy"))
            .args(["serve", "--config"])
            .arg(folder.join("proxy.toml"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.split("://").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned();
        let tls = client_tls(key.cert.der());
        Self { process, address, socket, tls, _directory: directory, _sim: sim }
    }

    /// Resident memory now, and the most since the last `forget_peak`, in bytes.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let field = |name: &str| -> usize {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Resets the peak of resident memory.
    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    /// The number of its open sockets.
    pub(crate) fn sockets(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        let target = |entry: std::io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
        entries.filter_map(target).filter(|path| path.to_string_lossy().starts_with("socket:")).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client_tls(certificate: &CertificateDer<'_>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone().into_owned()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Bytes as megabytes.
pub(crate) fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
