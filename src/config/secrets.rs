//! Values that may stand in the file, in a file of their own, or in an environment variable. None is ever quoted.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::characters::Characters;
use super::environment::{self, Variable};
use super::error::{Complaint, Place, remedy_for};
use super::section::{Given, Section};
use crate::clock::{self, Clock, Timestamp};
use crate::{encoding, trusted};

/// More than any secret; a guard against the wrong file.
const MAX_BYTES: usize = 64 * 1024;

/// How long a file must have been the same before its secret is used: it may be half written.
const SETTLED: Duration = Duration::from_secs(1);

/// How often a file that keeps changing is read again.
const READ_AGAIN: u32 = 5;

/// What was found under `NAME`, `NAME_file` and `NAME_env`.
pub(super) enum Found {
    /// None of the three is there.
    Nothing,
    /// One is there, but has no usable value (a finding says why), or is not read under `--simulate`.
    Withheld,
    /// The value.
    Value(Given<Zeroizing<String>>),
}

impl Found {
    /// The value, if there is one.
    pub(super) fn given(self) -> Option<Given<Zeroizing<String>>> {
        match self {
            Self::Value(given) => Some(given),
            _ => None,
        }
    }
}

/// Reads the one of `name`, `name_file` and `name_env` that is given.
pub(super) fn find(section: &mut Section<'_, '_>, name: &str) -> Found {
    let [file, env] = [format!("{name}_file"), format!("{name}_env")];
    let mut given = [name, &file, &env].map(|key| section.place_of(key).map(|place| (key.to_owned(), place)));
    given.sort_by(|a, b| a.as_ref().map(|a| &a.1).cmp(&b.as_ref().map(|b| &b.1)));
    let mut given = given.into_iter().flatten();
    let Some((first, _)) = given.next() else { return Found::Nothing };
    if let Some((second, place)) = given.next() {
        let remedy = format!("keep one of {name}, {file} and {env}");
        section.complain(place, &second, Complaint::new(format!("{first} is given as well"), remedy));
        return Found::Withheld;
    }
    let Some(text) = section.secret(&first) else { return Found::Withheld };
    let characters = Characters::of(name);
    if first == file {
        from_file(section, &file, text, characters)
    } else if first == env {
        from_variable(section, &env, text, characters)
    } else {
        inline(section, name, text, characters)
    }
}

fn inline(
    section: &mut Section<'_, '_>,
    key: &str,
    given: Given<Zeroizing<String>>,
    characters: Characters,
) -> Found {
    if given.value.is_empty() {
        section.complain(
            given.place,
            key,
            Complaint::new("the value is empty", "write it, or give it as a file"),
        );
        return Found::Withheld;
    }
    section.reader.inline_secret |=
        matches!(key, "client_secret" | "password") && matches!(given.place, Place::Line { .. });
    if let Place::Variable(name) = &given.place {
        section.reader.secret_variables.insert(name.to_string());
    }
    let Given { value, place } = given;
    allowed(section, (place, key), "the value", value, characters)
}

fn from_variable(
    section: &mut Section<'_, '_>,
    key: &str,
    given: Given<Zeroizing<String>>,
    characters: Characters,
) -> Found {
    let Given { value: name, place } = given;
    let variables = section.reader.environment;
    let variable = variables.get(&name);
    // One that is not there has nothing to hide, and its name may be a secret in the wrong place.
    if !matches!(variable, Variable::NotSet) {
        section.reader.secret_variables.insert(name.to_string());
    }
    if section.reader.simulate {
        return Found::Withheld;
    }
    let complaint = match variable {
        Variable::Text(value) if !environment::trim(value).is_empty() => {
            let value = Zeroizing::new(environment::trim(value).to_owned());
            let subject = format!("the variable {}", *name);
            return allowed(section, (place, key), &subject, value, characters);
        }
        Variable::Text(_) => {
            Complaint::new(format!("the variable {} is empty", *name), format!("export {}=…", *name))
        }
        Variable::NotText => environment::not_text(&name),
        Variable::NotSet if is_conventional(&name) => {
            Complaint::new(format!("the variable {} is not set", *name), format!("export {}=…", *name))
        }
        Variable::NotSet => Complaint::new(
            "the variable named here is not set",
            "write the name of an environment variable, such as \"VBC_CLIENT_ID\", not the value itself",
        ),
    };
    section.complain(place, key, complaint);
    Found::Withheld
}

/// Refuses a value that the token endpoint would not understand as it is meant.
fn allowed(
    section: &mut Section<'_, '_>,
    (place, key): (Place, &str),
    subject: &str,
    value: Zeroizing<String>,
    characters: Characters,
) -> Found {
    let Some(refused) = characters.refused(&value) else { return Found::Value(Given { value, place }) };
    let message = format!("{subject} has a character that RFC 6749 does not allow here: {refused}");
    let remedy = format!("write the value without it; there may be {}", characters.allowed());
    section.complain(place, key, Complaint::new(message, remedy));
    Found::Withheld
}

/// Whether a word looks like the name of a variable rather than like a secret written in the wrong place.
fn is_conventional(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = name.contains('_') || !name.contains(|c: char| c.is_ascii_digit());
    words && name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(plain)
}

fn from_file(
    section: &mut Section<'_, '_>,
    key: &str,
    given: Given<Zeroizing<String>>,
    characters: Characters,
) -> Found {
    let Given { value: path, place } = given;
    if section.reader.simulate {
        return Found::Withheld;
    }
    let path = section.reader.resolve(&path);
    let shown = path.display();
    let read = settled(|| age(&path), || trusted::read(&path, MAX_BYTES), thread::sleep);
    let read = read.map(|file| {
        let (content, checks) = file.into_parts();
        let full = section.key(key);
        section.reader.note_checks((&place, &full), &path, checks, true);
        content
    });
    let complaint = match read.map(|content| encoding::decode(&content)) {
        Ok(Ok(text)) if environment::trim(&text).is_empty() => {
            Complaint::new(format!("{shown} is empty"), "write the value into it")
        }
        Ok(Err(error)) => Complaint::new(error.of(&shown.to_string()), error.remedy()),
        Ok(Ok(text)) => {
            let value = Zeroizing::new(environment::trim(&text).to_owned());
            return allowed(section, (place, key), &shown.to_string(), value, characters);
        }
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            Complaint::new(format!("{shown} is too large for a secret"), "correct the path")
        }
        Err(error) if error.kind() == ErrorKind::TimedOut => Complaint::new(
            format!("{shown} keeps changing"),
            "write it once, for example beside its place, and rename it",
        ),
        Err(error) => Complaint::new(format!("cannot read {shown}: {error}"), remedy_for(&error)),
    };
    section.complain(place, key, complaint);
    Found::Withheld
}

/// Reads a file again until it was written at least [`SETTLED`] ago.
///
/// # Errors
/// [`ErrorKind::TimedOut`] where it keeps changing.
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

/// How long ago a file was written. A pipe, which can be read once, and a file from the future
/// count as old.
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

    /// Reads a file of this age, and says how long that took.
    fn read(contents: &[&'static str], first_age: Duration) -> (Option<&'static str>, Duration) {
        let (age, at, paused) = (Cell::new(first_age), Cell::new(0), RefCell::new(Duration::ZERO));
        let outcome = settled(
            || age.get(),
            || Ok(contents[at.get().min(contents.len() - 1)]),
            |pause| {
                *paused.borrow_mut() += pause;
                at.set(at.get() + 1);
                // The next writer came in the middle of the pause.
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
