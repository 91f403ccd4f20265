//! Runs the page's commands in a shell, as readers do, with `vbc-proxy` and the test frameworks on
//! the path.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::page::root;
use crate::harness::output;

/// Longer than a compiler needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// The exit code of a command, and the text of both outputs.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) text: String,
}

/// The Python packages that `scripts/test` installed.
pub(super) fn python_tools() -> PathBuf {
    let tools = root().join("target/python-tools/bin");
    assert!(tools.join("pytest").exists(), "no {}: scripts/test installs it", tools.join("pytest").display());
    tools
}

/// Runs a script in `directory`, with these additional variables.
pub(super) async fn run(directory: &Path, script: &str, variables: &[(&str, &str)]) -> Said {
    let program = Path::new(env!("CARGO_BIN_EXE_vbc-proxy")).parent().unwrap();
    let path = format!(
        "{}:{}:{}:{}",
        directory.join("bin").display(),
        python_tools().display(),
        program.display(),
        std::env::var("PATH").unwrap()
    );
    let mut command = Command::new("bash");
    // GitHub's runner uses `-e` too. Everything is installed, so nothing may be downloaded.
    command.args(["-e", "-c", script]).current_dir(directory).stdin(Stdio::null()).env_clear();
    command.env("PATH", path).env("HOME", directory).env("VBC_PROXY_LOG_LEVEL", "error");
    command.envs([("GOPROXY", "off"), ("PIP_NO_INDEX", "1"), ("npm_config_offline", "true")]);
    command.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"));
    command.envs(variables.iter().copied());
    let Output { status, stdout, stderr } = output(command, PATIENCE).await;
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Said { code: status.code(), text }
}
