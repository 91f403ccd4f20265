//! The simulator in a crate outside the repository, which depends on no other member.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::output;

/// Longer than a compiler needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// The Rust example of docs/testing.md.
fn example(page: &str) -> &str {
    let (_, rest) = page.split_once("```rust\n").expect("a block of Rust");
    rest.split_once("```").expect("its end").0
}

#[tokio::test]
async fn the_example_for_rust_runs_in_a_crate_that_has_only_the_simulator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("src")).unwrap();
    // Tokio's features and the profile are the same as for this workspace's tests, so that built
    // dependencies are reused.
    let manifest = format!(
        "[package]\nname = \"scratch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         vbc-simulator = {{ path = {:?} }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"process\", \"rt-multi-thread\", \"test-util\"] }}\n\n\
         [profile.dev.package.aws-lc-sys]\nopt-level = 3\n\n[profile.dev.package.jiff]\nopt-level = 3\n",
        root.join("crates/simulator")
    );
    fs::write(directory.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("Cargo.lock"), directory.path().join("Cargo.lock")).unwrap();
    let page = fs::read_to_string(root.join("docs/testing.md")).unwrap();
    fs::write(directory.path().join("src/main.rs"), example(&page)).unwrap();

    let built = Path::new(env!("CARGO_BIN_EXE_vbc-proxy")).parent().and_then(Path::parent).unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--offline", "--quiet", "--target-dir"]).arg(built).current_dir(directory.path());
    let output = output(command, PATIENCE).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
