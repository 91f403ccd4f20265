//! The examples of docs/testing.md, run as the page says: by `run --simulate`. Test frameworks that are not on every
//! machine have stand-ins with what the page uses of them (`tests/it/stand_ins`); the language itself is real.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vbc_proxy::Simulator;
use vbc_proxy::simulator::Scenario;

use crate::process::{Output, Process};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The page's blocks that are files, by their names.
fn files() -> BTreeMap<String, String> {
    let page = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let mut files = BTreeMap::new();
    for block in page.split("\n```").skip(1).step_by(2) {
        let (info, text) = block.split_once('\n').unwrap();
        if let Some((_, name)) = info.split_once(' ') {
            files.insert(name.to_owned(), format!("{text}\n"));
        }
    }
    files
}

/// Lays out one of the page's files, and runs a shell over it; `{stand_ins}` is where those are.
async fn run(file: &str, script: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(file), &files()[file]).unwrap();
    let stand_ins: PathBuf = root().join("tests/it/stand_ins");
    let script = script.replace("{stand_ins}", stand_ins.to_str().unwrap());
    let (path, home) = (std::env::var("PATH").unwrap(), directory.path().to_str().unwrap().to_owned());
    let variables = [("PATH", path.as_str()), ("HOME", home.as_str()), ("VBC_PROXY_LOG_LEVEL", "error")];
    let arguments = ["run", "--simulate", "--", "/bin/sh", "-c", &script];
    Process::run(directory.path(), &arguments, &variables).await
}

fn assert_passed(output: &Output, tests: usize) {
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.ends_with(&format!("{tests} passed, 0 failed\n")), "{output:?}");
}

#[test]
fn every_example_of_the_page_is_run_here() {
    let names: Vec<String> = files().into_keys().collect();
    assert_eq!(names, ["VbcTest.java", "day.toml", "smoke.sh", "test_vbc.py", "vbc.test.mjs", "vbc_test.go"]);
}

#[tokio::test]
async fn the_pytest_example_passes() {
    assert_passed(&run("test_vbc.py", "python3 {stand_ins}/pytest.py test_vbc.py").await, 2);
}

#[tokio::test]
async fn the_jest_example_passes() {
    assert_passed(&run("vbc.test.mjs", "node {stand_ins}/jest.mjs vbc.test.mjs").await, 2);
}

#[tokio::test]
async fn the_junit_example_passes() {
    let script = "javac -d classes -sourcepath {stand_ins} {stand_ins}/JUnit.java VbcTest.java && java -cp classes JUnit VbcTest";
    assert_passed(&run("VbcTest.java", script).await, 2);
}

#[tokio::test]
async fn the_curl_example_passes_and_fails_where_nothing_is_sent() {
    let output = run("smoke.sh", "sh smoke.sh").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("\"met\":true"), "{output:?}");
    let output = run("smoke.sh", "sed -i 's/wait=5/wait=0/; s/devices\" >/nothing\" >/; s/curl -sf \"$VBC_BASE/curl -s \"$VBC_BASE/' smoke.sh && sh smoke.sh").await;
    assert_eq!(output.code, Some(22), "curl's own word for a refusal: {output:?}");
    assert!(output.stdout.contains("1 missing; nearest was"), "{output:?}");
}

/// Go is not among what `scripts/test` installs: where it is not there, the language of the example is not.
#[tokio::test]
async fn the_go_example_passes_where_go_is_installed() {
    let script = "if command -v go >/dev/null; then printf 'module vbc\\n\\ngo 1.20\\n' >go.mod && go test ./... && echo done; \
                  else echo 'no go here'; fi";
    let output = run("vbc_test.go", script).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.ends_with("done\n") || output.stdout == "no go here\n", "{output:?}");
}

#[tokio::test]
async fn the_scenario_example_can_be_played() {
    let scenario = Scenario::parse("day.toml", &files()["day.toml"]).unwrap();
    let sim = Simulator::builder().scenario(scenario).unwrap().start().await.unwrap();
    assert_eq!(sim.service().clock().now().to_string()[..10], *"2026-03-01");
}
