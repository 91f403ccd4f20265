//! Trusted files that a configuration names: what is wrong with them becomes findings and warnings.

use std::path::Path;

use zeroize::Zeroizing;

use super::error::Place;
use super::section::{Reader, Section};
use crate::trusted::{self, Checks};

impl Reader<'_> {
    /// Reads a trusted file. What is wrong with its owner or permissions is noted; the content is given all the same, so that
    /// further findings come at once. With `secret`, readers that it should not have are a warning.
    pub(super) fn trusted(
        &mut self,
        (place, key): (&Place, &str),
        path: &Path,
        limit: usize,
        secret: bool,
    ) -> std::io::Result<Zeroizing<Vec<u8>>> {
        let (content, checks) = trusted::read(path, limit)?.into_parts();
        self.note_checks((place, key), path, checks, secret);
        Ok(content)
    }

    /// Notes what was found about owner and permissions of a file. Under `--simulate` no secret is at stake: a warning.
    pub(super) fn note_checks(
        &mut self,
        (place, key): (&Place, &str),
        path: &Path,
        checks: Checks,
        secret: bool,
    ) {
        for flaw in checks.flaws {
            match self.lenient {
                true => self.warn(place.clone(), key, flaw.into()),
                false => self.complain(place.clone(), key, flaw.into()),
            }
        }
        if let Some(flaw) = checks.exposed.filter(|_| secret) {
            self.warn(place.clone(), key, flaw.into());
        }
        for directory in trusted::directories(path) {
            if !self.directories.insert(directory.clone()) {
                continue;
            }
            if let Some(flaw) = trusted::replaceable(path, &directory) {
                self.warn(place.clone(), key, flaw.into());
            }
        }
    }
}

impl Section<'_, '_> {
    /// [`Reader::trusted`] for one of its keys.
    pub(super) fn trusted(
        &mut self,
        (place, key): (&Place, &str),
        path: &Path,
        limit: usize,
        secret: bool,
    ) -> std::io::Result<Zeroizing<Vec<u8>>> {
        let key = self.key(key);
        self.reader.trusted((place, &key), path, limit, secret)
    }
}
