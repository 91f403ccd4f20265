//! Findings: problems of a configuration, each with its location and its remedy.
//!
//! A finding quotes a value only if it cannot be a secret.

use std::fmt;
use std::sync::Arc;

use vbc_base::trusted::Flaw;

/// The position of a finding. Locations in a file sort from top to bottom; the environment comes
/// last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A position in a file.
    Line {
        /// The file, in the form that the operator gave.
        file: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
    },
    /// A file as a whole.
    File(Arc<str>),
    /// An environment variable.
    Variable(Arc<str>),
    /// The environment as a whole.
    Environment,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::File(name) | Self::Variable(name) => f.write_str(name),
            Self::Environment => f.write_str("environment"),
        }
    }
}

/// One problem: `proxy.toml:12:5: listen.header_timeout: "10 parsecs" is not a duration; write …`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The position.
    pub location: Location,
    /// The path of the key, such as `listen.address`. Empty if the finding concerns no single key.
    pub key: String,
    /// The problem.
    pub message: String,
    /// The remedy. Empty if the message already implies it.
    pub remedy: String,
}

impl Finding {
    pub(super) fn new(location: Location, key: impl Into<String>, flaw: Flaw) -> Self {
        let Flaw { message, remedy } = flaw;
        Self { location, key: key.into(), message, remedy }
    }

    /// The line in the file, if the location is a line.
    pub fn line(&self) -> Option<usize> {
        match self.location {
            Location::Line { line, .. } => Some(line),
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.location)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// All findings of one configuration, sorted by location. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort();
        findings.dedup();
        Self(findings)
    }

    /// The findings, sorted by location.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }
}

impl fmt::Display for Findings {
    /// One line per finding, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}

/// The remedy for a file that cannot be read.
pub(super) fn remedy_for(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "give this user permission to read the file and to enter its directories"
        }
        std::io::ErrorKind::IsADirectory => "name a file in this directory",
        _ => "correct the path or the file's permissions",
    }
}

/// The finding for a key, section or value of a feature that this version does not have.
pub(super) fn not_available(what: &str) -> Flaw {
    Flaw::new(format!("{what} is not available in this version"), "remove it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize) -> Finding {
        let location = Location::Line { file: "proxy.toml".into(), line, column: 1 };
        Finding::new(location, "listen.workers", Flaw::new("is odd", "make it even"))
    }

    #[test]
    fn findings_are_sorted_by_line_and_the_environment_comes_last() {
        let variable =
            Finding::new(Location::Variable("VBC_PROXY_LOG_LEVEL".into()), "", Flaw::new("no", ""));
        let findings = Findings::new(vec![variable, at(10), at(9), at(9)]);
        let text = findings.to_string();
        let expected = "proxy.toml:9:1: listen.workers: is odd; make it even\n\
                        proxy.toml:10:1: listen.workers: is odd; make it even\n\
                        VBC_PROXY_LOG_LEVEL: no";
        assert_eq!(text, expected);
    }
}
