//! `listen.tls`: the certificate of the listeners, and the roots of clients' certificates.

use std::path::{Path, PathBuf};

use super::error::Location;
use super::kind::Kind;
use super::page::Page;
use super::section::Section;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use vbc_base::clock::{Clock, Timestamp};
use vbc_base::trusted::{self, Flaw, PEM_BYTES, TrustedFile};
use vbc_http::TlsIdentity;
use zeroize::Zeroizing;

/// `listen.tls`: the files. A running proxy reloads them when they change.
#[derive(Clone, Debug)]
pub struct ListenTls {
    /// The certificate, followed by its intermediate certificates (PEM).
    pub cert: PathBuf,
    /// The private key of the certificate (PEM).
    pub key: PathBuf,
    /// Roots that clients' certificates must lead to (PEM). `None`: clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why the files cannot be used. Their content is never quoted.
#[derive(Debug, Error)]
#[error("{}", .0.message)]
pub struct TlsFileError(Flaw);

impl ListenTls {
    /// Reads the files.
    ///
    /// # Errors
    /// The first problem of the files.
    pub fn load(&self) -> Result<TlsIdentity, TlsFileError> {
        let trusted = |file: TrustedFile| file.trusted().map_err(TlsFileError);
        let contents = self.open()?.into_iter().map(trusted).collect::<Result<Vec<_>, _>>()?;
        self.understand(&contents)
    }

    /// The given paths, each with the name of its key.
    fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let client_ca = self.client_ca.as_deref().map(|path| ("client_ca", path));
        [("cert", &*self.cert), ("key", &*self.key)].into_iter().chain(client_ca)
    }

    /// Opens the files, in the order of [`paths`](Self::paths).
    fn open(&self) -> Result<Vec<TrustedFile>, TlsFileError> {
        let open = |(_, path): (_, &Path)| {
            trusted::read(path, PEM_BYTES).map_err(|error| {
                let message = format!("cannot read {}: {error}", path.display());
                TlsFileError(Flaw::new(message, "correct the path or the file's permissions"))
            })
        };
        self.paths().map(open).collect()
    }

    /// Parses the contents, in the order of [`paths`](Self::paths).
    fn understand(&self, contents: &[Zeroizing<Vec<u8>>]) -> Result<TlsIdentity, TlsFileError> {
        let content = |index: usize| contents.get(index).map_or(&[][..], |content| content);
        let chain = certificates(&self.cert, content(0))?;
        let private =
            PrivateKeyDer::from_pem_slice(content(1)).map_err(|_| empty(&self.key, "private key"))?;
        let certificate = CertifiedKey::from_der(chain, private, &default_provider()).map_err(|error| {
            let (cert, key) = (self.cert.display(), self.key.display());
            let message = format!("{cert} and {key} cannot be used together: {error}");
            let remedy = "use the private key that belongs to the first certificate in the file";
            TlsFileError(Flaw::new(message, remedy))
        })?;
        let client_roots = self.client_ca.as_deref().map(|path| roots(path, content(2))).transpose()?;
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for content in contents {
            digest.update(&content.len().to_be_bytes());
            digest.update(content);
        }
        let fingerprint = digest.finish().as_ref().try_into().unwrap_or_default();
        Ok(TlsIdentity { certificate, client_roots, fingerprint })
    }
}

/// The error for a file that does not contain the wanted item, or is not PEM.
fn empty(path: &Path, wanted: &str) -> TlsFileError {
    let message = format!("{} contains no {wanted}", path.display());
    let remedy = format!("name a PEM file with -----BEGIN {}-----", wanted.to_ascii_uppercase());
    TlsFileError(Flaw::new(message, remedy))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.unwrap_or_default();
    if chain.is_empty() { Err(empty(path, "certificate")) } else { Ok(chain) }
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|error| {
            let message = format!("{} contains a certificate that cannot be a root: {error}", path.display());
            let remedy = "use the certificate of the authority that issued the clients' certificates";
            TlsFileError(Flaw::new(message, remedy))
        })?;
    }
    Ok(roots)
}

