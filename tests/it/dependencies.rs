//! The allowed dependencies: the rules of deny.toml, checked without cargo-deny. The files of the
//! container image are checked too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn rules() -> toml::Table {
    file("deny.toml").parse().unwrap()
}

/// The packages that are built for Linux with default features, development and build dependencies
/// included.
fn resolved() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let resolved: BTreeSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let found: Vec<Value> =
        packages.filter(|package| resolved.contains(package["id"].as_str().unwrap())).cloned().collect();
    assert!(found.len() > 50, "only {} packages", found.len());
    found
}

/// The packages that are compiled for these kinds of dependencies, with all features. The metadata
/// also lists weak dependencies that are not enabled.
fn built(edges: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--edges", edges, "--all-features", "--prefix", "none"])
        .args(["--format", "{p}", "--target", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<String> =
        text.lines().filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned).collect();
    assert!(names.contains("aws-lc-rs") && names.len() > 50, "{names:?}");
    names
}

/// The banned crates. Each has the reason, and the crates that may still use it in tests.
fn bans() -> BTreeMap<String, (String, Vec<String>)> {
    let rules = rules();
    let bans = rules["bans"]["deny"].as_array().unwrap().iter().map(|ban| {
        let wrappers = ban.get("wrappers").and_then(toml::Value::as_array).into_iter().flatten();
        let wrappers = wrappers.map(|name| name.as_str().unwrap().to_owned()).collect();
        let reason = ban["reason"].as_str().unwrap().to_owned();
        (ban["crate"].as_str().unwrap().to_owned(), (reason, wrappers))
    });
    let bans: BTreeMap<_, _> = bans.collect();
    assert!(!bans.is_empty());
    bans
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// Whether the package is a member of the workspace.
fn is_ours(package: &Value) -> bool {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    package["source"].is_null() && manifest.starts_with(env!("CARGO_MANIFEST_DIR"))
}

/// Whether an SPDX expression is satisfied by `allowed`. `/` is the old spelling of `OR`.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
    let mut parser = Parser { words: &words, at: 0, allowed };
    let holds = parser.any();
    assert_eq!(parser.at, words.len(), "not an SPDX expression: {expression}");
    holds
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    allowed: &'a BTreeSet<String>,
}

impl Parser<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let is = self.words.get(self.at) == Some(&word);
        self.at += usize::from(is);
        is
    }

    fn any(&mut self) -> bool {
        let mut holds = self.all();
        while self.next_is("OR") {
            holds |= self.all();
        }
        holds
    }

    /// Reads operands of `AND`, which binds more tightly than `OR`.
    fn all(&mut self) -> bool {
        let mut holds = self.one();
        while self.next_is("AND") {
            holds &= self.one();
        }
        holds
    }

    fn one(&mut self) -> bool {
        if self.next_is("(") {
            let holds = self.any();
            assert!(self.next_is(")"), "a bracket is missing");
            return holds;
        }
        let mut licence = self.words.get(self.at).copied().unwrap_or_default().to_owned();
        self.at += 1;
        if self.next_is("WITH") {
            licence = format!("{licence} WITH {}", self.words.get(self.at).copied().unwrap_or_default());
            self.at += 1;
        }
        self.allowed.contains(&licence)
    }
}

