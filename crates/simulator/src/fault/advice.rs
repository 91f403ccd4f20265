//! What may have been meant by a fault that cannot be.

use super::known::KNOWN;
use super::{FaultError, Known};
use crate::seed::GRANTS;
use crate::state::State;
use crate::world::{SUITES, TENANT};

/// So many names are told; of more, the first.
const TOLD: usize = 60;

/// What there is.
pub(crate) struct Names {
    faults: Vec<String>,
    users: Vec<String>,
    applications: Vec<String>,
    suites: Vec<String>,
    grants: Vec<String>,
}

impl Names {
    pub(crate) fn of(state: &State) -> Self {
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            faults: KNOWN.iter().map(|known| known.name.to_owned()).collect(),
            users: sorted(state.world.logins.values().map(|login| login.name.clone()).collect()),
            applications: sorted(state.world.apps.keys().cloned().collect()),
            suites: owned(SUITES),
            grants: owned(GRANTS),
        }
    }
}

/// What to do about it.
pub(crate) fn advice(error: &FaultError, names: &Names) -> String {
    match error {
        FaultError::NotAFault => "name one, such as fault = \"revoke_all_access\"".into(),
        FaultError::Unknown(given) => choose(given, &names.faults),
        FaultError::UnknownParameter { parameter, takes, .. } => {
            choose(parameter, &takes.split(", ").map(str::to_owned).collect::<Vec<_>>())
        }
        FaultError::ClockOutOfRange => "name a time between these".into(),
        FaultError::BadParameter { expected, .. } => format!("give it {expected}"),
        FaultError::NoSuchUser(given) => user(given, &names.users),
        FaultError::NoSuchApplication(given) => choose(given, &names.applications),
        FaultError::NoSuchSuite(given) => choose(given, &names.suites),
        FaultError::NoSuchGrant(given) => choose(given, &names.grants),
    }
}

/// Users are named in full; most people leave the tenant out.
fn user(given: &str, users: &[String]) -> String {
    let full = format!("{given}{TENANT}");
    if users.iter().any(|user| user.eq_ignore_ascii_case(&full)) {
        return format!("did you mean `{}`?", full.to_lowercase());
    }
    choose(given, users)
}

/// The faults that an error is about: the one that was named, or what is near. Nothing near is all of them.
pub(crate) fn concerned(error: &FaultError) -> Vec<&'static Known> {
    let named = |name: &str| KNOWN.iter().filter(|known| known.name == name).collect();
    match error {
        FaultError::NotAFault => KNOWN.iter().collect(),
        FaultError::Unknown(given) => {
            let names: Vec<String> = KNOWN.iter().map(|known| known.name.to_owned()).collect();
            near(given, &names).map_or_else(|| KNOWN.iter().collect(), named)
        }
        FaultError::UnknownParameter { fault, .. } | FaultError::BadParameter { fault, .. } => named(fault),
        _ => Vec::new(),
    }
}

/// What may have been meant, or else everything that could have been.
pub(crate) fn choose(given: &str, known: &[String]) -> String {
    if let Some(word) = near(given, known) {
        return format!("did you mean `{word}`?");
    }
    if known.iter().all(String::is_empty) {
        return "remove it".to_owned();
    }
    let told: Vec<&str> = known.iter().take(TOLD).map(String::as_str).collect();
    let more = known.len() - told.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("there is: {}{more}", told.join(", "))
}

/// A longer name is none that was mistyped, and comparing takes room and time for each letter of both.
const LONGEST: usize = 64;

fn near<'k>(given: &str, known: &'k [String]) -> Option<&'k str> {
    if given.len() > LONGEST {
        return None;
    }
    let given = given.to_lowercase();
    let (distance, word) =
        known.iter().map(|word| (strsim::damerau_levenshtein(&given, &word.to_lowercase()), word)).min()?;
    (distance <= 2.max(given.len() / 4) && distance < word.len()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_told_and_what_is_too_long_is_not_compared() {
        let known = ["revoke_all_access".to_owned()];
        assert_eq!(near("revoke_all_acces", &known), Some("revoke_all_access"));
        // A quarter of so many letters may differ.
        let long = "x".repeat(LONGEST) + &known[0];
        assert_eq!(near(&long, &["x".repeat(LONGEST) + "revoke"]), None);
    }
}
