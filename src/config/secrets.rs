//! Secrets: in `proxy.toml`, in a separate file, or in an environment variable. Findings never
//! quote them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::characters::Characters;
use super::error::{Location, remedy_for};
use super::kind::Kind;
use super::page::Page;
use super::section::Section;
use super::variables::{self, Variable};
use vbc_base::clock::{self, Clock, Timestamp};
use vbc_base::encoding;
use vbc_base::secret::Secret;
use vbc_base::trusted::{self, Flaw};

/// The maximum size of a file with a secret. Guards against naming the wrong file.
const MAX_BYTES: usize = 64 * 1024;

/// A file is used only if it has not changed for this long. A younger file may be half written.
const SETTLED: Duration = Duration::from_secs(1);

/// A file that keeps changing is read at most this often.
const READ_AGAIN: u32 = 5;

/// A value that may be printed.
pub(super) fn identifier() -> Kind<String> {
    sensitive(|mut value| std::mem::take(&mut *value), |page, key, value| page.text(key, value))
}

/// A user name, which may be printed. It is an `Arc`, because several parts of the proxy keep it.
pub(super) fn user_name() -> Kind<Arc<str>> {
    sensitive(|value| value.as_str().into(), |page, key, value| page.text(key, value))
}

/// A value that is printed as `[redacted]`.
pub(super) fn secret() -> Kind<Secret> {
    sensitive(Secret::from, |page, key, _| page.text(key, "[redacted]"))
}

/// A secret that is printed as a comment. `[redacted]` under its key would not be a valid
/// configuration, because it would name a file or a variable.
pub(super) fn first_refresh_token() -> Kind<Secret> {
    sensitive(Secret::from, |page, _, _| page.comment("a first refresh token is given: [redacted]"))
}

/// `NAME`, `NAME_file` or `NAME_env`.
fn sensitive<T: 'static>(store: fn(Zeroizing<String>) -> T, print: fn(&mut Page, &str, &T)) -> Kind<T> {
    let read = move |section: &mut Section<'_, '_>, key: &str| find(section, key).map(store);
    Kind::new("a text, a file or a variable", read, print)
}

/// The location of the value, in the form in which it is given.
pub(super) fn location(section: &Section<'_, '_>, key: &str) -> Location {
    let given = section.names(key).iter().find(|name| section.is_given(name));
    section.location(given.unwrap_or(&key))
}

/// Reads the value in the form in which it is given. `None` if it is not given, or after a finding.
/// Also `None` for a file or a variable under `--simulate`, which reads neither.
fn find(section: &mut Section<'_, '_>, key: &str) -> Option<Zeroizing<String>> {
    let names = section.names(key).iter();
    let mut given: Vec<_> = names.filter_map(|name| Some((section.key_location(name)?, *name))).collect();
    given.sort();
    let name = key.trim_end_matches("_file");
    let key = match given.as_slice() {
        [] => return None,
        [(_, only)] => *only,
        [(_, first), (location, second), ..] => {
            let remedy = format!("keep one of {name}, {name}_file and {name}_env");
            let flaw = Flaw::new(format!("{first} is also given"), remedy);
            section.report_at(location.clone(), second, flaw);
            return None;
        }
    };
    let text = section.secret(key)?;
    let (subject, value) = if key.ends_with("_file") {
        from_file(section, key, &text)?
    } else if key.ends_with("_env") {
        from_variable(section, key, &text)?
    } else {
        ("the value".into(), from_text(section, key, text)?)
    };
    let characters = Characters::of(name);
    let Some(refused) = characters.refused(&value) else { return Some(value) };
    let message = format!("{subject} has a character that RFC 6749 does not allow here: {refused}");
    let remedy = format!("remove the character; {}", characters.allowed());
    section.report(key, Flaw::new(message, remedy));
    None
}

fn from_text(
    section: &mut Section<'_, '_>,
    key: &str,
    value: Zeroizing<String>,
) -> Option<Zeroizing<String>> {
    if value.is_empty() {
        let remedy = "write the value, or name a file that contains it";
        section.report(key, Flaw::new("the value is empty", remedy));
        return None;
    }
    match section.location(key) {
        Location::Line { .. } => {
            section.reader.inline_secret |= matches!(key, "client_secret" | "password");
        }
        Location::Variable(name) => {
            section.reader.secret_variables.insert(name.to_string());
        }
        _ => {}
    }
    Some(value)
}

/// A description of the variable for findings, and its value.
fn from_variable(
    section: &mut Section<'_, '_>,
    key: &str,
    name: &str,
) -> Option<(String, Zeroizing<String>)> {
    let variable = section.reader.environment.get(name);
    // The name of a variable that is not set may itself be a secret in the wrong place, so it is
    // not kept.
    if !matches!(variable, Variable::NotSet) {
        section.reader.secret_variables.insert(name.to_owned());
    }
    if section.reader.simulate {
        return None;
    }
    let value = match variable {
        Variable::Text(value) if !variables::trim(value).is_empty() => {
            Ok((format!("the variable {name}"), Zeroizing::new(variables::trim(value).to_owned())))
        }
        Variable::Text(_) => {
            Err(Flaw::new(format!("the variable {name} is empty"), format!("export {name}=…")))
        }
        Variable::NotText => Err(variables::not_text(name)),
        Variable::NotSet if is_conventional(name) => {
            Err(Flaw::new(format!("the variable {name} is not set"), format!("export {name}=…")))
        }
        Variable::NotSet => Err(Flaw::new(
            "the variable named here is not set",
            "write the name of an environment variable, such as \"VBC_CLIENT_ID\", not the value itself",
        )),
    };
    section.accept(key, value)
}

