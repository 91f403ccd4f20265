//! Unmodified OAuth client libraries against the simulator. Their API requests go to it directly,
//! or through the proxy. `scripts/test` installs the libraries; the programs are in
//! `tests/clients`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vbc_simulator::SimulatorOptions;

use crate::harness::{PATIENCE, World, output};

/// Where API requests go.
#[derive(Clone, Copy, Debug)]
enum Api {
    Simulator,
    Proxy,
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Copies the program and its imports to its own folder.
fn lay_out(program: &str, folder: &Path) -> Command {
    let sources = repository().join("tests/clients");
    let copy = |name: &str| std::fs::copy(sources.join(name), folder.join(name)).unwrap();
    copy(program);
    let mut command = if program.ends_with(".py") {
        copy("common.py");
        Command::new(repository().join("target/python-tools/bin/python"))
    } else {
        copy("common.mjs");
        let modules = repository().join("target/clients/node_modules");
        assert!(modules.exists(), "no {}: scripts/test installs it", modules.display());
        symlink(modules, folder.join("node_modules")).unwrap();
        Command::new("node")
    };
    // The program must not use proxy settings or configuration files of this machine.
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", folder);
    command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(folder).stdin(Stdio::null());
    command.arg(folder.join(program));
    command
}

/// Runs a program in its own world, directly and through the proxy, and checks the steps that it
/// prints.
async fn works(program: &str, expected: &[&str]) {
    for api in [Api::Simulator, Api::Proxy] {
        // URLs in the metadata point to the simulator.
        let options = SimulatorOptions { public_base: String::new(), ..SimulatorOptions::default() };
        // The proxy logs in as another user than the program, so that they do not replace each
        // other's tokens.
        let proxy = World::builder()
            .config("credentials.default.username = \"bob\"")
            .config("credentials.default.password = \"bob-password\"");
        let world = proxy.simulator(options).start().await;
        let base = match api {
            Api::Simulator => world.sim.url(),
            Api::Proxy => {
                // The proxy gets a token first, so that the program can revoke it.
                world.ready().await;
                format!("http://{}", world.address)
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let mut command = lay_out(program, folder.path());
        command.args([world.sim.url(), base, world.sim.control_url()]);
        let output = output(command, PATIENCE).await;
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success(), "{program} {api:?}\n{out}\n{err}");
        assert_eq!(out.lines().collect::<Vec<_>>(), expected, "{program} {api:?}\n{err}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authlib_works_unmodified() {
    let expected = [
        "client_secret_basic password",
        "client_secret_basic refresh",
        "client_secret_basic code",
        "client_secret_basic renewal",
        "client_secret_basic revocation",
        "client_secret_post password",
        "client_secret_post refresh",
        "client_secret_post code",
        "client_secret_post renewal",
        "client_secret_post revocation",
        "client credentials",
    ];
    works("with_authlib.py", &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_oauthlib_works_unmodified() {
    let expected = [
        "basic password",
        "basic refresh",
        "basic code",
        "basic renewal",
        "basic revocation",
        "body password",
        "body refresh",
        "body code",
        "body renewal",
        "body revocation",
        "client credentials",
    ];
    works("with_requests_oauthlib.py", &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openid_client_works_unmodified_with_a_nonce() {
    let steps = ["code", "wrong nonce", "refresh", "revocation", "password"];
    let lines = |config: &str| steps.map(|step| format!("{config} {step}"));
    let mut expected = [lines("discovered"), lines("manual")].concat();
    expected.push("basic is not decoded".to_owned());
    works("with_openid_client.mjs", &expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simple_oauth2_works_unmodified_and_revokes_all() {
    let expected = [
        "header password and refresh",
        "header revokeAll",
        "header code",
        "header client credentials",
        "body password and refresh",
        "body revokeAll",
        "body code",
        "body client credentials",
    ];
    works("with_simple_oauth2.mjs", &expected).await;
}
