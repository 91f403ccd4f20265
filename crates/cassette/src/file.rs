//! A cassette on disk. Records are appended line by line, so a crash costs at most the last one.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::format::{Header, PersonalData, Record, VERSION};
use vbc_base::clock::Clock;
use vbc_base::random;
use vbc_base::secret::{fingerprint, hex};
use vbc_base::trusted::{self, Flaw};

/// The first bytes of every cassette.
const MAGIC: &[u8] = br#"{"vbc_proxy_cassette":"#;

/// The length of a key in bytes.
pub(crate) const KEY: usize = 32;

/// At most this many bytes of a key file are read. A valid key file is shorter.
const MOST_KEY: usize = 4096;

/// Why a cassette cannot be used.
#[derive(Debug, Error)]
pub enum CassetteError {
    /// The file, or the file of its key, cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another user could have written the cassette's key, and could then resolve the pseudonyms.
    #[error(transparent)]
    Untrusted(#[from] Flaw),
    /// The file is not a cassette. It is left unchanged.
    #[error("{} is not a cassette and was not changed; name another file", path.display())]
    Foreign {
        /// The cassette.
        path: PathBuf,
    },
    /// The cassette was written by a newer program.
    #[error("{} is a cassette of version {version}, but this program reads version {VERSION}; use a newer vbc-proxy", path.display())]
    Newer {
        /// The cassette.
        path: PathBuf,
        /// The version of the cassette's format.
        version: u32,
    },
    /// A line before the last is not a valid record.
    #[error("{}:{line}: not a valid record ({source}); remove this line, or record again", path.display())]
    Damaged {
        /// The cassette.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// Another process is recording to the cassette.
    #[error("another process is recording to {}; stop that process, or record to another file", path.display())]
    Locked {
        /// The cassette.
        path: PathBuf,
    },
    /// The cassette's key is missing or belongs to another cassette, so new records would get other
    /// pseudonyms.
    #[error("{}.key {state}, so nothing can be added to this cassette; restore its key, or record to another file", path.display())]
    NoKey {
        /// The cassette.
        path: PathBuf,
        /// The state of the key, for the message.
        state: &'static str,
    },
    /// The cassette was recorded with the opposite option for personal data.
    #[error("{} was recorded with personal data {}; record to another file, or {}", path.display(), word(*is), remedy(*is))]
    OtherTreatment {
        /// The cassette.
        path: PathBuf,
        /// The option that the cassette was recorded with.
        is: PersonalData,
    },
    /// The writing thread cannot be started.
    #[error("cannot start the thread that writes the cassette: {0}")]
    Thread(#[source] io::Error),
}

fn word(personal_data: PersonalData) -> &'static str {
    match personal_data {
        PersonalData::Hidden => "hidden",
        PersonalData::Kept => "kept",
    }
}

fn remedy(personal_data: PersonalData) -> &'static str {
    match personal_data {
        PersonalData::Hidden => "without --record-personal",
        PersonalData::Kept => "with --record-personal",
    }
}

/// A cassette that has been read.
pub struct Cassette {
    /// The first line of the cassette.
    pub header: Header,
    /// The records, in order.
    pub records: Vec<Record>,
    /// The length in bytes of an incomplete record at the end, left by a crash.
    pub torn: usize,
    /// The key of the cassette's pseudonyms, if the key file is next to the cassette.
    pub(crate) key: Option<[u8; KEY]>,
}

impl Cassette {
    /// Reads a whole cassette. The file is not changed.
    ///
    /// # Errors
    /// If the cassette or its key cannot be read or trusted, or if the file is not a cassette of a
    /// known version.
    pub fn read(path: &Path) -> Result<Self, CassetteError> {
        let text = std::fs::read(path).map_err(|source| in_file(path, source))?;
        let Parsed { header, records, torn } = parse(path, &text)?;
        let Some(header) = header else { return Err(CassetteError::Foreign { path: path.to_owned() }) };
        let key = read_key(path)?.filter(|key| fingerprint_of(key) == header.key);
        Ok(Self { header, records, torn, key })
    }

    /// Whether the key of the cassette's pseudonyms is known.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

impl std::fmt::Debug for Cassette {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = (&self.header, self.records.len(), self.torn);
        f.debug_tuple("Cassette").field(&shown).finish_non_exhaustive()
    }
}

struct Parsed {
    /// `None` in an empty file.
    header: Option<Header>,
    records: Vec<Record>,
    torn: usize,
}

fn parse(path: &Path, text: &[u8]) -> Result<Parsed, CassetteError> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut torn = text.len() - whole;
    let mut lines: Vec<&[u8]> = text[..whole].split_inclusive(|byte| *byte == b'\n').collect();
    let Some(first) = lines.first() else {
        // A crash may have cut the first line short.
        if MAGIC.starts_with(text) || text.starts_with(MAGIC) {
            return Ok(Parsed { header: None, records: Vec::new(), torn });
        }
        return Err(CassetteError::Foreign { path: path.to_owned() });
    };
    #[derive(serde::Deserialize)]
    struct Version {
        vbc_proxy_cassette: u32,
    }
    let foreign = |_| CassetteError::Foreign { path: path.to_owned() };
    let Version { vbc_proxy_cassette: version } = serde_json::from_slice(first).map_err(foreign)?;
    if version > VERSION {
        return Err(CassetteError::Newer { path: path.to_owned(), version });
    }
    let header = serde_json::from_slice(first).map_err(foreign)?;
    // After a power failure the last line may have its end but lack its beginning.
    if lines.len() > 1
        && let Some(last) = lines.last()
        && serde_json::from_slice::<Record>(last).is_err()
    {
        torn += last.len();
        lines.pop();
    }
    let read = |(index, line): (usize, &&[u8])| {
        serde_json::from_slice(line).map_err(|source| CassetteError::Damaged {
            path: path.to_owned(),
            line: index + 1,
            source,
        })
    };
    let records = lines.iter().enumerate().skip(1).map(read).collect::<Result<_, _>>()?;
    Ok(Parsed { header: Some(header), records, torn })
}

