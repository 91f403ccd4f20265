//! `[retry]`: how much of a request is kept for a retry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::Table;
use super::kind::{DAY, Kind, MIB, TIB, settings, size, span};
use super::section::{Reader, Section};
use vbc_base::trusted::Flaw;

settings! {
    /// After a 401, the proxy retries a request with a new token, if the body was kept.
    pub struct Retry ["retry"] {
        /// Bodies up to this size are kept in memory.
        memory: usize = "64KiB", size(0, 64 * MIB);
        /// Larger bodies up to this size are kept in an unnamed temporary file. Even larger bodies
        /// are streamed and cannot be retried. `"0B"` keeps nothing on disk.
        disk: u64 = "0B", size(0, TIB);
        /// Maximum total size of the temporary files.
        disk_total: u64 = "1GiB", size(0, TIB);
        /// Where the temporary files are created. By default, the system's temporary directory.
        disk_path: PathBuf = "/tmp", directory();
        /// How long a body larger than `memory` waits for the upstream's `100 Continue`, so that a
        /// 401 arrives before the upload. `"0s"` sends the body immediately.
        expect_timeout: Duration = "1s", span(Duration::ZERO, DAY);
        fields {
            /// Divides the waiting times between forced refreshes. Not a key: always 1, except in
            /// tests that run in real time.
            #[doc(hidden)]
            pub hurry: u32 = 1;
        }
    }
}

/// A directory. If the key is not given: the system's temporary directory.
fn directory() -> Kind<PathBuf> {
    let read =
        |section: &mut Section<'_, '_>, key: &str| Some(section.path(key).unwrap_or_else(std::env::temp_dir));
    Kind::new("a directory", read, |page, key, value| page.text(key, value.display()))
}

impl Retry {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table) -> Self {
        let mut section = reader.section(root, &Self::SHAPE);
        let retry = Self::read_keys(&mut section);
        let location = section.key_location("disk").unwrap_or_else(|| section.location("disk"));
        if retry.disk > 0 && retry.disk <= retry.memory as u64 {
            let remedy = "raise retry.disk, or write \"0B\" to keep nothing on disk";
            let flaw =
                Flaw::new("this is not larger than retry.memory, so no body would be kept on disk", remedy);
            section.report_at(location, "disk", flaw);
        } else if retry.disk > retry.disk_total {
            let remedy = "raise retry.disk_total or lower retry.disk";
            section.report_at(location, "disk", Flaw::new("this is larger than retry.disk_total", remedy));
        } else if retry.disk > 0
            && let Err(flaw) = check_directory(&retry.disk_path)
        {
            let given = section.is_given("disk_path");
            let location = if given { section.location("disk_path") } else { location };
            section.report_at(location, "disk_path", flaw);
        }
        retry
    }
}

/// Creates a temporary file, so that a directory that cannot be used is found at start.
fn check_directory(path: &Path) -> Result<(), Flaw> {
    tempfile::tempfile_in(path).map(drop).map_err(|error| {
        let message = format!("cannot create a file in {}: {error}", path.display());
        Flaw::new(message, "name an existing directory that the proxy can write to")
    })
}
