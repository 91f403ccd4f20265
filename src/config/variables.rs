//! The environment of the process.

use std::collections::{BTreeMap, BTreeSet};

use vbc_base::trusted::Flaw;
use zeroize::Zeroizing;

/// Environment variables. All values are wiped when dropped, because any may be a secret.
#[derive(Default)]
pub(super) struct Variables {
    pub(super) texts: BTreeMap<String, Zeroizing<String>>,
    /// The names of variables whose values are not UTF-8.
    pub(super) not_text: BTreeSet<String>,
}

/// The state of a variable.
pub(super) enum Variable<'v> {
    /// It is not set.
    NotSet,
    /// Its value is not UTF-8.
    NotText,
    /// Its value.
    Text(&'v str),
}

impl Variables {
    /// The variables of this process.
    pub(super) fn of_process() -> Self {
        let mut variables = Self::default();
        for (name, value) in std::env::vars_os() {
            // Such a name may be damaged: a configuration can only contain names that are UTF-8.
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(text) => drop(variables.texts.insert(name, Zeroizing::new(text))),
                Err(_) => drop(variables.not_text.insert(name)),
            }
        }
        variables
    }

    /// The variable with this name. Its value is not trimmed.
    pub(super) fn get(&self, name: &str) -> Variable<'_> {
        match self.texts.get(name) {
            Some(text) => Variable::Text(text),
            None if self.not_text.contains(name) => Variable::NotText,
            None => Variable::NotSet,
        }
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        match self.get(name) {
            Variable::NotSet => false,
            Variable::NotText => true,
            Variable::Text(text) => !text.is_empty(),
        }
    }

    /// The variables with this prefix, and their trimmed values. Leaves out empty values.
    pub(super) fn starting_with(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let all = self.texts.iter().filter(move |(name, _)| name.starts_with(prefix));
        all.map(|(name, text)| (name.as_str(), trim(text))).filter(|(_, text)| !text.is_empty())
    }
}

/// Removes a leading byte order mark and trailing line ends, which editors and `echo` add.
pub(super) fn trim(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches(['\r', '\n'])
}

pub(super) fn not_text(name: &str) -> Flaw {
    Flaw::new(
        format!("the value of the variable {name} is not UTF-8"),
        format!("set {name} to a UTF-8 value"),
    )
}
