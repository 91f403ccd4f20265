//! What `examples/` has, run to its end: each asserts what it shows.

use std::path::Path;
use std::process::Command;

use crate::harness::within;

/// Runs an example that `cargo test` has built, as it builds all of them.
async fn run(name: &str) -> String {
    let folder = Path::new(env!("CARGO_BIN_EXE_vbc-proxy")).parent().unwrap().join("examples");
    let mut command = Command::new(folder.join(name));
    let output = within(tokio::task::spawn_blocking(move || command.env_clear().output())).await.unwrap();
    let output = output
        .unwrap_or_else(|error| panic!("{name}: {error} (cargo build --examples, or plain cargo test)"));
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
    assert_eq!(names, ["scenario.rs", "simulator.rs"]);
}

#[tokio::test]
async fn the_scenario_is_played_in_no_time() {
    let said = run("scenario").await;
    assert_eq!(said.matches("Some(503)").count(), 2, "{said}");
    assert!(said.contains("scenario.toml:3:"), "a mistake is shown with its line: {said}");
}

#[tokio::test]
async fn the_client_is_tested_with_a_simulator_of_its_own() {
    let said = run("simulator").await;
    assert!(said.contains("GET /t/vbc.prod/provisioning/api/accounts/self → Some(401)"), "{said}");
}
