//! A proxy on a free port, in front of the simulator or of a raw upstream, and a client that checks
//! every response.
mod carry;
mod certificate;
mod client;
mod h2;
mod tunnel;
mod upstream;
mod webdriver;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vbc_base::clock::Clock;
use vbc_http::Tls;
use vbc_proxy::app::Ended;
use vbc_proxy::{App, Config, Simulator};
use vbc_simulator::SimulatorOptions;

pub(crate) use carry::carry;
pub(crate) use certificate::self_signed;
pub(crate) use client::{Client, Response};
pub(crate) use h2::{GOAWAY, H2Body, H2Client, PREFACE, RST_STREAM, RawH2, SETTINGS, code};
pub(crate) use tunnel::tunnel_to_unix;
pub(crate) use upstream::{RawUpstream, Received, UpstreamConnection};
pub(crate) use webdriver::Chromium;

/// Longer than any step of a healthy test. It turns a hang into a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The default divisor of the pauses between forced refreshes: two seconds become two milliseconds.
const HURRY: u32 = 1000;

/// The address of a proxy that has no TCP listener.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A proxy, its upstream and its token endpoint.
pub(crate) struct World {
    /// The proxy's address.
    pub(crate) address: SocketAddr,
    /// The admin listener's address.
    pub(crate) admin: SocketAddr,
    /// The certificate of the proxy, if it has one.
    pub(crate) tls: Option<Arc<Tls>>,
    /// The token endpoint, and the upstream unless a raw one is given.
    pub(crate) sim: Simulator,
    stop: Option<oneshot::Sender<()>>,
    run: Option<JoinHandle<Ended>>,
}

/// Builds a [`World`].
#[derive(Default)]
pub(crate) struct WorldBuilder {
    upstream: Option<String>,
    sections: String,
    simulator: SimulatorOptions,
    hurry: Option<u32>,
}

impl World {
    /// A proxy in front of the simulator.
    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// A proxy in front of a raw upstream. It has one worker thread, so that its pool is the only
    /// one.
    pub(crate) async fn with_upstream(upstream: &RawUpstream) -> Self {
        Self::builder().upstream(upstream.url()).start().await
    }

    pub(crate) fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// Connects to the proxy.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Sends a request on its own connection. `head` has no empty line, and `Host` is added.
    pub(crate) async fn send(&self, head: &str, body: &[u8]) -> Response {
        let mut client = self.connect().await;
        client.request(head, body).await;
        client.response().await
    }

    /// Writes these bytes on their own connection. Asserts that the connection ends after the
    /// response.
    pub(crate) async fn refused(&self, bytes: &[u8]) -> Response {
        let mut client = self.connect().await;
        client.write(bytes).await;
        let response = client.response().await;
        client.closed().await;
        response
    }

    /// Sends a GET on its own connection.
    pub(crate) async fn get(&self, target: &str) -> Response {
        self.send(&format!("GET {target} HTTP/1.1"), b"").await
    }

