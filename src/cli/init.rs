//! `vbc-proxy init`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::Args;

use super::exit::Exit;
use super::output::{fail, print};
use crate::config::EXAMPLE;

const FILE: &str = "proxy.toml";

const NEXT: &str = "\
wrote proxy.toml
Next, export VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME and VBC_PASSWORD, or edit the file.
Then run `vbc-proxy check`, which reports missing values.";

/// Write a commented proxy.toml into the working directory
///
/// The file shows every key with its default. Only you can read it. It takes the credentials from
/// the variables VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME and VBC_PASSWORD. An existing file
/// is not changed.
#[derive(Debug, Args)]
pub(crate) struct Init {}

impl Init {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        write(Path::new(FILE)).map_err(|error| {
            if error.kind() == ErrorKind::AlreadyExists {
                let reason =
                    format!("{FILE} already exists and was not changed; move it away to start again");
                return fail(Exit::Config, reason);
            }
            fail(Exit::Failed, format_args!("cannot write {FILE}: {error}"))
        })?;
        print(NEXT)
    }
}

/// Creates the file, readable by its owner only. An existing file is an error.
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
