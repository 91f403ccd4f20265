//! The report of an examination. The admin listener sends it and the command shows it. It contains
//! no secret.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use vbc_base::clock::Timestamp;

/// The outcome of a check. Ordered: the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The check was not made. Its text has the reason.
    Skipped,
    /// The checked object is correct.
    Ok,
    /// The checked object works, or may work, but needs attention.
    Warn,
    /// The checked object does not work.
    Fail,
}

/// One check and its finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The checked object: `token host`, `clock`, or a suite.
    pub name: Cow<'static, str>,
    /// The outcome.
    pub verdict: Verdict,
    /// A fixed word for the finding, for scripts. `None` if the check passes or is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    /// The status of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The finding, as readable text.
    pub found: String,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// A check that passes.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        let found = found.into();
        Self { name: name.into(), verdict: Verdict::Ok, code: None, status: None, found, remedy: None }
    }

    /// A check that was not made.
    pub fn skipped(name: &'static str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::ok(name, found) }
    }

    /// A check with a warning.
    pub fn warn(
        name: &'static str,
        code: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Warn, ..Self::fail(name, code, found, remedy) }
    }

    /// A check that fails.
    pub fn fail(
        name: &'static str,
        code: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Self { verdict: Verdict::Fail, code: Some(code.into()), remedy, ..Self::ok(name, found) }
    }
}

/// A quota that is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Its kind: `application`, `subscription`, …
    pub of: Cow<'static, str>,
    /// The gateway's code, 9008xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// When the quota is renewed, if the response contained the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// All findings about one credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The credential.
    pub credential: String,
    /// The version of the program that examined the credential.
    pub version: String,
    /// The time of the examination, by the clock of the process that examined the credential.
    pub at: Timestamp,
    /// The checks, in their order.
    pub checks: Vec<Check>,
    /// One check per suite.
    pub suites: Vec<Check>,
    /// The check of quotas. `None` if no suite was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Check>,
}

impl Report {
    /// The worst outcome.
    pub fn verdict(&self) -> Verdict {
        self.all().map(|check| check.verdict).max().unwrap_or(Verdict::Skipped)
    }

    /// The number of checks with this outcome.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.all().filter(|check| check.verdict == verdict).count()
    }

    /// Inserts the checks of the configuration before all others.
    pub fn precede(&mut self, checks: Vec<Check>) {
        self.checks.splice(0..0, checks);
    }

    fn all(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().chain(&self.suites).chain(&self.quota)
    }
}
