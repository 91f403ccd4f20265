//! `docs/troubleshooting.md` quotes texts that the program prints. It has an entry for every exit
//! status, `Proxy-Status` error, reason for a blocked credential and title of a problem.
//!
//! An entry is a heading of level 3: its code spans are quotes. A `…` in a quote stands for
//! anything. A quote may also be `error=TOKEN` of a `Proxy-Status`. Exit statuses are in headings
//! like `### Exit status 69`.

use std::collections::{BTreeMap, BTreeSet};

use super::quotes::Pattern;
use super::{assert_none, documents};
use crate::architecture::tokens::{Kind, Token, tokens};
use crate::sources::{SourceFile, files, is_product, literals, product_tokens};

const PAGE: &str = "docs/troubleshooting.md";

/// The error types that RFC 9209 §2.3 registers.
const ERROR_TYPES: [&str; 32] = [
    "connection_limit_reached",
    "connection_read_timeout",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_write_timeout",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "destination_not_found",
    "destination_unavailable",
    "dns_error",
    "dns_timeout",
    "http_protocol_error",
    "http_request_denied",
    "http_request_error",
    "http_response_body_size",
    "http_response_content_coding",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_incomplete",
    "http_response_timeout",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_upgrade_failed",
    "proxy_configuration_error",
    "proxy_internal_error",
    "proxy_internal_response",
    "proxy_loop_detected",
    "tls_alert_received",
    "tls_certificate_error",
    "tls_protocol_error",
];

/// An entry of the page.
struct Entry {
    line: usize,
    heading: String,
    quotes: Vec<String>,
}

fn entries() -> Vec<Entry> {
    let documents = documents();
    let page = documents.get(PAGE).unwrap_or_else(|| panic!("there is no {PAGE}"));
    let headings = page.headings.iter().filter(|heading| heading.text.starts_with("### "));
    let entries: Vec<Entry> = headings
        .map(|heading| {
            let spans = page.spans.iter().filter(|span| span.line == heading.line);
            let quotes = spans.map(|span| span.text.clone()).collect();
            Entry { line: heading.line, heading: heading.text.clone(), quotes }
        })
        .collect();
    assert!(entries.len() > 10, "only {} entries", entries.len());
    entries
}

fn product() -> Vec<SourceFile> {
    let files: Vec<SourceFile> = files().into_iter().filter(|file| is_product(&file.path)).collect();
    assert!(files.len() > 200, "only {} files", files.len());
    files
}

fn source<'a>(files: &'a [SourceFile], path: &str) -> &'a str {
    &files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("there is no {path}")).text
}

#[test]
fn every_quote_of_the_troubleshooting_page_is_in_the_code() {
    let files = product();
    let patterns: Vec<Pattern> = files
        .iter()
        .flat_map(|file| literals(&file.text))
        .map(|literal| Pattern::of_literal(&literal.text))
        .collect();
    let numbers: BTreeSet<&str> = files.iter().flat_map(|file| numbers(&file.text)).collect();
    let mut findings = Vec::new();
    let mut count = 0;
    for entry in entries() {
        for quote in &entry.quotes {
            count += 1;
            let is_number = numbers.contains(&**quote);
            let quote = Pattern::of_quote(quote.strip_prefix("error=").unwrap_or(quote));
            let mut candidates = patterns.iter().filter(|literal| quote.may_occur_in(literal));
            if !is_number && !candidates.any(|literal| quote.occurs_in(literal)) {
                findings.push(format!(
                    "{PAGE}:{}: nothing in the code prints this: {}",
                    entry.line, entry.heading
                ));
            }
        }
    }
    assert_none(&findings);
    assert!(count > 20, "only {count} quotes were found");
}

/// The whole numbers in the code, without its tests.
fn numbers(source: &str) -> Vec<&str> {
    let words = product_tokens(source).into_iter().filter_map(|token| match token.kind {
        Kind::Word(word) => Some(word),
        _ => None,
    });
    words.filter(|word| word.bytes().all(|b| b.is_ascii_digit())).collect()
}

#[test]
fn every_exit_status_has_an_entry_and_every_such_entry_a_status() {
    let files = product();
    let exit = source(&files, "src/cli/exit.rs");
    let exits: BTreeSet<&str> = numbers(exit).into_iter().filter(|number| is_arm(exit, number)).collect();
    assert!(["1", "64", "69", "78"].iter().all(|known| exits.contains(known)), "{exits:?}");
    // `run` also exits with the statuses of its command.
    let run = numbers(source(&files, "src/cli/run.rs"));
    let mut explained = BTreeSet::new();
    let mut findings = Vec::new();
    for Entry { line, heading, .. } in entries() {
        let Some(rest) = heading.strip_prefix("### Exit status") else { continue };
        for number in rest.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()) {
            explained.insert(number.to_owned());
            if number != "0" && !exits.contains(number) && !run.contains(&number) {
                findings.push(format!("{PAGE}:{line}: no command exits with {number}"));
            }
        }
    }
    for exit in exits.iter().filter(|exit| !explained.contains(**exit)) {
        findings.push(format!("{PAGE}: no heading \"### Exit status {exit}\""));
    }
    assert_none(&findings);
}

