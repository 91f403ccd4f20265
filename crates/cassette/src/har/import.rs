//! Imports a HAR. Entries that cannot be read are left out and counted.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::entry::ParsedEntry;
use super::lenient::without_lone_surrogates;
use super::{HarError, ImportCounts, secrets};
use crate::file::{Appender, in_file};
use crate::format::PersonalData;
use crate::redact::{Filter, KnownSecrets, Pseudonyms, Retention};
use vbc_base::clock::Clock;

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Value>,
}

/// Writes the entries of an archive to a cassette, which is created or appended to.
///
/// Bodies are kept, except gzip files that contain a credential or cannot be decoded. Values whose
/// names call them credentials are replaced, wherever the archive repeats them. Personal data is
/// replaced where the table of operations or a field's name identifies it, unless `keep_personal`
/// is set. Entries of an export that have not been changed since are not redacted again.
///
/// # Errors
/// If the text is not a HAR, or the cassette cannot be written.
pub fn import(text: &str, path: &Path, keep_personal: bool, clock: &Clock) -> Result<ImportCounts, HarError> {
    let archive = parse(text)?;
    let personal = if keep_personal { PersonalData::Kept } else { PersonalData::Hidden };
    let (mut appender, key) = Appender::open(path, personal, clock)?;
    let all = archive.log.entries.len();
    let entries: Vec<_> = archive.log.entries.into_iter().filter_map(ParsedEntry::parse).collect();
    let mut known = KnownSecrets::default();
    entries.iter().for_each(|entry| secrets::collect(&entry.record, &mut known));
    let pseudonyms = Pseudonyms::new(&key);
    let retention = Retention { personal: keep_personal, unknown: true, unlisted: true };
    let filter = Filter { pseudonyms: &pseudonyms, known: &known, retention };
    let counts = ImportCounts { records: entries.len(), skipped: all - entries.len() };
    for entry in entries {
        let is_done = entry.is_pseudonymised(keep_personal);
        let record = if is_done { entry.record } else { filter.record(entry.record) };
        appender.add(record).map_err(|source| in_file(path, source))?;
    }
    appender.sync().map_err(|source| in_file(path, source))?;
    Ok(counts)
}

fn parse(text: &str) -> Result<Archive, serde_json::Error> {
    // Some archives start with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text)
        .or_else(|error| serde_json::from_str(&without_lone_surrogates(text)).map_err(|_| error))
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