/// Whether a word looks like the name of a variable and not like a secret in the wrong place.
fn is_conventional(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = name.contains('_') || !name.contains(|c: char| c.is_ascii_digit());
    words && name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(plain)
}

/// The path of the file for findings, and its content.
fn from_file(section: &mut Section<'_, '_>, key: &str, path: &str) -> Option<(String, Zeroizing<String>)> {
    if section.reader.simulate {
        return None;
    }
    let path = section.reader.resolve(path);
    let shown = path.display().to_string();
    let read = settled(|| age(&path), || trusted::read(&path, MAX_BYTES), thread::sleep);
    let content = read.map(|file| section.checked(key, &path, file, true));
    let value = match content.map(|content| encoding::decode(&content)) {
        Ok(Ok(text)) if variables::trim(&text).is_empty() => {
            Err(Flaw::new(format!("{shown} is empty"), "write the value into it"))
        }
        Ok(Ok(text)) => Ok((shown, Zeroizing::new(variables::trim(&text).to_owned()))),
        Ok(Err(error)) => Err(Flaw::new(error.of(&shown), error.remedy())),
        Err(error) => Err(match error.kind() {
            ErrorKind::FileTooLarge => {
                Flaw::new(format!("{shown} is too large for a secret"), "correct the path")
            }
            ErrorKind::TimedOut => Flaw::new(
                format!("{shown} keeps changing"),
                "write the value to a temporary file, then rename that file",
            ),
            _ => Flaw::new(format!("cannot read {shown}: {error}"), remedy_for(&error)),
        }),
    };
    section.accept(key, value)
}

/// Reads a file repeatedly, until its last change is at least [`SETTLED`] ago.
///
/// # Errors
/// [`ErrorKind::TimedOut`] if it keeps changing.
fn settled<T>(
    age: impl Fn() -> Duration,
    read: impl Fn() -> io::Result<T>,
    pause: impl Fn(Duration),
) -> io::Result<T> {
    for _ in 0..READ_AGAIN {
        let content = read()?;
        let missing = SETTLED.saturating_sub(age());
        if missing.is_zero() {
            return Ok(content);
        }
        pause(missing);
    }
    Err(ErrorKind::TimedOut.into())
}

/// The time since a file was written. A pipe counts as old, because it can be read only once. A
/// file with a time in the future counts as old too.
fn age(path: &Path) -> Duration {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file);
    let written = found.and_then(|file| Timestamp::try_from(file.modified().ok()?).ok());
    let now = Clock::system().now();
    written.filter(|at| *at <= now).map_or(Duration::MAX, |at| clock::until(at, now))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    /// Reads a simulated file with [`settled`]. Each pause brings the next of `contents`, until the
    /// last. `first_age` is the file's age at the first read. Returns the content and the total
    /// pause.
    fn read(contents: &[&'static str], first_age: Duration) -> (Option<&'static str>, Duration) {
        let (age, at, paused) = (Cell::new(first_age), Cell::new(0), RefCell::new(Duration::ZERO));
        let outcome = settled(
            || age.get(),
            || Ok(contents[at.get().min(contents.len() - 1)]),
            |pause| {
                *paused.borrow_mut() += pause;
                at.set(at.get() + 1);
                // The next change happened in the middle of the pause.
                let changed = at.get() < contents.len();
                age.set(if changed { pause / 2 } else { age.get() + pause });
            },
        );
        (outcome.ok(), paused.into_inner())
    }

    #[test]
    fn a_secret_that_is_caught_half_written_is_read_again_a_second_later() {
        assert_eq!(read(&["secret"], SETTLED), (Some("secret"), Duration::ZERO));
        assert_eq!(read(&["sec", "secret"], TENTH).0, Some("secret"));
        assert_eq!(read(&["", "s", "sec", "secret"], TENTH).0, Some("secret"));
        assert_eq!(read(&["secret"], TENTH), (Some("secret"), SETTLED - TENTH));
    }

    #[test]
    fn a_secret_that_keeps_changing_is_not_used() {
        let (found, paused) = read(&["a", "b", "c", "d", "e", "f", "g"], Duration::ZERO);
        assert_eq!(found, None);
        assert!(paused <= SETTLED * READ_AGAIN);
    }

    #[test]
    fn a_file_that_was_just_written_is_young_and_a_device_never_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(age(file.path()) < Duration::from_secs(60));
        assert_eq!(age(Path::new("/dev/null")), Duration::MAX);
    }
}