fn allowed() -> BTreeSet<String> {
    let rules = rules();
    let allow = rules["licenses"]["allow"].as_array().unwrap();
    allow.iter().map(|licence| licence.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_dependency_has_a_licence_we_allow() {
    let allowed = allowed();
    let refused: Vec<String> = resolved()
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|licence| satisfied(licence, &allowed)))
        .map(|package| format!("{}: {}", name(package), package["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn no_banned_crate_is_built_in() {
    let bans = bans();
    for name in built("normal,build") {
        assert_eq!(bans.get(&name), None, "{name}");
    }
}

#[test]
fn tests_use_a_banned_crate_only_through_the_crates_that_the_rules_name() {
    let bans = bans();
    let with_tests = built("normal,build,dev");
    // oauth2 is used by tests only, so it proves that the first check excludes dependencies of
    // tests.
    assert!(with_tests.contains("oauth2") && !built("normal,build").contains("oauth2"));
    for name in with_tests {
        if let Some((reason, wrappers)) = bans.get(&name) {
            assert!(!wrappers.is_empty(), "{name}: {reason}");
            for user in users(&name) {
                assert!(wrappers.contains(&user), "{name} is used by {user}: {reason}");
            }
        }
    }
}

/// The packages that depend directly on a package of this name.
fn users(name: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--edges",
            "normal,build,dev",
            "--all-features",
            "--prefix",
            "depth",
        ])
        .args(["--format", " {p}", "--target", "x86_64-unknown-linux-gnu", "--invert", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let direct = text.lines().filter_map(|line| line.strip_prefix("1 ")?.split(' ').next());
    let users: BTreeSet<String> = direct.map(ToOwned::to_owned).collect();
    assert!(!users.is_empty(), "{text}");
    users
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let rules = rules();
    assert_eq!(rules["sources"]["unknown-registry"].as_str(), Some("deny"));
    assert_eq!(rules["sources"]["unknown-git"].as_str(), Some("deny"));
    for package in resolved().iter().filter(|package| !is_ours(package)) {
        let source = package["source"].as_str();
        let from = Some("registry+https://github.com/rust-lang/crates.io-index");
        assert_eq!(source, from, "{}", name(package));
    }
}

#[test]
fn licence_expressions_follow_the_grammar_of_spdx() {
    let allowed: BTreeSet<String> =
        ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(ToOwned::to_owned).into();
    for good in [
        "MIT",
        "MIT/GPL-3.0",
        "GPL-3.0 OR MIT",
        "MIT AND ISC",
        "(GPL-3.0 OR MIT) AND ISC",
        "GPL-3.0 AND ISC OR MIT",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR LGPL-3.0)", "Apache-2.0"] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}

/// The versions of a package in a lock file.
fn locked(lock: &str, name: &str) -> Vec<String> {
    let lock: toml::Table = lock.parse().unwrap();
    let packages = lock["package"].as_array().unwrap().iter();
    let versions = packages.filter(|package| package["name"].as_str() == Some(name));
    versions.map(|package| package["version"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_proxy_to_compare_with_has_the_versions_of_the_product() {
    let (ours, theirs) = (file("Cargo.lock"), file("benches/compare/Cargo.lock"));
    for name in ["hyper", "hyper-util", "hyper-rustls", "tokio", "rustls", "tokio-rustls", "aws-lc-rs"] {
        assert_eq!(locked(&theirs, name), locked(&ours, name), "{name} in benches/compare/Cargo.lock");
        assert_eq!(locked(&ours, name).len(), 1, "{name}");
    }
}

/// The lines of a service of the composition: those indented below its name.
fn service<'a>(composition: &'a str, name: &str) -> Vec<&'a str> {
    let header = format!("  {name}:");
    let lines = composition.lines().skip_while(|line| **line != *header).skip(1);
    let lines: Vec<&str> = lines.take_while(|line| line.is_empty() || line.starts_with("   ")).collect();
    assert!(!lines.is_empty(), "no service {name}");
    lines
}

#[test]
fn the_composition_is_two_services_with_health_checks() {
    let composition = file("docker-compose.yml");
    let services = composition.lines().skip_while(|line| *line != "services:").skip(1);
    let names: Vec<&str> = services
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .filter(|line| line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':'))
        .map(|line| line.trim().trim_end_matches(':'))
        .collect();
    assert_eq!(names, ["proxy", "simulator"]);
    for name in names {
        let lines = service(&composition, name);
        let after = lines.iter().skip_while(|line| line.trim() != "healthcheck:").nth(1);
        let test = after.unwrap_or_else(|| panic!("{name} has no healthcheck")).trim();
        assert!(test.starts_with(r#"test: ["CMD", "vbc-proxy", "status""#), "{name}: {test}");
    }
}

#[test]
fn the_composition_publishes_on_loopback_only() {
    let composition = file("docker-compose.yml");
    let mut published = 0;
    for name in ["proxy", "simulator"] {
        let lines = service(&composition, name);
        let ports = lines.iter().skip_while(|line| line.trim() != "ports:").skip(1);
        for port in ports.take_while(|line| line.trim().starts_with("- ")) {
            let port = port.trim().trim_start_matches("- ").trim_matches('"');
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
            published += 1;
        }
        assert!(!lines.iter().any(|line| line.contains("network_mode")), "{name}");
    }
    assert_eq!(published, 3);
    // The admin listener stays on the container's loopback, where the health check reaches it.
    assert!(!composition.contains("ADMIN_ADDRESS") && !composition.contains(":8081"), "{composition}");
}

#[test]
fn the_image_checks_itself_and_does_not_run_as_root() {
    let image = file("Dockerfile");
    let health = image.lines().find(|line| line.starts_with("HEALTHCHECK")).unwrap();
    assert!(health.ends_with(r#"CMD ["vbc-proxy", "status"]"#), "{health}");
    let user = image.lines().rfind(|line| line.starts_with("USER")).unwrap();
    assert_eq!(user, "USER vbc-proxy");
    assert!(image.contains("--locked"), "built from the lock file");
}
