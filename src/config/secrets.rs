//! Values that may stand in the file, in a file of their own, or in an environment variable. None is ever quoted.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::Complaint;
use super::section::{Given, Section};

/// More than any secret; a guard against the wrong file.
const MAX_BYTES: u64 = 64 * 1024;

/// What was found under `NAME`, `NAME_file` and `NAME_env`.
pub(super) enum Found {
    /// None of the three is there.
    Nothing,
    /// One is there, but has no usable value (a finding says why), or is not read under `--simulate`.
    Withheld,
    /// The value.
    Value(Given<String>),
}

impl Found {
    /// The value, if there is one.
    pub(super) fn given(self) -> Option<Given<String>> {
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
    let Some(text) = section.text(&first) else { return Found::Withheld };
    if first == file {
        from_file(section, &file, text)
    } else if first == env {
        from_variable(section, &env, text)
    } else {
        inline(section, name, text)
    }
}

fn inline(section: &mut Section<'_, '_>, key: &str, given: Given<String>) -> Found {
    if given.value.is_empty() {
        section.complain(
            given.place,
            key,
            Complaint::new("the value is empty", "write it, or give it as a file"),
        );
        return Found::Withheld;
    }
    section.reader.inline_secret |=
        matches!(key, "client_secret" | "password") && matches!(given.place, super::Place::Line { .. });
    Found::Value(given)
}

fn from_variable(section: &mut Section<'_, '_>, key: &str, given: Given<String>) -> Found {
    let Given { value: name, place } = given;
    if section.reader.simulate {
        return Found::Withheld;
    }
    let complaint = match section.reader.environment.get(&name) {
        Some(value) if !value.is_empty() => return Found::Value(Given { value: value.clone(), place }),
        Some(_) => Complaint::new(format!("the variable {name} is empty"), format!("export {name}=…")),
        None if is_conventional(&name) => {
            Complaint::new(format!("the variable {name} is not set"), format!("export {name}=…"))
        }
        None => Complaint::new(
            "the variable named here is not set",
            "write the name of an environment variable, such as \"VBC_CLIENT_ID\", not the value itself",
        ),
    };
    section.complain(place, key, complaint);
    Found::Withheld
}

/// Whether a word looks like the name of a variable rather than like a secret written in the wrong place.
fn is_conventional(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = name.contains('_') || !name.contains(|c: char| c.is_ascii_digit());
    words && name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(plain)
}

fn from_file(section: &mut Section<'_, '_>, key: &str, given: Given<String>) -> Found {
    let Given { value: path, place } = given;
    if section.reader.simulate {
        return Found::Withheld;
    }
    let path = section.reader.resolve(&path);
    match read(&path) {
        Ok(Contents { text, world_readable }) => {
            if world_readable {
                let message = format!("everyone on this machine can read {}", path.display());
                section.warn(
                    place.clone(),
                    key,
                    Complaint::new(message, format!("chmod 600 {}", path.display())),
                );
            }
            Found::Value(Given { value: text, place })
        }
        Err(complaint) => {
            section.complain(place, key, complaint);
            Found::Withheld
        }
    }
}

struct Contents {
    text: String,
    world_readable: bool,
}

fn read(path: &Path) -> Result<Contents, Complaint> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Complaint::new(format!("cannot read {shown}: {error}"), "correct the path or the file's permissions")
    };
    let file = File::open(path).map_err(unreadable)?;
    let world_readable = file.metadata().is_ok_and(|metadata| is_world_readable(&metadata));
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Complaint::new(format!("{shown} is too large for a secret"), "correct the path"));
    }
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    if text.is_empty() {
        return Err(Complaint::new(format!("{shown} is empty"), "write the value into it"));
    }
    Ok(Contents { text, world_readable })
}

/// Whether others than owner and group may read a file.
pub(super) fn is_world_readable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}
