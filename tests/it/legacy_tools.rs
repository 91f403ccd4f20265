//! Runs the examples of docs/legacy-tools.md unchanged, except for the address. `scripts/test`
//! installs their languages. PowerShell and Excel are not run, and the page says so.

use std::process::{Command, Stdio};

use crate::harness::{PATIENCE, World, output};
use crate::testing_page::page::sections_of;
use crate::tools::python;

/// The examples that are run here.
const EXAMPLES: [&str; 4] = ["users.sh", "users.py", "users.php", "Users.java"];

/// A new example needs a test here.
#[test]
fn every_example_of_the_page_is_run_here() {
    let sections = sections_of("docs/legacy-tools.md");
    let files = sections.iter().flat_map(|section| &section.files);
    let shown: Vec<&str> = files.map(|(name, _)| name.as_str()).collect();
    assert_eq!(shown, EXAMPLES);
}

/// Runs the example `file` with `command`. Every token is revoked first, so that the proxy must
/// cure a 401.
async fn shows_the_users(file: &str, command: &[&str]) {
    let world = World::start().await;
    assert_eq!(world.get("/t/vbc.prod/vis/v1/self").await.status, 200);
    world.sim.revoke_all_access();

    let sections = sections_of("docs/legacy-tools.md");
    let section = sections.iter().find(|section| section.files.iter().any(|(name, _)| name == file));
    let shown = section.unwrap_or_else(|| panic!("the page shows no {file}")).file(file);
    let directory = tempfile::tempdir().unwrap();
    let address = format!("http://{}", world.address);
    let example = shown.replace("http://127.0.0.1:8080", &address);
    assert_ne!(example, shown, "{file} names the proxy's address");
    std::fs::write(directory.path().join(file), example).unwrap();

    let mut command_line = Command::new(command[0]);
    command_line.args(&command[1..]).arg(file).current_dir(directory.path()).stdin(Stdio::null());
    for variable in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command_line.env_remove(variable);
    }
    // No configuration files of this machine, such as ~/.curlrc.
    command_line.env("HOME", directory.path());
    let output = output(command_line, PATIENCE).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}: {}\n{text}\n{errors}", output.status);

    let users: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    // Some examples print the whole response, the others only the number of users.
    let total = users.get("total_items").unwrap_or(&users).as_u64();
    assert!(total.is_some_and(|total| total > 3), "{file}: {text}");
    assert_eq!(world.sim.stats().by_status.get(&401), Some(&1), "the 401 is cured: {file}");
}

#[tokio::test]
async fn the_curl_example_runs() {
    shows_the_users("users.sh", &["sh"]).await;
}

#[tokio::test]
async fn the_python_example_runs() {
    shows_the_users("users.py", &[&python("requests")]).await;
}

#[tokio::test]
async fn the_php_example_runs() {
    shows_the_users("users.php", &["php"]).await;
}

#[tokio::test]
async fn the_java_example_runs() {
    shows_the_users("Users.java", &["java", "-XX:TieredStopAtLevel=1"]).await;
}
