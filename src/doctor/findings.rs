//! Turns the findings about the configuration into checks. Pure.

use super::report::{Check, Verdict};
use crate::config::{Finding, Findings, Location};

const NAME: &str = "configuration";

/// The checks of a configuration that was loaded from `origin`.
pub fn accepted(origin: &str, warnings: &[Finding]) -> Vec<Check> {
    match warnings {
        [] => vec![Check::ok(NAME, origin)],
        _ => warnings.iter().map(|warning| check(Verdict::Warn, warning)).collect(),
    }
}

/// The checks of a configuration that was rejected.
pub fn refused<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Vec<Check> {
    findings.into_iter().map(|finding| check(Verdict::Fail, finding)).collect()
}

/// The checks of a rejected configuration while a proxy is running.
///
/// A value that this process cannot read is not a failure: the proxy may get its secrets, or its
/// whole configuration, from elsewhere.
pub fn beside_a_running_proxy(findings: &Findings) -> Vec<Check> {
    let findings = findings.iter().filter(|finding| !is_no_configuration(finding));
    let (withheld, real): (Vec<&Finding>, Vec<&Finding>) = findings.partition(|finding| is_withheld(finding));
    let mut checks = refused(real);
    if !withheld.is_empty() {
        let keys: Vec<&str> = withheld.iter().map(|finding| short(&finding.key)).collect();
        let found = format!(
            "not readable from this shell: {}; the running proxy has its own values",
            keys.join(", ")
        );
        checks.push(Check::skipped(NAME, found));
    }
    if checks.is_empty() {
        checks.push(Check::skipped(
            NAME,
            "no file in this directory; the running proxy has its own configuration",
        ));
    }
    checks
}

/// Whether the finding says that there is neither a file nor a variable.
fn is_no_configuration(finding: &Finding) -> bool {
    finding.key.is_empty() && finding.location == Location::Environment
}

/// Whether the finding concerns the file or variable of a value and not the value itself.
fn is_withheld(finding: &Finding) -> bool {
    let key = &finding.key;
    (key.ends_with("_env") || key.ends_with("_file")) && !finding.message.ends_with("is also given")
}

fn short(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

fn check(verdict: Verdict, finding: &Finding) -> Check {
    let key = if finding.key.is_empty() { String::new() } else { format!("{}: ", finding.key) };
    let found = format!("{}: {key}{}", finding.location, finding.message);
    let (code, remedy) = diagnosis(finding);
    let remedy = if remedy.is_empty() { finding.remedy.clone() } else { remedy.to_owned() };
    Check { verdict, ..Check::fail(NAME, code, found, remedy) }
}

/// The code of a finding, and a longer remedy than the loader's for the most costly mistakes.
fn diagnosis(finding: &Finding) -> (&'static str, &'static str) {
    let says = |what: &str| finding.message.contains(what);
    match short(&finding.key) {
        "username" if says(".api") => (
            "developer-account",
            "use the name and password of a VBC user with the role Account Administrator, preferably a separate user \
             for the proxy; the developer account is only for the developer portal. If your tenant accepts this name, \
             set allow_api_user = true",
        ),
        "username" if says("twice") => (
            "doubled-suffix",
            "write @vbc.prod once, or leave it out, because the proxy appends it; check whether a script also appends it",
        ),
        "scope" if says("openid") => (
            "scope",
            "add openid; without it the service grants the scope `default`, and Reports rejects such tokens with a bare 401",
        ),
        _ => ("configuration", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn toml(lines: &str) -> String {
        let known = "client_id = \"a\"\nclient_secret = \"b\"\npassword = \"c\"\n";
        format!("[credentials.default]\n{known}{lines}")
    }

    fn codes(checks: &[Check]) -> Vec<&str> {
        checks.iter().filter_map(|check| check.code.as_deref()).collect()
    }

    fn of(lines: &str) -> Vec<Check> {
        refused(Config::from_toml(&toml(lines)).unwrap_err().iter())
    }

    #[test]
    fn findings_that_cost_others_most_are_diagnoses() {
        let checks = of("username = \"acme.api\"");
        assert_eq!(codes(&checks), ["developer-account"]);
        assert!(checks[0].remedy.as_deref().unwrap().contains("VBC user"));
        assert_eq!(codes(&of("username = \"a@vbc.prod@vbc.prod\"")), ["doubled-suffix"]);
        let loaded = Config::from_toml(&toml("username = \"a\"\nscope = \"default\"")).unwrap();
        let checks = accepted("proxy.toml", &loaded.warnings);
        assert_eq!((codes(&checks), checks[0].verdict), (vec!["scope"], Verdict::Warn));
        assert!(checks[0].remedy.as_deref().unwrap().contains("openid"));
    }

    #[test]
    fn other_findings_are_shown_as_they_are() {
        let checks = of("username = \"a\"\nscpoe = \"openid\"");
        assert_eq!(codes(&checks), ["configuration"]);
        assert!(checks[0].found.contains("scpoe"), "{checks:?}");
    }

    #[test]
    fn secrets_that_only_the_running_proxy_has_are_no_finding() {
        let read = Config::from_toml(
            "[credentials.default]\nclient_id_env = \"VBC_CLIENT_ID\"\nclient_secret_file = \"/nowhere\"\n\
             username = \"a\"\npassword = \"c\"",
        );
        let read = read.unwrap_err();
        let checks = beside_a_running_proxy(&read);
        assert_eq!(checks.len(), 1, "{checks:?}");
        assert_eq!(checks[0].verdict, Verdict::Skipped);
        assert!(checks[0].found.contains("client_id_env, client_secret_file"), "{checks:?}");
        let read = Config::from_toml(&toml("username = \"a\"\nusername_env = \"B\""));
        let checks = beside_a_running_proxy(&read.unwrap_err());
        assert!(checks.iter().all(|check| check.verdict == Verdict::Fail), "{checks:?}");
    }
}
