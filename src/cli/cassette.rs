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

/// Turn a cassette into a HAR, or a HAR into a cassette
///
/// HAR 1.2 is what the network panels of browsers export and show.
#[derive(Debug, Args)]
pub(crate) struct Cassette {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the records of a cassette as a HAR
    Export {
        /// The cassette
        #[arg(value_name = "CASSETTE")]
        cassette: PathBuf,
        /// The HAR, readable by you alone; `-` is standard output. Replaces a file, refuses a link
        #[arg(long, value_name = "FILE")]
        har: PathBuf,
    },
    /// Append the entries of a HAR to a cassette, which is created if needed
    ///
    /// Every body is kept. Credentials and cookies are replaced, wherever the archive repeats them.
    /// So are phone numbers, names and e-mail addresses in fields with such a name. Entries that
    /// `cassette export` wrote, and that are unchanged since, stay as they are.
    Import {
        /// The cassette
        #[arg(value_name = "CASSETTE")]
        cassette: PathBuf,
        /// The HAR; `-` is standard input
        #[arg(long, value_name = "FILE")]
        har: PathBuf,
        /// Keep phone numbers, names and e-mail addresses as they are
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
        "{records} entries taken in, {skipped} left out: without an answer, of another protocol, or unreadable"
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
