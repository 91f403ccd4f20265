//! The requests that a test expects, and the verdict on these expectations.

mod body;

use serde_json::{Map, Value, json};

use crate::journal::{Journal, RecordedRequest};
use crate::pattern::fits;
use body::ExpectedBody;

pub(crate) use body::hash_of_json;

/// A verdict names at most this many of the nearest requests for an expectation.
const NEAREST: usize = 3;
/// The nearest requests are searched among this many of the latest ones.
const LOOKED_AT: usize = 1000;

/// Expected requests: their properties and their number. Properties that are not set match
/// anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    name: Option<String>,
    method: Option<String>,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    grant: Option<String>,
    body: Option<ExpectedBody>,
    status: Option<u16>,
    at_least: Option<u64>,
    at_most: Option<u64>,
}

impl Expectation {
    /// Expects at least one request with this method (`*` for any) to a path that matches the
    /// pattern. In the pattern, `*` matches within one segment and `**` any number of segments.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            name: None,
            method: Some(method.to_owned()).filter(|method| method != "*"),
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            grant: None,
            body: None,
            status: None,
            at_least: None,
            at_most: None,
        }
    }

    /// Names the expectation in the verdict.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Requires this query parameter. The value is compared after decoding.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Requires this header, with its value as the journal shows it.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// Requires a token request of this grant.
    #[must_use]
    pub fn grant(mut self, grant: &str) -> Self {
        self.grant = Some(grant.to_owned());
        self
    }

    /// Requires this body. JSON is compared by its values if it has 64 KiB at most, anything else
    /// byte for byte.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        self.body = Some(ExpectedBody::new(body));
        self
    }

    /// Requires a response with this status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Expects exactly this many requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        (self.at_least, self.at_most) = (Some(times), Some(times));
        self
    }

    /// Expects at least this many requests.
    #[must_use]
    pub fn at_least(mut self, times: u64) -> Self {
        self.at_least = Some(times);
        self
    }

    /// Expects at most this many requests. Without a lower limit, no request is required.
    #[must_use]
    pub fn at_most(mut self, times: u64) -> Self {
        self.at_most = Some(times);
        self
    }

    /// The least number of requests: one by default, zero if only an upper limit is set.
    fn least(&self) -> u64 {
        self.at_least.unwrap_or(u64::from(self.at_most.is_none()))
    }

    /// How a request differs from the expected one. Empty for a match.
    fn differences(&self, request: &RecordedRequest) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ =
            |what: &str, is: &str, wanted: &str| found.push(format!("{what} is {is}, not {wanted}"));
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if let Some(method) = self.method.as_deref().filter(|wanted| *wanted != request.method.as_str()) {
            differ("the method", request.method.as_str(), method);
        }
        if !fits(&self.path, path) {
            differ("the path", path, &self.path);
        }
        let given: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        for (name, wanted) in &self.query {
            let values: Vec<&str> =
                given.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_ref()).collect();
            if !values.contains(&wanted.as_str()) {
                differ(&format!("the query's {name}"), &listed(&values), wanted);
            }
        }
        for (name, wanted) in &self.headers {
            let headers = request.headers.iter().filter(|(given, _)| given == name);
            let values: Vec<&str> = headers.map(|(_, value)| value.as_str()).collect();
            if !values.contains(&wanted.as_str()) {
                differ(&format!("the header {name}"), &listed(&values), wanted);
            }
        }
        if let Some(wanted) = self.grant.as_deref().filter(|wanted| request.grant.as_deref() != Some(wanted))
        {
            differ("the grant", request.grant.as_deref().unwrap_or("absent"), wanted);
        }
        if let Some(wanted) = self.status.filter(|wanted| request.status != Some(*wanted)) {
            let is = request.status.map_or_else(|| "absent".to_owned(), |status| status.to_string());
            differ("the status", &is, &wanted.to_string());
        }
        if self.body.as_ref().is_some_and(|wanted| !wanted.is_of(request)) {
            found.push(format!("the body of {} bytes is not the expected one", request.body_length));
        }
        found
    }

    /// How far a request is from a match, by the number of differences and the edit distance of the
    /// path.
    fn distance(&self, request: &RecordedRequest, differences: usize) -> usize {
        let path = request.target.split('?').next().unwrap_or_default();
        let longest = self.path.len().max(path.len()).max(1);
        let by =
            if fits(&self.path, path) { 0 } else { 400 * strsim::levenshtein(&self.path, path) / longest };
        100 * differences + by
    }

    /// The expectation in words: `POST /**/calls, exactly 1`.
    fn words(&self) -> String {
        let mut words = format!("{} {}", self.method.as_deref().unwrap_or("*"), self.path);
        for (name, value) in &self.query {
            words.push_str(&format!(", {name}={value}"));
        }
        for (name, value) in &self.headers {
            words.push_str(&format!(", {name}: {value}"));
        }
        if let Some(grant) = &self.grant {
            words.push_str(&format!(", grant {grant}"));
        }
        if let Some(body) = &self.body {
            words.push_str(&format!(", body {}", body.beginning()));
        }
        if let Some(status) = self.status {
            words.push_str(&format!(", status {status}"));
        }
        match (self.least(), self.at_most) {
            (least, Some(most)) if least == most => words + &format!(", exactly {most}"),
            (0, Some(most)) => words + &format!(", at most {most}"),
            (least, Some(most)) => words + &format!(", {least} to {most}"),
            (least, None) => words + &format!(", at least {least}"),
        }
    }

    /// Reads an expectation of the control plane.
    pub(crate) fn from_json(value: &Value) -> Result<Self, String> {
        const KEYS: &str =
            "name, method, path, query, headers, grant, body, status, times, at_least, at_most";
        let members = value.as_object().ok_or("expected an object with a `path`")?;
        if let Some(stray) = members.keys().find(|key| !KEYS.split(", ").any(|known| known == *key)) {
            return Err(format!("`{stray}` is not a key of an expectation; known keys: {KEYS}"));
        }
        let text = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                value.as_str().map(str::to_owned).map(Some).ok_or(format!("`{name}` must be a text"))
            }
        };
        let number = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(format!("`{name}` must be a whole number")),
        };
        let path = text("path")?.ok_or("an expectation needs a `path`, such as \"/t/vbc.prod/**\"")?;
        let mut read = Self::new(&text("method")?.unwrap_or_else(|| "*".into()).to_uppercase(), &path);
        (read.name, read.grant) = (text("name")?, text("grant")?);
        read.body = match members.get("body") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(ExpectedBody::new(text)),
            Some(json) => Some(ExpectedBody::new(&json.to_string())),
        };
        read.query = pairs(members, "query")?;
        read.headers = pairs(members, "headers")?;
        read.headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        let status = number("status")?.map(u16::try_from).transpose();
        read.status = status.map_err(|_| "`status` must be an HTTP status")?;
        let times = number("times")?;
        let least = number("at_least")?;
        let most = number("at_most")?;
        match (times, least, most) {
            (Some(times), None, None) => Ok(read.times(times)),
            (Some(_), ..) => Err("`times` is exact; leave out `at_least` and `at_most`".into()),
            (None, Some(least), Some(most)) if least > most => {
                Err("`at_least` is greater than `at_most`".into())
            }
            (None, least, most) => {
                (read.at_least, read.at_most) = (least, most);
                Ok(read)
            }
        }
    }
}

