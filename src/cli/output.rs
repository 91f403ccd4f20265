//! Writes to standard output and standard error, and decides whether to use colours.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use super::exit::Exit;

/// Writes a line to standard output. A closed pipe is no error.
///
/// # Errors
/// [`Exit::Failed`] if the line cannot be written; the reason is on standard error.
pub(super) fn print(line: impl Display) -> Result<(), Exit> {
    print_bytes(format!("{line}\n").as_bytes())
}

/// Writes bytes to standard output, unchanged. Fails like [`print`].
pub(super) fn print_bytes(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    printed(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Turns the outcome of a write to standard output into the outcome of the command. Fails like
/// [`print`].
pub(super) fn printed(outcome: std::io::Result<()>) -> Result<(), Exit> {
    match outcome {
        Ok(()) => Ok(()),
        // `vbc-proxy … | head` closes the pipe early.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(fail(Exit::Failed, format_args!("cannot write to standard output: {error}"))),
    }
}

/// Writes a line to standard error. A failed write is ignored.
pub(super) fn report(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Reports why the command fails, under the program's name, and returns `exit`.
pub(super) fn fail(exit: Exit, reason: impl Display) -> Exit {
    report(format_args!("vbc-proxy: {reason}"));
    exit
}

/// Whether a stream is a terminal with colours and `NO_COLOR` is not set (no-color.org).
pub(super) fn is_colourful(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && takes_colours(|name| std::env::var_os(name))
}

fn takes_colours(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_dumb = variable("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let declined = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_dumb && !declined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_a_dumb_terminal_decline_colours() {
        let takes = |variables: &[(&str, &str)]| {
            takes_colours(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            })
        };
        assert!(takes(&[("TERM", "xterm")]));
        assert!(takes(&[("TERM", "xterm"), ("NO_COLOR", "")]));
        assert!(!takes(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
        assert!(!takes(&[("TERM", "dumb")]));
        assert!(!takes(&[("TERM", "")]));
        assert!(!takes(&[]));
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_and_a_full_disk_is_one() {
        assert_eq!(printed(Ok(())), Ok(()));
        assert_eq!(printed(Err(ErrorKind::BrokenPipe.into())), Ok(()));
        assert_eq!(printed(Err(ErrorKind::StorageFull.into())), Err(Exit::Failed));
    }
}
