//! Tables of the outcomes, for reading.

use std::fmt::Write;
use std::path::Path;

use super::case::{Becomes, Expected};
use super::wire::ReceivedResponse;
use super::{Outcome, Passed};

/// One case at all servers.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) expected: String,
    /// This proxy, nginx, HAProxy, Caddy, hyper.
    pub(super) servers: [String; 5],
    pub(super) why: &'static str,
    pub(super) faults: Vec<String>,
}

/// Writes the table to `target/compare`, and fails with the rows that have a fault.
pub(super) fn conclude(name: &str, rows: &[Row], at_least: usize) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("compare");
    std::fs::create_dir_all(&directory).unwrap();
    let all: Vec<&Row> = rows.iter().collect();
    std::fs::write(directory.join(format!("{name}.md")), table(&all)).unwrap();
    let failed: Vec<&Row> = rows.iter().filter(|row| !row.faults.is_empty()).collect();
    assert!(failed.is_empty(), "{} of {} {name}:\n{}", failed.len(), rows.len(), table(&failed));
    assert!(rows.len() >= at_least, "only {} {name}", rows.len());
}

fn table(rows: &[&Row]) -> String {
    let mut text =
        String::from("| case | wanted | vbc-proxy | nginx | HAProxy | Caddy | hyper | why we differ |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for row in rows {
        let [ours, nginx, haproxy, caddy, hyper] = &row.servers;
        let (name, expected, why) = (row.name, &row.expected, row.why);
        writeln!(text, "| {name} | {expected} | {ours} | {nginx} | {haproxy} | {caddy} | {hyper} | {why} |")
            .unwrap();
        for fault in &row.faults {
            writeln!(text, "| | **{fault}** | | | | | | |").unwrap();
        }
    }
    text
}

pub(super) fn expected(expected: Expected) -> String {
    match expected {
        Expected::Passes(count) => format!("{count} pass"),
        Expected::Refused { after: 0, status } => format!("{status}"),
        Expected::Refused { after, status } => format!("{status} after {after}"),
        Expected::Silence => "silence, or 400".into(),
    }
}

pub(super) fn outcome(outcome: &Outcome) -> String {
    let open = if outcome.ended { "" } else { ", stays open" };
    format!("{}; {} upstream{open}", statuses(&outcome.got), outcome.seen.len())
}

pub(super) fn becomes(becomes: Becomes) -> String {
    match becomes {
        Becomes::Whole { status, body: "" } => format!("{status} without a body"),
        Becomes::Whole { status, body } => format!("{status} `{body}`"),
        Becomes::BadGateway => "502".into(),
        Becomes::Cut => "cut, or 502".into(),
    }
}

pub(super) fn passed(passed: &Passed) -> String {
    let body = match &passed.got[..] {
        [response] if response.status < 400 && !response.body.is_empty() => {
            let text: String = response.body.escape_ascii().to_string().chars().take(20).collect();
            format!(" `{}`", text.replace('|', "\\|"))
        }
        _ => String::new(),
    };
    let open = if passed.ended { "" } else { ", stays open" };
    let poisoned = if passed.leaves_the_next_alone() { "" } else { ", and the next is wrong" };
    format!("{}{body}{open}{poisoned}", statuses(&passed.got))
}

fn statuses(got: &[ReceivedResponse]) -> String {
    let one = |response: &ReceivedResponse| match (response.status, response.whole) {
        (9, _) => "no head".to_owned(),
        (status, true) => status.to_string(),
        (status, false) => format!("{status} cut"),
    };
    match got.iter().map(one).collect::<Vec<_>>().join(" ") {
        text if text.is_empty() => "nothing".into(),
        text => text,
    }
}
