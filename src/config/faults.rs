//! `[faults]`: deliberate faults, for staging.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};
use vbc_base::units::show_duration;

use super::document::Table;
use super::error::{Finding, Findings, Location};
use super::kind::{DAY, Kind, number, settings};
use super::page::Page;
use super::section::Reader;
use super::{units, urls};
use vbc_base::trusted::Flaw;

const FORM: &str = "write, for example, \"10% GET /t/vbc.prod/reports/** status 503 retry-after 5s\", \
                    \"5% /t/** abort\" or \"20% /** delay 2s\"";

settings! {
    /// Deliberate faults, for staging. With rules, `serve` and `run` start only if `--allow-faults`
    /// is given. A rule consists of a share of the requests, a method (none means all), a path and
    /// a fault. In the path, `*` matches one segment, and `/**` at the end matches all that follow.
    /// The fault is a delay, an abort (the connection is reset) or a status. An abort and a status
    /// can follow a delay. The first rule that aborts or responds decides.
    pub struct Faults ["faults"] {
        /// The same seed selects the same requests.
        seed: u64 = 0, number(0, u64::MAX);
        /// The rules, in the order in which they are tried.
        rules: Vec<FaultRule> = [], rules(), lines [
            r#"# rules = ["10% GET /t/vbc.prod/reports/** status 503 retry-after 5s", "5% /t/** abort", "20% /** delay 2s"]"#
        ];
        fields {
            /// The location of the rules.
            location: Option<Location> = None;
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// The requests that the rule may affect.
    pub route: Route,
    /// The affected share of these requests, in percent.
    pub percent: f64,
    /// The delay of an affected request, before the effect.
    pub delay: Duration,
    /// The effect on the request.
    pub effect: FaultEffect,
}

/// The effect of a rule on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultEffect {
    /// The request is delayed and then forwarded.
    Delay,
    /// The client's connection is reset. The request is not forwarded.
    Abort,
    /// The proxy itself responds with this status and `Retry-After`. The request is not forwarded.
    Status(StatusCode, Option<Duration>),
}

/// Method and path of requests: `GET /t/vbc.prod/reports/**`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `None`: every method.
    method: Option<Method>,
    /// `*` matches any one segment.
    segments: Vec<String>,
    /// The path ends with `/**`: further segments may follow.
    open: bool,
}

impl Route {
    /// Whether a request matches. Paths are compared literally, without decoding.
    pub fn matches(&self, method: &Method, path: &str) -> bool {
        if self.method.as_ref().is_some_and(|wanted| wanted != method) {
            return false;
        }
        let mut given = path.split('/').skip(1);
        let fits = self
            .segments
            .iter()
            .all(|wanted| given.next().is_some_and(|given| wanted == "*" || wanted == given));
        fits && (self.open || given.next().is_none())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(method) = &self.method {
            write!(f, "{method} ")?;
        }
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))?;
        if self.open { f.write_str("/**") } else { Ok(()) }
    }
}

impl fmt::Display for FaultRule {
    /// Writes the rule in the form of `faults.rules`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}% {}", self.percent, self.route)?;
        if !self.delay.is_zero() {
            write!(f, " delay {}", show_duration(self.delay))?;
        }
        match self.effect {
            FaultEffect::Delay => Ok(()),
            FaultEffect::Abort => f.write_str(" abort"),
            FaultEffect::Status(status, retry_after) => {
                write!(f, " status {}", status.as_u16())?;
                retry_after.map_or(Ok(()), |after| write!(f, " retry-after {}", show_duration(after)))
            }
        }
    }
}

impl Faults {
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table) -> Self {
        let mut section = reader.section(root, &Self::SHAPE);
        let mut faults = Self::read_keys(&mut section);
        if !faults.rules.is_empty() {
            faults.location = Some(section.location("rules"));
            let remedy = "start with --allow-faults, and never use them in production";
            section.warn("rules", Flaw::new("these rules make requests fail on purpose", remedy));
        }
        faults
    }

    /// The findings of a start without `--allow-faults`. `None`: there are no rules.
    pub fn not_allowed(&self) -> Option<Findings> {
        let location = self.location.clone().filter(|_| !self.rules.is_empty())?;
        let remedy = "start with --allow-faults (only in staging), or remove the section";
        let flaw = Flaw::new("these rules make requests fail on purpose", remedy);
        Some(Findings::new(vec![Finding::new(location, "faults.rules", flaw)]))
    }
}

fn rules() -> Kind<Vec<FaultRule>> {
    let print = |page: &mut Page, key: &str, value: &Vec<FaultRule>| {
        if !value.is_empty() {
            page.list(key, value);
        }
    };
    Kind::new("a list of rules", |section, key| section.one_or_more(key, rule), print)
}