/// `{ cert = …, key = …, client_ca = … }`. The files are not read under `--simulate`.
pub(super) fn tls_table() -> Kind<ListenTls> {
    let print = |page: &mut Page, key: &str, tls: &ListenTls| {
        let shown = |(name, path): (&str, &Path)| (name.to_owned(), path.display().to_string().into());
        page.bare(key, toml::Value::Table(tls.paths().map(shown).collect()));
    };
    Kind::new("a table with `cert`, `key` and, optionally, `client_ca`", read, print)
}

fn read(section: &mut Section<'_, '_>, key: &str) -> Option<ListenTls> {
    let location = section.key_location(key)?;
    let tls = read_paths(section, key, &location).filter(|_| !section.reader.simulate)?;
    let path_of_key = section.path_of(key);
    let contents = tls.open().map(|files| {
        let mut contents = Vec::new();
        for ((name, path), file) in tls.paths().zip(files) {
            let (content, checks) = file.into_parts();
            section.reader.report_checks((&location, &path_of_key), path, checks, name == "key");
            contents.push(content);
        }
        contents
    });
    let loaded = contents.and_then(|contents| tls.understand(&contents));
    let identity =
        loaded.map_err(|TlsFileError(flaw)| section.report_at(location.clone(), key, flaw)).ok()?;
    let expires = identity.certificate.cert.first().and_then(|certificate| not_after(certificate));
    if expires.is_some_and(|end| end <= Clock::system().now()) {
        let message = format!("the certificate in {} has expired", tls.cert.display());
        section.warn_at(location, key, Flaw::new(message, "replace it with a new one"));
    }
    Some(tls)
}

fn read_paths(section: &mut Section<'_, '_>, key: &str, location: &Location) -> Option<ListenTls> {
    let parse = |name: &str, value: &str| match name {
        "cert" | "key" | "client_ca" if !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        "cert" | "key" | "client_ca" => Err(Flaw::new("the path is empty", "write a path")),
        _ => Err(Flaw::new(format!("unknown key {name}"), "the keys are: cert, key, client_ca")),
    };
    let mut given = section.map(key, "{ cert = \"cert.pem\", key = \"key.pem\" }", parse)?;
    if section.is_wrong(key) {
        return None;
    }
    let mut path = |name: &str| given.remove(name).map(|path| section.reader.resolve(&path));
    match (path("cert"), path("key"), path("client_ca")) {
        (Some(cert), Some(key), client_ca) => Some(ListenTls { cert, key, client_ca }),
        _ => {
            let remedy = "write tls = { cert = \"cert.pem\", key = \"key.pem\" }";
            let flaw = Flaw::new("both a certificate and its key are needed", remedy);
            section.report_at(location.clone(), key, flaw);
            None
        }
    }
}

/// `notAfter` of a certificate (RFC 5280 §4.1.2.5). rustls does not expose it.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, to_be_signed, _) = element(certificate)?;
    let (tag, _, mut rest) = element(to_be_signed)?;
    if tag == 0xa0 {
        // This was the version, which is left out if it is 1. The serial number follows.
        (_, _, rest) = element(rest)?;
    }
    let (_, _algorithm, rest) = element(rest)?;
    let (_, _issuer, rest) = element(rest)?;
    let (_, validity, _) = element(rest)?;
    let (_, _not_before, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    let time = std::str::from_utf8(time).ok().filter(|time| time.is_ascii())?;
    let century = match (tag, time.get(..2)?) {
        (0x17, year) if year < "50" => "20",
        (0x17, _) => "19",
        _ => "",
    };
    let digits = format!("{century}{time}");
    let part = |from: usize, to: usize| digits.get(from..to);
    format!("{}T{}Z", part(0, 8)?, part(8, 14)?).parse().ok()
}

/// The first element of DER: its tag, its content, and the rest of the input.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_notations() {
        for (year, expected) in [(2031, "2031-02-03T00:00:00Z"), (2055, "2055-02-03T00:00:00Z")] {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 2, 3);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(certificate.der()).unwrap().to_string(), expected);
        }
        assert_eq!(not_after(b"\x30\x84\xff\xff\xff\xff"), None);
        assert_eq!(not_after(b""), None);
    }
}
