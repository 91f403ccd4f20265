//! The log of `run`: a file, so that the terminal shows only the command's own output.
//!
//! The file is kept, and its name reported, where the command fails; otherwise it is removed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::logging::{self, Logging};
use super::output::report;
use crate::config::Log;

/// The log of one run.
pub(super) struct RunLog {
    logging: Logging,
    /// `None` where it goes to standard error.
    path: Option<PathBuf>,
}

impl RunLog {
    /// Begins to log: to a file or, if `verbose`, to standard error.
    pub(super) fn begin(log: &Log, verbose: bool) -> Self {
        if verbose {
            return Self { logging: logging::start(log), path: None };
        }
        match create() {
            Ok((file, path)) => Self { logging: logging::start_in(log, file), path: Some(path) },
            Err(error) => {
                let folder = std::env::temp_dir();
                report(format_args!(
                    "vbc-proxy: no log file in {}: {error}; the log follows here (TMPDIR names another folder)",
                    folder.display()
                ));
                Self { logging: logging::start(log), path: None }
            }
        }
    }

    /// Ends the log. `failed` keeps the file and reports its name.
    pub(super) fn end(self, failed: bool) {
        // Dropping writes all lines.
        drop(self.logging);
        let Some(path) = self.path else { return };
        let is_empty = path.metadata().is_ok_and(|file| file.len() == 0);
        if !failed || is_empty {
            let _ = std::fs::remove_file(&path);
            return;
        }
        report(format_args!(
            "vbc-proxy: the command failed; what the proxy logged is in {} (--verbose shows it as it comes)",
            path.display()
        ));
    }
}

/// Creates a new file, for its owner only.
fn create() -> std::io::Result<(File, PathBuf)> {
    let number = u64::from_be_bytes(crate::random::bytes());
    let path = std::env::temp_dir().join(format!("vbc-proxy-run-{number:016x}.log"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((file, path))
}
