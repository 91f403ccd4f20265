//! A HAR taken in. An entry that cannot be read is left out, and counted.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::file::{Appender, in_file};
use super::format::{Answered, Asked, Content, PersonalData, Record};
use super::har::{HarError, Imported};
use super::har_entry;
use super::har_json::without_lone_surrogates;
use super::pseudonyms::Pseudonyms;
use super::transcribe::Cleaner;
use crate::clock::Clock;

#[derive(Deserialize)]
struct Archive {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Value>,
}

/// Writes the entries of an archive to a cassette, which is begun or added to. Credentials are hidden as in a recording, and
/// personal data too unless they are to be kept. Entries that an export has marked are taken in as they are.
///
/// # Errors
/// When the text is no archive, or the cassette cannot be written to.
pub fn import(text: &str, path: &Path, keep_personal: bool, clock: &Clock) -> Result<Imported, HarError> {
    // Some begin with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let archive: Archive = match serde_json::from_str(text) {
        Ok(archive) => archive,
        Err(error) => serde_json::from_str(&without_lone_surrogates(text)).map_err(|_| error)?,
    };
    let personal = if keep_personal { PersonalData::Kept } else { PersonalData::Hidden };
    let (mut appender, key) = Appender::open(path, personal, clock)?;
    let mut pseudonyms = Pseudonyms::new(&key, !keep_personal);
    let mut imported = Imported::default();
    for entry in archive.log.entries {
        let Some(read) = har_entry::read(entry) else {
            imported.skipped += 1;
            continue;
        };
        let record = match read.is_pseudonymised(keep_personal) {
            true => read.record,
            false => hidden(read.record, &mut Cleaner::new(&[], &mut pseudonyms)),
        };
        appender.add(record).map_err(|source| in_file(path, source))?;
        imported.records += 1;
    }
    appender.sync().map_err(|source| in_file(path, source))?;
    Ok(imported)
}

/// A record with what is to be hidden in it hidden.
fn hidden(record: Record, cleaner: &mut Cleaner<'_>) -> Record {
    let Record { request, answer, .. } = record;
    let target = cleaner.target(&request.target);
    let (headers, body) = message(cleaner, request.headers, request.body);
    let request = cleaner.asked(Asked { target, headers, body, ..request });
    let (headers, body) = message(cleaner, answer.headers, answer.body);
    let answer = Answered { headers, body, ..answer };
    Record { request, answer, ..record }
}

fn message(
    cleaner: &mut Cleaner<'_>,
    headers: Vec<(String, String)>,
    body: Content,
) -> (Vec<(String, String)>, Content) {
    let mut fields = cleaner.pairs(headers);
    let body = match body.bytes() {
        Some(bytes) => cleaner.body(&mut fields, bytes, &[]).0,
        None => body,
    };
    (fields, body)
}

#[cfg(test)]
#[path = "har_import_tests.rs"]
mod tests;