/// A cassette that is open for writing. It stays locked until it is dropped.
#[derive(Debug)]
pub(crate) struct Appender {
    file: File,
    /// The end of the last whole line.
    end: u64,
    /// The number of the next record.
    next: u64,
    /// A partial line after `end` could not be removed.
    is_torn: bool,
}

impl Appender {
    /// Opens a cassette, or creates one that only its owner can read. Also returns its key.
    pub(crate) fn open(
        path: &Path,
        personal: PersonalData,
        clock: &Clock,
    ) -> Result<(Self, [u8; KEY]), CassetteError> {
        let failed = |source| in_file(path, source);
        let mut file = trusted::open_output(path).map_err(|source| match source.kind() {
            io::ErrorKind::InvalidInput => CassetteError::Foreign { path: path.to_owned() },
            _ => failed(source),
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(CassetteError::Locked { path: path.to_owned() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let Parsed { header, records, torn } = parse(path, &text)?;
        // The file has been checked first, since the permissions of a foreign file must not change.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
        let end = text.len() - torn;
        if torn > 0 {
            tracing::warn!(
                bytes = torn,
                file = %path.display(),
                "removed an incomplete record from the end of the cassette"
            );
            file.set_len(end as u64).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(end as u64)).map_err(failed)?;
        let next = records.iter().map(|record| record.n).max().unwrap_or(0) + 1;
        let mut appender = Self { file, end: end as u64, next, is_torn: false };
        let key = match header {
            Some(header) => key_of(path, &header, personal)?,
            None => {
                let key = new_key(path)?;
                let header = Header {
                    vbc_proxy_cassette: VERSION,
                    program: concat!("vbc-proxy ", env!("CARGO_PKG_VERSION")).to_owned(),
                    created: clock.now(),
                    personal_data: personal,
                    key: fingerprint_of(&key),
                };
                appender.write(&header).map_err(failed)?;
                key
            }
        };
        Ok((appender, key))
    }

    /// Numbers and appends a record. A partial write is removed again.
    pub(crate) fn add(&mut self, mut record: Record) -> io::Result<()> {
        record.n = self.next;
        self.write(&record)?;
        self.next += 1;
        Ok(())
    }

    fn write(&mut self, line: &impl serde::Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        if self.is_torn {
            self.remove_partial_line()?;
        }
        if let Err(error) = self.file.write_all(&bytes) {
            // If the removal fails too, it is tried again before the next write.
            self.is_torn = true;
            let _ = self.remove_partial_line();
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn remove_partial_line(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.is_torn = false;
        Ok(())
    }

    /// Waits until all records are on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn key_of(path: &Path, header: &Header, personal: PersonalData) -> Result<[u8; KEY], CassetteError> {
    if header.personal_data != personal {
        return Err(CassetteError::OtherTreatment { path: path.to_owned(), is: header.personal_data });
    }
    match read_key(path)? {
        Some(key) if fingerprint_of(&key) == header.key => Ok(key),
        Some(_) => Err(CassetteError::NoKey { path: path.to_owned(), state: "belongs to another cassette" }),
        None => Err(CassetteError::NoKey { path: path.to_owned(), state: "is missing" }),
    }
}

/// The file of a cassette's key. It is a separate file so that the cassette can be shared without
/// its key.
pub(crate) fn key_path(cassette: &Path) -> PathBuf {
    let mut path = cassette.as_os_str().to_owned();
    path.push(".key");
    path.into()
}

fn read_key(cassette: &Path) -> Result<Option<[u8; KEY]>, CassetteError> {
    let path = key_path(cassette);
    let file = match trusted::read(&path, MOST_KEY) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(in_file(&path, source)),
    };
    if let Some(exposed) = &file.checks.exposed {
        tracing::warn!(%exposed, "other users can read the cassette's key, and with it find out who the pseudonyms stand for");
    }
    let text = trusted::text(file.trusted()?).map_err(|source| in_file(&path, source))?;
    let digits = text.trim();
    let byte = |index: usize| u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok();
    let mut key = [0; KEY];
    for (index, place) in key.iter_mut().enumerate() {
        *place = byte(index).ok_or_else(|| in_file(&path, malformed_key()))?;
    }
    Ok(Some(key))
}

fn malformed_key() -> io::Error {
    let advice = "not a key of 64 hexadecimal digits; restore the file, or use another cassette";
    io::Error::new(io::ErrorKind::InvalidData, advice)
}

/// Reads the key file, or creates one.
fn new_key(cassette: &Path) -> Result<[u8; KEY], CassetteError> {
    if let Some(key) = read_key(cassette)? {
        return Ok(key);
    }
    let path = key_path(cassette);
    let failed = |source| in_file(&path, source);
    let key: [u8; KEY] = random::secret().ok_or_else(|| {
        failed(io::Error::other("the operating system gives no random bytes; try again in a moment"))
    })?;
    // Renaming makes the file appear only when it is complete. No other process writes it, because
    // the cassette is locked.
    let partial = path.with_added_extension("new");
    let write = || -> io::Result<()> {
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        file.write_all((hex(&key) + "\n").as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&partial, &path)
    };
    write().map_err(failed)?;
    Ok(key)
}

fn fingerprint_of(key: &[u8; KEY]) -> String {
    fingerprint(&[&hex(key)])
}

pub(crate) fn in_file(path: &Path, source: io::Error) -> CassetteError {
    CassetteError::File { path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
