//! Advice on faults that cannot be injected.

use super::FaultError;
use super::specs::{FAULTS, FaultSpec};
use crate::names::{GRANTS, SUITES, TENANT};
use crate::suggestion::{choose, near};

/// The names that a fault may refer to.
pub(crate) struct Names {
    faults: Vec<String>,
    users: Vec<String>,
    applications: Vec<String>,
    suites: Vec<String>,
    grants: Vec<String>,
}

impl Names {
    /// These users and applications, with the fixed names of faults, suites and grants.
    pub(crate) fn new(mut users: Vec<String>, mut applications: Vec<String>) -> Self {
        users.sort();
        applications.sort();
        let faults = FAULTS.iter().map(|known| known.name.to_owned()).collect();
        Self { faults, users, applications, suites: owned(SUITES), grants: owned(GRANTS) }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The remedy for an error.
pub(crate) fn advice(error: &FaultError, names: &Names) -> String {
    match error {
        FaultError::NotAFault => "add it, such as fault = \"revoke_all_access\"".into(),
        FaultError::Unknown(given) => choose(given, &names.faults),
        FaultError::UnknownParameter { parameter, takes, .. } => {
            let takes: Vec<String> = takes.split(", ").map(str::to_owned).collect();
            // Not only the name: a parameter may have the name of its fault, such as `status`.
            let near = near(parameter, &takes).map(|word| format!("did you mean the parameter `{word}`?"));
            near.unwrap_or_else(|| choose(parameter, &takes))
        }
        FaultError::ClockOutOfRange => "use a time in this range".into(),
        FaultError::BadParameter { expected, .. } => format!("write {expected}"),
        FaultError::NoSuchUser(given) => user(given, &names.users),
        FaultError::NoSuchApplication(given) => choose(given, &names.applications),
        FaultError::NoSuchSuite(given) => choose(given, &names.suites),
        FaultError::NoSuchGrant(given) => choose(given, &names.grants),
    }
}

/// Suggests a user. If the given name lacks only the tenant, suggests the full name.
fn user(given: &str, users: &[String]) -> String {
    let full = format!("{given}{TENANT}");
    if users.iter().any(|user| user.eq_ignore_ascii_case(&full)) {
        return format!("did you mean `{}`?", full.to_lowercase());
    }
    choose(given, users)
}

/// The faults that an error is about: the named fault, or the one with the nearest name. If no name
/// is near, all faults.
pub(crate) fn concerned(error: &FaultError) -> Vec<&'static FaultSpec> {
    let named = |name: &str| FAULTS.iter().filter(|known| known.name == name).collect();
    match error {
        FaultError::NotAFault => FAULTS.iter().collect(),
        FaultError::Unknown(given) => {
            let names: Vec<String> = FAULTS.iter().map(|known| known.name.to_owned()).collect();
            near(given, &names).map_or_else(|| FAULTS.iter().collect(), named)
        }
        FaultError::UnknownParameter { fault, .. } | FaultError::BadParameter { fault, .. } => named(fault),
        _ => Vec::new(),
    }
}
