//! Values as people write them: times and sizes with units, addresses, URLs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http::uri::Authority;
use url::{Host, Url};

use super::ListenAddress;
use super::Origin;
use super::error::Complaint;

const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// More connections, or requests at once, than any machine of today serves.
pub(super) const MOST_CONNECTIONS: usize = 10_000_000;

/// A number of connections, or `auto`: nothing said.
pub(super) fn auto_or_count(text: &str) -> Result<Option<usize>, Complaint> {
    if text == "auto" {
        return Ok(None);
    }
    match text.replace('_', "").parse() {
        Ok(count) if (1..=MOST_CONNECTIONS).contains(&count) => Ok(Some(count)),
        _ => Err(Complaint::new(
            format!("{text:?} is not a number that makes sense"),
            format!("write \"auto\", or a number from 1 to {MOST_CONNECTIONS}"),
        )),
    }
}

/// Reads `"10s"`, `"250ms"`, `"1h30m"`.
pub(super) fn duration(text: &str) -> Result<Duration, Complaint> {
    if is_bare_number(text) {
        let remedy = format!("write for example \"{text}s\"; the units are ms, s, m, h and d");
        return Err(Complaint::new("a duration needs a unit", remedy));
    }
    let complaint = || {
        let remedy = "write for example \"10s\", \"250ms\" or \"1h30m\"";
        Complaint::new(format!("{text:?} is not a duration"), remedy)
    };
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let (number, unit, tail) = piece(rest).ok_or_else(complaint)?;
        let factor = factor(TIMES, unit).filter(|factor| *factor < last).ok_or_else(complaint)?;
        let part = number.checked_mul(factor).ok_or_else(complaint)?;
        total = total.checked_add(part).ok_or_else(complaint)?;
        (last, rest) = (factor, tail);
    }
    if last == u64::MAX { Err(complaint()) } else { Ok(Duration::from_millis(total)) }
}

/// Reads a duration and holds it to a range.
pub(super) fn duration_within(text: &str, least: Duration, most: Duration) -> Result<Duration, Complaint> {
    let value = duration(text)?;
    if value < least {
        let message = format!("{text:?} is too short");
        return Err(Complaint::new(message, format!("at least {} makes sense", show_duration(least))));
    }
    if value > most {
        let message = format!("{text:?} is too long");
        return Err(Complaint::new(message, format!("at most {} makes sense", show_duration(most))));
    }
    Ok(value)
}

/// Writes a duration as [`duration`] reads it.
pub(super) fn show_duration(value: Duration) -> String {
    let mut rest = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, factor) in TIMES.iter().rev() {
        if rest >= *factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    text
}

/// Reads `"64KiB"`, `"1MB"`, `"0B"`.
pub(super) fn size(text: &str) -> Result<u64, Complaint> {
    if is_bare_number(text) {
        let remedy =
            format!("write for example \"{text}B\" or \"64KiB\"; the units are B, kB, KiB, MB, MiB, GB, GiB");
        return Err(Complaint::new("a size needs a unit", remedy));
    }
    let complaint =
        || Complaint::new(format!("{text:?} is not a size"), "write for example \"64KiB\" or \"1MB\"");
    let (number, unit, tail) = piece(text.trim()).ok_or_else(complaint)?;
    let factor = factor(SIZES, unit).filter(|_| tail.is_empty()).ok_or_else(complaint)?;
    number.checked_mul(factor).ok_or_else(complaint)
}

