//! A HAR taken in. An entry that cannot be read is left out, and counted.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::file::{Appender, in_file};
use crate::format::PersonalData;
use crate::har::entry as har_entry;
use crate::har::lenient::without_lone_surrogates;
use crate::har::secrets as har_secrets;
use crate::har::{HarError, ImportCounts};
use crate::record::transcribe::retranscribe;
use crate::redact::pseudonyms::Pseudonyms;
use crate::redact::secrets::KnownSecrets;
use crate::redact::{Filter, Retention};
use vbc_base::clock::Clock;

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Value>,
}

/// Writes the entries of an archive to a cassette, which is begun or added to.
///
/// Every body is kept. Credentials are replaced wherever the archive repeats them, and so is a value
/// whose name says that it is one. Personal data are replaced where the table of operations or a
/// field's name tells them, unless `keep_personal` is set. Entries that an export has marked are
/// taken in as they are.
///
/// # Errors
/// When the text is no archive, or the cassette cannot be written to.
pub fn import(text: &str, path: &Path, keep_personal: bool, clock: &Clock) -> Result<ImportCounts, HarError> {
    // Some begin with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let archive: Archive = match serde_json::from_str(text) {
        Ok(archive) => archive,
        Err(error) => serde_json::from_str(&without_lone_surrogates(text)).map_err(|_| error)?,
    };
    let personal = if keep_personal { PersonalData::Kept } else { PersonalData::Hidden };
    let (mut appender, key) = Appender::open(path, personal, clock)?;
    let pseudonyms = Pseudonyms::new(&key);
    let entries = archive.log.entries.into_iter().map(har_entry::read);
    let (read, skipped): (Vec<_>, Vec<_>) = entries.partition(Option::is_some);
    let read: Vec<_> = read.into_iter().flatten().collect();
    let mut imported = ImportCounts { records: 0, skipped: skipped.len() };
    let mut known = KnownSecrets::default();
    read.iter().for_each(|read| har_secrets::collect(&read.record, &mut known));
    let retention = Retention { personal: keep_personal, unknown: true, unlisted: true };
    let filter = Filter { pseudonyms: &pseudonyms, known: &known, retention };
    for read in read {
        let record = match read.is_pseudonymised(keep_personal) {
            true => read.record,
            false => retranscribe(read.record, &filter),
        };
        appender.add(record).map_err(|source| in_file(path, source))?;
        imported.records += 1;
    }
    appender.sync().map_err(|source| in_file(path, source))?;
    Ok(imported)
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
