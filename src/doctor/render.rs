//! A report as people read it. Pure.

use super::report::{Check, Report, Verdict};

/// Columns that are filled at most.
const WIDTH: usize = 100;

/// Where the text of a line begins.
const TEXT: usize = 27;

/// How it is to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Colours, for a terminal.
    pub colour: bool,
}

/// The report, with a line about where it was made: `asked the proxy on …`.
pub fn render(report: &Report, made: &str, look: Look) -> String {
    let mut page = Page { lines: Vec::new(), look, last_remedy: String::new() };
    page.lines.push(look.bold(&format!("vbc-proxy doctor: credential {}", report.credential)));
    page.lines.push(format!("{made}, {}", report.at.strftime("%Y-%m-%d %H:%M:%S UTC")));
    page.lines.push(String::new());
    for check in &report.checks {
        page.check(check, &check.name);
    }
    if !report.suites.is_empty() {
        page.lines.push(String::new());
        page.suites(&report.suites);
    }
    page.lines.push(String::new());
    page.lines.push(page.summary(report));
    page.lines.join("\n")
}

/// The checks alone, where nothing else could be looked at.
pub fn render_checks(checks: &[Check], look: Look) -> String {
    let mut page = Page { lines: Vec::new(), look, last_remedy: String::new() };
    for check in checks {
        page.check(check, &check.name);
    }
    page.lines.join("\n")
}

struct Page {
    lines: Vec<String>,
    look: Look,
    last_remedy: String,
}

impl Page {
    /// `  FAIL     token host     what was found`, and under it `→ what to do`.
    fn check(&mut self, check: &Check, name: &str) {
        let label = self.look.verdict(check.verdict);
        let mut first = format!("  {label}  {name:<15}");
        for line in wrap(&check.found, WIDTH - TEXT) {
            first.push_str(&line);
            self.lines.push(std::mem::replace(&mut first, " ".repeat(TEXT)).trim_end().to_owned());
        }
        self.remedy(check.remedy.as_deref());
    }

    fn remedy(&mut self, remedy: Option<&str>) {
        let Some(remedy) = remedy else { return };
        let said = std::mem::replace(&mut self.last_remedy, remedy.to_owned());
        let text = if said == remedy { "as above" } else { remedy };
        let mut indent = format!("{}→ ", " ".repeat(TEXT));
        for line in wrap(text, WIDTH - TEXT - 2) {
            indent.push_str(&line);
            self.lines.push(std::mem::replace(&mut indent, " ".repeat(TEXT + 2)));
        }
    }

    fn suites(&mut self, suites: &[Check]) {
        let first = &suites[0];
        if first.verdict == Verdict::Skipped && suites.iter().all(|suite| suite.found == first.found) {
            let found = format!("{}; not asked: {}", first.found, names(suites));
            return self.check(&Check { found, ..first.clone() }, "suites");
        }
        self.lines.push(format!("  {:<7}  {:<15}{:<5}{}", "suites", "", "", ""));
        for suite in suites {
            let status = suite.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            let found = format!("{status:<5}{}", suite.found);
            self.check(&Check { found, ..suite.clone() }, &suite.name);
        }
    }

    fn summary(&self, report: &Report) -> String {
        let count = |verdict, one: &str, more: &str| match report.count(verdict) {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {more}")),
        };
        let fails = count(Verdict::Fail, "check fails", "checks fail");
        let warnings = count(Verdict::Warn, "warning", "warnings");
        let text = match (&fails, &warnings) {
            (None, None) => "All is well.".to_owned(),
            (None, Some(warnings)) => format!("It works, with {warnings}."),
            (Some(fails), None) => format!("{fails}."),
            (Some(fails), Some(warnings)) => format!("{fails}, {warnings}."),
        };
        self.look.paint(report.verdict(), &text)
    }
}

fn names(suites: &[Check]) -> String {
    suites.iter().map(|suite| &*suite.name).collect::<Vec<_>>().join(", ")
}

impl Look {
    fn verdict(self, verdict: Verdict) -> String {
        let word = match verdict {
            Verdict::Ok => "ok     ",
            Verdict::Warn => "WARN   ",
            Verdict::Fail => "FAIL   ",
            Verdict::Skipped => "skipped",
        };
        self.paint(verdict, word)
    }

    fn paint(self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            _ if !self.colour => return text.to_owned(),
            Verdict::Ok => "32",
            Verdict::Warn => "33",
            Verdict::Fail => "1;31",
            Verdict::Skipped => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    fn bold(self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Breaks a text between words into lines of at most `width` characters; a longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
