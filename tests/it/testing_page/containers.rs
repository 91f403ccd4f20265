//! The containers of docs/testing.md. The GitHub workflow and the compose files are checked against
//! their published schemas. The program itself runs in place of the containers, so Docker is not
//! needed.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::page::{root, section};
use super::shell::{Said, python_tools, run};
use crate::harness::within;
use crate::process::Process;

/// Parses YAML with PyYAML, not with a parser of our own.
fn parse(text: &str) -> Value {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.argv[1]), sys.stdout)";
    let output = Command::new(python_tools().join("python")).args(["-c", script, text]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_conforms(file: &Path, schema: &str) {
    let check = python_tools().join("check-jsonschema");
    let output = Command::new(check).args(["--builtin-schema", schema]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}")).iter().map(text).collect()
}

type Variables = BTreeMap<String, String>;

fn variables(value: &Value) -> Variables {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), filled(&text(value)))).collect()
}

/// A value of a compose file if no variable is set: the default of `${NAME:-default}`.
fn filled(text: &str) -> String {
    let default = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')?.split_once(":-"));
    default.map_or(text, |(_, default)| default).to_owned()
}

/// The settings of an image of our Dockerfile.
#[derive(Clone, Debug, Default)]
struct Image {
    variables: Variables,
    entrypoint: Vec<String>,
    command: Vec<String>,
    health: Vec<String>,
}

