//! TLS towards clients.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vbc_http::ReloadOutcome;
use vbc_proxy::Config;
use vbc_proxy::app::Ended;

use crate::harness::{Client, H2Client, RawUpstream, World, WorldBuilder, tunnel_to_unix, within};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `localhost` and its key, PEM and DER.
struct Pair {
    cert: String,
    key: String,
    certificate: CertificateDer<'static>,
    private: PrivateKeyDer<'static>,
}

fn pair(authority: &Authority) -> Pair {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let cert = params.signed_by(&key, authority).unwrap();
    Pair {
        cert: cert.pem(),
        key: key.serialize_pem(),
        certificate: cert.der().clone(),
        private: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    }
}

/// A directory with the files of a listener.
struct Files {
    directory: tempfile::TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap(), authority: authority() };
        let first = pair(&files.authority);
        files.write("cert.pem", &first.cert);
        files.write("key.pem", &first.key);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn line(&self, more: &str) -> String {
        let at = |name| self.path(name).display().to_string();
        format!("listen.tls = {{ cert = \"{}\", key = \"{}\"{more} }}", at("cert.pem"), at("key.pem"))
    }

    fn world(&self, upstream: &RawUpstream) -> WorldBuilder {
        World::builder().config(&self.line("")).upstream(upstream.url())
    }

    fn client(&self, protocols: &[&str]) -> ClientConfig {
        let roots = self.roots();
        let mut config = builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        roots
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}

