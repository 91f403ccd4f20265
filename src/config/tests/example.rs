//! The `proxy.toml` that ships: every line of it must work.

use std::fs;

use super::*;
use crate::config::EXAMPLE;
use crate::config::sections::SCHEMA;

const VARIABLES: [(&str, &str); 5] = [
    ("VBC_CLIENT_ID", "id"),
    ("VBC_CLIENT_SECRET", "secret"),
    ("VBC_USERNAME", "alice"),
    ("VBC_PASSWORD", "password"),
    ("VBC_REFRESH_TOKEN", "first"),
];

/// The key of a line `key = value` or `# key = value`.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")?;
    key.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(key)
}

#[test]
fn the_example_is_accepted_and_says_only_what_holds_anyway() {
    let loaded = load(EXAMPLE, &VARIABLES).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let four = without_file(&VARIABLES).unwrap();
    assert_eq!(loaded.config.redacted(), four.config.redacted());
}

#[test]
fn each_line_that_is_commented_out_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "client_secret", "password", "refresh_token"] {
        fs::write(directory.path().join(name), "-----BEGIN CERTIFICATE-----\n").unwrap();
    }
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.path().join("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(directory.path().join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    fs::write(directory.path().join("store.key"), "0123456789abcdef".repeat(4)).unwrap();
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let mut tried = 0;
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("# ")) {
        let Some(key_here) = key(line) else { continue };
        let rivals = SCHEMA.credential.alternatives(key_here);
        let changed = lines.iter().enumerate().map(|(other, text)| match (other == index, key(text)) {
            (true, _) => line.trim_start_matches("# "),
            (false, Some(rival)) if rivals.contains(&rival) => "",
            _ => *text,
        });
        let text: Vec<&str> = changed.collect();
        let source = source(&text.join("\n"), directory.path());
        if let Err(findings) = read(Some(source), &environment(&VARIABLES), Purpose::Serve) {
            panic!("{line}: {findings}");
        }
        tried += 1;
    }
    assert!(tried > 25, "only {tried} lines were tried");
}

#[test]
fn what_is_commented_out_as_a_default_is_the_default() {
    let examples = [
        "ca_file",
        "hosts",
        "tls",
        "origins",
        "public_url",
        "username",
        "refresh_before",
        "client_auth",
        "max_age",
        "redirect_uri",
        "rules",
    ];
    let is_example = |key: &str| examples.contains(&key) || key.ends_with("_file") || key.ends_with("_env");
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match key(line) {
            Some(key) if !is_example(key) => line.trim_start_matches("# "),
            _ => line,
        })
        .collect();
    let explicit = load(&uncommented.join("\n"), &VARIABLES).unwrap();
    assert_eq!(explicit.config.redacted(), load(EXAMPLE, &VARIABLES).unwrap().config.redacted());
}
