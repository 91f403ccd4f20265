//! `listen.tls`: the certificate that clients see, and the certificates that they need.

use std::path::{Path, PathBuf};

use super::error::{Complaint, Location};
use super::kind::Kind;
use super::page::Page;
use super::section::Section;
use crate::clock::{Clock, Timestamp};
use crate::server::TlsIdentity;
use crate::trusted::{self, PEM_BYTES, TrustedFile};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use zeroize::Zeroizing;

/// `listen.tls`: the files, which are read again when they change.
#[derive(Clone, Debug)]
pub struct ListenTls {
    /// The certificate, and those between it and its root (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// Roots of the certificates that clients need (PEM). `None`: clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why the files cannot be used. Their content is never quoted.
#[derive(Debug, Error)]
#[error("{}", .0.message)]
pub struct TlsFileError(Complaint);

/// Something for each of the files.
struct Files<T> {
    cert: T,
    key: T,
    client_ca: Option<T>,
}

impl<T> Files<T> {
    /// Converts each of them, given the name of its key.
    fn try_map<U>(
        self,
        mut convert: impl FnMut(&str, T) -> Result<U, TlsFileError>,
    ) -> Result<Files<U>, TlsFileError> {
        Ok(Files {
            cert: convert("cert", self.cert)?,
            key: convert("key", self.key)?,
            client_ca: self.client_ca.map(|file| convert("client_ca", file)).transpose()?,
        })
    }
}

impl ListenTls {
    /// Reads the files.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn load(&self) -> Result<TlsIdentity, TlsFileError> {
        let trusted =
            |_: &str, (_, file): (_, TrustedFile)| file.trusted().map_err(|flaw| TlsFileError(flaw.into()));
        self.understand(&self.open()?.try_map(trusted)?)
    }

    fn open(&self) -> Result<Files<(&Path, TrustedFile)>, TlsFileError> {
        let paths = Files { cert: &*self.cert, key: &*self.key, client_ca: self.client_ca.as_deref() };
        paths.try_map(|_, path| {
            let file = trusted::read(path, PEM_BYTES).map_err(|error| {
                let message = format!("cannot read {}: {error}", path.display());
                TlsFileError(Complaint::new(message, "correct the path or the file's permissions"))
            })?;
            Ok((path, file))
        })
    }

    fn understand(&self, content: &Files<Zeroizing<Vec<u8>>>) -> Result<TlsIdentity, TlsFileError> {
        let Files { cert, key, client_ca } = content;
        let chain = certificates(&self.cert, cert)?;
        let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| empty(&self.key, "private key"))?;
        let certificate = CertifiedKey::from_der(chain, private, &default_provider()).map_err(|error| {
            let (cert, key) = (self.cert.display(), self.key.display());
            let message = format!("{cert} and {key} cannot be used together: {error}");
            let remedy =
                "give the key that the certificate was made for; the first certificate of the file is ours";
            TlsFileError(Complaint::new(message, remedy))
        })?;
        let client_roots = match (&self.client_ca, client_ca) {
            (Some(path), Some(pem)) => Some(roots(path, pem)?),
            _ => None,
        };
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for content in [Some(cert), Some(key), client_ca.as_ref()].into_iter().flatten() {
            digest.update(&content.len().to_be_bytes());
            digest.update(content);
        }
        let fingerprint = digest.finish().as_ref().try_into().unwrap_or_default();
        Ok(TlsIdentity { certificate, client_roots, fingerprint })
    }
}

/// When the certificate expires, if its date can be read.
fn expires(identity: &TlsIdentity) -> Option<Timestamp> {
    not_after(identity.certificate.cert.first()?)
}

/// For a file without what it is for, or that is not PEM.
fn empty(path: &Path, wanted: &str) -> TlsFileError {
    let message = format!("{} holds no {wanted}", path.display());
    let remedy = format!("it must be PEM: -----BEGIN {}-----", wanted.to_ascii_uppercase());
    TlsFileError(Complaint::new(message, remedy))
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
            let message = format!("{} holds a certificate that cannot be a root: {error}", path.display());
            let remedy = "give the certificate of the authority that clients' certificates come from";
            TlsFileError(Complaint::new(message, remedy))
        })?;
    }
    Ok(roots)
}

/// `{ cert = …, key = …, client_ca = … }`. The files are not read under `--simulate`.
pub(super) fn tls_table() -> Kind<ListenTls> {
    let print = |page: &mut Page, key: &str, tls: &ListenTls| {
        let paths =
            [("cert", Some(&tls.cert)), ("key", Some(&tls.key)), ("client_ca", tls.client_ca.as_ref())];
        let given = paths.into_iter().filter_map(|(name, path)| Some((name, path?.display().to_string())));
        let table = given.map(|(name, path)| (name.to_owned(), path.into())).collect();
        page.bare(key, toml::Value::Table(table));
    };
    Kind::new("a table with `cert`, `key` and, optionally, `client_ca`", read, print)
}

fn read(section: &mut Section<'_, '_>, key: &str) -> Option<ListenTls> {
    let location = section.key_location(key)?;
    let tls = read_paths(section, key, &location).filter(|_| !section.reader.simulate)?;
    let path_of_key = section.path_of(key);
    let report_checks = |name: &str, (path, file): (&Path, TrustedFile)| {
        let (content, checks) = file.into_parts();
        section.reader.report_checks((&location, &path_of_key), path, checks, name == "key");
        Ok(content)
    };
    let content = tls.open().and_then(|opened| opened.try_map(report_checks));
    let loaded = content.and_then(|content| tls.understand(&content));
    match loaded {
        Err(TlsFileError(complaint)) => {
            section.report_at(location, key, complaint);
            return None;
        }
        Ok(identity) if expires(&identity).is_some_and(|end| end <= Clock::system().now()) => {
            let message = format!("the certificate in {} has expired", tls.cert.display());
            section.warn_at(location, key, Complaint::new(message, "put a new one in its place"));
        }
        Ok(_) => {}
    }
    Some(tls)
}

fn read_paths(section: &mut Section<'_, '_>, key: &str, location: &Location) -> Option<ListenTls> {
    let parse = |name: &str, value: &str| match name {
        "cert" | "key" | "client_ca" if !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        "cert" | "key" | "client_ca" => Err(Complaint::new("the path is empty", "write a path")),
        _ => Err(Complaint::new(format!("there is no such key: {name}"), "there are: cert, key, client_ca")),
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
            let complaint = Complaint::new("a certificate and its key are needed", remedy);
            section.report_at(location.clone(), key, complaint);
            None
        }
    }
}

/// `notAfter` of a certificate (RFC 5280 §4.1.2.5), which rustls does not tell.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, to_be_signed, _) = element(certificate)?;
    let (tag, _, mut rest) = element(to_be_signed)?;
    if tag == 0xa0 {
        // The version is first unless it is 1; the serial number follows.
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
    let (date, hour) =
        ((part(0, 4)?, part(4, 6)?, part(6, 8)?), (part(8, 10)?, part(10, 12)?, part(12, 14)?));
    let text = format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, hour.0, hour.1, hour.2);
    text.parse().ok()
}

/// The first element of DER: its tag, its content, and what follows.
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
