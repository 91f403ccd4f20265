//! Renders a report as text. Pure.

use super::report::{Check, Report, Verdict};

/// The maximum width of a line, in characters.
const WIDTH: usize = 100;

/// The column at which the text of a line begins.
const TEXT: usize = 27;

/// The style of a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Whether the text has colours, for a terminal.
    pub colour: bool,
}

/// Renders the report. `examiner` names the process that made the checks: `Examined by the running
/// proxy`.
pub fn render(report: &Report, examiner: &str, style: Style) -> String {
    let mut page = Page { lines: Vec::new(), style, last_remedy: String::new() };
    page.lines.push(style.bold(&format!("vbc-proxy doctor: credential {}", report.credential)));
    page.lines.push(format!("{examiner}, {}", report.at.strftime("%Y-%m-%d %H:%M:%S UTC")));
    page.lines.push(String::new());
    for check in &report.checks {
        page.check(check, &check.name);
    }
    if !report.suites.is_empty() {
        page.lines.push(String::new());
        page.suites(&report.suites);
    }
    if let Some(quota) = &report.quota {
        page.lines.push(String::new());
        page.check(quota, &quota.name);
    }
    page.lines.push(String::new());
    page.lines.push(page.summary(report));
    page.lines.join("\n")
}

struct Page {
    lines: Vec<String>,
    style: Style,
    last_remedy: String,
}

impl Page {
    /// `  FAIL     token host      the finding`, and under it `→ the remedy`.
    fn check(&mut self, check: &Check, name: &str) {
        self.line(check, &format!("{name:<16}"), TEXT);
    }

    fn line(&mut self, check: &Check, columns: &str, text: usize) {
        let mut start = format!("  {}  {columns}", self.style.verdict(check.verdict));
        for line in wrap(&check.found, WIDTH - text) {
            self.lines.push(format!("{start}{line}"));
            start = " ".repeat(text);
        }
        let Some(remedy) = &check.remedy else { return };
        let last = std::mem::replace(&mut self.last_remedy, remedy.clone());
        let remedy = if last == *remedy { "as above" } else { remedy };
        start = format!("{}→ ", " ".repeat(text));
        for line in wrap(remedy, WIDTH - text - 2) {
            self.lines.push(format!("{start}{line}"));
            start = " ".repeat(text + 2);
        }
    }

    fn suites(&mut self, suites: &[Check]) {
        let first = &suites[0];
        if first.verdict == Verdict::Skipped && suites.iter().all(|suite| suite.found == first.found) {
            let names = suites.iter().map(|suite| &*suite.name).collect::<Vec<_>>().join(", ");
            let found = format!("not checked, because {}: {names}", first.found);
            return self.check(&Check { found, ..first.clone() }, "suites");
        }
        self.lines.push(self.style.bold("  suites, each checked with one request:"));
        for suite in suites {
            let status = suite.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            self.line(suite, &format!("{:<16}{status:<5}", suite.name), TEXT + 5);
        }
    }

    fn summary(&self, report: &Report) -> String {
        let fails = plural(report.count(Verdict::Fail), "check fails", "checks fail");
        let warnings = plural(report.count(Verdict::Warn), "warning", "warnings");
        let skipped = report.suites.iter().filter(|suite| suite.verdict == Verdict::Skipped).count();
        let text = match (&fails, &warnings) {
            (None, _) if skipped > 0 => {
                let skipped = plural(skipped, "suite was", "suites were").unwrap_or_default();
                let warnings = warnings.map(|warnings| format!(", with {warnings}")).unwrap_or_default();
                format!("No check fails{warnings}; {skipped} not checked.")
            }
            (None, None) => "All checks pass.".to_owned(),
            (None, Some(warnings)) => format!("It works, with {warnings}."),
            (Some(fails), None) => format!("{fails}."),
            (Some(fails), Some(warnings)) => format!("{fails}, {warnings}."),
        };
        self.style.paint(report.verdict(), &text)
    }
}

/// A number of things; `None` for 0.
fn plural(count: usize, one: &str, more: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {more}")),
    }
}

impl Style {
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

/// Breaks a text between words into lines of at most `width` characters. A longer word gets its own
/// line.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let long =
            "a finding in a sentence that is too long for one line of the report, with its hundred columns";
        let unsubscribed = |name: &'static str| Check {
            status: Some(403),
            ..Check::fail(name, "unsubscribed", "the application is not subscribed", "subscribe it")
        };
        Report {
            credential: "default".into(),
            version: "0".into(),
            at: "2026-09-05T16:00:00Z".parse().unwrap(),
            checks: vec![Check::ok("token host", "answers"), Check::warn("clock", "clock-skew", long, long)],
            suites: vec![
                unsubscribed("reports"),
                unsubscribed("vis"),
                Check::skipped("telephony", "not asked"),
            ],
            quota: Some(Check::ok("quota", "none seen")),
        }
    }

    #[test]
    fn a_report_is_aligned_and_says_what_to_do() {
        let text = render(&report(), "Examined by the running proxy", Style::default());
        let expected = "\
vbc-proxy doctor: credential default
Examined by the running proxy, 2026-09-05 16:00:00 UTC

  ok       token host      answers
  WARN     clock           a finding in a sentence that is too long for one line of the report, with
                           its hundred columns
                           → a finding in a sentence that is too long for one line of the report,
                             with its hundred columns

  suites, each checked with one request:
  FAIL     reports         403  the application is not subscribed
                                → subscribe it
  FAIL     vis             403  the application is not subscribed
                                → as above
  skipped  telephony       -    not asked

  ok       quota           none seen

2 checks fail, 1 warning.";
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn colours_are_for_terminals_and_change_no_word() {
        let plain = render(&report(), "x", Style::default());
        let mut colourful = render(&report(), "x", Style { colour: true });
        for code in ["1", "2", "32", "33", "1;31", "0"] {
            colourful = colourful.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_eq!(plain, colourful);
    }

    #[test]
    fn suites_that_were_not_asked_for_one_reason_are_one_line() {
        let mut report = report();
        report.suites =
            ["reports", "vis"].map(|name| Check::skipped(name, "there is no usable token")).into();
        let text = render(&report, "x", Style::default());
        assert!(
            text.contains(
                "  skipped  suites          not checked, because there is no usable token: reports, vis\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_last_line_says_how_it_went() {
        let mut report = report();
        report.suites.drain(..2);
        let text = render(&report, "x", Style::default());
        assert!(text.ends_with("\nNo check fails, with 1 warning; 1 suite was not checked."), "{text}");
        report.suites.clear();
        assert!(render(&report, "x", Style::default()).ends_with("\nIt works, with 1 warning."));
        report.checks.pop();
        assert!(render(&report, "x", Style::default()).ends_with("\nAll checks pass."));
    }
}
