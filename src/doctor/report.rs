//! What an examination found: what the admin listener sends and the command shows. Holds no secret.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How one thing is. Ordered: the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It could not be looked at, or need not be; the text says why.
    Skipped,
    /// As it should be.
    Ok,
    /// It works, or may work, and should be looked at.
    Warn,
    /// It does not work.
    Fail,
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at: `token host`, `clock`, or a suite.
    pub name: Cow<'static, str>,
    /// How it is.
    pub verdict: Verdict,
    /// A fixed word for what was found, for scripts; none where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    /// The status of the answer, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What was found, for people.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found)
    }

    /// It was not looked at.
    pub fn skipped(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Skipped, found)
    }

    /// It should be looked at.
    pub fn warn(
        name: &'static str,
        code: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::trouble(name, Verdict::Warn, code, found, remedy)
    }

    /// It does not work.
    pub fn fail(
        name: &'static str,
        code: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::trouble(name, Verdict::Fail, code, found, remedy)
    }

    fn trouble(
        name: &'static str,
        verdict: Verdict,
        code: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Self { code: Some(code.into()), remedy, ..Self::new(name, verdict, found) }
    }

    fn new(name: &'static str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { name: name.into(), verdict, code: None, status: None, found: found.into(), remedy: None }
    }
}

/// A quota that the service said is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Whose: `application`, `subscription`, …
    pub of: Cow<'static, str>,
    /// The gateway's code, 9008xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// When it ends, where the service said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Everything that was found about one credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The credential.
    pub credential: String,
    /// The version of the program that looked.
    pub version: String,
    /// When it looked, by its own clock.
    pub at: Timestamp,
    /// The checks, in their order.
    pub checks: Vec<Check>,
    /// One line a suite that was asked.
    pub suites: Vec<Check>,
    /// Whether a quota was seen to be used up; none where no suite could be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Check>,
}

impl Report {
    /// The worst of all.
    pub fn verdict(&self) -> Verdict {
        self.all().map(|check| check.verdict).max().unwrap_or(Verdict::Skipped)
    }

    /// How many are this bad.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.all().filter(|check| check.verdict == verdict).count()
    }

    /// Puts what is known of the configuration file in front.
    pub fn precede(&mut self, checks: Vec<Check>) {
        self.checks.splice(0..0, checks);
    }

    fn all(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().chain(&self.suites).chain(&self.quota)
    }
}