/// Reads `10% GET /t/** delay 2s status 503 retry-after 5s`.
fn rule(text: &str) -> Result<FaultRule, Flaw> {
    let wrong = |message: String| Flaw::new(message, FORM);
    let mut words = text.split_ascii_whitespace();
    let percent = words.next().and_then(|word| word.strip_suffix('%')).and_then(|word| word.parse().ok());
    let Some(percent) = percent.filter(|percent| (0.0..=100.0).contains(percent)) else {
        return Err(wrong(format!("{text:?} does not begin with a percentage from 0% to 100%")));
    };
    let mut next = words.next();
    let method = match next {
        Some(word) if !word.starts_with('/') => {
            next = words.next();
            let known = word.bytes().all(|byte| byte.is_ascii_uppercase());
            let method = Method::from_bytes(word.as_bytes()).ok().filter(|_| known);
            Some(method.ok_or_else(|| wrong(format!("{word:?} is neither a method nor a path")))?)
        }
        _ => None,
    };
    let path = next.ok_or_else(|| wrong(format!("{text:?} has no path")))?;
    let mut rule =
        FaultRule { route: route(method, path)?, percent, delay: Duration::ZERO, effect: FaultEffect::Delay };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| wrong(format!("a value is missing after {word:?}")));
        match (word, rule.effect) {
            ("delay", FaultEffect::Delay) => rule.delay = wait(value()?)?,
            ("abort", FaultEffect::Delay) => rule.effect = FaultEffect::Abort,
            ("status", FaultEffect::Delay) => rule.effect = FaultEffect::Status(status(value()?)?, None),
            ("retry-after", FaultEffect::Status(status, None)) => {
                rule.effect = FaultEffect::Status(status, Some(wait(value()?)?));
            }
            _ => return Err(wrong(format!("{word:?} is not allowed at this position"))),
        }
    }
    if rule.effect == FaultEffect::Delay && rule.delay.is_zero() {
        return Err(wrong(format!("{text:?} names no fault (delay, abort or status)")));
    }
    Ok(rule)
}

fn wait(text: &str) -> Result<Duration, Flaw> {
    units::duration_within(text, Duration::ZERO, DAY)
}

fn status(text: &str) -> Result<StatusCode, Flaw> {
    let status = text.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
    // Only error statuses are allowed. A 1xx is not a final response, and a 204 or 304 has no body
    // that could name the proxy as its origin.
    status.filter(|status| (400..600).contains(&status.as_u16())).ok_or_else(|| {
        Flaw::new(format!("{text:?} is not an error status"), "write a number from 400 to 599")
    })
}

fn route(method: Option<Method>, path: &str) -> Result<Route, Flaw> {
    urls::path_prefix(path)?;
    let fixed = path.strip_suffix("/**");
    let path = fixed.unwrap_or(path);
    let segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
    if segments.iter().any(|segment| segment.contains('*') && segment != "*") {
        let message = format!("{path:?} has a `*` that is not a whole segment");
        let remedy = "write `*` for one segment, or `/**` at the end for all further segments";
        return Err(Flaw::new(message, remedy));
    }
    Ok(Route { method, segments, open: fixed.is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_shown_as_they_are_written() {
        for text in [
            "10% GET /t/vbc.prod/reports/** status 503 retry-after 5s",
            "0.5% /t/* abort",
            "100% /** delay 2s",
            "20% POST /t/*/calls delay 250ms abort",
            "0% / status 418",
        ] {
            assert_eq!(rule(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (text, message) in [
            ("GET /t/** abort", "does not begin with a percentage"),
            ("101% /t/** abort", "does not begin with a percentage"),
            ("10% get /t/** abort", "neither a method nor a path"),
            ("10% GET", "has no path"),
            ("10% /t/**", "names no fault"),
            ("10% /t/** status", "a value is missing"),
            ("10% /t/** status 200", "not an error status"),
            ("10% /t/** abort status 500", "not allowed at this position"),
            ("10% /t/** retry-after 5s", "not allowed at this position"),
            ("10% /t/a* abort", "not a whole segment"),
            ("10% /t/**/x abort", "not a whole segment"),
            ("10% /t delay 5", "a duration needs a unit"),
        ] {
            let flaw = rule(text).unwrap_err();
            assert!(flaw.message.contains(message), "{text}: {flaw:?}");
            assert!(!flaw.remedy.is_empty());
        }
    }

    #[test]
    fn a_route_is_a_method_and_whole_segments() {
        let meant = |route: &str, method: &Method, path: &str| {
            rule(&format!("1% {route} abort")).unwrap().route.matches(method, path)
        };
        assert!(meant("/**", &Method::GET, "/") && meant("/**", &Method::POST, "/a/b"));
        assert!(meant("GET /a/*", &Method::GET, "/a/b") && !meant("GET /a/*", &Method::POST, "/a/b"));
        assert!(meant("/a/**", &Method::GET, "/a") && meant("/a/**", &Method::GET, "/a/b/c"));
        assert!(!meant("/a/**", &Method::GET, "/ab"));
        assert!(!meant("/a/*", &Method::GET, "/a") && !meant("/a/*", &Method::GET, "/a/b/c"));
    }
}
