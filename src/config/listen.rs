//! `[listen]`, `[admin]` and `[simulator]`: the listeners.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use super::address::{self, ListenAddress};
use super::document::{Table, Value};
use super::error::{Complaint, Location};
use super::kind::{DAY, FLAG, KIB, Kind, MIB, MILLISECOND, Number, Set, Size, Span, Text, settings};
use super::page::Page;
use super::section::{Reader, Section};
use super::tls::{ListenTls, TlsTable};
use super::{units, urls};

/// More connections, or requests at once, than any machine of today serves.
const MOST_CONNECTIONS: usize = 10_000_000;

settings! {
    /// Where your tools send their requests. They use `http://127.0.0.1:8080` in place of
    /// `https://api.vonage.com`.
    pub struct Listen ["listen"] {
        /// One address or several: `["127.0.0.1:8080", "unix:proxy.sock"]`. In a variable, commas
        /// separate them.
        addresses ["address"]: Vec<ListenAddress> = "127.0.0.1:8080", Addresses,
            lines [r#"address = "127.0.0.1:8080""#];
        /// Permissions of unix sockets: `"0600"` lets only their owner connect, `"0660"` also their
        /// group.
        unix_mode: u32 = "0600", SOCKET_MODE;
        /// Threads that forward requests. 0 is one for each core, or fewer if file descriptors are
        /// few.
        workers: usize = 0, Number(0, 1024);
        /// More `Host` names that clients may use. Loopback names, the addresses above, the host of
        /// `public_url` and the upstream's host are always allowed.
        hosts: BTreeSet<String> = [], Set("host names", urls::host_name),
            lines [r#"# hosts = ["vbc.internal"]"#];
        /// Web origins whose pages may call the proxy from a browser (CORS). None by default.
        origins: BTreeSet<String> = [], Set("web origins", urls::web_origin),
            lines [r#"# origins = ["https://app.example"]"#];
        /// The URL at which clients reach the proxy, if that is not the `Host` of their requests.
        public_url: Option<Url>, PUBLIC_URL, lines [r#"# public_url = "http://vbc.internal""#];
        /// From the start of a connection to its first byte.
        first_byte_timeout: Duration = "30s", Span(MILLISECOND, DAY);
        /// From the first byte of a request to the end of its head.
        header_timeout: Duration = "10s", Span(MILLISECOND, DAY);
        /// How long to wait for a client that has closed its sending side, while nothing can be
        /// written to it. It still gets the responses to what it has sent. `"0s"` drops its request
        /// at once.
        half_close_grace: Duration = "5s", Span(Duration::ZERO, DAY);
        /// How long a connection may stay open without a request.
        idle_timeout: Duration = "75s", Span(MILLISECOND, DAY);
        /// How long requests in flight may take to finish after SIGTERM.
        drain_timeout: Duration = "30s", Span(Duration::ZERO, DAY);
        /// The longest head of a request: request line and headers together.
        head_size: usize = "64KiB", Size(4 * KIB, MIB);
        /// The most header lines of a request.
        head_lines: usize = 100, Number(10, 1000);
        /// The longest target in a request line. No more than `head_size`.
        // The parser of targets accepts less than 64 KiB.
        target_size: usize = "16KiB", Size(KIB, 63 * KIB);
        /// Connections at once. `"auto"` is four fifths of the file descriptors (`ulimit -Hn`), at
        /// most 50000. Requests over a limit get 503 immediately. A number that leaves less than a
        /// tenth of the descriptors for the upstream is lowered, with a warning.
        max_connections: Option<usize> = "auto", ConnectionLimit;
        /// Connections at once from one address, or from one /64 of IPv6. Loopback is not limited.
        /// 0 is no limit.
        max_connections_per_peer: usize = 1000, Number(0, MOST_CONNECTIONS);
        /// Requests forwarded at once, over all threads.
        max_requests_in_flight: usize = 10000, Number(1, MOST_CONNECTIONS);
        /// Requests on one connection before it is closed. 0 is no limit.
        max_requests_per_connection: u32 = 100000, Number(0, u32::MAX);
        /// Needed to listen beyond loopback: then everyone who can reach the address can use the
        /// credentials.
        allow_anonymous: bool = false, FLAG;
        /// TLS on every TCP address. The files are read again when they change. With `client_ca`,
        /// clients need a certificate from there. As a variable: `cert=cert.pem,key=key.pem`.
        tls: Option<ListenTls>, TlsTable,
            lines [r#"# tls = { cert = "cert.pem", key = "key.pem" }"#];
    }
}

settings! {
    /// Where you observe the proxy (`/live`, `/ready`, `/metrics`, `/status.json`) and log in
    /// (`/login/NAME`). Only this machine has access, whatever `listen` says.
    pub struct Admin ["admin"] {
        /// A loopback address, or `"unix:admin.sock"`: a socket to which only its owner can
        /// connect. `"off"` disables it.
        address: Option<ListenAddress> = "127.0.0.1:8081", AdminAddress,
            lines [r#"address = "127.0.0.1:8081""#];
    }
}

settings! {
    /// The simulated VBC of `serve --simulate` and `simulate`.
    pub struct Simulator ["simulator"] {
        /// The API.
        address: SocketAddr = "127.0.0.1:8090", TCP_ADDRESS;
        /// The control plane, at which faults are injected.
        control: SocketAddr = "127.0.0.1:8091", TCP_ADDRESS;
    }
}

const SOCKET_MODE: Text<u32> =
    Text { what: "permissions in octal", parse: address::socket_mode, show: |mode| format!("{mode:04o}") };

const PUBLIC_URL: Text<Url> =
    Text { what: "a URL", parse: |text| urls::url(text, "http://vbc.internal"), show: Url::to_string };

const TCP_ADDRESS: Text<SocketAddr> =
    Text { what: "an address with a port", parse: address::tcp, show: SocketAddr::to_string };

/// The addresses of clients.
struct Addresses;

/// The address of operators, or `off`.
struct AdminAddress;

/// A number of connections, or `auto`.
struct ConnectionLimit;

impl Kind for Addresses {
    type Value = Vec<ListenAddress>;

    fn describe(&self) -> String {
        "an address with a port, `unix:PATH`, or a list of them".into()
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<Self::Value> {
        let base = section.reader.base.clone();
        section.one_or_more(key, |text| address::listen(text, &base))
    }

    fn print(&self, page: &mut Page, key: &str, value: &Self::Value) {
        match value.as_slice() {
            [only] => page.text(key, only),
            several => page.list(key, several),
        }
    }
}

impl Kind for AdminAddress {
    type Value = Option<ListenAddress>;

    fn describe(&self) -> String {
        "an address with a port, `unix:PATH` or `off`".into()
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<Self::Value> {
        let value = section.take(key)?.value;
        let address = if let Value::List(_) = value {
            let remedy = "write one address, for example \"127.0.0.1:8081\"";
            Err(Complaint::new("there can be one address only", remedy))
        } else {
            value.parse(|text| match text.trim() {
                "off" => Ok(None),
                text => address::listen(text, &section.reader.base).map(Some),
            })
        };
        section.accept(key, address)
    }

    fn print(&self, page: &mut Page, key: &str, value: &Self::Value) {
        page.text(key, value.as_ref().map_or("off".into(), ListenAddress::to_string));
    }
}

impl Kind for ConnectionLimit {
    type Value = Option<usize>;

    fn describe(&self) -> String {
        format!("`auto`, or a number from 1 to {MOST_CONNECTIONS}")
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<Self::Value> {
        section.parsed(key, |text| match text.replace('_', "").parse() {
            Ok(count) if (1..=MOST_CONNECTIONS).contains(&count) => Ok(Some(count)),
            _ if text == "auto" => Ok(None),
            _ => Err(Complaint::new(
                format!("{text:?} is not a number that makes sense"),
                format!("write \"auto\", or a number from 1 to {MOST_CONNECTIONS}"),
            )),
        })
    }

    fn print(&self, page: &mut Page, key: &str, value: &Self::Value) {
        match value {
            Some(most) => page.bare(key, most),
            None => page.text(key, "auto"),
        }
    }
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
            if section.is_given("target_size") {
                let size = units::show_size(listen.target_size as u64);
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
        section.report_at(location.clone(), "address", Complaint::new(message, remedy));
    } else if !section.reader.simulate {
        let message = "anyone who can reach this address can use the credentials (listen.allow_anonymous)";
        let complaint = Complaint::new(message, "make sure the network keeps strangers out");
        section.warn_at(location.clone(), "address", complaint);
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
                let complaint = Complaint::new("the admin listener is for this machine alone", remedy);
                section.report("address", complaint);
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
            let complaint = Complaint::new(format!("{other} is {address} too"), remedy);
            reader.report(location.clone(), *key, complaint);
        }
    }
}