/// Whether an arm of a `match` has this number as its value.
fn is_arm(source: &str, number: &str) -> bool {
    let tokens = tokens(source);
    tokens.windows(3).any(|window| {
        let [a, b, c] = [window[0].kind, window[1].kind, window[2].kind];
        (a, b, c) == (Kind::Mark('='), Kind::Mark('>'), Kind::Word(number))
    })
}

#[test]
fn every_error_of_proxy_status_has_an_entry() {
    /// The sources that respond to requests.
    const SERVING: [&str; 4] = ["src/proxy/", "src/admin/", "src/app/", "crates/http/"];
    let files = product();
    let serves = |file: &&SourceFile| SERVING.iter().any(|folder| file.path.starts_with(folder));
    let used: BTreeSet<String> = files
        .iter()
        .filter(serves)
        .flat_map(|file| literals(&file.text))
        .map(|literal| literal.text)
        .filter(|text| ERROR_TYPES.contains(&&**text))
        .collect();
    assert!(used.len() > 10, "{used:?}");
    let entries = entries();
    let explained: BTreeSet<&str> = entries
        .iter()
        .flat_map(|entry| &entry.quotes)
        .map(|quote| quote.strip_prefix("error=").unwrap_or(quote))
        .collect();
    let findings: Vec<String> = used
        .iter()
        .filter(|error| !explained.contains(&***error))
        .map(|error| format!("{PAGE}: no heading \"### `error={error}`\""))
        .collect();
    assert_none(&findings);
}

#[test]
fn every_title_of_a_problem_is_in_a_heading() {
    let files = product();
    let titles = titles(source(&files, "src/proxy/error.rs"));
    assert!(titles.len() > 15, "{titles:?}");
    let entries = entries();
    let is_quoted = |title: &str| entries.iter().any(|entry| entry.quotes.iter().any(|quote| quote == title));
    let findings: Vec<String> = titles
        .iter()
        .filter(|title| !is_quoted(title))
        .map(|title| format!("{PAGE}: no heading quotes the title `{title}`"))
        .collect();
    assert_none(&findings);
}

/// The titles of problems: the second text of each pair.
fn titles(source: &str) -> BTreeSet<&str> {
    let tokens = product_tokens(source);
    let kinds: Vec<Kind<'_>> = tokens.iter().map(|token| token.kind).collect();
    let titles = kinds.windows(5).filter_map(|window| match window {
        [Kind::Mark('('), Kind::Text(_), Kind::Mark(','), Kind::Text(title), Kind::Mark(')')] => Some(*title),
        _ => None,
    });
    titles.collect()
}

#[test]
fn every_reason_that_keeps_a_credential_from_logging_in_has_an_entry() {
    const FILE: &str = "src/credential/block_reason.rs";
    let files = product();
    let reasons = reasons(source(&files, FILE));
    assert!(reasons.len() >= 8, "{reasons:?}");
    let entries = entries();
    let quotes: Vec<Pattern> =
        entries.iter().flat_map(|entry| &entry.quotes).map(|quote| Pattern::of_quote(quote)).collect();
    let mut findings = Vec::new();
    for (variant, text) in reasons {
        let literal = Pattern::of_literal(&text);
        if !quotes.iter().any(|quote| quote.may_occur_in(&literal) && quote.occurs_in(&literal)) {
            findings.push(format!("{PAGE}: no heading quotes {variant}: {text}"));
        }
    }
    assert_none(&findings);
}

/// The texts of the variants of `BlockReason` and `LoginDecision`, and the last text of each
/// function about something unusable or unwritable. Each has the name of its variant or function.
fn reasons(source: &str) -> Vec<(&str, String)> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let tokens = tokens(source);
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    let mut variant = None;
    let mut function = "";
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Word(name) if at > 0 && tokens[at - 1].kind == Kind::Word("fn") => {
                variant = None;
                function = name;
            }
            Kind::Word(name) if follows_enum(&tokens[..at]) => variant = Some(name),
            Kind::Text(text) if text.contains(' ') => {
                let is_about_store = ["unusable", "unwritable"].iter().any(|word| function.starts_with(word));
                let name = if is_about_store { Some(function) } else { variant.take() };
                found.extend(name.map(|name| (name, text.replace("\\\n", "\n"))));
            }
            _ => {}
        }
    }
    found.into_iter().collect()
}

/// Whether these tokens end with `Self::` or `LoginDecision::`.
fn follows_enum(before: &[Token<'_>]) -> bool {
    let [.., name, first, second] = before else { return false };
    let is_enum = matches!(name.kind, Kind::Word("Self" | "LoginDecision"));
    is_enum && first.kind == Kind::Mark(':') && second.kind == Kind::Mark(':')
}

#[test]
fn numbers_arms_and_reasons_are_found_in_code() {
    let source = "fn a() { match b { Self::C { d } => format!(\"e f {d}\"), LoginDecision::G | LoginDecision::H => \
                  \"i j\", Self::K => 64 } } fn unusable_l() { (\"m n\", \"o p\") }";
    let expected = [("C", "e f {d}"), ("H", "i j"), ("unusable_l", "o p")];
    assert_eq!(reasons(source), expected.map(|(name, text)| (name, text.to_owned())));
    assert_eq!(numbers(source), ["64"]);
    assert_eq!(numbers("#[cfg(test)]\nmod tests { const A: u8 = 65; }"), [""; 0]);
    assert_eq!(titles(source), BTreeSet::from(["o p"]));
    assert!(is_arm(source, "64") && !is_arm(source, "65"));
}
