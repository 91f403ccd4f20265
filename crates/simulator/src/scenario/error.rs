//! Errors of a scenario. All problems are reported together, each with its location and remedy.

use std::fmt;

use crate::fault::{FaultError, Names, advice};

/// Line and column, from 1.
pub(super) type Location = (usize, usize);

/// Why a scenario cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{file}: {}; check its name and permissions", unreadable(*reason))]
    Unreadable {
        /// The file.
        file: String,
        /// The reason.
        reason: std::io::ErrorKind,
    },
    /// The file is not UTF-8.
    #[error("{message}; {remedy}")]
    Encoding {
        /// The problem, with the name of the file.
        message: String,
        /// The next step.
        remedy: &'static str,
    },
    /// The content is invalid.
    #[error("{}", .findings.iter().map(|finding| format!("{file}:{finding}")).collect::<Vec<_>>().join("\n"))]
    Findings {
        /// The file.
        file: String,
        /// All problems.
        findings: Vec<Finding>,
    },
}

/// One problem of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The key; empty if the problem has no key.
    pub key: String,
    /// The problem.
    pub problem: String,
    /// The next step, in the imperative.
    pub remedy: String,
}

impl Finding {
    pub(super) fn new(
        (line, column): Location,
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

/// The problem with a fault: the key, the problem, the remedy.
pub(super) fn of_fault(error: &FaultError, names: &Names) -> (Option<String>, String, String) {
    let problem = error.to_string();
    let remedy = advice(error, names);
    match error {
        FaultError::NotAFault => (None, "`fault` is missing".into(), remedy),
        FaultError::Unknown(_) => (Some("fault".into()), problem, remedy),
        FaultError::UnknownParameter { parameter, fault, .. } => {
            (Some(parameter.clone()), format!("`{fault}` takes no `{parameter}`"), remedy)
        }
        FaultError::BadParameter { parameter, .. } => {
            (Some(parameter.clone()), "invalid value".to_owned(), remedy)
        }
        FaultError::ClockOutOfRange => (None, problem, remedy),
        FaultError::NoSuchUser(_) => (Some("user".into()), problem, or(&remedy, "add it under [[users]]")),
        FaultError::NoSuchApplication(_) => {
            (Some("client_id".into()), problem, or(&remedy, "add it under [[applications]]"))
        }
        FaultError::NoSuchSuite(_) => (Some("suite".into()), problem, remedy),
        FaultError::NoSuchGrant(_) => (Some("grants".into()), problem, remedy),
    }
}

fn unreadable(reason: std::io::ErrorKind) -> String {
    match reason {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        reason => format!("cannot be read: {reason}"),
    }
}

fn or(remedy: &str, other: &str) -> String {
    if remedy.ends_with('?') {
        format!("{remedy} Otherwise {other}")
    } else {
        format!("{remedy}; or {other}")
    }
}
