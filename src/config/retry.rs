//! `[retry]`: what is kept of requests, to send them again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::document::Table;
use super::kind::{DAY, Kind, MIB, TIB, settings, size, span};
use super::section::{Reader, Section};
use vbc_base::trusted::Flaw;

settings! {
    /// A request that got a 401 is sent again with a new token, if its body was kept.
    pub struct Retry ["retry"] {
        /// Bodies up to this size are kept in memory.
        memory: usize = "64KiB", size(0, 64 * MIB);
        /// Larger bodies up to this size are kept in a file without a name. Still larger ones are
        /// streamed and not sent again. `"0B"` keeps none.
        disk: u64 = "0B", size(0, TIB);
        /// The most that all these files may occupy together.
        disk_total: u64 = "1GiB", size(0, TIB);
        /// The directory of these files. The default is the system's for temporary files.
        disk_path: PathBuf = "/tmp", directory();
        /// How long a body over `memory` waits for the upstream to ask for it (100 Continue), so
        /// that a 401 comes before the upload. `"0s"` sends it at once.
        expect_timeout: Duration = "1s", span(Duration::ZERO, DAY);
        fields {
            /// Divides the times that hold forced refreshes back. Not a key: 1, except in tests
            /// that run in real time.
            #[doc(hidden)]
            pub hurry: u32 = 1;
        }
    }
}

/// A directory; without the key, the system's for temporary files.
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
            let flaw = Flaw::new("this is not over retry.memory: nothing would go there", remedy);
            section.report_at(location, "disk", flaw);
        } else if retry.disk > retry.disk_total {
            let remedy = "raise retry.disk_total or lower retry.disk";
            section.report_at(location, "disk", Flaw::new("this is over retry.disk_total", remedy));
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

/// Makes a file as a request does.
fn check_directory(path: &Path) -> Result<(), Flaw> {
    tempfile::tempfile_in(path).map(drop).map_err(|error| {
        let message = format!("no file can be made in {}: {error}", path.display());
        Flaw::new(message, "name a directory that is there and that the proxy may write to")
    })
}
