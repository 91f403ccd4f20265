//! `[listen]`, `[admin]` and `[simulator]`: the listeners.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use url::Url;
use vbc_base::units::show_size;

use super::address::{self, ListenAddress};
use super::document::{Table, Value};
use super::error::Location;
use super::kind::{DAY, KIB, Kind, MIB, MILLISECOND, flag, number, set, settings, size, span, text, url};
use super::page::Page;
use super::section::{Reader, Section};
use super::tls::{ListenTls, tls_table};
use super::{units, urls};
use vbc_base::trusted::Flaw;

/// The upper bound of connections and of concurrent requests. No machine serves that many.
const MOST_CONNECTIONS: usize = 10_000_000;

settings! {
    /// Where your tools send their requests: to `http://127.0.0.1:8080` instead of
    /// `https://api.vonage.com`.
    pub struct Listen ["listen"] {
        /// One address, or a list: `["127.0.0.1:8080", "unix:proxy.sock"]`. In a variable, commas
        /// separate them.
        addresses ["address"]: Vec<ListenAddress> = "127.0.0.1:8080", addresses(),
            lines [r#"address = "127.0.0.1:8080""#];
        /// Permissions of unix sockets. With `"0600"` only the owner can connect, with `"0660"`
        /// also the group.
        unix_mode: u32 = "0600", socket_mode();
        /// Number of threads that forward requests. 0 means one per core, or fewer if there are few
        /// file descriptors.
        workers: usize = 0, number(0, 1024);
        /// Additional `Host` names that clients may use. Loopback names, the addresses above, the
        /// host of `public_url` and the upstream's host are always allowed.
        hosts: BTreeSet<String> = [], set("host names", urls::host_name),
            lines [r#"# hosts = ["vbc.internal"]"#];
        /// Web origins whose pages may call the proxy from a browser (CORS).
        origins: BTreeSet<String> = [], set("web origins", urls::web_origin),
            lines [r#"# origins = ["https://app.example"]"#];
        /// The URL at which clients reach the proxy. Needed only if it differs from the `Host` of
        /// their requests.
        public_url: Option<Url>, url("http://vbc.internal"), lines [r#"# public_url = "http://vbc.internal""#];
        /// Maximum time from the start of a connection to its first byte.
        first_byte_timeout: Duration = "30s", span(MILLISECOND, DAY);
        /// Maximum time from the first byte of a request to the end of its head.
        header_timeout: Duration = "10s", span(MILLISECOND, DAY);
        /// A client may close its sending side and still wait for its response. The request is
        /// dropped if no part of the response can be sent for this long. `"0s"` drops it
        /// immediately.
        half_close_grace: Duration = "5s", span(Duration::ZERO, DAY);
        /// Close a connection after this long without a request.
        idle_timeout: Duration = "75s", span(MILLISECOND, DAY);
        /// After SIGTERM, running requests have this long to finish.
        drain_timeout: Duration = "30s", span(Duration::ZERO, DAY);
        /// Maximum size of the head of a request: request line and headers together.
        head_size: usize = "64KiB", size(4 * KIB, MIB);
        /// Maximum number of header lines in a request.
        head_lines: usize = 100, number(10, 1000);
        /// Maximum size of the target in a request line. At most `head_size`.
        // The parser of targets accepts less than 64 KiB.
        target_size: usize = "16KiB", size(KIB, 63 * KIB);
        /// Maximum number of open connections. `"auto"` is four fifths of the file descriptors
        /// (`ulimit -Hn`), at most 50000. Requests over a limit get 503 immediately. A number that
        /// leaves less than a tenth of the descriptors for the upstream is lowered, with a warning.
        max_connections: Option<usize> = "auto", connection_limit();
        /// Maximum number of open connections from one IPv4 address or one IPv6 /64 network. 0
        /// means no limit. Loopback is never limited.
        max_connections_per_peer: usize = 1000, number(0, MOST_CONNECTIONS);
        /// Maximum number of requests that are forwarded at the same time, over all threads.
        max_requests_in_flight: usize = 10000, number(1, MOST_CONNECTIONS);
        /// Close a connection after this many requests. 0 means no limit.
        max_requests_per_connection: u32 = 100000, number(0, u32::MAX);
        /// Required to listen on an address that is not loopback. Everyone who can reach that
        /// address can use the credentials. Not required with a `client_ca` in `tls`.
        allow_anonymous: bool = false, flag();
        /// Uses TLS on every TCP address. Changed files are reloaded automatically. With
        /// `client_ca`, clients must present a certificate from that authority. As a variable:
        /// `cert=cert.pem,key=key.pem`.
        tls: Option<ListenTls>, tls_table(),
            lines [r#"# tls = { cert = "cert.pem", key = "key.pem" }"#];
    }
}

settings! {
    /// Where you observe the proxy (`/live`, `/ready`, `/metrics`, `/status.json`) and log in
    /// (`/login/NAME`). Only this machine has access, regardless of `[listen]`.
    pub struct Admin ["admin"] {
        /// A loopback address, or a unix socket such as `"unix:admin.sock"`, to which only its
        /// owner can connect. `"off"` disables the admin listener.
        address: Option<ListenAddress> = "127.0.0.1:8081", admin_address(),
            lines [r#"address = "127.0.0.1:8081""#];
    }
}

settings! {
    /// The simulated VBC of `serve --simulate` and `simulate`.
    pub struct Simulator ["simulator"] {
        /// The listen address of the API.
        address: SocketAddr = "127.0.0.1:8090", tcp_address();
        /// The listen address of the control plane, which injects faults.
        control: SocketAddr = "127.0.0.1:8091", tcp_address();
    }
}

fn socket_mode() -> Kind<u32> {
    text("permissions in octal", address::socket_mode, |mode| format!("{mode:04o}"))
}

fn tcp_address() -> Kind<SocketAddr> {
    text("an address with a port", address::tcp, SocketAddr::to_string)
}

fn addresses() -> Kind<Vec<ListenAddress>> {
    let read = |section: &mut Section<'_, '_>, key: &str| {
        let base = section.reader.base.clone();
        section.one_or_more(key, |text| address::listen(text, &base))
    };
    let print = |page: &mut Page, key: &str, value: &Vec<ListenAddress>| match value.as_slice() {
        [only] => page.text(key, only),
        several => page.list(key, several),
    };
    Kind::new("an address with a port, `unix:PATH`, or a list of them", read, print)
}

/// `None` is `off`.
fn admin_address() -> Kind<Option<ListenAddress>> {
    let read = |section: &mut Section<'_, '_>, key: &str| {
        let value = section.take(key)?.value;
        let address = if let Value::List(_) = value {
            let remedy = "write one address, for example \"127.0.0.1:8081\"";
            Err(Flaw::new("only one address is allowed here", remedy))
        } else {
            value.parse(|text| match text.trim() {
                "off" => Ok(None),
                text => address::listen(text, &section.reader.base).map(Some),
            })
        };
        section.accept(key, address)
    };
    let print = |page: &mut Page, key: &str, value: &Option<ListenAddress>| {
        page.text(key, value.as_ref().map_or("off".into(), ListenAddress::to_string));
    };
    Kind::new("an address with a port, `unix:PATH` or `off`", read, print)
}

/// `None` is `auto`.
fn connection_limit() -> Kind<Option<usize>> {
    let read = |section: &mut Section<'_, '_>, key: &str| {
        section.parsed(key, |text| match text.replace('_', "").parse() {
            Ok(count) if (1..=MOST_CONNECTIONS).contains(&count) => Ok(Some(count)),
            _ if text == "auto" => Ok(None),
            _ => Err(Flaw::new(format!("expected \"auto\" or a number from 1 to {MOST_CONNECTIONS}"), "")),
        })
    };
    let print = |page: &mut Page, key: &str, value: &Option<usize>| match value {
        Some(most) => page.bare(key, most),
        None => page.text(key, "auto"),
    };
    Kind::new(format!("`auto`, or a number from 1 to {MOST_CONNECTIONS}"), read, print)
}

/// The address of one listener: its key, the address, and the location of the address.
pub(super) struct Listener(&'static str, ListenAddress, Location);

impl Listen {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table, listeners: &mut Vec<Listener>) -> Self {
        let mut section = reader.section(root, &Self::SHAPE);
        let mut listen = Self::read_keys(&mut section);
        let knows_clients = listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        for (index, address) in listen.addresses.iter().enumerate() {
            let location = section.locations("address").get(index).cloned();
            let location = location.unwrap_or_else(|| section.location("address"));
            // A unix socket needs no check: its permissions decide who can connect.
            if matches!(address, ListenAddress::Tcp(tcp) if !tcp.ip().is_loopback()) && !knows_clients {
                open_to_anyone(&mut section, &location, listen.allow_anonymous);
            }
            listeners.push(Listener("listen.address", address.clone(), location));
        }
        if listen.target_size > listen.head_size {
            if section.is_given("target_size") && !section.is_wrong("target_size") {
                let size = show_size(listen.target_size as u64);
                section.report("target_size", units::too_much(&size, listen.head_size as u64));
            }
            listen.target_size = listen.head_size;
        }
        listen
    }
}

fn open_to_anyone(section: &mut Section<'_, '_>, location: &Location, allowed: bool) {
    if !allowed {
        let message = "anyone who can reach this address could use the credentials";
        let remedy =
            "listen on 127.0.0.1, or set listen.allow_anonymous = true if your network keeps strangers out";
        section.report_at(location.clone(), "address", Flaw::new(message, remedy));
    } else if !section.reader.simulate {
        let message = "anyone who can reach this address can use the credentials (listen.allow_anonymous)";
        let flaw = Flaw::new(message, "make sure that your network keeps strangers out");
        section.warn_at(location.clone(), "address", flaw);
    }
}

impl Admin {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table, listeners: &mut Vec<Listener>) -> Self {
        let mut section = reader.section(root, &Self::SHAPE);
        let admin = Self::read_keys(&mut section);
        if let Some(address) = &admin.address {
            // No flag opens the listener to other machines: it has no access control, so everyone
            // who reaches it can do everything.
            if matches!(address, ListenAddress::Tcp(tcp) if !tcp.ip().is_loopback()) {
                let remedy = "write \"127.0.0.1:8081\", or a unix socket: \"unix:/run/vbc-proxy/admin.sock\"";
                let flaw = Flaw::new("the admin listener must not be reachable from other machines", remedy);
                section.report("address", flaw);
            }
            listeners.push(Listener("admin.address", address.clone(), section.location("address")));
        }
        admin
    }
}

impl Simulator {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table, listeners: &mut Vec<Listener>) -> Self {
        let mut section = reader.section(root, &Self::SHAPE);
        let simulator = Self::read_keys(&mut section);
        if section.reader.simulate {
            let addresses = [
                ("simulator.address", "address", simulator.address),
                ("simulator.control", "control", simulator.control),
            ];
            for (path, key, address) in addresses {
                listeners.push(Listener(path, ListenAddress::Tcp(address), section.location(key)));
            }
        }
        simulator
    }
}

/// Reports each listener with the address of an earlier one. Port 0 never conflicts: the system
/// chooses a free port each time.
pub(super) fn check_addresses(reader: &mut Reader<'_>, listeners: &[Listener]) {
    for (index, Listener(key, address, location)) in listeners.iter().enumerate() {
        let remedy = match address {
            ListenAddress::Tcp(address) if address.port() == 0 => continue,
            ListenAddress::Tcp(_) => "give each listener its own port",
            ListenAddress::Unix(_) => "give each listener its own path",
        };
        let mut earlier = listeners.iter().take(index);
        if let Some(Listener(other, ..)) = earlier.find(|Listener(_, other, _)| other == address) {
            let flaw = Flaw::new(format!("{other} already uses {address}"), remedy);
            reader.report(location.clone(), *key, flaw);
        }
    }
}