    /// Waits until a metric has this value.
    pub(crate) async fn metric(&self, name: &str, value: f64) {
        within(async {
            while self.admin("/metrics").await.metric(name) != Some(value) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Sends a GET to the admin listener.
    pub(crate) async fn admin(&self, target: &str) -> Response {
        let mut client = Client::connect(self.admin).await;
        client.request(&format!("GET {target} HTTP/1.1"), b"").await;
        client.response().await
    }

    /// Waits until the proxy has a token.
    pub(crate) async fn ready(&self) {
        within(async {
            while self.admin("/ready").await.status != 200 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Starts the drain and waits for its end.
    pub(crate) async fn drain(mut self) -> Ended {
        self.begin_drain();
        within(self.run.take().unwrap()).await.unwrap()
    }

    /// Starts the drain, as SIGTERM does.
    pub(crate) fn begin_drain(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits for the end of a drain that was started.
    pub(crate) async fn ended(&mut self) -> Ended {
        within(self.run.take().unwrap()).await.unwrap()
    }
}

impl WorldBuilder {
    /// Sends requests here instead of to the simulator.
    pub(crate) fn upstream(mut self, url: impl Into<String>) -> Self {
        self.upstream = Some(url.into());
        self
    }

    /// Adds a line `section.key = value` to `proxy.toml`.
    pub(crate) fn config(mut self, line: &str) -> Self {
        self.sections.push_str(line);
        self.sections.push('\n');
        self
    }

    pub(crate) fn simulator(mut self, options: SimulatorOptions) -> Self {
        self.simulator = options;
        self
    }

    /// Sets the divisor of the pauses between forced refreshes, instead of [`HURRY`].
    pub(crate) fn hurry(mut self, by: u32) -> Self {
        self.hurry = Some(by);
        self
    }

    /// The configuration in front of `sim`.
    pub(crate) fn configuration(&self, sim: &Simulator) -> Config {
        let mut lines = String::new();
        // A line of the test replaces the default.
        let defaults = [
            ("listen.address", "\"127.0.0.1:0\"".to_owned()),
            ("listen.workers", "1".to_owned()),
            ("admin.address", "\"127.0.0.1:0\"".to_owned()),
            ("upstream.url", format!("\"{}\"", self.upstream.clone().unwrap_or_else(|| sim.url()))),
            ("oauth.token_url", format!("\"{}/token\"", sim.url())),
            ("store.kind", "\"memory\"".to_owned()),
            ("credentials.default.client_id", "\"sim-client\"".to_owned()),
            ("credentials.default.client_secret", "\"sim-secret\"".to_owned()),
            ("oauth.authorize_url", format!("\"{}/authorize\"", sim.url())),
            ("credentials.default.username", "\"alice\"".to_owned()),
            ("credentials.default.password", "\"sim-password\"".to_owned()),
        ];
        // An interactive login determines the user.
        let is_interactive = self.sections.contains("default.grant = \"authorization_code\"");
        for (key, value) in defaults {
            let of_login = ["credentials.default.username", "credentials.default.password"].contains(&key);
            if is_interactive && of_login {
                continue;
            }
            let given = self.sections.lines().any(|line| line.split('=').next().map(str::trim) == Some(key));
            if !given {
                lines.push_str(&format!("{key} = {value}\n"));
            }
        }
        lines.push_str(&self.sections);
        match Config::from_toml(&lines) {
            Ok(loaded) => {
                let mut config = loaded.config;
                config.retry.hurry = self.hurry.unwrap_or(HURRY);
                config
            }
            Err(findings) => panic!("{findings}"),
        }
    }

    pub(crate) async fn start(self) -> World {
        let sim = Simulator::bind(self.simulator.clone()).await.unwrap();
        let config = self.configuration(&sim);
        World::with(config, sim).await
    }
}

impl World {
    /// Starts a proxy with this configuration. The simulator lives as long as the world.
    pub(crate) async fn with(config: Config, sim: Simulator) -> Self {
        Self::with_clock(config, sim, Clock::system()).await
    }

    /// Like [`with`](Self::with), with a clock that the test can move.
    pub(crate) async fn with_clock(config: Config, sim: Simulator, clock: Clock) -> Self {
        let app = App::bind_with_clock(config, clock).await.unwrap();
        let (address, admin) = (app.address().unwrap_or(NOWHERE), app.admin_address().unwrap());
        let tls = app.tls();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(async move {
            let shutdown = async {
                // Dropping the world ends the proxy.
                let _ = stopped.await;
            };
            app.run(shutdown).await.unwrap()
        });
        Self { address, admin, tls, sim, stop: Some(stop), run: Some(run) }
    }
}

/// A free port on loopback for a listener that starts later. It is reserved while the socket lives.
/// The listener can bind it, because this socket does not listen.
pub(crate) fn reserve() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// An address without a listener while the socket lives. Another test might take a port that is
/// merely free.
pub(crate) fn closed_port() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// Fails the test if `future` takes longer than [`PATIENCE`].
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("the test hangs")
}

/// Runs a command to its end. Fails the test if that takes longer than `patience`, and kills the
/// command then.
pub(crate) async fn output(command: Command, patience: Duration) -> Output {
    let program = command.get_program().to_owned();
    let mut command = tokio::process::Command::from(command);
    let running = command.kill_on_drop(true).output();
    let ended = tokio::time::timeout(patience, running).await;
    let ended = ended.unwrap_or_else(|_| panic!("{} does not end", program.display()));
    ended.unwrap_or_else(|error| panic!("{}: {error} (scripts/test installs it)", program.display()))
}
