//! Values that may stand in the file, in a file of their own, or in an environment variable. None is ever quoted.

use std::io::ErrorKind;

use zeroize::Zeroizing;

use super::characters::Characters;
use super::environment::{self, Variable};
use super::error::{Complaint, Place};
use super::section::{Given, Section};
use crate::trusted;

/// More than any secret; a guard against the wrong file.
const MAX_BYTES: usize = 64 * 1024;

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
    let read = section.trusted((&place, key), &path, MAX_BYTES, true);
    let complaint = match read.and_then(trusted::text) {
        Ok(text) if environment::trim(&text).is_empty() => {
            Complaint::new(format!("{shown} is empty"), "write the value into it")
        }
        Ok(text) => {
            let value = Zeroizing::new(environment::trim(&text).to_owned());
            return allowed(section, (place, key), &shown.to_string(), value, characters);
        }
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            Complaint::new(format!("{shown} is too large for a secret"), "correct the path")
        }
        Err(error) => {
            let remedy = "correct the path or the file's permissions";
            Complaint::new(format!("cannot read {shown}: {error}"), remedy)
        }
    };
    section.complain(place, key, complaint);
    Found::Withheld
}
