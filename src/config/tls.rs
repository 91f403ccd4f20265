//! `listen.tls`: the certificate that clients see, and which certificates they must have
//! themselves.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Complaint, Location};
use super::kind::Kind;
use super::page::Page;
use super::section::Section;
use crate::clock::{Clock, Timestamp};
use crate::server::TlsIdentity;
use crate::trusted::{self, Flaw, PEM_BYTES, TrustedFile};
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
    /// The certificate and those between it and its root, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Roots of the certificates that clients must have; they need none where this is not given.
    pub client_ca: Option<PathBuf>,
}

/// Why the files cannot be used.
#[derive(Debug, Error)]
pub enum TlsFileError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The key of `listen.tls`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Somebody else can change a file.
    #[error("{}", flaw.message)]
    Untrusted {
        /// What is wrong with its owner or permissions.
        flaw: Flaw,
    },
    /// A file has nothing of what it is for, or something that is not PEM.
    #[error("{} holds no {wanted}", path.display())]
    Empty {
        /// The key of `listen.tls`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Certificate and key are no pair, or of a kind that cannot be used.
    #[error("{} and {} cannot be used together: {source}", cert.display(), key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the library says.
        source: rustls::Error,
    },
    /// A root is none.
    #[error("{} holds a certificate that cannot be a root: {source}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// What the library says.
        source: rustls::Error,
    },
}

impl TlsFileError {
    fn remedy(&self) -> &str {
        match self {
            Self::Untrusted { flaw } => &flaw.remedy,
            Self::Unreadable { .. } => "correct the path or the file's permissions",
            Self::Empty { wanted: PRIVATE_KEY, .. } => "it must be PEM: -----BEGIN PRIVATE KEY-----",
            Self::Empty { .. } => "it must be PEM: -----BEGIN CERTIFICATE-----",
            Self::Pair { .. } => {
                "give the key that the certificate was made for; the first certificate of the file is ours"
            }
            Self::Root { .. } => "give the certificate of the authority that clients' certificates come from",
        }
    }
}

const CERTIFICATE: &str = "certificate";
const PRIVATE_KEY: &str = "private key";

/// The files as they were read.
struct Opened {
    cert: TrustedFile,
    key: TrustedFile,
    client_ca: Option<TrustedFile>,
}

impl ListenTls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them; nothing of their content is quoted.
    pub fn load(&self) -> Result<TlsIdentity, TlsFileError> {
        self.understand(&self.open()?.trusted()?)
    }

    fn open(&self) -> Result<Opened, TlsFileError> {
        let read = |key, path: &Path| {
            let unreadable = |source| TlsFileError::Unreadable { key, path: path.to_owned(), source };
            trusted::read(path, PEM_BYTES).map_err(unreadable)
        };
        Ok(Opened {
            cert: read("cert", &self.cert)?,
            key: read("key", &self.key)?,
            client_ca: self.client_ca.as_deref().map(|path| read("client_ca", path)).transpose()?,
        })
    }

    fn understand(&self, content: &Content) -> Result<TlsIdentity, TlsFileError> {
        let Content { cert, key, client_ca } = content;
        let chain = certificates("cert", &self.cert, cert)?;
        let empty = || TlsFileError::Empty { key: "key", path: self.key.clone(), wanted: PRIVATE_KEY };
        let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| empty())?;
        let pair = |source| TlsFileError::Pair { cert: self.cert.clone(), key: self.key.clone(), source };
        let certificate = CertifiedKey::from_der(chain, private, &default_provider()).map_err(pair)?;
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

/// What the files hold.
struct Content {
    cert: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Zeroizing<Vec<u8>>>,
}

impl Opened {
    fn trusted(self) -> Result<Content, TlsFileError> {
        let trusted = |file: TrustedFile| file.trusted().map_err(|flaw| TlsFileError::Untrusted { flaw });
        let (cert, key) = (trusted(self.cert)?, trusted(self.key)?);
        Ok(Content { cert, key, client_ca: self.client_ca.map(trusted).transpose()? })
    }
}

impl Opened {
    /// The content. What is wrong with owners and permissions is reported.
    fn reported(
        self,
        tls: &ListenTls,
        section: &mut Section<'_, '_>,
        key: &str,
        location: &Location,
    ) -> Content {
        let path_of_key = section.path_of(key);
        let mut content = |path: &Path, file: TrustedFile, secret| {
            let (content, checks) = file.into_parts();
            section.reader.report_checks((location, &path_of_key), path, checks, secret);
            content
        };
        Content {
            cert: content(&tls.cert, self.cert, false),
            key: content(&tls.key, self.key, true),
            client_ca: tls
                .client_ca
                .as_deref()
                .zip(self.client_ca)
                .map(|(path, file)| content(path, file, false)),
        }
    }
}

/// When the certificate expires, if its date can be read.
fn expires(identity: &TlsIdentity) -> Option<Timestamp> {
    not_after(identity.certificate.cert.first()?)
}

fn certificates(
    key: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.unwrap_or_default();
    if chain.is_empty() {
        return Err(TlsFileError::Empty { key, path: path.to_owned(), wanted: CERTIFICATE });
    }
    Ok(chain)
}

fn roots(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca", path, pem)? {
        roots.add(certificate).map_err(|source| TlsFileError::Root { path: path.to_owned(), source })?;
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
    let opened = tls.open();
    let loaded = opened.and_then(|opened| tls.understand(&opened.reported(&tls, section, key, &location)));
    match loaded {
        Err(error) => {
            section.report_at(location, key, Complaint::new(error.to_string(), error.remedy()));
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

/// `notAfter` of a certificate (RFC 5280 §4.1.2.5), which the library keeps to itself.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, to_be_signed, _) = element(certificate)?;
    let (tag, _, mut rest) = element(to_be_signed)?;
    if tag == 0xa0 {
        // The version comes first where it is not 1, then the serial number.
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