/// Writes a size as [`size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    let largest = SIZES.iter().rev().filter(|(unit, _)| unit.len() != 2);
    for (unit, factor) in largest {
        if bytes >= *factor && bytes.is_multiple_of(*factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

fn is_bare_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

/// Reads the permissions of a socket, as `chmod` takes them: `"0660"`.
pub(super) fn socket_mode(text: &str) -> Result<u32, Complaint> {
    let remedy = "write \"0600\" (its owner alone), \"0660\" (and its group) or \"0666\" (everyone)";
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    match mode {
        Some(mode) if mode <= 0o777 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err(Complaint::new(format!("{text:?} are no permissions for a socket"), remedy)),
    }
}

/// Splits `10s5ms` into 10, `s` and `5ms`; blanks between number and unit are fine.
fn piece(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text.get(..digits)?.parse().ok()?;
    let rest = text.get(digits..)?.trim_start();
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(letters);
    Some((number, unit, tail.trim_start()))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

/// Reads `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`.
pub(super) fn address(text: &str) -> Result<SocketAddr, Complaint> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Some(Ok(port)) = text.strip_prefix("localhost:").map(str::parse) {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let remedy =
        "write IP address and port, for example \"127.0.0.1:8080\", \"[::1]:8080\" or \"localhost:8080\"";
    Err(Complaint::new(format!("{text:?} is not an address"), remedy))
}

/// Reads an address as [`address`] does, or `unix:/run/vbc-proxy/admin.sock`; a relative path starts from `base`.
pub(super) fn listen_address(text: &str, base: &Path) -> Result<ListenAddress, Complaint> {
    /// What fits into a socket's address on every system, with the zero at its end.
    const MOST: usize = 103;
    let Some(path) = text.trim().strip_prefix("unix:") else {
        return address(text).map(ListenAddress::Tcp);
    };
    let example = "write for example \"unix:/run/vbc-proxy/admin.sock\"";
    let named = !path.is_empty() && !path.ends_with('/');
    let path = base.join(path);
    if !named || path.file_name().is_none() {
        return Err(Complaint::new("the path of the unix socket is missing", example));
    }
    if path.as_os_str().len() > MOST {
        let message = format!("the path of a unix socket has at most {MOST} bytes");
        return Err(Complaint::new(message, example));
    }
    Ok(ListenAddress::Unix(path))
}

/// Reads the scheme and authority of a server, without path.
pub(super) fn origin(text: &str) -> Result<Origin, Complaint> {
    let url = http_url(text, "https://api.vonage.com")?;
    if url.path() != "/" || url.query().is_some() {
        let bare = url.origin().ascii_serialization();
        let remedy = format!("write {bare:?}: path and query of each request are passed on as they come");
        return Err(Complaint::new("the upstream is a scheme and a host, without a path", remedy));
    }
    let authority = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    };
    match Authority::try_from(authority) {
        Ok(authority) => Ok(Origin { tls: url.scheme() == "https", authority }),
        Err(_) => Err(Complaint::new(
            "the host is not one HTTP can name",
            "write for example \"https://api.vonage.com\"",
        )),
    }
}

/// Reads a URL that may have a path, but no query.
pub(super) fn url(text: &str, example: &str) -> Result<Url, Complaint> {
    let url = http_url(text, example)?;
    if url.query().is_some() {
        return Err(Complaint::new("the URL must have no query", "write it up to the question mark"));
    }
    Ok(url)
}

/// Reads a URL that may have a path and a query.
pub(super) fn url_with_query(text: &str, example: &str) -> Result<Url, Complaint> {
    http_url(text, example)
}

/// Reads the URL that an authorization server sends a person's browser back to. It is kept as it is written: the server
/// compares it byte for byte with the one that was registered.
pub(super) fn redirect_uri(text: &str) -> Result<String, Complaint> {
    let example = "http://localhost:8081/callback";
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let remedy = "write it exactly as it is registered with the application";
        return Err(Complaint::new("there are blanks or control characters in it", remedy));
    }
    http_url(text, example).map(|_| text.to_owned())
}

/// Reads a prefix of request paths.
pub(super) fn path_prefix(text: &str) -> Result<String, Complaint> {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '?' | '#');
    if text.starts_with('/') && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not the beginning of a path", quoted_url(text));
    Err(Complaint::new(message, "write it from its first slash on, such as \"/t/vbc.prod/reports\""))
}

/// The URL in the same directory as `url`, if that one's last segment is `from`.
pub(super) fn sibling(url: &Url, from: &str, to: &str) -> Option<Url> {
    let stem = url.path().strip_suffix(from).filter(|stem| stem.ends_with('/'))?;
    let mut sibling = url.clone();
    sibling.set_path(&format!("{stem}{to}"));
    Some(sibling)
}

/// Reads a web origin as browsers send it, in lower case.
pub(super) fn web_origin(text: &str) -> Result<String, Complaint> {
    let example = "write scheme and host, for example \"https://app.example\"";
    if text == "*" {
        return Err(Complaint::new("\"*\" would let every web page use the credentials", example));
    }
    let url = http_url(text, "https://app.example")?;
    if url.path() != "/" || url.query().is_some() {
        return Err(Complaint::new("a web origin has no path", example));
    }
    Ok(url.origin().ascii_serialization())
}

/// Reads a host name or address without a port; lower case.
pub(super) fn host_name(text: &str) -> Result<String, Complaint> {
    Host::parse(text.trim()).map(|host| host.to_string()).map_err(|_| {
        let message = format!("{} is not a host name", quoted_url(text));
        Complaint::new(message, "write it without scheme, port and path, for example \"vbc.internal\"")
    })
}

