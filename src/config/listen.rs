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

/// More connections, or requests at once, than any machine of today serves.
const MOST_CONNECTIONS: usize = 10_000_000;

settings! {
    /// Where your tools send their requests. They use `http://127.0.0.1:8080` in place of
    /// `https://api.vonage.com`.
    pub struct Listen ["listen"] {
        /// One address or several: `["127.0.0.1:8080", "unix:proxy.sock"]`. In a variable, commas
        /// separate them.
        addresses ["address"]: Vec<ListenAddress> = "127.0.0.1:8080", addresses(),
            lines [r#"address = "127.0.0.1:8080""#];
        /// Permissions of unix sockets: `"0600"` lets only their owner connect, `"0660"` also their
        /// group.
        unix_mode: u32 = "0600", socket_mode();
        /// Threads that forward requests. 0 is one for each core, or fewer if file descriptors are
        /// few.
        workers: usize = 0, number(0, 1024);
        /// More `Host` names that clients may use. Loopback names, the addresses above, the host of
        /// `public_url` and the upstream's host are always allowed.
        hosts: BTreeSet<String> = [], set("host names", urls::host_name),
            lines [r#"# hosts = ["vbc.internal"]"#];
        /// Web origins whose pages may call the proxy from a browser (CORS). None by default.
        origins: BTreeSet<String> = [], set("web origins", urls::web_origin),
            lines [r#"# origins = ["https://app.example"]"#];
        /// The URL at which clients reach the proxy, if that is not the `Host` of their requests.
        public_url: Option<Url>, url("http://vbc.internal"), lines [r#"# public_url = "http://vbc.internal""#];
        /// From the start of a connection to its first byte.
        first_byte_timeout: Duration = "30s", span(MILLISECOND, DAY);
        /// From the first byte of a request to the end of its head.
        header_timeout: Duration = "10s", span(MILLISECOND, DAY);
        /// How long to wait for a client that has closed its sending side, while nothing can be
        /// written to it. It still gets the responses to what it has sent. `"0s"` drops its request
        /// at once.
        half_close_grace: Duration = "5s", span(Duration::ZERO, DAY);
        /// How long a connection may stay open without a request.
        idle_timeout: Duration = "75s", span(MILLISECOND, DAY);
        /// How long requests in flight may take to finish after SIGTERM.
        drain_timeout: Duration = "30s", span(Duration::ZERO, DAY);
        /// The longest head of a request: request line and headers together.
        head_size: usize = "64KiB", size(4 * KIB, MIB);
        /// The most header lines of a request.
        head_lines: usize = 100, number(10, 1000);
        /// The longest target in a request line. No more than `head_size`.
        // The parser of targets accepts less than 64 KiB.
        target_size: usize = "16KiB", size(KIB, 63 * KIB);
        /// Connections at once. `"auto"` is four fifths of the file descriptors (`ulimit -Hn`), at
        /// most 50000. Requests over a limit get 503 immediately. A number that leaves less than a
        /// tenth of the descriptors for the upstream is lowered, with a warning.
        max_connections: Option<usize> = "auto", connection_limit();
        /// Connections at once from one address, or from one /64 of IPv6. Loopback is not limited.
        /// 0 is no limit.
        max_connections_per_peer: usize = 1000, number(0, MOST_CONNECTIONS);
        /// Requests forwarded at once, over all threads.
        max_requests_in_flight: usize = 10000, number(1, MOST_CONNECTIONS);
        /// Requests on one connection before it is closed. 0 is no limit.
        max_requests_per_connection: u32 = 100000, number(0, u32::MAX);
        /// Needed to listen beyond loopback: then everyone who can reach the address can use the
        /// credentials.
        allow_anonymous: bool = false, flag();
        /// TLS on every TCP address. The files are read again when they change. With `client_ca`,
        /// clients need a certificate from there. As a variable: `cert=cert.pem,key=key.pem`.
        tls: Option<ListenTls>, tls_table(),
            lines [r#"# tls = { cert = "cert.pem", key = "key.pem" }"#];
    }
}

settings! {
    /// Where you observe the proxy (`/live`, `/ready`, `/metrics`, `/status.json`) and log in
    /// (`/login/NAME`). Only this machine has access, whatever `listen` says.
    pub struct Admin ["admin"] {
        /// A loopback address, or `"unix:admin.sock"`: a socket to which only its owner can
        /// connect. `"off"` disables it.
        address: Option<ListenAddress> = "127.0.0.1:8081", admin_address(),
            lines [r#"address = "127.0.0.1:8081""#];
    }
}

settings! {
    /// The simulated VBC of `serve --simulate` and `simulate`.
    pub struct Simulator ["simulator"] {
        /// The API.
        address: SocketAddr = "127.0.0.1:8090", tcp_address();
        /// The control plane, at which faults are injected.
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
            Err(Flaw::new("there can be one address only", remedy))
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
            _ => Err(Flaw::new(
                format!("{text:?} is not a number that makes sense"),
                format!("write \"auto\", or a number from 1 to {MOST_CONNECTIONS}"),
            )),
        })
    };
    let print = |page: &mut Page, key: &str, value: &Option<usize>| match value {
        Some(most) => page.bare(key, most),
        None => page.text(key, "auto"),
    };
    Kind::new(format!("`auto`, or a number from 1 to {MOST_CONNECTIONS}"), read, print)
}

/// The address of one listener: its key, the address, and where it is given.
pub(super) struct Listener(&'static str, ListenAddress, Location);

impl Listen {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table, listeners: &mut Vec<Listener>) -> Self {
        let mut section = reader.section(root, &Self::SHAPE);
        let mut listen = Self::read_keys(&mut section);
        let knows_clients = listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        for (index, address) in listen.addresses.iter().enumerate() {
            let location = section.locations("address").get(index).cloned();
            let location = location.unwrap_or_else(|| section.location("address"));
            // The permissions of a unix socket decide who may connect.
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
            "listen on 127.0.0.1, or set listen.allow_anonymous = true if the network keeps strangers out";
        section.report_at(location.clone(), "address", Flaw::new(message, remedy));
    } else if !section.reader.simulate {
        let message = "anyone who can reach this address can use the credentials (listen.allow_anonymous)";
        let flaw = Flaw::new(message, "make sure the network keeps strangers out");
        section.warn_at(location.clone(), "address", flaw);
    }
}

impl Admin {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table, listeners: &mut Vec<Listener>) -> Self {
        let mut section = reader.section(root, &Self::SHAPE);
        let admin = Self::read_keys(&mut section);
        if let Some(address) = &admin.address {
            // There is no access control: who reaches the listener may do everything. So no flag
            // opens it.
            if matches!(address, ListenAddress::Tcp(tcp) if !tcp.ip().is_loopback()) {
                let remedy = "write \"127.0.0.1:8081\", or a unix socket, \"unix:/run/vbc-proxy/admin.sock\"";
                let flaw = Flaw::new("the admin listener is for this machine alone", remedy);
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

/// Reports each listener with the address of an earlier one. Port 0 is another port each time.
pub(super) fn check_addresses(reader: &mut Reader<'_>, listeners: &[Listener]) {
    for (index, Listener(key, address, location)) in listeners.iter().enumerate() {
        let remedy = match address {
            ListenAddress::Tcp(address) if address.port() == 0 => continue,
            ListenAddress::Tcp(_) => "give each its own port",
            ListenAddress::Unix(_) => "give each its own path",
        };
        let mut earlier = listeners.iter().take(index);
        if let Some(Listener(other, ..)) = earlier.find(|Listener(_, other, _)| other == address) {
            let flaw = Flaw::new(format!("{other} is {address} too"), remedy);
            reader.report(location.clone(), *key, flaw);
        }
    }
}