/// The members of an object whose values are texts or numbers.
fn pairs(members: &Map<String, Value>, name: &str) -> Result<Vec<(String, String)>, String> {
    let Some(value) = members.get(name).filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Some((name.clone(), text.clone())),
        Value::Number(number) => Some((name.clone(), number.to_string())),
        _ => None,
    };
    let pairs = value.as_object().and_then(|object| object.iter().map(pair).collect::<Option<Vec<_>>>());
    pairs.ok_or_else(|| format!("`{name}` must be an object with texts as values"))
}

fn listed(values: &[&str]) -> String {
    if values.is_empty() { "absent".to_owned() } else { values.join(" and ") }
}

/// The expectations since the start or the last reset.
#[derive(Default)]
pub(crate) struct Expectations {
    declared: Vec<Declaration>,
    last: u64,
}

/// A declared expectation.
struct Declaration {
    id: u64,
    expectation: Expectation,
    /// Only requests with a higher sequence number count.
    since: u64,
    /// The id of the previous expectation, if the requests must come in order.
    behind: Option<u64>,
}

/// The verdict on one expectation.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The name of the expectation, or else its description.
    pub expected: String,
    /// Whether it was met.
    pub met: bool,
    /// The sequence numbers of the matching requests.
    pub matched: Vec<u64>,
    /// The problem; empty if the expectation was met.
    pub problem: String,
    /// The nearest requests, each with its differences. Empty unless requests are missing.
    pub nearest: Vec<(String, Vec<String>)>,
    id: u64,
}

/// The verdict on all expectations.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether all were met.
    pub met: bool,
    /// One for each expectation, in the order of their declaration.
    pub findings: Vec<Finding>,
    /// The number of requests since the first declaration that the journal had to drop. If it is
    /// not 0, the verdict may be wrong.
    pub forgotten: u64,
}

