//! `RESULTS.md`.

use std::fmt::Write as _;

use crate::Results;
use crate::memory::Memory;
use crate::rows::{BUSY, middle};
use crate::stats::Ratio;
use crate::steady::Line;

/// The text of `RESULTS.md`.
pub(crate) fn page(results: &Results) -> String {
    let mut page = String::new();
    let out = &mut page;
    head(out, results);
    if !results.rows.is_empty() {
        summary(out, results);
        gain(out, results);
        figures(out, results);
        constant(out, results);
    }
    if !results.memory.is_empty() {
        memory(out, &results.memory);
    }
    steady(out, results);
    page
}

fn head(out: &mut String, results: &Results) {
    writeln!(
        out,
        "# vbc-proxy compared with nginx, HAProxy and hyper\n\n\
         Written by `scripts/bench`; do not edit. The ratios count: each is taken within one round, and\n\
         the table has the median over rounds. Absolute figures hold for this machine only.\n\n\
         - Machine: {}\n- Commit: {}\n- Versions:\n  - {}\n\
         - Rounds: {} of {:.1} s, up to half as many more if too few were calm. The proxies take turns\n  \
           in each.\n\
         - Other processes and the hypervisor took {:.0} % of a core (median over all rounds)\n",
        results.machine,
        results.commit,
        results.versions.join("\n  - "),
        results.rounds,
        results.duration,
        results.others * 100.0,
    )
    .unwrap();
    writeln!(
        out,
        "How the proxies run:\n\n\
         - A pinned proxy has one core; load and upstream share the other. nginx and HAProxy then have\n  \
           one worker, and hyper has a single-threaded runtime.\n\
         - An unpinned proxy has one worker for every core.\n\
         - All keep connections to the upstream open and add a token of 1 KB.\n\
         - nginx and HAProxy have no access log. Their buffers are tuned for large bodies where bodies\n  \
           are large.\n\
         - *hyper* is a plain proxy on hyper's HTTP/1 server and hyper-util's pooled client\n  \
           (`benches/compare/src/hyper_proxy.rs`). It strips hop-by-hop fields and adds the token. It has\n  \
           no log, no metrics and no limits except hyper's own.\n\
         - *ours* is vbc-proxy with its shipped defaults, every feature included. *ours, PGO* is built\n  \
           with a profile.\n\n\
         How to read the tables:\n\n\
         - *too noisy*: the standard error of the ratio is over 3 % (5 % for p99), or fewer than seven\n  \
           rounds were calm. The median absolute deviation gives the standard error.\n\
         - A round is calm if other processes and the hypervisor took at most 6 % of a core. Ratios of\n  \
           CPU time need no calm rounds.\n\
         - p99: the median over slices of 50 ms of their 99th percentiles, if slices have 500 requests or\n  \
           more. The hypervisor stops a core some times a second, and over the whole round p99 would\n  \
           measure those stops.\n\
         - p99.9: over the whole round.\n\
         - †: the proxy's core was less than {:.0} % busy. Load and upstream were the limit.\n",
        BUSY * 100.0
    )
    .unwrap();
    if results.plot {
        writeln!(out, "![CPU per request, ratio to nginx](RESULTS.svg)\n").unwrap();
    }
}

fn goal(ratio: Option<Ratio>, goal: Option<f64>, most: bool) -> String {
    let Some(ratio) = ratio else { return "–".into() };
    let Some(goal) = goal else { return ratio.to_string() };
    let sign = if most { "≤" } else { "≥" };
    let verdict = match ratio.value() {
        None => "",
        // The page shows two decimals, so a ratio passes if it rounds to the goal.
        Some(value) if most && value < goal + 0.005 || !most && value > goal - 0.005 => " ✓",
        Some(_) => " ✗",
    };
    format!("{ratio} ({sign} {goal:.2}){verdict}")
}

fn summary(out: &mut String, results: &Results) {
    writeln!(out, "## Ratios to nginx, with the goals in parentheses\n").unwrap();
    writeln!(out, "| workload | proxy | CPU per request | requests/s | p99 at a constant rate |\n| --- | --- | --- | --- | --- |").unwrap();
    for measured in &results.rows {
        for (index, name) in results.names.iter().enumerate().skip(1) {
            let goals = measured.row.goals;
            let of = |pair: Option<(f64, f64)>| match *name {
                "ours" => pair.map(|pair| pair.0),
                "ours, PGO" => pair.map(|pair| pair.1),
                _ => None,
            };
            let p99 = goals.p99.filter(|_| name.starts_with("ours"));
            let bound = if measured.is_bound(index) { "" } else { " †" };
            writeln!(
                out,
                "| {} | {name} | {} | {}{bound} | {} |",
                measured.row.name,
                goal(Some(measured.cpu(index)), of(goals.cpu), true),
                goal(Some(measured.rate(index)), of(goals.rate), false),
                goal(measured.p99(index), p99, true),
            )
            .unwrap();
        }
    }
    writeln!(out).unwrap();
}

fn gain(out: &mut String, results: &Results) {
    let at = |name: &str| results.names.iter().position(|known| *known == name);
    let (Some(plain), Some(profiled)) = (at("ours"), at("ours, PGO")) else { return };
    writeln!(
        out,
        "## Gain of the profile\n\n| workload | CPU per request, ratio to the plain build |\n| --- | --- |"
    )
    .unwrap();
    for measured in &results.rows {
        writeln!(out, "| {} | {} |", measured.row.name, measured.between(profiled, plain)).unwrap();
    }
    writeln!(out).unwrap();
}

