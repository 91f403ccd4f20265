//! Scenarios: the options and the timeline of a simulator, in a TOML file.
//!
//! ```toml
//! seed = 7                          # the seed of the world, probabilities and tokens
//! start = "2026-03-01T09:00:00Z"    # the simulator's clock
//! quota = 10                        # requests per minute
//! lag = 0                           # delays of Reports, recordings and exports; 1 is VBC's pace
//! webhooks = "loopback"             # where webhooks may be delivered: also "any", or hosts
//!
//! [field]                           # reports from the field; `field = true` switches on all
//! reports_self = true
//!
//! [lifetimes]
//! access = "1h"
//!
//! [[users]]
//! name = "dora"
//! password = "dora-password"
//! without = ["reports"]
//!
//! [[faults]]                        # from the start
//! fault = "delay"
//! millis = 20
//! endpoint = "telephony"
//!
//! [[timeline]]
//! at = "30s"
//! fault = "revoke_all_access"
//!
//! [[timeline]]
//! at = "60s"
//! fault = "status"
//! status = 503
//! path = "/token"
//! lasts = "20s"
//! ```

mod document;
mod error;
mod read;
mod section;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use document::Document;
pub use error::{Finding, ScenarioError};
use error::{Location, of_fault};

use crate::fault::{Action, Fault, FaultError, Names};
use crate::field::FieldReport;
use crate::identities::{Application, User};
use crate::options::SimulatorOptions;
use crate::options::Step;
use crate::policy::{Mode, OldAccess, TokenFormat};
use crate::state::State;
use crate::targets::WebhookTargets;
use vbc_base::clock::{Clock, Timestamp, after};
use vbc_base::encoding;

/// A parsed scenario. Apply it with
/// [`SimulatorBuilder::scenario`](crate::SimulatorBuilder::scenario).
#[derive(Clone, Debug)]
pub struct Scenario {
    file: String,
    seed: Option<u64>,
    start: Option<Timestamp>,
    mode: Option<Mode>,
    old_access: Option<OldAccess>,
    refresh_rotation: Option<bool>,
    token_format: Option<TokenFormat>,
    quota: Option<u32>,
    public_base: Option<String>,
    lag: Option<f64>,
    ringing: Option<Duration>,
    webhooks: Option<WebhookTargets>,
    /// Locations of `quota` and `webhooks` in the file.
    quota_location: Location,
    webhooks_location: Location,
    field: Vec<(FieldReport, bool)>,
    access: Option<Duration>,
    refresh: Option<Duration>,
    code: Option<Duration>,
    applications: Vec<(Application, Location)>,
    users: Vec<(User, Location)>,
    steps: Vec<ScenarioStep>,
}

/// A step of the timeline, and its location.
#[derive(Clone, Debug)]
struct ScenarioStep {
    step: Step,
    key: String,
    location: Location,
}