impl Expectations {
    /// Adds expectations for requests from now on, and returns their ids. With `in_order`, the
    /// requests of each expectation must follow the requests of the previous one.
    pub(crate) fn declare(&mut self, list: Vec<Expectation>, in_order: bool, since: u64) -> Vec<u64> {
        let mut behind = None;
        let mut ids = Vec::new();
        for expectation in list {
            self.last += 1;
            self.declared.push(Declaration { id: self.last, expectation, since, behind });
            behind = in_order.then_some(self.last);
            ids.push(self.last);
        }
        ids
    }

    pub(crate) fn clear(&mut self) {
        self.declared.clear();
    }

    pub(crate) fn verdict(&self, journal: &Journal) -> Verdict {
        let mut ends: Vec<(u64, u64)> = Vec::new();
        let mut findings = Vec::new();
        for declared in &self.declared {
            let from =
                declared.behind.and_then(|id| ends.iter().find(|(of, _)| *of == id)).map(|(_, end)| *end);
            let finding = declared.judge(journal, from.unwrap_or(declared.since));
            // The next expectation starts after the last request that this one needs.
            let needed = usize::try_from(declared.expectation.least().max(1)).unwrap_or(usize::MAX);
            let end = finding.matched.get(needed - 1).or(finding.matched.last());
            ends.push((declared.id, end.copied().unwrap_or(from.unwrap_or(declared.since))));
            findings.push(finding);
        }
        let first = self.declared.iter().map(|declared| declared.since).min();
        let forgotten = first.map_or(0, |first| journal.forgotten().saturating_sub(first));
        Verdict { met: findings.iter().all(|finding| finding.met), findings, forgotten }
    }
}

impl Declaration {
    fn judge(&self, journal: &Journal, from: u64) -> Finding {
        let wanted = &self.expectation;
        let later = || journal.entries().filter(|request| request.sequence > from);
        let matched: Vec<u64> =
            later().filter(|request| wanted.differences(request).is_empty()).map(|r| r.sequence).collect();
        let count = matched.len() as u64;
        let behind = self.behind.map_or(String::new(), |_| format!(" after request {from}"));
        let least = wanted.least();
        let problem = if count < least {
            format!("{count} arrived{behind}, expected at least {least}: {} missing", least - count)
        } else if let Some(most) = wanted.at_most.filter(|most| count > *most) {
            format!("{count} arrived{behind}, expected at most {most}: {} too many", count - most)
        } else {
            String::new()
        };
        let nearest = if count < least { self.nearest(journal) } else { Vec::new() };
        let expected = wanted.name.clone().unwrap_or_else(|| wanted.words());
        Finding { id: self.id, expected, met: problem.is_empty(), matched, problem, nearest }
    }

    /// The nearest requests. For an ordered expectation, they include requests that match but
    /// arrived too early.
    fn nearest(&self, journal: &Journal) -> Vec<(String, Vec<String>)> {
        let since = self.since;
        let mut near: Vec<_> = journal
            .entries()
            .filter(|request| request.sequence > since)
            .rev()
            .take(LOOKED_AT)
            .map(|request| {
                let differences = self.expectation.differences(request);
                (self.expectation.distance(request, differences.len()), request, differences)
            })
            .collect();
        near.sort_by_key(|(distance, request, _)| (*distance, request.sequence));
        let shown = |(_, request, mut differences): (_, &RecordedRequest, Vec<String>)| {
            if differences.is_empty() {
                differences.push("it arrived too early".into());
            }
            (format!("{} {} {}", request.sequence, request.method, request.target), differences)
        };
        let early = |differences: &[String]| self.behind.is_some() || !differences.is_empty();
        near.into_iter().filter(|(_, _, differences)| early(differences)).take(NEAREST).map(shown).collect()
    }
}

impl Verdict {
    /// The verdict as the control plane shows it.
    pub(crate) fn json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            let nearest: Vec<Value> = finding
                .nearest
                .iter()
                .map(|(request, differs)| json!({ "request": request, "differs": differs }))
                .collect();
            json!({
                "id": finding.id, "expected": finding.expected, "met": finding.met, "matched": finding.matched,
                "problem": finding.problem, "nearest": nearest,
            })
        });
        let findings: Vec<Value> = findings.collect();
        json!({
            "met": self.met, "summary": self.to_string(), "expectations": findings, "forgotten": self.forgotten,
        })
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.met {
            return write!(f, "expectations met: {0} of {0}", self.findings.len());
        }
        let unmet = self.findings.iter().filter(|finding| !finding.met);
        for (number, finding) in unmet.enumerate() {
            let separator = if number > 0 { "\n" } else { "" };
            write!(f, "{separator}{}: {}", finding.expected, finding.problem)?;
            for (request, differs) in finding.nearest.iter().take(1) {
                write!(f, "; the nearest was request {request}: {}", differs.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