fn figures(out: &mut String, results: &Results) {
    writeln!(out, "## Figures: each client sends its next request as soon as it has the response\n").unwrap();
    writeln!(out, "| workload | proxy | CPU s per 100,000 | requests/s | p50, ms | p99, ms | p99.9, ms | core busy |\n| --- | --- | --- | --- | --- | --- | --- | --- |").unwrap();
    for measured in &results.rows {
        for (name, rounds) in results.names.iter().zip(&measured.closed) {
            let busy = middle(rounds, |outcome| outcome.used.core) * 100.0;
            let busy = if measured.row.pinned { format!("{busy:.0} %") } else { "–".into() };
            writeln!(
                out,
                "| {} | {name} | {:.3} | {:.0} | {:.2} | {:.2} | {:.2} | {busy} |",
                measured.row.name,
                middle(rounds, |outcome| outcome.cpu),
                middle(rounds, |outcome| outcome.rate),
                middle(rounds, |outcome| outcome.p50) / 1e3,
                middle(rounds, |outcome| outcome.p99) / 1e3,
                middle(rounds, |outcome| outcome.p999) / 1e3,
            )
            .unwrap();
        }
    }
    writeln!(out).unwrap();
}

fn constant(out: &mut String, results: &Results) {
    if results.rows.iter().all(|measured| measured.constant.is_none()) {
        return;
    }
    writeln!(out, "## Figures at a constant rate, 60 % of nginx's peak\n\nLatency counts from the time when a request was due (coordinated omission is corrected).\n").unwrap();
    writeln!(out, "| workload | proxy | requests/s | p50, ms | p99, ms | p99.9, ms | CPU s per 100,000 | CPU to nginx |\n| --- | --- | --- | --- | --- | --- | --- | --- |").unwrap();
    for measured in &results.rows {
        let Some((rate, rounds)) = &measured.constant else { continue };
        for (index, (name, rounds)) in results.names.iter().zip(rounds).enumerate() {
            let cpu = measured.cpu_at_rate(index).filter(|_| index > 0);
            writeln!(
                out,
                "| {} | {name} | {rate:.0} | {:.2} | {:.2} | {:.2} | {:.3} | {} |",
                measured.row.name,
                middle(rounds, |outcome| outcome.p50) / 1e3,
                middle(rounds, |outcome| outcome.p99) / 1e3,
                middle(rounds, |outcome| outcome.p999) / 1e3,
                middle(rounds, |outcome| outcome.cpu),
                cpu.map_or("–".into(), |ratio| ratio.to_string()),
            )
            .unwrap();
        }
    }
    writeln!(out).unwrap();
}

fn memory(out: &mut String, found: &[Memory]) {
    writeln!(
        out,
        "## Memory\n\n\
         Proportional set size with one worker. 50 × 64 MiB: the growth of the peak resident set\n\
         while 50 clients upload and then download 64 MiB each. `cargo bench --bench endurance -- bodies`\n\
         does this on every transport.\n\n\
         Goals for ours: quiet under 12 MB, an idle connection under 10 KB, 50 × 64 MiB under 120 MB.\n\
         Memory returns to within 20 % of quiet in a minute.\n"
    )
    .unwrap();
    writeln!(out, "| proxy | quiet, MB | idle connection before its first request, bytes | idle connection after a request, bytes | 50 × 64 MiB, MB | immediately after load, MB | within 20 % of quiet |\n| --- | --- | --- | --- | --- | --- | --- |").unwrap();
    for memory in found {
        writeln!(
            out,
            "| {} | {:.1} | {:.0} | {:.0} | {:.0} | {:.1} | {} |",
            memory.name,
            memory.quiet / 1e6,
            memory.fresh,
            memory.used,
            memory.long / 1e6,
            memory.after / 1e6,
            memory.back.map_or_else(
                || format!("no: {:.1} MB after a minute", memory.later / 1e6),
                |time| format!("after {:.0} s", time.as_secs_f64().ceil())
            ),
        )
        .unwrap();
    }
    writeln!(out).unwrap();
}

fn steady(out: &mut String, results: &Results) {
    let mut table = |title: &str, unit: &str, lines: &[Line]| {
        if lines.is_empty() {
            return;
        }
        writeln!(out, "## {title}\n\n| | {unit} | ratio to the first line |\n| --- | --- | --- |").unwrap();
        for line in lines {
            let tail = line.tail.map_or_else(String::new, |tail| format!(" (p99.9: {tail:.0})"));
            writeln!(out, "| {} | {:.3}{tail} | {} |", line.what, line.figure, line.ratio).unwrap();
        }
        writeln!(out).unwrap();
    };
    table(
        "Latency while the token is refreshed (ours, GET 1 KB at the constant rate)",
        "p99, µs",
        &results.refreshes,
    );
    table(
        "Growth with connections (ours, GET 1 KB, one request at a time, each on the next connection)",
        "CPU s per 100,000",
        &results.connections,
    );
    table(
        "Growth with connections (nginx, in the same way)",
        "CPU s per 100,000",
        &results.connections_of_nginx,
    );
    table(
        "Growth with credentials (ours, GET 1 KB, 64 connections)",
        "CPU s per 100,000",
        &results.credentials,
    );
}
