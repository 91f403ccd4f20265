//! Independent tools check the simulator against the published specifications, directly and through
//! the proxy. `scripts/test` installs the tools, and `tests/openapi` has the programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use vbc_simulator::SimulatorOptions;

use crate::harness::{World, output};

/// Longer than any of the programs takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(540);

/// The target of a program's requests.
#[derive(Clone, Copy, Debug)]
enum Target {
    Simulator,
    Proxy,
}

const BOTH: [Target; 2] = [Target::Simulator, Target::Proxy];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Starts a world in which exports are quick.
async fn world() -> World {
    World::builder().simulator(SimulatorOptions { lag: 0.02, ..SimulatorOptions::default() }).start().await
}

/// Runs a program in its own world. Returns its output.
async fn run(program: &str, target: Target, folder: Option<&Path>) -> String {
    let world = world().await;
    let (base, how) = match target {
        Target::Simulator => (world.sim.url(), "direct"),
        Target::Proxy => (format!("http://{}", world.address), "proxy"),
    };
    let mut command = Command::new(repository().join("target/python-tools/bin/python"));
    // The program must not use proxy settings or configuration files of this machine.
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("PYTHONDONTWRITEBYTECODE", "1");
    let home = tempfile::tempdir().unwrap();
    command.env("HOME", home.path()).current_dir(home.path()).stdin(Stdio::null());
    command.arg(repository().join("tests/openapi").join(program)).args([
        &base,
        how,
        &world.sim.control_url(),
    ]);
    command.args(folder);
    let output = output(command, PATIENCE).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {target:?}\n{out}\n{err}");
    out.into_owned()
}

/// Two generators make clients from the control plane's own OpenAPI document.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_clients_of_the_control_plane_can_inject_every_fault() {
    let folder = tempfile::tempdir().unwrap();
    let said = run("control_clients.py", Target::Simulator, Some(folder.path())).await;
    assert_eq!(said, "Generated 43 faults\nAttributes 43 faults\n");
}

/// Every specification, with its number of operations.
const OPERATIONS: &str = "account 3 operations\nuser 2 operations\nextension 2 operations\nreports 1 operations\n\
                          call-recording 10 operations\ntelephony 11 operations\nvgis 20 operations\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_responds_as_its_specification_says() {
    for target in BOTH {
        assert_eq!(run("walk.py", target, None).await, OPERATIONS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_generated_request_gets_a_documented_response_and_never_a_server_error() {
    for target in BOTH {
        let said = run("generate.py", target, None).await;
        assert_eq!(said.lines().filter(|line| line.ends_with("passed")).count(), 7, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_clients_can_call_every_operation() {
    let folder = tempfile::tempdir().unwrap();
    for target in BOTH {
        assert_eq!(run("clients.py", target, Some(folder.path())).await, OPERATIONS);
    }
}
