//! What is wrong with a scenario: everything at once, each with its line and what to do about it.

use std::fmt;

use super::places::Place;
use crate::simulator::fault::FaultError;

/// Why a scenario cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{file}: it cannot be read: {reason}; check its name and permissions")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        reason: std::io::ErrorKind,
    },
    /// Something in it is wrong.
    #[error("{}", .findings.iter().map(|finding| format!("{file}:{finding}")).collect::<Vec<_>>().join("\n"))]
    Findings {
        /// The file.
        file: String,
        /// Everything that is wrong.
        findings: Vec<Finding>,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The key; empty where it is none in particular.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    pub(super) fn new(
        (line, column): Place,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { line, column, key: key.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, problem, remedy } = self;
        let colon = if key.is_empty() { "" } else { ": " };
        write!(f, "{line}:{column}: {key}{colon}{problem}; {remedy}")
    }
}

/// What is wrong with a fault, and what to do about it: the key, the problem, the remedy.
pub(super) fn of_fault(error: &FaultError, names: &Names) -> (Option<String>, String, String) {
    let problem = error.to_string();
    match error {
        FaultError::NotAFault => {
            (None, "there is no `fault`".into(), "name one, such as fault = \"revoke_all_access\"".into())
        }
        FaultError::Unknown(given) => (Some("fault".into()), problem, choose(given, &names.faults)),
        FaultError::UnknownParameter { parameter, takes, fault } => {
            let takes: Vec<String> = takes.split(", ").map(str::to_owned).collect();
            (Some(parameter.clone()), format!("`{fault}` takes no `{parameter}`"), choose(parameter, &takes))
        }
        FaultError::BadParameter { parameter, expected, .. } => {
            let problem = "not what it should be".to_owned();
            (Some(parameter.clone()), problem, format!("give it {expected}"))
        }
        FaultError::NoSuchUser(given) => {
            let remedy = choose(given, &names.users);
            (Some("user".into()), problem, or(&remedy, "add it under [[users]]"))
        }
        FaultError::NoSuchApplication(given) => {
            let remedy = choose(given, &names.applications);
            (Some("client_id".into()), problem, or(&remedy, "add it under [[applications]]"))
        }
        FaultError::NoSuchSuite(given) => (Some("suite".into()), problem, choose(given, &names.suites)),
        FaultError::NoSuchGrant(given) => (Some("grants".into()), problem, choose(given, &names.grants)),
    }
}

fn or(remedy: &str, other: &str) -> String {
    if remedy.ends_with('?') { format!("{remedy} Else {other}") } else { format!("{remedy}; or {other}") }
}

/// What there is.
pub(super) struct Names {
    pub(super) faults: Vec<String>,
    pub(super) users: Vec<String>,
    pub(super) applications: Vec<String>,
    pub(super) suites: Vec<String>,
    pub(super) grants: Vec<String>,
}

/// What may have been meant, or else everything that could have been.
pub(super) fn choose(given: &str, known: &[String]) -> String {
    let near = known.iter().map(|word| (strsim::damerau_levenshtein(given, word), word)).min();
    match near {
        Some((distance, word)) if distance <= 2.max(given.len() / 4) => format!("did you mean `{word}`?"),
        _ if known.iter().all(String::is_empty) => "remove it".to_owned(),
        _ => format!("there is: {}", known.join(", ")),
    }
}