/// The image of a target, or the last one.
fn image(target: Option<&str>) -> Image {
    let text = fs::read_to_string(root().join("Dockerfile")).unwrap().replace("\\\n", " ");
    let (mut images, mut names): (BTreeMap<String, Image>, Vec<String>) = Default::default();
    let list = |json: &str| texts(&serde_json::from_str(json).unwrap());
    for line in text.lines() {
        let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
        if instruction == "FROM" {
            let (base, name) = rest.split_once(" AS ").unwrap_or((rest, ""));
            let inherited = images.get(base).cloned().unwrap_or_default();
            images.insert(name.to_owned(), inherited);
            names.push(name.to_owned());
        }
        let Some(image) = names.last().and_then(|name| images.get_mut(name)) else { continue };
        match instruction {
            "ENV" => image.variables.extend(
                rest.split_whitespace()
                    .map(|pair| pair.split_once('=').unwrap())
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
            "ENTRYPOINT" => image.entrypoint = list(rest),
            "CMD" => image.command = list(rest),
            "HEALTHCHECK" => image.health = list(rest.split_once("CMD ").unwrap().1),
            _ => {}
        }
    }
    let wanted = target.unwrap_or(names.last().unwrap());
    images.remove(wanted).unwrap_or_else(|| panic!("the Dockerfile has no target {wanted}"))
}

/// The program in place of a container. Its network is this machine's loopback. Each port that the
/// container would open is one that the system chooses.
struct Container {
    /// Killed on drop.
    _process: Process,
    variables: Variables,
    /// The addresses of the container's ports.
    ports: BTreeMap<u16, SocketAddr>,
    health: Vec<String>,
    home: tempfile::TempDir,
}

impl Container {
    /// Starts a container and waits until it is healthy. `others` are the containers on its
    /// network.
    async fn start(mut image: Image, others: &BTreeMap<String, Container>) -> Self {
        assert_eq!(image.entrypoint, ["vbc-proxy"]);
        let home = tempfile::tempdir().unwrap();
        assert_may_listen(home.path(), &image).await;
        let place = |name: &str, value: &str| match name {
            "VBC_PROXY_STORE_PATH" => home.path().join("tokens").to_str().unwrap().to_owned(),
            _ if value.starts_with("0.0.0.0:") => "127.0.0.1:0".to_owned(),
            _ => reached(value, others),
        };
        let mut opened = image.variables.clone();
        opened.retain(|_, value| value.starts_with("0.0.0.0:"));
        image.variables.iter_mut().for_each(|(name, value)| *value = place(name, value));
        image.variables.insert("VBC_PROXY_ADMIN_ADDRESS".to_owned(), "127.0.0.1:0".to_owned());
        let command: Vec<&str> = image.command.iter().map(String::as_str).collect();
        let mut process = Process::start(home.path(), &command, &borrowed(&image.variables));
        let mut found = BTreeMap::new();
        if command[0] == "simulate" || command.contains(&"--simulate") {
            let (service, control) = process.simulating().await;
            found
                .extend([("VBC_PROXY_SIMULATOR_ADDRESS", service), ("VBC_PROXY_SIMULATOR_CONTROL", control)]);
        }
        if command[0] == "serve" {
            let (listening, admin) = process.listening().await;
            found.extend([("VBC_PROXY_LISTEN_ADDRESS", listening), ("VBC_PROXY_ADMIN_ADDRESS", admin)]);
        }
        let mut ports = BTreeMap::new();
        for (name, address) in found {
            if let Some(port) = opened.get(name).and_then(|value| value.strip_prefix("0.0.0.0:")) {
                ports.insert(port.parse().unwrap(), address);
            }
            image.variables.insert(name.to_owned(), address.to_string());
        }
        let container =
            Self { _process: process, variables: image.variables, ports, health: image.health, home };
        container.healthy().await;
        container
    }

    /// Repeats the health check until it succeeds, as docker does.
    async fn healthy(&self) {
        assert_eq!(self.health[0], "vbc-proxy", "{:?}", self.health);
        let arguments: Vec<&str> = self.health[1..].iter().map(String::as_str).collect();
        let variables = borrowed(&self.variables);
        within(async {
            while Process::run(self.home.path(), &arguments, &variables).await.code != Some(0) {}
        })
        .await;
    }

    /// The address of a port of the container.
    fn port(&self, port: u16) -> SocketAddr {
        *self
            .ports
            .get(&port)
            .unwrap_or_else(|| panic!("port {port} is not open to other containers: {:?}", self.ports))
    }
}

/// Asserts that `check` accepts the image's own addresses. The other tests use loopback instead.
async fn assert_may_listen(home: &Path, image: &Image) {
    let mut variables = image.variables.clone();
    for name in ["VBC_CLIENT_ID", "VBC_CLIENT_SECRET", "VBC_USERNAME", "VBC_PASSWORD"] {
        variables.entry(name.to_owned()).or_insert_with(|| "for serve alone".to_owned());
    }
    let checked = Process::run(home, &["check"], &borrowed(&variables)).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
}

fn borrowed(variables: &Variables) -> Vec<(&str, &str)> {
    variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Replaces the name of a container in a URL with its address.
fn reached(url: &str, containers: &BTreeMap<String, Container>) -> String {
    let Some((host, port, rest)) = authority(url) else { return url.to_owned() };
    match containers.get(host) {
        Some(container) => format!("http://{}{rest}", container.port(port)),
        None => url.to_owned(),
    }
}

/// Host, port and the rest of an `http` URL.
fn authority(url: &str) -> Option<(&str, u16, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = authority.split_once(':')?;
    Some((host, port.parse().ok()?, path))
}

/// Writes the test files of these sections.
fn tests_of(titles: &[&str], directory: &Path) {
    for title in titles {
        for (name, text) in section(title).files {
            fs::write(directory.join(name), text).unwrap();
        }
    }
}

const WORKFLOW: &str = ".github/workflows/vbc.yml";
const TAG: &str = "ghcr.io/YOU/vbc-proxy:simulator";

fn workflow() -> (tempfile::TempDir, Value) {
    let section = section("GitHub Actions");
    let directory = section.lay_out();
    assert_conforms(&directory.path().join(WORKFLOW), "vendor.github-workflows");
    tests_of(&["curl"], directory.path());
    let workflow = parse(section.file(WORKFLOW));
    (directory, workflow)
}

/// Runs the commands of a job's steps, all of which must pass. `published` are the ports of
/// services.
async fn take_steps(job: &Value, directory: &Path, published: &BTreeMap<u16, SocketAddr>) -> String {
    let mut said = String::new();
    for step in job["steps"].as_array().unwrap() {
        if let Some(action) = step["uses"].as_str() {
            assert_eq!(action, "actions/checkout@v4", "this test cannot run the action");
            continue;
        }
        let mut variables = variables(&step["env"]);
        for value in variables.values_mut() {
            let (host, port, rest) = authority(value).unwrap();
            assert_eq!(host, "127.0.0.1", "services are on the runner's loopback");
            *value = format!("http://{}{rest}", published[&port]);
        }
        let Said { code, text } = run(directory, &text(&step["run"]), &borrowed(&variables)).await;
        assert_eq!(code, Some(0), "{step}: {text}");
        said += &text;
    }
    said
}

#[tokio::test]
async fn the_workflow_with_a_service_container_passes() {
    let (directory, workflow) = workflow();
    let job = &workflow["jobs"]["service"];
    let (mut services, mut published) = (BTreeMap::new(), BTreeMap::new());
    for (name, service) in job["services"].as_object().unwrap() {
        assert_eq!(service["image"], TAG);
        let mut image = image(Some("simulator"));
        image.variables.extend(variables(&service["env"]));
        let container = Container::start(image, &services).await;
        for ports in texts(&service["ports"]) {
            let (outside, inside) = ports.split_once(':').unwrap();
            published.insert(outside.parse().unwrap(), container.port(inside.parse().unwrap()));
        }
        services.insert(name.clone(), container);
    }
    assert_eq!(services.len(), 1);
    let said = take_steps(job, directory.path(), &published).await;
    assert!(said.contains("\"met\":true"), "{said}");
}

#[tokio::test]
async fn a_job_in_a_container_reaches_the_service_by_its_name() {
    let mut image = image(Some("simulator"));
    image.variables.insert("VBC_PROXY_LISTEN_HOSTS".to_owned(), "vbc".to_owned());
    let container = Container::start(image, &BTreeMap::new()).await;
    assert_reached_by_names(&[("vbc", 8080, &container), ("vbc", 8091, &container)]).await;
}

/// The job that copies the program out of the image. `docker` is a script that stands in for the
/// built image.
#[tokio::test]
async fn the_workflow_with_the_program_passes() {
    let (directory, workflow) = workflow();
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains(" /usr/local/bin/vbc-proxy\n"), "where the program is in the image");
    fs::create_dir(directory.path().join("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_vbc-proxy"), directory.path().join("bin/program")).unwrap();
    let wanted = format!("run --rm --entrypoint cat {TAG} /usr/local/bin/vbc-proxy");
    let script = format!("#!/bin/sh\n[ \"$*\" = '{wanted}' ] && exec cat \"$(dirname \"$0\")/program\"\n");
    let docker = directory.path().join("bin/docker");
    fs::write(&docker, script).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)).unwrap();
    let said = take_steps(&workflow["jobs"]["program"], directory.path(), &BTreeMap::new()).await;
    assert!(said.contains("\"met\":true"), "{said}");
}

