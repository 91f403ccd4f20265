//! `vbc-proxy cassette`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::output::{fail, print_bytes, report};
use super::{logging, recording};
use crate::config::Log;
use vbc_base::clock::Clock;
use vbc_base::{encoding, trusted};
use vbc_cassette::Cassette as Tape;
use vbc_cassette::har::{self, HarError, ImportCounts};

/// Convert a cassette to a HAR file, or a HAR file to a cassette
///
/// HAR 1.2 is the format that the network panels of browsers export and import.
#[derive(Debug, Args)]
pub(crate) struct Cassette {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the records of a cassette to a HAR file
    Export {
        /// The cassette
        #[arg(value_name = "CASSETTE")]
        cassette: PathBuf,
        /// The HAR file, readable by you alone; `-` is standard output. An existing file is
        /// replaced; a symbolic link is refused
        #[arg(long, value_name = "FILE")]
        har: PathBuf,
    },
    /// Append the entries of a HAR file to a cassette, which is created if needed
    ///
    /// Keeps every body. Replaces credentials and cookies, also where the file repeats them.
    /// Replaces phone numbers, names and e-mail addresses in fields whose names identify them.
    /// Entries that `cassette export` wrote stay unchanged, unless they were edited since.
    Import {
        /// The cassette
        #[arg(value_name = "CASSETTE")]
        cassette: PathBuf,
        /// The HAR file; `-` is standard input
        #[arg(long, value_name = "FILE")]
        har: PathBuf,
        /// Do not replace phone numbers, names and e-mail addresses
        #[arg(long)]
        keep_personal: bool,
    },
}

impl Cassette {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        let _logging = logging::start(&Log::default());
        match &self.command {
            Command::Export { cassette, har } => export(cassette, har),
            Command::Import { cassette, har, keep_personal } => import(cassette, har, *keep_personal),
        }
    }
}

fn export(cassette: &Path, har: &Path) -> Result<(), Exit> {
    let cassette = Tape::read(cassette).map_err(|error| recording::refuse(&error))?;
    let text = format!("{:#}\n", har::export(&cassette));
    if har == Path::new("-") {
        return print_bytes(text.as_bytes());
    }
    trusted::write_output(har, text.as_bytes())
        .map_err(|error| fail(Exit::Failed, format_args!("cannot write {}: {error}", har.display())))
}

fn import(cassette: &Path, har: &Path, keep_personal: bool) -> Result<(), Exit> {
    let name = har.display().to_string();
    let content =
        read(har).map_err(|error| fail(Exit::Config, format_args!("cannot read {name}: {error}")))?;
    let text = encoding::decode(&content)
        .map_err(|error| fail(Exit::Config, format_args!("{}; {}", error.of(&name), error.remedy())))?;
    let imported = har::import(&text, cassette, keep_personal, &Clock::system());
    let ImportCounts { records, skipped } = imported.map_err(|error| match error {
        HarError::Cassette(error) => recording::refuse(&error),
        HarError::Malformed(_) => fail(Exit::Failed, format_args!("{name}: {error}")),
    })?;
    report(format_args!(
        "imported {records} entries; skipped {skipped} (without a response, of another protocol, or unreadable)"
    ));
    Ok(())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path);
    }
    let mut content = Vec::new();
    std::io::stdin().read_to_end(&mut content)?;
    Ok(content)
}