async fn handshake(world: &World, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(world.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    within(TlsConnector::from(Arc::clone(config)).connect(name, stream)).await
}

/// Sends an HTTP/1 request and returns the body of its response.
async fn get(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut response = Vec::new();
    while !response.ends_with(b"\r\n\r\nok") {
        if within(stream.read_buf(&mut response)).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8(response).unwrap())
}

fn seen(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn the_version_of_http_is_chosen_by_alpn() {
    let (files, upstream) = (Files::new(), RawUpstream::ok().await);
    let world = files.world(&upstream).start().await;
    for (offered, chosen) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"][..], Some("http/1.1")), (&[][..], None)]
    {
        let stream = handshake(&world, &Arc::new(files.client(offered))).await.unwrap();
        let alpn =
            stream.get_ref().1.alpn_protocol().map(|name| std::str::from_utf8(name).unwrap().to_owned());
        assert_eq!(alpn.as_deref(), chosen);
        if chosen == Some("h2") {
            let request = Request::get("https://localhost/").body(Empty::<Bytes>::new().boxed()).unwrap();
            assert_eq!(H2Client::over(stream).await.whole(request).await.1, b"ok");
        } else {
            let mut stream = stream;
            assert!(get(&mut stream).await.unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
        }
    }
    assert_eq!(upstream.requests().len(), 3);
    let mut strange = files.client(&["spdy/3"]);
    strange.enable_sni = true;
    assert!(handshake(&world, &Arc::new(strange)).await.is_err());
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_still_gets_its_response() {
    let (files, upstream) = (Files::new(), RawUpstream::by_hand().await);
    let world = files.world(&upstream).config("listen.half_close_grace = \"1h\"").start().await;
    let mut stream = handshake(&world, &Arc::new(files.client(&[]))).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // The client sends close_notify and closes its sending side of the connection.
    stream.shutdown().await.unwrap();
    let mut connection = upstream.accept().await;
    connection.respond("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut response = String::new();
    within(stream.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nok"), "{response}");
}

#[tokio::test]
async fn both_versions_of_tls_work_and_sessions_resume() {
    let (files, upstream) = (Files::new(), RawUpstream::ok().await);
    let world = files.world(&upstream).config("listen.workers = 2").start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(files.roots())
            .with_no_client_auth();
        let config = Arc::new(config);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = handshake(&world, &config).await.unwrap();
            get(&mut stream).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind());
        }
        let resumed = matches!(kinds[1], Some(HandshakeKind::Resumed));
        assert!(resumed && !matches!(kinds[0], Some(HandshakeKind::Resumed)), "{version:?}: {kinds:?}");
    }
}

#[tokio::test]
async fn a_connection_that_another_thread_accepted_uses_tls_too() {
    let (files, upstream) = (Files::new(), RawUpstream::ok().await);
    let world = files.world(&upstream).config("listen.workers = 2").start().await;
    let (config, mut streams) = (Arc::new(files.client(&[])), Vec::new());
    // With this many connections, some are handed over to another thread.
    for _ in 0..48 {
        let mut stream = handshake(&world, &config).await.unwrap();
        get(&mut stream).await.unwrap();
        streams.push(stream);
    }
    let metrics = world.admin("/metrics").await;
    assert!(metrics.metric("vbc_proxy_connections_handed_over_total").unwrap() > 0.0);
    let load = |worker| metrics.metric(&format!("vbc_proxy_worker_connections_open{{worker=\"{worker}\"}}"));
    assert_eq!(load(0).unwrap() + load(1).unwrap(), 48.0);
    assert!((load(0).unwrap() - load(1).unwrap()).abs() <= 2.0);
}

#[tokio::test]
async fn a_new_certificate_is_used_for_new_handshakes_and_a_broken_one_is_not() {
    let (files, upstream) = (Files::new(), RawUpstream::ok().await);
    let world = files.world(&upstream).start().await;
    let tls = world.tls.clone().unwrap();
    let client = || Arc::new(files.client(&[]));
    let mut old = handshake(&world, &client()).await.unwrap();
    get(&mut old).await.unwrap();
    let first = seen(&old);
    assert_eq!(tls.reload(), ReloadOutcome::Unchanged);

    // Certificate and key are replaced one after the other.
    let second = pair(&files.authority);
    files.write("cert.pem", &second.cert);
    assert_eq!(tls.reload(), ReloadOutcome::Kept);
    assert_eq!(seen(&handshake(&world, &client()).await.unwrap()), first);
    files.write("key.pem", &second.key);
    assert_eq!(tls.reload(), ReloadOutcome::Replaced);
    assert_eq!(seen(&handshake(&world, &client()).await.unwrap()), second.certificate);

    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        files.write("cert.pem", broken);
        assert_eq!(tls.reload(), ReloadOutcome::Kept);
    }
    // A valid pair in a file that other users can write to.
    let third = pair(&files.authority);
    files.write("cert.pem", &third.cert);
    files.write("key.pem", &third.key);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(files.path("cert.pem"), open).unwrap();
    assert_eq!(tls.reload(), ReloadOutcome::Kept);
    std::fs::remove_file(files.path("cert.pem")).unwrap();
    std::fs::remove_file(files.path("key.pem")).unwrap();
    for _ in 0..3 {
        assert_eq!(tls.reload(), ReloadOutcome::Kept);
    }
    assert_eq!(seen(&handshake(&world, &client()).await.unwrap()), second.certificate);
    files.write("cert.pem", &second.cert);
    files.write("key.pem", &second.key);
    assert_eq!(tls.reload(), ReloadOutcome::Unchanged);
    // The connection from before the reload still works.
    assert!(get(&mut old).await.is_ok());
}

#[tokio::test]
async fn with_client_ca_a_client_needs_a_certificate_from_there() {
    let (files, upstream) = (Files::new(), RawUpstream::ok().await);
    let clients = authority();
    files.write("ca.pem", &clients.pem());
    let more = format!(", client_ca = \"{}\"", files.path("ca.pem").display());
    let world = World::builder().config(&files.line(&more)).upstream(upstream.url()).start().await;
    let with = |pair: Pair| {
        let config = builder().with_root_certificates(files.roots());
        Arc::new(config.with_client_auth_cert(vec![pair.certificate], pair.private).unwrap())
    };
    let mut known = handshake(&world, &with(pair(&clients))).await.unwrap();
    get(&mut known).await.unwrap();
    for config in [Arc::new(files.client(&[])), with(pair(&authority()))] {
        // In TLS 1.3 the client learns of the refusal only after its own last message.
        let refused = match handshake(&world, &config).await {
            Err(_) => true,
            Ok(mut stream) => get(&mut stream).await.is_err(),
        };
        assert!(refused);
    }
    assert_eq!(upstream.requests().len(), 1);

    // Clients with a certificate are not anonymous.
    let lines = format!("{}\nlisten.address = \"0.0.0.0:1\"\n", files.line(&more));
    let credential = "credentials.default = { client_id = \"i\", client_secret = \"s\", username = \"u\", password = \"p\" }";
    let loaded = Config::from_toml(&format!("{lines}{credential}")).unwrap();
    assert!(!loaded.config.listen.allow_anonymous);
    let lines = lines.replace(&more, "");
    let findings = Config::from_toml(&format!("{lines}{credential}")).unwrap_err().to_string();
    assert!(findings.contains("anyone who can reach"), "{findings}");
}

#[tokio::test]
async fn plain_http_on_a_tls_port_gets_a_hint() {
    let (files, upstream) = (Files::new(), RawUpstream::ok().await);
    let world = files.world(&upstream).start().await;
    let response = world.refused(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    response.assert_problem(400, "http_request_error");
    assert!(response.json()["detail"].as_str().unwrap().contains("use https"), "{response:?}");
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_endless_handshake_is_ended() {
    let (files, upstream) = (Files::new(), RawUpstream::ok().await);
    let world = files.world(&upstream).config("listen.header_timeout = \"50ms\"").start().await;
    for sent in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut client = Client::connect(world.address).await;
        client.write(sent).await;
        client.read_to_end().await;
    }
    world.metric("vbc_proxy_connections_open", 0.0).await;
}

#[tokio::test]
async fn a_unix_socket_next_to_tls_stays_plain_and_both_drain() {
    let (files, upstream) = (Files::new(), RawUpstream::ok().await);
    let socket = files.path("proxy.sock");
    let both = format!("listen.address = [\"127.0.0.1:0\", \"unix:{}\"]", socket.display());
    let mut world = files.world(&upstream).config(&both).start().await;
    let listen = world.admin("/status.json").await.json()["listen"].as_str().unwrap().to_owned();
    assert_eq!(listen, format!("https://{} and unix:{}", world.address, socket.display()));
    let mut plain = Client::connect(tunnel_to_unix(&socket).await).await;
    plain.request("GET / HTTP/1.1", b"").await;
    assert_eq!(plain.response().await.text(), "ok");
    let mut stream = handshake(&world, &Arc::new(files.client(&[]))).await.unwrap();
    get(&mut stream).await.unwrap();
    let silent = TcpStream::connect(world.address).await.unwrap();
    world.begin_drain();
    plain.closed().await;
    assert_eq!(within(stream.read(&mut [0; 1])).await.unwrap(), 0, "a proper end of TLS");
    drop((stream, silent));
    assert_eq!(world.ended().await, Ended::Drained);
}

#[test]
fn files_that_cannot_be_used_are_findings() {
    let files = Files::new();
    let credential = "credentials.default = { client_id = \"i\", client_secret = \"s\", username = \"u\", password = \"p\" }";
    let load = |line: &str| Config::from_toml(&format!("{line}\n{credential}"));
    let loaded = load(&files.line("")).unwrap();
    assert!(loaded.config.redacted().contains("tls = { cert = "), "{}", loaded.config.redacted());
    let findings = |line: &str| {
        let findings = load(line).unwrap_err();
        assert_eq!(findings.iter().count(), 1, "{findings}");
        assert!(!findings.to_string().contains("PRIVATE KEY-----\nM"), "{findings}");
        findings.to_string()
    };
    assert!(findings("listen.tls = { cert = \"c\" }").contains("a certificate and its key are needed"));
    assert!(findings("listen.tls = { cert = \"c\", key = \"k\" }").contains("cannot read c: No such file"));
    assert!(findings("listen.tls = true").contains("expected a table"));
    assert!(findings(&files.line(", ca = \"x\"")).contains("unknown key ca"));
    assert!(findings(&files.line(", client_ca = \"/nowhere\"")).contains("cannot read /nowhere"));
    let other = pair(&files.authority);
    files.write("key.pem", &other.key);
    assert!(findings(&files.line("")).contains("cannot be used together"));
    files.write("key.pem", "");
    assert!(findings(&files.line("")).contains("contains no private key"));
    files.write("key.pem", &other.key);
    files.write("cert.pem", &other.key);
    assert!(findings(&files.line("")).contains("contains no certificate"));

    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().unwrap();
    files.write("cert.pem", &params.self_signed(&key).unwrap().pem());
    files.write("key.pem", &key.serialize_pem());
    let set_mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(files.path("key.pem"), permissions).unwrap();
    };
    set_mode(0o644);
    let mut warnings: Vec<String> =
        load(&files.line("")).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.pop().is_some_and(|warning| warning.contains("has expired")), "{warnings:?}");
    // A key that root owns may be readable without a warning: Debian installs keys this way.
    let by_root =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(files.path("key.pem")).unwrap()) == 0;
    assert_eq!(
        warnings.iter().filter(|warning| warning.contains("chmod 600")).count(),
        usize::from(!by_root)
    );
    set_mode(0o646);
    assert!(findings(&files.line("")).contains("everyone on this machine can write to"));
}
