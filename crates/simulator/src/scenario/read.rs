//! Reads a scenario from a document: the keys and their values.

use std::time::Duration;

use serde_json::{Map, Value};

use super::document::{Document, join};
use super::error::Finding;
use super::section::{A_TEXT, Section, text};
use super::{Scenario, ScenarioStep, at_fault, names, planned};
use crate::fault::{Effect, Fault};
use crate::field::FieldReport;
use crate::identities::{Application, User};
use crate::options::SimulatorOptions;
use crate::targets::WebhookTargets;
use crate::times::{self, TIMES};

const A_NUMBER: &str = "write a whole number";

/// Reads the whole document.
///
/// # Errors
/// All problems, in the order of their lines.
pub(super) fn scenario(file: &str, document: &Document) -> Result<Scenario, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut root = Section::new(document, "", &document.root, &mut findings);
    let mut scenario = Scenario {
        file: file.to_owned(),
        seed: root.take("seed", A_NUMBER, Value::as_u64),
        start: root.take(
            "start",
            "write a time from 1970 to 9999-12-30, such as \"2026-03-01T09:00:00Z\"",
            |value| parsed(value).filter(|start| TIMES.contains(start)),
        ),
        mode: root.take("mode", "write one of: reuse, renew_revoke, renew_keep", parsed),
        old_access: root.take("old_access", "write one of: dead, alive", parsed),
        refresh_rotation: root.take("refresh_rotation", "write true or false", Value::as_bool),
        token_format: root.take("token_format", "write one of: jwt, uuid", parsed),
        quota: root.take("quota", "write the requests per minute; 0 means no limit", small),
        public_base: root.take(
            "public_base",
            "write a URL without a path, such as \"http://sim:8090\"",
            base,
        ),
        lag: root.take("lag", "write a number: 0 for no delay, 1 for VBC's own pace", lag),
        ringing: root.take("ringing", "write a time, such as \"2s\"", times::read),
        webhooks: root.take(
            "webhooks",
            "write \"loopback\", \"any\" or a list of hosts, without ports",
            targets,
        ),
        quota_location: document.location("quota"),
        webhooks_location: document.location("webhooks"),
        field: Vec::new(),
        access: None,
        refresh: None,
        code: None,
        applications: Vec::new(),
        users: Vec::new(),
        steps: Vec::new(),
    };
    let (everything, reports) = root.switches("field");
    let lifetimes = root.table("lifetimes");
    let [applications, users, faults, timeline] =
        ["applications", "users", "faults", "timeline"].map(|key| root.tables(key));
    root.end();
    scenario
        .field
        .extend(everything.iter().flat_map(|holds| FieldReport::ALL.map(|report| (report, *holds))));
    if let Some(members) = reports {
        scenario.field.extend(reports_of(Section::new(document, "field", members, &mut findings)));
    }
    if let Some(members) = lifetimes {
        read_lifetimes(&mut scenario, Section::new(document, "lifetimes", members, &mut findings));
    }
    for (at, members) in applications {
        let application = application(Section::new(document, &at, members, &mut findings));
        scenario.applications.extend(application.map(|application| (application, document.location(&at))));
    }
    for (at, members) in users {
        let user = user(Section::new(document, &at, members, &mut findings));
        scenario.users.extend(user.map(|user| (user, document.location(&at))));
    }
    for (at, members) in faults {
        scenario.steps.extend(step(document, &at, members.clone(), Duration::ZERO, &mut findings));
    }
    for (at, members) in timeline {
        scenario.steps.extend(timed(document, &at, members, &mut findings));
    }
    findings.sort_by_key(|finding| (finding.line, finding.column));
    if findings.is_empty() { Ok(scenario) } else { Err(findings) }
}

/// The switches of `[field]`.
fn reports_of(mut section: Section<'_, '_>) -> Vec<(FieldReport, bool)> {
    let mut reports = Vec::new();
    for report in FieldReport::ALL {
        let holds = section.take(report.name(), "write true or false", Value::as_bool);
        reports.extend(holds.map(|holds| (report, holds)));
    }
    section.end();
    reports
}

