//! The sections of `proxy.toml`, one function each. What a value must be is said here and nowhere else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use url::Url;

use super::credential;
use super::document::{Table, Value};
use super::error::{Complaint, Place};
use super::faults;
use super::keys::{self, KeyFile};
use super::schema::{self, SECTIONS, SECTIONS_LATER, Shape};
use super::section::{Given, Reader, Section};
use super::tls;
use super::{
    Admin, Config, Credential, GrantKind, Listen, ListenAddress, Log, LogFormat, OAuth, Process, Retry,
    Simulator, Store, Upstream, UpstreamHttp, units,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Reads the whole tree. What is wrong stands in the reader's findings; the result counts only if there are none.
pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table) -> Config {
    unknown_sections(reader, root);
    let mut places = Vec::new();
    let listen = listen(reader, root, &mut places);
    let admin = admin(reader, root, &mut places);
    let simulator = simulator(reader, root, &mut places);
    same_address_twice(reader, places);
    let mut config = Config {
        listen,
        admin,
        upstream: upstream(reader, root),
        oauth: oauth(reader, root),
        retry: retry(reader, root),
        store: store(reader, root),
        credentials: credential::read_all(reader, root),
        log: log(reader, root),
        process: process(reader, root),
        faults: faults::read(reader, root, faults::shape()),
        simulator,
    };
    if reader.simulate {
        config.point_at_simulator();
    }
    login_elsewhere(reader, &config);
    config
}

fn unknown_sections(reader: &mut Reader<'_>, root: &mut Table) {
    let known = || SECTIONS.iter().map(|shape| shape.name).chain(["credentials"]);
    root.retain(|name, entry| {
        if known().any(|known| known == name) {
            return true;
        }
        let complaint = if SECTIONS_LATER.contains(&name.as_str()) {
            Complaint::not_available("this section")
        } else {
            let is_table = matches!(entry.item.value, Value::Table(_));
            let message = if is_table {
                "there is no such section"
            } else {
                "there is no such key outside of sections"
            };
            let home = SECTIONS.iter().find(|shape| !is_table && shape.keys.contains(&name.as_str()));
            let remedy = match (schema::nearest(name, known()), home) {
                (_, Some(home)) => format!("it belongs to [{}]", home.name),
                (Some(near), None) => format!("did you mean `{near}`?"),
                (None, None) => format!("there are: {}", known().collect::<Vec<_>>().join(", ")),
            };
            Complaint::new(message, remedy)
        };
        let name = reader.shown(name, &entry.key_place);
        reader.complain(entry.key_place.clone(), name, complaint);
        false
    });
}