/// The findings for quotas that exceed the limit set on the command line.
fn over(limit: u32, quotas: impl IntoIterator<Item = (u32, String, Location)>) -> Vec<Finding> {
    let lifts = quotas.into_iter().filter(|(quota, ..)| *quota == 0 || *quota > limit);
    let found = lifts.map(|(_, key, location)| {
        let problem = format!("the simulator was started with a lower quota: {limit}");
        let remedy = format!("write a number from 1 to {limit}, or start the simulator with another --quota");
        Finding::new(location, &key, problem, remedy)
    });
    found.collect()
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// If the file cannot be read, or its content is invalid. The error lists all problems of the
    /// content.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let content = std::fs::read(path);
        let content = content
            .map_err(|error| ScenarioError::Unreadable { file: file.clone(), reason: error.kind() })?;
        let text = encoding::decode(&content);
        let text = text
            .map_err(|error| ScenarioError::Encoding { message: error.of(&file), remedy: error.remedy() })?;
        Self::parse(&file, &text)
    }

    /// Parses the text of a scenario. `file` is its name in errors.
    ///
    /// # Errors
    /// If the text is invalid. The error lists all problems.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let refuse = |findings| ScenarioError::Findings { file: file.to_owned(), findings };
        let document = Document::read(text).map_err(refuse)?;
        read::scenario(file, &document).map_err(refuse)
    }

    pub(crate) fn has_public_base(&self) -> bool {
        self.public_base.is_some()
    }

    /// Checks that the scenario does not exceed the options of the start. A scenario from the
    /// network must not allow anything that the command line forbids.
    ///
    /// # Errors
    /// If it would deliver webhooks to more targets, or allow more requests.
    pub(crate) fn within(&self, started: &SimulatorOptions) -> Result<(), ScenarioError> {
        let own = self.quota.map(|quota| (quota, "quota".to_owned(), self.quota_location));
        let mut findings = match started.quota_limit {
            Some(limit) => over(limit, own.into_iter().chain(self.quotas())),
            None => Vec::new(),
        };
        if self.webhooks.as_ref().is_some_and(|targets| !targets.is_within(&started.webhooks)) {
            let problem = format!("the simulator was started with --webhooks {}", started.webhooks);
            let remedy = "name only targets that this allows, or start the simulator with other --webhooks";
            findings.push(Finding::new(self.webhooks_location, "webhooks", problem, remedy));
        }
        self.without(findings)
    }

    /// Checks that no quota of an application or of the timeline exceeds `limit`. The scenario's
    /// common `quota` does not count, because the command line replaces it.
    ///
    /// # Errors
    /// If a quota is higher than `limit`, or 0 (no limit).
    pub fn within_quota(&self, limit: u32) -> Result<(), ScenarioError> {
        self.without(over(limit, self.quotas()))
    }

    fn without(&self, findings: Vec<Finding>) -> Result<(), ScenarioError> {
        if findings.is_empty() {
            return Ok(());
        }
        Err(ScenarioError::Findings { file: self.file.clone(), findings })
    }

    /// The quotas of applications and of the timeline, with their locations. 0 means no limit.
    fn quotas(&self) -> Vec<(u32, String, Location)> {
        let applications = self.applications.iter().filter_map(|(application, location)| {
            Some((application.quota?, "applications.quota".to_owned(), *location))
        });
        let steps = self.steps.iter().filter_map(|planned| match planned.step.fault {
            Fault::Now(Action::Quota(quota) | Action::ApplicationQuota { per_minute: quota, .. }) => {
                Some((quota.unwrap_or(0), format!("{}.per_minute", planned.key), planned.location))
            }
            _ => None,
        });
        applications.chain(steps).collect()
    }

    /// Applies the scenario to options, and makes them deterministic.
    ///
    /// # Errors
    /// - A step names a user, an application or a suite that is neither in the scenario nor in the
    ///   options.
    /// - A step would move the clock out of its range.
    /// - An application or a user names an unknown suite or grant.
    ///
    /// The error lists all problems.
    pub fn apply(self, options: &mut SimulatorOptions) -> Result<(), ScenarioError> {
        options.deterministic = true;
        options.seed = self.seed.unwrap_or(options.seed);
        options.start = self.start.or(options.start);
        options.mode = self.mode.unwrap_or(options.mode);
        options.old_access = self.old_access.unwrap_or(options.old_access);
        options.refresh_rotation = self.refresh_rotation.unwrap_or(options.refresh_rotation);
        options.token_format = self.token_format.unwrap_or(options.token_format);
        if let Some(quota) = self.quota {
            options.quota = Some(quota).filter(|quota| *quota > 0);
        }
        options.public_base = self.public_base.unwrap_or(std::mem::take(&mut options.public_base));
        options.lag = self.lag.unwrap_or(options.lag);
        options.ringing = self.ringing.unwrap_or(options.ringing);
        options.webhooks = self.webhooks.unwrap_or(std::mem::take(&mut options.webhooks));
        for (report, holds) in self.field {
            options.field = options.field.with(report, holds);
        }
        let lifetimes = &mut options.lifetimes;
        lifetimes.access = self.access.unwrap_or(lifetimes.access);
        lifetimes.refresh = self.refresh.unwrap_or(lifetimes.refresh);
        lifetimes.code = self.code.unwrap_or(lifetimes.code);
        let mut findings = Vec::new();
        for (application, location) in self.applications {
            options.applications.push(application);
            findings.extend(unknown(options, "applications", location, |o| &mut o.applications));
        }
        for (user, location) in self.users {
            options.users.push(user);
            findings.extend(unknown(options, "users", location, |o| &mut o.users));
        }
        findings.extend(rehearse(&self.steps, options));
        options.timeline.extend(self.steps.into_iter().map(|planned| planned.step));
        if findings.is_empty() { Ok(()) } else { Err(ScenarioError::Findings { file: self.file, findings }) }
    }
}

/// Checks the last application or user in the options. If it names an unknown suite or grant,
/// removes it and returns the finding.
fn unknown<T>(
    options: &mut SimulatorOptions,
    key: &str,
    location: Location,
    list: fn(&mut SimulatorOptions) -> &mut Vec<T>,
) -> Option<Finding> {
    let error = options.check().err()?;
    list(options).pop();
    let (member, problem, remedy) = of_fault(&error, &names(options));
    let key = member.map_or(key.to_owned(), |member| format!("{key}.{member}"));
    Some(Finding::new(location, &key, problem, remedy))
}

/// Runs all steps in a separate world, to find the invalid ones.
fn rehearse(steps: &[ScenarioStep], options: &SimulatorOptions) -> Vec<Finding> {
    let clock = Clock::system();
    let start = options.start.unwrap_or(clock.now());
    let mut state = State::seeded(Arc::new(options.clone()), start, 0);
    let mut findings = Vec::new();
    let mut steps: Vec<&ScenarioStep> = steps.iter().collect();
    steps.sort_by_key(|planned| planned.step.at);
    for planned in steps {
        // Sets the clock to the time of the step, unless an earlier step moved it beyond that time.
        let due = after(start, planned.step.at);
        if due > clock.now() || state.advanced.is_zero() {
            clock.set(due);
        }
        if let Err(error) = state.inject(planned.step.fault.clone(), &clock, clock.now()) {
            findings.push(at_fault(&planned.key, planned.location, &error, &names(options)));
        }
    }
    findings
}

fn at_fault(key: &str, location: Location, error: &FaultError, names: &Names) -> Finding {
    let (member, problem, remedy) = of_fault(error, names);
    let key = member.map_or(key.to_owned(), |member| format!("{key}.{member}"));
    Finding::new(location, &key, problem, remedy)
}

fn names(options: &SimulatorOptions) -> Names {
    State::seeded(Arc::new(options.clone()), Timestamp::UNIX_EPOCH, 0).names()
}

/// A step of the timeline, with its key and location in the file.
fn planned(at: Duration, fault: Fault, key: String, location: Location) -> ScenarioStep {
    ScenarioStep { step: Step { at, fault }, key, location }
}

#[cfg(test)]
mod tests;
