//! The layers (ARCHITECTURE.md): members of the workspace, floors of the root package, and no
//! cycles among siblings.

mod modules;
mod reader;
mod siblings;
pub(crate) mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use self::modules::{Crate, Module};
use self::tokens::{Kind, tokens};

/// Every module of the root package by floor. A module may use lower floors only.
const FLOORS: [&[&str]; 9] = [
    &["memory", "metrics"],
    &["oauth"],
    &["store"],
    &["credential"],
    &["config"],
    &["tls"],
    &["admin", "doctor", "proxy"],
    &["app"],
    &["cli", "fuzz", "testing"],
];

/// The members besides the root package, and the members that each may use.
const MEMBERS: [(&str, &[&str]); 4] = [
    ("vbc-base", &[]),
    ("vbc-cassette", &["vbc-base", "vbc-http"]),
    ("vbc-http", &["vbc-base"]),
    ("vbc-simulator", &["vbc-base", "vbc-http"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The root package and the members of the workspace, with their sources.
fn crates() -> Vec<(String, PathBuf)> {
    let members = MEMBERS.map(|(name, _)| {
        let folder = name.trim_start_matches("vbc-");
        (name.to_owned(), root().join("crates").join(folder).join("src"))
    });
    let own = ("vbc-proxy".to_owned(), root().join("src"));
    members.into_iter().chain([own]).collect()
}

/// Every source file under a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The files of all members that have this word in their code, not counting comments and strings.
fn files_with(word: &str) -> Vec<String> {
    let paths = crates().into_iter().flat_map(|(_, src)| files(&src));
    let found = paths.filter(|path| {
        let source = fs::read_to_string(path).unwrap();
        tokens(&source).iter().any(|token| token.kind == Kind::Word(word))
    });
    found.map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect()
}

/// The output of cargo for these arguments.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn floors() -> BTreeMap<&'static str, usize> {
    let floors = FLOORS.iter().enumerate();
    floors.flat_map(|(floor, modules)| modules.iter().map(move |module| (*module, floor))).collect()
}

#[test]
fn only_one_file_has_unsafe_code() {
    assert_eq!(files_with("unsafe"), ["src/memory.rs"]);
}

#[test]
fn reqwest_is_used_only_for_the_token_endpoint() {
    let found = files_with("reqwest");
    assert!(!found.is_empty() && found.iter().all(|path| path.starts_with("src/oauth/")), "{found:?}");
}

#[test]
fn a_module_uses_lower_floors_only() {
    let floors = floors();
    let levels = siblings::levels(&Crate::read(&root().join("src")));
    let modules = &levels[&Vec::new()];
    let mut uses = 0;
    for (from, edges) in modules {
        for (to, (path, line)) in edges {
            uses += 1;
            let is_lower = floors[to.as_str()] < floors[from.as_str()];
            assert!(is_lower, "{}:{line}: {from} uses {to}", path.display());
        }
    }
    assert!(uses > 20, "only {uses} uses were found");
}

#[test]
fn every_module_has_a_floor_and_every_floor_its_modules() {
    let all = Crate::read(&root().join("src"));
    let Module { file, .. } = &all.modules[&Vec::new()];
    let mut found: Vec<&str> =
        file.children.keys().chain(file.for_tests.keys()).map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, floors().into_keys().collect::<Vec<_>>());
}

#[test]
fn the_library_has_few_public_modules() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let public = lib.lines().filter(|line| line.starts_with("pub mod ")).count();
    assert!((1..=8).contains(&public), "{public} public modules");
}

#[test]
fn the_members_of_the_workspace_are_few_and_of_one_version() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]))
            .unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let mut names: Vec<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["vbc-base", "vbc-cassette", "vbc-http", "vbc-proxy", "vbc-simulator"]);
    for package in packages {
        assert_eq!(package["version"], env!("CARGO_PKG_VERSION"), "{}", package["name"]);
        let used = package["dependencies"].as_array().unwrap().iter();
        // Tests may use more.
        let used = used.filter(|dependency| dependency["kind"] != "dev");
        let mut used: Vec<_> = used.map(|dependency| dependency["name"].as_str().unwrap()).collect();
        used.retain(|name| name.starts_with("vbc-"));
        if let Some((member, allowed)) = MEMBERS.iter().find(|(member, _)| package["name"] == *member) {
            assert_eq!(used, *allowed, "{member}");
        }
    }
}

#[test]
fn the_simulator_builds_without_the_proxy_and_its_dependencies() {
    let arguments = ["tree", "--locked", "--package", "vbc-simulator", "--edges", "normal,build"];
    let text = cargo(&[&arguments[..], &["--prefix", "none", "--format", "{p}"]].concat());
    let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"hyper") && names.len() > 30, "{text}");
    for name in ["vbc-proxy", "vbc-cassette", "reqwest", "prometheus-client", "clap", "axum"] {
        assert!(!names.contains(&name), "the simulator depends on {name}");
    }
}

/// The most lines of a file, tests included.
const LONGEST: usize = 600;

#[test]
fn no_file_is_long() {
    let mut paths: Vec<PathBuf> = crates().into_iter().flat_map(|(_, src)| files(&src)).collect();
    paths.extend(["tests", "benches", "fuzz/targets"].iter().flat_map(|folder| files(&root().join(folder))));
    for path in paths {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", path.display());
    }
}
