//! Runs every example to its end. The examples contain their own assertions.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

/// Runs an example, and returns its output. `cargo test` has already built it.
fn run(name: &str) -> String {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.parent().and_then(Path::parent).unwrap().join("examples");
    let output = Command::new(folder.join(name)).env_clear().output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error} (cargo build --examples)"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "{name}: {text}");
    text
}

#[test]
fn every_example_is_run_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["client.rs", "faults.rs", "scenario.rs", "start.rs"]);
}

#[test]
fn a_started_simulator_is_called_over_http() {
    let output = run("start");
    assert!(output.contains(r#""name":"Northwind Traders""#), "{output}");
}

#[test]
fn faults_strike_as_often_as_they_should() {
    let output = run("faults");
    assert_eq!(output.matches("Some(503)").count(), 2, "{output}");
}

#[test]
fn the_scenario_is_played_in_no_time() {
    let output = run("scenario");
    assert_eq!(output.matches("Some(503)").count(), 2, "{output}");
    assert!(output.contains("scenario.toml:3:"), "a mistake is shown with its line: {output}");
}

#[test]
fn the_client_is_tested_with_a_simulator_of_its_own() {
    let output = run("client");
    assert!(output.contains("GET /t/vbc.prod/provisioning/api/accounts/self → Some(401)"), "{output}");
}