#[test]
fn the_image_of_the_workflow_is_built_from_the_dockerfile() {
    let commands = section("GitHub Actions").commands.concat();
    assert_eq!(commands, format!("docker build --target simulator -t {TAG} .\ndocker push {TAG}\n"));
    assert_eq!(image(Some("simulator")).command, ["serve", "--simulate"]);
    assert_eq!(image(None).command, ["serve"]);
}

/// The page's compose file and the repository's, merged as the command says.
fn composed() -> Value {
    let section = section("docker compose");
    let directory = section.lay_out();
    let command = "docker compose -f docker-compose.yml -f tests.yml run tests\n";
    assert_eq!(section.commands.concat(), command);
    let ours = root().join("docker-compose.yml");
    assert_conforms(&ours, "vendor.compose-spec");
    assert_conforms(&directory.path().join("tests.yml"), "vendor.compose-spec");
    let mut merged = parse(&fs::read_to_string(ours).unwrap());
    let added = parse(section.file("tests.yml"));
    let services = merged["services"].as_object_mut().unwrap();
    services.extend(added["services"].as_object().unwrap().clone());
    merged
}

#[tokio::test]
async fn the_compose_example_passes() {
    let composed = composed();
    let mut containers = BTreeMap::new();
    // In the order of `depends_on`.
    for name in ["simulator", "proxy"] {
        let service = &composed["services"][name];
        let mut image = image(None);
        assert_eq!(service["build"], ".", "an image without a target");
        image.command = texts(&service["command"]);
        image.variables.extend(variables(&service["environment"]));
        let health = texts(&service["healthcheck"]["test"]);
        assert_eq!(health[0], "CMD");
        image.health = health[1..].to_vec();
        let container = Container::start(image, &containers).await;
        containers.insert(name.to_owned(), container);
    }
    let tests = &composed["services"]["tests"];
    for (name, condition) in tests["depends_on"].as_object().unwrap() {
        assert_eq!(condition["condition"], "service_healthy");
        assert!(containers.contains_key(name), "{name}");
    }
    let directory = tempfile::tempdir().unwrap();
    tests_of(&["Five minutes to the first test"], directory.path());
    let mut variables = variables(&tests["environment"]);
    variables.values_mut().for_each(|value| {
        assert_ne!(*value, reached(value, &containers), "the name of a container");
        *value = reached(value, &containers);
    });
    let Said { code, text } = run(directory.path(), &text(&tests["command"]), &borrowed(&variables)).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 passed"), "{text}");
    assert_reached_by_names(&[
        ("proxy", 8080, &containers["proxy"]),
        ("simulator", 8091, &containers["simulator"]),
    ])
    .await;
}

/// Containers reach each other by name. Both the proxy and the control plane check names.
async fn assert_reached_by_names(names: &[(&str, u16, &Container)]) {
    let directory = tempfile::tempdir().unwrap();
    for (name, port, container) in names {
        let (address, path) = (container.port(*port), if *port == 8091 { "/__sim/health" } else { "/" });
        let code = "-s -o /dev/null -w '%{http_code}'";
        let asked = format!("curl {code} --connect-to {name}:{port}:{address} http://{name}:{port}{path}");
        let said = run(directory.path(), &asked, &[]).await;
        // The API responds 404 at `/`. A foreign name would get 421.
        assert!(matches!(said.text.as_str(), "200" | "404"), "{name}: {}", said.text);
    }
}