/// An absolute http or https URL with a host and without user info and fragment.
fn http_url(text: &str, example: &str) -> Result<Url, Complaint> {
    let remedy = format!("write for example {example:?}");
    let url = Url::parse(text.trim())
        .map_err(|_| Complaint::new(format!("{} is not a URL", quoted_url(text)), remedy.clone()))?;
    if !matches!(url.scheme(), "http" | "https") {
        let message = format!("the scheme of {} is neither https nor http", quoted_url(text));
        return Err(Complaint::new(message, remedy));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Complaint::new(
            "the URL must carry no user name and password",
            "write only scheme and host",
        ));
    }
    if url.fragment().is_some() {
        return Err(Complaint::new("the URL must have no fragment", "write it up to the `#`"));
    }
    Ok(url)
}

/// Quotes a URL unless it may carry a password or a key.
fn quoted_url(text: &str) -> String {
    if text.contains(['@', '?', '#']) { "the value".into() } else { format!("{text:?}") }
}

/// Whether a host means this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Ok(Host::Ipv4(ip)) => ip.is_loopback(),
        Ok(Host::Ipv6(ip)) => ip.is_loopback(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_units() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration(" 1h 30 m "), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "s", "10 parsecs", "-1s", "1m1h", "1s1s", "1.5s", "99999999999999999999s", "10s;"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("10").unwrap_err().message, "a duration needs a unit");
        assert!(duration("10").unwrap_err().remedy.contains("\"10s\""));
    }

    #[test]
    fn sizes_carry_units() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("0B"), Ok(0));
        assert_eq!(size("1MB"), Ok(1_000_000));
        assert_eq!(size("2 MiB"), Ok(2 << 20));
        for wrong in ["", "B", "64K", "-1B", "1KiB1B", "1kib"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size("65536").unwrap_err().message, "a size needs a unit");
    }

    #[test]
    fn what_is_shown_reads_back() {
        for millis in [0, 1, 999, 1000, 61_001, 5_400_000, 86_400_000, 604_800_000] {
            let value = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(value)), Ok(value));
        }
        for bytes in [0, 1, 1000, 1024, 65_536, 1 << 20, 3 << 30, 1_000_001] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(show_size(65_536), "64KiB");
        assert_eq!(show_duration(Duration::from_secs(5400)), "1h30m");
    }

    #[test]
    fn addresses_are_ip_and_port() {
        assert_eq!(address("localhost:80"), Ok("127.0.0.1:80".parse().unwrap()));
        assert_eq!(address("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
        for wrong in ["", ":8080", "8080", "vbc.internal:80", "127.0.0.1", "localhost:99999"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_upstream_is_scheme_and_host() {
        let shown = |text| origin(text).map(|o| (o.tls, o.authority.to_string()));
        assert_eq!(shown("https://api.vonage.com/"), Ok((true, "api.vonage.com".into())));
        assert_eq!(shown("https://API.vonage.com:443"), Ok((true, "api.vonage.com".into())));
        assert_eq!(shown("http://[::1]:8090"), Ok((false, "[::1]:8090".into())));
        for wrong in
            ["api.vonage.com", "ftp://x", "https://x/t/vbc.prod", "https://x?y", "https://u:p@x", "https://"]
        {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_quoted() {
        for text in ["https://u:hunter2@x", "ftp://u:hunter2@x", "http://u:hunter2@x y", "ftp://x?k=hunter2"]
        {
            for complaint in [
                origin(text).unwrap_err(),
                url(text, "https://x").unwrap_err(),
                web_origin(text).unwrap_err(),
            ] {
                assert!(!format!("{complaint:?}").contains("hunter2"), "{complaint:?}");
            }
        }
    }

    #[test]
    fn web_origins_and_hosts_are_exact() {
        assert_eq!(web_origin("https://App.Example:443"), Ok("https://app.example".into()));
        assert_eq!(web_origin("http://localhost:3000"), Ok("http://localhost:3000".into()));
        for wrong in ["*", "null", "https://app.example/x", "app.example"] {
            assert!(web_origin(wrong).is_err(), "{wrong}");
        }
        assert_eq!(host_name("VBC.internal"), Ok("vbc.internal".into()));
        assert!(host_name("vbc.internal:80").is_err());
        assert!(host_name("http://vbc.internal").is_err());
        assert!(host_name("").is_err());
    }

    #[test]
    fn loopback_is_recognised() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "api.localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        assert!(!is_loopback("api.vonage.com"));
        assert!(!is_loopback("localhost.example"));
    }
}
