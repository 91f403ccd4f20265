//! `[faults]`: what goes wrong on purpose, for staging.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};

use super::document::Table;
use super::error::{Complaint, Finding, Findings, Place};
use super::schema::{self, Shape};
use super::section::{Given, Reader};
use super::units;

const FORM: &str = "write for example \"10% GET /t/vbc.prod/reports/** status 503 retry-after 5s\", \
                    \"5% /t/** abort\" or \"20% /** delay 2s\"";

/// `[faults]`.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Decides with the number of a request whether it is hit; the same requests meet the same faults.
    pub seed: u64,
    /// What goes wrong, in the order it is tried.
    pub rules: Vec<FaultRule>,
    /// Where the rules stand.
    place: Option<Place>,
}

/// One kind of mishap.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    /// Which requests it may hit.
    pub route: Route,
    /// How many in a hundred of them.
    pub percent: f64,
    /// How long a request that is hit is held back first.
    pub delay: Duration,
    /// What happens to it then.
    pub effect: FaultEffect,
}

/// What happens to a request that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultEffect {
    /// It is forwarded after its delay.
    Delay,
    /// Its connection is reset; it is not forwarded.
    Abort,
    /// It is answered by this status in the proxy's own name; it is not forwarded.
    Status(StatusCode, Option<Duration>),
}

/// Method and path of requests: `GET /t/vbc.prod/reports/**`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `None` for every method.
    method: Option<Method>,
    /// `*` stands for one segment.
    segments: Vec<String>,
    /// `/**` at the end: whatever follows, if anything.
    open: bool,
}

impl Route {
    /// Whether this request is meant. Paths are compared as they are written.
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
    /// As it is written in `faults.rules`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}% {}", self.percent, self.route)?;
        if !self.delay.is_zero() {
            write!(f, " delay {}", units::show_duration(self.delay))?;
        }
        match self.effect {
            FaultEffect::Delay => Ok(()),
            FaultEffect::Abort => f.write_str(" abort"),
            FaultEffect::Status(status, retry_after) => {
                write!(f, " status {}", status.as_u16())?;
                retry_after.map_or(Ok(()), |after| write!(f, " retry-after {}", units::show_duration(after)))
            }
        }
    }
}

impl Faults {
    /// What is wrong with serving under this configuration where faults have not been allowed; `None` where there are none.
    pub fn not_allowed(&self) -> Option<Findings> {
        let place = self.place.clone().filter(|_| !self.rules.is_empty())?;
        let complaint = Complaint::new(
            "requests would be made to fail on purpose",
            "start with --allow-faults if that is meant, as in staging, or remove the section",
        );
        Some(Findings::new(vec![Finding::new(place, "faults.rules", complaint)]))
    }
}

pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table, shape: &'static Shape) -> Faults {
    let mut section = reader.section(root, shape);
    let seed = section.number("seed", 0, u64::MAX).unwrap_or(0);
    let given = section.one_or_more("rules", rule).unwrap_or_default();
    let place = given.first().map(|given| given.place.clone());
    if let Some(place) = &place {
        let message = "requests are made to fail on purpose";
        let complaint =
            Complaint::new(message, "`serve` and `run` ask for --allow-faults; keep it out of production");
        section.warn(place.clone(), "rules", complaint);
    }
    Faults { seed, rules: given.into_iter().map(|Given { value, .. }| value).collect(), place }
}

/// Reads `10% GET /t/** delay 2s status 503 retry-after 5s`.
fn rule(text: &str) -> Result<FaultRule, Complaint> {
    let wrong = |message: String| Complaint::new(message, FORM);
    let mut words = text.split_ascii_whitespace();
    let percent = words.next().and_then(|word| word.strip_suffix('%')).and_then(|word| word.parse().ok());
    let Some(percent) = percent.filter(|percent| (0.0..=100.0).contains(percent)) else {
        return Err(wrong(format!("{text:?} does not begin with a share of 0% to 100%")));
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
        let mut value = || words.next().ok_or_else(|| wrong(format!("something is missing behind {word:?}")));
        match (word, rule.effect) {
            ("delay", FaultEffect::Delay) => rule.delay = wait(value()?)?,
            ("abort", FaultEffect::Delay) => rule.effect = FaultEffect::Abort,
            ("status", FaultEffect::Delay) => rule.effect = FaultEffect::Status(status(value()?)?, None),
            ("retry-after", FaultEffect::Status(status, None)) => {
                rule.effect = FaultEffect::Status(status, Some(wait(value()?)?));
            }
            _ => return Err(wrong(format!("{word:?} makes no sense where it stands"))),
        }
    }
    if rule.effect == FaultEffect::Delay && rule.delay.is_zero() {
        return Err(wrong(format!("{text:?} does not say what happens: delay, abort or status")));
    }
    Ok(rule)
}

fn wait(text: &str) -> Result<Duration, Complaint> {
    units::duration_within(text, Duration::ZERO, Duration::from_secs(86_400))
}

fn status(text: &str) -> Result<StatusCode, Complaint> {
    let status = text.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
    // A 1xx is no answer, and a 304 or 204 could not say whose it is.
    status.filter(|status| (400..600).contains(&status.as_u16())).ok_or_else(|| {
        Complaint::new(format!("{text:?} is no status of an error"), "write a number from 400 to 599")
    })
}

fn route(method: Option<Method>, path: &str) -> Result<Route, Complaint> {
    units::path_prefix(path)?;
    let (path, open) = match path.strip_suffix("/**") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
    if segments.iter().any(|segment| segment.contains('*') && segment != "*") {
        let message = format!("{path:?} has a `*` that is not a whole segment");
        return Err(Complaint::new(
            message,
            "write `*` for one segment, `/**` at the end for all that follow",
        ));
    }
    Ok(Route { method, segments, open })
}

/// The section's keys.
pub(super) fn shape() -> &'static Shape {
    const NONE: &Shape = &Shape { name: "faults", keys: &[], later: &[] };
    schema::section("faults").unwrap_or(NONE)
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
            ("GET /t/** abort", "does not begin with a share"),
            ("101% /t/** abort", "does not begin with a share"),
            ("10% get /t/** abort", "neither a method nor a path"),
            ("10% GET", "has no path"),
            ("10% /t/**", "does not say what happens"),
            ("10% /t/** status", "something is missing"),
            ("10% /t/** status 200", "no status of an error"),
            ("10% /t/** abort status 500", "makes no sense"),
            ("10% /t/** retry-after 5s", "makes no sense"),
            ("10% /t/a* abort", "not a whole segment"),
            ("10% /t/**/x abort", "not a whole segment"),
            ("10% /t delay 5", "a duration needs a unit"),
        ] {
            let complaint = rule(text).unwrap_err();
            assert!(complaint.message.contains(message), "{text}: {complaint:?}");
            assert!(!complaint.remedy.is_empty());
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