fn read_lifetimes(scenario: &mut Scenario, mut section: Section<'_, '_>) {
    let lifetime = |value: &Value| times::read(value).filter(|span| *span >= Duration::from_secs(1));
    let expected = "write a time of at least a second, such as \"1h\"";
    scenario.access = section.take("access", expected, lifetime);
    scenario.refresh = section.take("refresh", expected, lifetime);
    scenario.code = section.take("code", expected, lifetime);
    section.end();
}

fn application(mut section: Section<'_, '_>) -> Option<Application> {
    let id = section.text("client_id");
    let secret = section.text("client_secret");
    let mut application = Application::new(&id?, &secret?);
    let words = "write a list of texts, such as [\"reports\"]";
    if let Some(callback) = section.take("callback", A_TEXT, text) {
        application.callback = callback;
    }
    if let Some(grants) = section.take("grants", words, texts) {
        application.grants = grants;
    }
    if let Some(subscriptions) = section.take("subscriptions", words, texts) {
        application.subscriptions = subscriptions;
    }
    application.quota = section.take("quota", "write the requests per minute; 0 means no limit", small);
    section.end();
    Some(application)
}

fn user(mut section: Section<'_, '_>) -> Option<User> {
    let name = section.text("name");
    let password = section.text("password");
    let mut user = User::new(&name?, &password?);
    if let Some(account) = section.take("account", A_NUMBER, Value::as_u64) {
        user.account = account;
    }
    user.without = section.take("without", "write a list of suites", texts).unwrap_or_default();
    user.sso = section.take("sso", "write true or false", Value::as_bool).unwrap_or(false);
    user.locked = section.take("locked", "write true or false", Value::as_bool).unwrap_or(false);
    section.end();
    Some(user)
}

/// Reads an entry of the timeline.
fn timed(
    document: &Document,
    key: &str,
    members: &Map<String, Value>,
    findings: &mut Vec<Finding>,
) -> Option<ScenarioStep> {
    let mut members = members.clone();
    let remedy = "write the time after the start, such as at = \"30s\"";
    let at = members.remove("at");
    let at = match at.as_ref().map(times::read) {
        Some(Some(at)) => at,
        Some(None) => {
            let at = join(key, "at");
            findings.push(Finding::new(document.location(&at), &at, "this is not a duration", remedy));
            Duration::ZERO
        }
        None => {
            findings.push(Finding::new(document.location(key), key, "`at` is missing", remedy));
            Duration::ZERO
        }
    };
    step(document, key, members, at, findings)
}

fn step(
    document: &Document,
    key: &str,
    members: Map<String, Value>,
    at: Duration,
    findings: &mut Vec<Finding>,
) -> Option<ScenarioStep> {
    match Fault::from_json(&Value::Object(members)) {
        Ok(fault) => {
            let never = matches!(&fault, Fault::Requests(Effect::TokenAgeLimit(_), on) if on.path.is_none());
            (!never).then(|| planned(at, fault, key.to_owned(), document.location(key)))
        }
        Err(error) => {
            // Points to the member, or to its table if the member has no location.
            let mut finding = at_fault(key, (0, 0), &error, &names(&SimulatorOptions::default()));
            (finding.line, finding.column) = document.location(&finding.key);
            findings.push(finding);
            None
        }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

fn parsed<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

fn lag(value: &Value) -> Option<f64> {
    value.as_f64().filter(|lag| *lag >= 0.0)
}

fn small(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// A text, or a list of hosts.
fn targets(value: &Value) -> Option<WebhookTargets> {
    value.as_str().map(str::to_owned).or_else(|| Some(texts(value)?.join(",")))?.parse().ok()
}

fn base(value: &Value) -> Option<String> {
    let url = url::Url::parse(value.as_str()?).ok()?;
    let fits = matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none();
    fits.then(|| url.as_str().trim_end_matches('/').to_owned())
}