fn shape(name: &'static str) -> &'static Shape {
    const NONE: &Shape = &Shape { name: "", keys: &[], later: &[] };
    schema::section(name).unwrap_or(NONE)
}

/// Where an address was given, to find two that are the same.
type Placed = (&'static str, ListenAddress, Place);

fn listen(reader: &mut Reader<'_>, root: &mut Table, placed: &mut Vec<Placed>) -> Listen {
    let default = Listen::default();
    let base = reader.base.clone();
    let mut section = reader.section(root, shape("listen"));
    let allow_anonymous = section.flag("allow_anonymous", default.allow_anonymous);
    let tls = tls::read_section(&mut section, "tls");
    let known_clients = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let given = section.one_or_more("address", |text| units::listen_address(text, &base));
    let place = section.place();
    let given = given.unwrap_or_else(|| {
        default.addresses.into_iter().map(|value| Given { value, place: place.clone() }).collect()
    });
    for Given { value, place } in &given {
        // Who may connect to a unix socket is said by its permissions.
        if matches!(value, ListenAddress::Tcp(address) if !address.ip().is_loopback() && !known_clients) {
            anyone(&mut section, place, allow_anonymous);
        }
        placed.push(("listen.address", value.clone(), place.clone()));
    }
    let public_url = |text: &str| units::url(text, "http://vbc.internal");
    let head_size = section.size_within("head_size", 4 * KIB..=MIB, default.head_size);
    // The parser of targets takes no longer ones than 64 KiB.
    let target_most = (63 * KIB).min(head_size as u64);
    let target_default = default.target_size.min(head_size);
    Listen {
        addresses: given.into_iter().map(|given| given.value).collect(),
        tls,
        unix_mode: section
            .parsed("unix_mode", units::socket_mode)
            .map_or(default.unix_mode, |given| given.value),
        workers: section.number("workers", 0, 1024).unwrap_or(default.workers),
        hosts: section.list("hosts", units::host_name),
        origins: section.list("origins", units::web_origin),
        public_url: section.parsed("public_url", public_url).map(|given| given.value),
        first_byte_timeout: section.duration("first_byte_timeout", MILLISECOND, default.first_byte_timeout),
        header_timeout: section.duration("header_timeout", MILLISECOND, default.header_timeout),
        half_close_grace: section.duration("half_close_grace", Duration::ZERO, default.half_close_grace),
        idle_timeout: section.duration("idle_timeout", MILLISECOND, default.idle_timeout),
        drain_timeout: section.duration("drain_timeout", Duration::ZERO, default.drain_timeout),
        head_size,
        head_lines: section.number("head_lines", 10, 1000).unwrap_or(default.head_lines),
        target_size: section.size_within("target_size", KIB..=target_most, target_default),
        max_connections: section
            .parsed("max_connections", units::auto_or_count)
            .map_or(default.max_connections, |given| given.value),
        max_connections_per_peer: section
            .number("max_connections_per_peer", 0, units::MOST_CONNECTIONS)
            .unwrap_or(default.max_connections_per_peer),
        max_requests_in_flight: section
            .number("max_requests_in_flight", 1, units::MOST_CONNECTIONS)
            .unwrap_or(default.max_requests_in_flight),
        max_requests_per_connection: section
            .number("max_requests_per_connection", 0, u32::MAX)
            .unwrap_or(default.max_requests_per_connection),
        allow_anonymous,
    }
}

fn anyone(section: &mut Section<'_, '_>, place: &Place, allowed: bool) {
    if !allowed {
        let message = "anyone who can reach this address could use the credentials";
        let remedy =
            "listen on 127.0.0.1, or set listen.allow_anonymous = true if the network keeps strangers out";
        section.complain(place.clone(), "address", Complaint::new(message, remedy));
    } else if !section.reader.simulate {
        let message = "anyone who can reach this address can use the credentials (listen.allow_anonymous)";
        section.warn(
            place.clone(),
            "address",
            Complaint::new(message, "make sure the network keeps strangers out"),
        );
    }
}

fn admin(reader: &mut Reader<'_>, root: &mut Table, placed: &mut Vec<Placed>) -> Admin {
    let base = reader.base.clone();
    let mut section = reader.section(root, shape("admin"));
    section.refuse_list("address");
    let parse = |text: &str| match text.trim() {
        "off" => Ok(None),
        text => units::listen_address(text, &base).map(Some),
    };
    let given = section.parsed("address", parse);
    let (address, place) = match given {
        Some(given) => (given.value, given.place),
        None => (Admin::default().address, section.place()),
    };
    if let Some(ListenAddress::Tcp(tcp)) = address {
        // Until there is access control, whoever reaches it may do everything: no flag opens it to others.
        if !tcp.ip().is_loopback() {
            let remedy = "write \"127.0.0.1:8081\", or a unix socket, \"unix:/run/vbc-proxy/admin.sock\"";
            let complaint = Complaint::new("the admin listener is for this machine alone", remedy);
            section.complain(place.clone(), "address", complaint);
        }
    }
    if let Some(address) = &address {
        placed.push(("admin.address", address.clone(), place));
    }
    Admin { address }
}

fn simulator(reader: &mut Reader<'_>, root: &mut Table, placed: &mut Vec<Placed>) -> Simulator {
    let default = Simulator::default();
    let simulate = reader.simulate;
    let mut section = reader.section(root, shape("simulator"));
    let mut read = |key, name, default: SocketAddr| {
        let given = section.parsed(key, units::address);
        let place = given.as_ref().map_or_else(|| section.place(), |given| given.place.clone());
        let address = given.map_or(default, |given| given.value);
        if simulate {
            placed.push((name, ListenAddress::Tcp(address), place));
        }
        address
    };
    Simulator {
        address: read("address", "simulator.address", default.address),
        control: read("control", "simulator.control", default.control),
    }
}

fn same_address_twice(reader: &mut Reader<'_>, placed: Vec<Placed>) {
    for (index, (key, address, place)) in placed.iter().enumerate() {
        let (many, remedy) = match address {
            ListenAddress::Tcp(address) => (address.port() == 0, "give each its own port"),
            ListenAddress::Unix(_) => (false, "give each its own path"),
        };
        let same = placed.iter().take(index).find(|(_, other, _)| other == address && !many);
        if let Some((other, _, _)) = same {
            let complaint = Complaint::new(format!("{other} is {address} too"), remedy);
            reader.complain(place.clone(), *key, complaint);
        }
    }
}

fn upstream(reader: &mut Reader<'_>, root: &mut Table) -> Upstream {
    let default = Upstream::default();
    let mut section = reader.section(root, shape("upstream"));
    let url = section.parsed("url", units::origin);
    if let Some(Given { value, place }) = &url
        && !value.tls
        && !units::is_loopback(value.authority.host())
        && !section.reader.simulate
    {
        let complaint = Complaint::new("tokens would travel in the clear", "write https");
        section.warn(place.clone(), "url", complaint);
    }
    let ca_file = ca_file(&mut section);
    let versions = [("auto", UpstreamHttp::Auto), ("h1", UpstreamHttp::H1), ("h2", UpstreamHttp::H2)];
    Upstream {
        url: url.map_or(default.url, |given| given.value),
        ca_file,
        http: section.choice("http", &versions).unwrap_or(default.http),
        connect_timeout: section.duration("connect_timeout", MILLISECOND, default.connect_timeout),
        response_timeout: section.duration("response_timeout", MILLISECOND, default.response_timeout),
        idle_timeout: section.duration("idle_timeout", MILLISECOND, default.idle_timeout),
        tunnel_timeout: section.duration("tunnel_timeout", MILLISECOND, default.tunnel_timeout),
        rewrite_links: section.flag("rewrite_links", default.rewrite_links),
    }
}

fn oauth(reader: &mut Reader<'_>, root: &mut Table) -> OAuth {
    let default = OAuth::default();
    let mut section = reader.section(root, shape("oauth"));
    let token_url = section.parsed("token_url", |text| units::url(text, "https://api.vonage.com/token"));
    in_the_clear(&mut section, "token_url", token_url.as_ref(), "passwords and secrets");
    let token_url = token_url.map_or(default.token_url, |given| given.value);
    let authorize_url = section
        .parsed("authorize_url", |text| units::url_with_query(text, "https://api.vonage.com/authorize"));
    in_the_clear(&mut section, "authorize_url", authorize_url.as_ref(), "passwords and authorization codes");
    let userinfo_url = userinfo_url(&mut section, &token_url);
    let ca_file = ca_file(&mut section);
    OAuth {
        token_url,
        authorize_url: authorize_url.map_or(default.authorize_url, |given| given.value),
        userinfo_url,
        timeout: section.duration("timeout", MILLISECOND, default.timeout),
        max_wait: section.duration("max_wait", Duration::ZERO, default.max_wait),
        ca_file,
    }
}

/// Warns of a URL that is not encrypted and not on this machine.
fn in_the_clear(section: &mut Section<'_, '_>, key: &str, url: Option<&Given<Url>>, what: &str) {
    if let Some(Given { value, place }) = url
        && value.scheme() == "http"
        && !units::is_loopback(value.host_str().unwrap_or_default())
        && !section.reader.simulate
    {
        let complaint = Complaint::new(format!("{what} would travel in the clear"), "write https");
        section.warn(place.clone(), key, complaint);
    }
}

/// Where one asks whose a token is: as given, none for `"off"`, or else beside the token endpoint.
fn userinfo_url(section: &mut Section<'_, '_>, token_url: &Url) -> Option<Url> {
    let parse = |text: &str| match text {
        "off" => Ok(None),
        text => units::url(text, "https://api.vonage.com/userinfo").map(Some),
    };
    let Some(Given { value, place }) = section.parsed("userinfo_url", parse) else {
        return units::sibling(token_url, "token", "userinfo");
    };
    let given = value.map(|value| Given { value, place });
    in_the_clear(section, "userinfo_url", given.as_ref(), "access tokens");
    given.map(|given| given.value)
}

/// A person would be sent to one server, and what comes back would be redeemed at another.
fn login_elsewhere(reader: &mut Reader<'_>, config: &Config) {
    let default = OAuth::default();
    let by_code = |credential: &Credential| credential.grant == GrantKind::AuthorizationCode;
    if config.oauth.token_url.origin() != default.token_url.origin()
        && config.oauth.authorize_url == default.authorize_url
        && config.credentials.iter().any(by_code)
    {
        let message = format!(
            "a person would log in at {}, and the code be redeemed at {}",
            config.oauth.authorize_url, config.oauth.token_url
        );
        let remedy = "give authorize_url as well, the login page of the same server";
        reader.warn(reader.whole.clone(), "oauth.authorize_url", Complaint::new(message, remedy));
    }
}

/// A file of trust roots, which must be there and hold a certificate. Not looked at under `--simulate`.
fn ca_file(section: &mut Section<'_, '_>) -> Option<PathBuf> {
    let Given { value: path, place } = section.path("ca_file")?;
    if section.reader.simulate {
        return None;
    }
    let shown = path.display();
    let complaint = match section.trusted((&place, "ca_file"), &path, crate::trusted::PEM_BYTES, false) {
        Err(error) => {
            Complaint::new(format!("cannot read {shown}: {error}"), super::error::remedy_for(&error))
        }
        Ok(bytes) if !String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") => {
            Complaint::new(
                format!("{shown} holds no certificate"),
                "it must be PEM: -----BEGIN CERTIFICATE-----",
            )
        }
        Ok(_) => return Some(path),
    };
    section.complain(place, "ca_file", complaint);
    None
}

fn retry(reader: &mut Reader<'_>, root: &mut Table) -> Retry {
    let default = Retry::default();
    let mut section = reader.section(root, shape("retry"));
    let place = section.place_of("disk").unwrap_or_else(|| section.place());
    let memory = section.size("memory", 64 * MIB, default.memory);
    let disk = section.size("disk", 1024 * GIB, 0) as u64;
    let disk_total = section.size("disk_total", 1024 * GIB, 1 << 30) as u64;
    let path = section.path("disk_path");
    let expect_timeout = section.duration("expect_timeout", Duration::ZERO, default.expect_timeout);
    if disk > 0 && disk <= memory as u64 {
        let remedy = "raise retry.disk, or write \"0B\" to keep nothing on disk";
        let complaint = Complaint::new("this is not over retry.memory: nothing would go there", remedy);
        section.complain(place, "disk", complaint);
    } else if disk > disk_total {
        let remedy = "raise retry.disk_total or lower retry.disk";
        section.complain(place, "disk", Complaint::new("this is over retry.disk_total", remedy));
    } else if disk > 0 {
        disk_is_writable(&mut section, path.as_ref(), place, &default.disk_path);
    }
    let disk_path = path.map_or(default.disk_path, |given| given.value);
    Retry { memory, disk, disk_total, disk_path, expect_timeout, hurry: default.hurry }
}

/// Tries what a request will do.
fn disk_is_writable(
    section: &mut Section<'_, '_>,
    path: Option<&Given<PathBuf>>,
    disk: Place,
    default: &Path,
) {
    let directory = path.map_or(default, |given| &given.value);
    if let Err(error) = tempfile::tempfile_in(directory) {
        let message = format!("no file can be made in {}: {error}", directory.display());
        let place = path.map_or(disk, |given| given.place.clone());
        let remedy = "name a directory that is there and that the proxy may write to";
        section.complain(place, "disk_path", Complaint::new(message, remedy));
    }
}

fn store(reader: &mut Reader<'_>, root: &mut Table) -> Store {
    let default = reader.resolve("tokens");
    let mut section = reader.section(root, shape("store"));
    let path = section.path("path").map_or(default, |given| given.value);
    let key_place = section.place_of("key_file");
    let key_file = keys::read(&mut section, "key_file");
    if let (Some(KeyFile { path: keys, .. }), Some(place)) = (&key_file, &key_place)
        && keys.starts_with(&path)
    {
        let message = "the key lies beside what it protects: whoever copies the directory has both";
        section.warn(place.clone(), "key_file", Complaint::new(message, "keep it in another directory"));
    }
    let parse = |text: &str| match text {
        "file" => Ok(true),
        "memory" => Ok(false),
        "postgres" => {
            let mut complaint = Complaint::not_available("\"postgres\"");
            complaint.remedy = "write \"file\" or \"memory\"".into();
            Err(complaint)
        }
        other => Err(Complaint::new(format!("{other:?} is not a store"), "write \"file\" or \"memory\"")),
    };
    let on_disk = section.parsed("kind", parse).is_none_or(|given| given.value);
    match key_place {
        _ if on_disk => return Store::File { path, key_file },
        Some(place) if !section.reader.simulate => {
            let complaint =
                Complaint::new("a store in memory writes nothing that a key could protect", "remove it");
            section.warn(place, "key_file", complaint);
        }
        _ => {}
    }
    Store::Memory
}

fn log(reader: &mut Reader<'_>, root: &mut Table) -> Log {
    let default = Log::default();
    let mut section = reader.section(root, shape("log"));
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    Log {
        format: section.choice("format", &formats).unwrap_or(default.format),
        level: section.parsed("level", level).map_or(default.level, |given| given.value),
        access: section.flag("access", default.access),
    }
}

fn process(reader: &mut Reader<'_>, root: &mut Table) -> Process {
    let mut section = reader.section(root, shape("process"));
    Process { core_dumps: section.flag("core_dumps", false) }
}

/// A level, or a filter of directives. A lone word that is no level would be a filter for a target: a slip.
fn level(text: &str) -> Result<String, Complaint> {
    let remedy =
        "write error, warn, info, debug, trace or off; or for example \"info,vbc_proxy::oauth=debug\"";
    let complaint = || Complaint::new(format!("{text:?} is not a log level"), remedy);
    let slip = text.split(',').map(str::trim).any(|part| {
        let lone = !part.contains(['=', '[', ':']);
        lone && part.parse::<LevelFilter>().is_err()
    });
    if slip || EnvFilter::try_new(text).is_err() { Err(complaint()) } else { Ok(text.to_owned()) }
}
