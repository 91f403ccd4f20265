//! `vbc-proxy init`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::Args;

use super::exit::Exit;
use super::output::{print, report};
use crate::config::EXAMPLE;

const FILE: &str = "proxy.toml";

const NEXT: &str = "\
wrote proxy.toml
Next, export VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME and VBC_PASSWORD, or edit the file.
Then run `vbc-proxy check`, which says what is missing.";

/// Write a commented proxy.toml into the working directory
///
/// The file shows every key with its default, can be read by you alone, and takes the credentials
/// from the variables VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME and VBC_PASSWORD. An existing
/// file is left alone.
#[derive(Debug, Args)]
pub(crate) struct Init {}

impl Init {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        write(Path::new(FILE)).map_err(|error| {
            if error.kind() == ErrorKind::AlreadyExists {
                report(format_args!(
                    "{FILE}: it is there already and was left alone; move it away to start again"
                ));
                return Exit::Config;
            }
            report(format_args!("{FILE}: cannot write it: {error}"));
            Exit::Failed
        })?;
        print(NEXT)
    }
}

/// Writes the file for its owner only; an existing file is an error.
fn write(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(EXAMPLE.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_for_its_owner_and_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), EXAMPLE);
        assert_eq!(write(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
}
