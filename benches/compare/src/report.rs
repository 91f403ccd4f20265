//! `RESULTS.md`.

use std::fmt::Write as _;

use crate::Results;
use crate::memory::Memory;
use crate::rows::{BUSY, middle};
use crate::stats::Ratio;
use crate::steady::Line;

/// The page.
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
        "# vbc-proxy, nginx and HAProxy side by side\n\n\
         Written by `scripts/bench`; do not edit. Absolute figures are this machine's; what counts are the ratios, which were\n\
         taken within each round and are medians over rounds.\n\n\
         - Machine: {}\n- Commit: {}\n- Versions: {}\n- Rounds: {} of {:.1} s, one proxy after the other in each; up to half as many again where too few were calm\n\
         - Strangers took {:.0} % of a core (median over all rounds)\n",
        results.machine,
        results.commit,
        results.versions.join("; "),
        results.rounds,
        results.duration,
        results.others * 100.0,
    )
    .unwrap();
    writeln!(
        out,
        "nginx and HAProxy have one worker where the proxy is pinned to a core (load and upstream have the other), else one a core;\n\
         keep-alive towards the upstream, no access log, a token of 1 KB added, buffers tuned for large bodies where bodies are large.\n\
         vbc-proxy runs with its shipped defaults: everything is on.\n\n\
         A ratio is not told (*too noisy*) when its standard error (from the median absolute deviation of the rounds' ratios) is over\n\
         3 % (5 % of a p99), and, for times, when fewer than seven rounds were calm: strangers and the hypervisor had 6 % of a core at most.\n\
         p99 is the 99th percentile of a twentieth of a second, and of these the median, where that is 500 requests and more: the\n\
         hypervisor of such a machine stops a core some times a second, and of a whole round it would be that. What comes less often\n\
         shows in p99.9, which is of the round.\n\
         † the proxy's core was less than {:.0} % busy: load and upstream, on the other core, were the limit.\n",
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
        // Two digits are what is shown.
        Some(value) if most && value < goal + 0.005 || !most && value > goal - 0.005 => " ✓",
        Some(_) => " ✗",
    };
    format!("{ratio} ({sign} {goal:.2}){verdict}")
}

fn summary(out: &mut String, results: &Results) {
    writeln!(out, "## Ratios to nginx, with the goals beside them\n").unwrap();
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
        "## What the profile gains\n\n| workload | CPU per request, to the plain build |\n| --- | --- |"
    )
    .unwrap();
    for measured in &results.rows {
        writeln!(out, "| {} | {} |", measured.row.name, measured.between(profiled, plain)).unwrap();
    }
    writeln!(out).unwrap();
}

fn figures(out: &mut String, results: &Results) {
    writeln!(out, "## Figures, each client asking as soon as it is answered\n").unwrap();
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
    writeln!(out, "## At a constant rate, 60 % of nginx's peak\n\nLatency counts from when a request was due (coordinated omission is corrected).\n").unwrap();
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
    writeln!(out, "## Memory\n\nProportional set size, one worker. Goals for ours: quiet under 12 MB, an idle connection under 10 KB, 50 bodies of 64 MiB up and\n50 down at once under 120 MB over that, and back within 20 % of quiet in a minute. `cargo bench --bench endurance -- bodies` does\nthe bodies on every transport.\n").unwrap();
    writeln!(out, "| proxy | quiet, MB | idle connection (of 2,000), bytes: fresh | after a request | 50 × 64 MiB, MB | after load, MB | within 20 % of quiet |\n| --- | --- | --- | --- | --- | --- | --- |").unwrap();
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
        "Latency while the token is refreshed (ours, GET 1 KB at the constant rate; a reload of the configuration does not exist yet)",
        "p99, µs",
        &results.refreshes,
    );
    table(
        "Growth with connections (ours, GET 1 KB, one request at a time, on one connection after another)",
        "CPU s per 100,000",
        &results.connections,
    );
    table("The same of nginx", "CPU s per 100,000", &results.connections_of_nginx);
    table(
        "Growth with credentials (ours, GET 1 KB, 64 connections)",
        "CPU s per 100,000",
        &results.credentials,
    );
}
