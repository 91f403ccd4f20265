//! Addresses of listeners.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use vbc_base::trusted::Flaw;

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A unix socket. The permissions of its file decide who may connect.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    /// Writes the address in the form of `listen.address` and `admin.address`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`.
pub(super) fn tcp(text: &str) -> Result<SocketAddr, Flaw> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Some(Ok(port)) = text.strip_prefix("localhost:").map(str::parse) {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let remedy =
        "write IP address and port, for example \"127.0.0.1:8080\", \"[::1]:8080\" or \"localhost:8080\"";
    Err(Flaw::new(format!("{text:?} is not an address"), remedy))
}

/// Reads an address as [`tcp`] does, or `unix:/run/vbc-proxy/admin.sock`. A relative path is
/// relative to `base`.
pub(super) fn listen(text: &str, base: &Path) -> Result<ListenAddress, Flaw> {
    /// The longest path that every system allows, without its terminating zero byte.
    const MOST: usize = 103;
    let Some(path) = text.trim().strip_prefix("unix:") else {
        return tcp(text).map(ListenAddress::Tcp);
    };
    let example = "write, for example, \"unix:/run/vbc-proxy/admin.sock\"";
    let named = !path.is_empty() && !path.ends_with('/');
    let path = base.join(path);
    if !named || path.file_name().is_none() {
        return Err(Flaw::new("the path of the unix socket is missing", example));
    }
    if path.as_os_str().len() > MOST {
        return Err(Flaw::new(format!("the path of the unix socket is longer than {MOST} bytes"), example));
    }
    Ok(ListenAddress::Unix(path))
}

/// Reads the permissions of a socket in the octal form of `chmod`: `"0660"`.
pub(super) fn socket_mode(text: &str) -> Result<u32, Flaw> {
    let remedy = "write \"0600\" (owner only), \"0660\" (owner and group) or \"0666\" (everyone)";
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    match mode {
        Some(mode) if mode <= 0o777 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err(Flaw::new(format!("{text:?} is not a valid mode for a socket"), remedy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ip_and_port() {
        assert_eq!(tcp("localhost:80"), Ok("127.0.0.1:80".parse().unwrap()));
        assert_eq!(tcp("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
        for wrong in ["", ":8080", "8080", "vbc.internal:80", "127.0.0.1", "localhost:99999"] {
            assert!(tcp(wrong).is_err(), "{wrong}");
        }
    }
}
