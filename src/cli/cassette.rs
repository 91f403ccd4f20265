//! `vbc-proxy cassette`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::recording::refuse;
use super::{Exit, complain, logging, print};
use crate::cassette::Cassette as Tape;
use crate::cassette::har::{self, HarError};
use crate::clock::Clock;
use crate::config::Log;
use crate::{encoding, trusted};

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
        /// The HAR, readable by you alone; `-` is standard output. An existing file is replaced, a link is refused
        #[arg(long, value_name = "FILE")]
        har: PathBuf,
    },
    /// Write the entries of a HAR to a cassette, which is begun or added to
    ///
    /// Every body is kept. Replaced are credentials and cookies, wherever the archive repeats them,
    /// and phone numbers, names and e-mail addresses in fields that are named so. Entries that
    /// `cassette export` wrote, and that nobody has changed since, stay as they are.
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
    pub(crate) fn run(&self) -> Exit {
        let _logging = logging::start(&Log::default());
        match &self.command {
            Command::Export { cassette, har } => export(cassette, har),
            Command::Import { cassette, har, keep_personal } => import(cassette, har, *keep_personal),
        }
    }
}

fn export(cassette: &Path, har: &Path) -> Exit {
    let cassette = match Tape::read(cassette) {
        Ok(cassette) => cassette,
        Err(error) => return refuse(&error),
    };
    let text = format!("{:#}\n", har::export(&cassette));
    if har == Path::new("-") {
        return print(text.as_bytes()).err().unwrap_or(Exit::Done);
    }
    match trusted::write_output(har, text.as_bytes()) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(format_args!("vbc-proxy: cannot write {}: {error}", har.display()));
            Exit::Failed
        }
    }
}

fn import(cassette: &Path, har: &Path, keep_personal: bool) -> Exit {
    let mut content = Vec::new();
    let read = match har == Path::new("-") {
        true => std::io::stdin().read_to_end(&mut content).map(drop),
        false => std::fs::read(har).map(|read| content = read),
    };
    if let Err(error) = read {
        complain(format_args!("vbc-proxy: cannot read {}: {error}", har.display()));
        return Exit::Config;
    }
    let text = match encoding::decode(&content) {
        Ok(text) => text,
        Err(error) => {
            let (fault, remedy) = (error.of(&har.display().to_string()), error.remedy());
            complain(format_args!("vbc-proxy: {fault}; {remedy}"));
            return Exit::Config;
        }
    };
    match har::import(&text, cassette, keep_personal, &Clock::system()) {
        Ok(imported) => {
            let har::Imported { records, skipped } = imported;
            complain(format_args!(
                "{records} entries taken in, {skipped} left out: without an answer, of another protocol, or unreadable"
            ));
            Exit::Done
        }
        Err(HarError::Cassette(error)) => refuse(&error),
        Err(error @ HarError::Malformed(_)) => {
            complain(format_args!("vbc-proxy: {}: {error}", har.display()));
            Exit::Failed
        }
    }
}
