//! The two streams that a command writes to, and whether they take colours.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use super::Exit;

/// Writes a line to standard output. A reader that went away is no error.
///
/// # Errors
/// [`Exit::Failed`] when the line cannot be written; standard error says why.
pub(super) fn say(line: impl Display) -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    written(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// Writes bytes to standard output as they are. Errors as [`say`].
pub(super) fn print(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Judges the outcome of writing to standard output. Errors as [`say`].
pub(super) fn written(outcome: std::io::Result<()>) -> Result<(), Exit> {
    match outcome {
        Ok(()) => Ok(()),
        // `vbc-proxy … | head` has all it wants.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            complain(format_args!("vbc-proxy: cannot write to standard output: {error}"));
            Err(Exit::Failed)
        }
    }
}

/// Writes a line to standard error. A standard error that takes nothing is no error.
pub(super) fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether a stream is a terminal that shows colours, and nobody has declined them (no-color.org).
pub(super) fn is_colourful(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && takes_colours(|name| std::env::var_os(name))
}

fn takes_colours(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
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
        assert_eq!(written(Ok(())), Ok(()));
        assert_eq!(written(Err(ErrorKind::BrokenPipe.into())), Ok(()));
        assert_eq!(written(Err(ErrorKind::StorageFull.into())), Err(Exit::Failed));
    }
}
