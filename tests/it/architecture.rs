//! The floors: a module uses lower floors only, never its own (ARCHITECTURE.md).

mod modules;
mod reader;
mod siblings;
mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of the root package, ground floor first.
const FLOORS: [&[&str]; 9] = [
    &["memory", "metrics"],
    &["oauth"],
    &["store"],
    &["credential"],
    &["config"],
    &["tls"],
    &["admin", "doctor", "proxy"],
    &["app"],
    &["cli", "fuzz"],
];

/// Members of the workspace by the names that `lib.rs` gives them: below every floor.
const MEMBERS: [&str; 12] = [
    "cassette",
    "client",
    "clock",
    "encoding",
    "headers",
    "http1",
    "problem",
    "random",
    "secret",
    "server",
    "simulator",
    "trusted",
];

/// Files that belong to no module.
const ROOTS: [&str; 2] = ["lib", "main"];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

/// The root package and the members of the workspace, with their sources.
fn crates() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![("vbc-proxy".to_owned(), root.join("src"))];
    if let Ok(members) = fs::read_dir(root.join("crates")) {
        found.extend(members.map(|entry| {
            let path = entry.unwrap().path();
            (format!("vbc-{}", path.file_name().unwrap().to_str().unwrap()), path.join("src"))
        }));
    }
    found.sort();
    found
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

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in files(&root) {
        let within = path.strip_prefix(&root).unwrap();
        let first = within.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        found.push(Source { text: fs::read_to_string(&path).unwrap(), path, module });
    }
    assert!(found.len() > 50, "only {} files under {}", found.len(), root.display());
    found
}

/// The modules that code names by a path from the crate's root, with their lines. Comments are not code.
fn used(text: &str) -> Vec<(usize, String)> {
    let without_comments: Vec<&str> =
        text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect();
    let code = without_comments.join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c == '$' || c == '_' || c.is_alphanumeric()) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(names_of_group(group).into_iter().map(|name| (line, name))),
            None => found.push((line, identifier(rest))),
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect()
}

/// `clock::Clock, config::{self, Config}}; …` → `clock`, `config`.
fn names_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut fresh) = (0_usize, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && (c == '_' || c.is_alphabetic()) => {
                names.push(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn floors() -> BTreeMap<&'static str, usize> {
    FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, modules)| modules.iter().map(move |module| (*module, floor)))
        .collect()
}

#[test]
fn only_one_file_has_unsafe_code() {
    // Written so that this file is not one of them.
    let word = concat!("un", "safe");
    let mut found: Vec<_> = sources();
    found.retain(|source| {
        let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // In a string, as of a page's policy, it is another word.
        code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && !"_-\"".contains(c)))
            .any(|found| found == word)
    });
    let modules: Vec<_> = found.iter().map(|source| source.module.as_str()).collect();
    assert_eq!(modules, ["memory"]);
}

#[test]
fn a_module_uses_lower_floors_only() {
    let floors = floors();
    let mut wrong = Vec::new();
    let mut uses = 0;
    for source in sources() {
        if ROOTS.contains(&source.module.as_str()) {
            continue;
        }
        let own = floors.get(source.module.as_str());
        for (line, name) in used(&source.text) {
            if name == source.module || MEMBERS.contains(&name.as_str()) {
                continue;
            }
            uses += 1;
            let other = floors.get(name.as_str());
            if own.zip(other).is_none_or(|(own, other)| other >= own) {
                wrong.push(format!("{}:{line}: {} uses {name}", source.path.display(), source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "not a lower floor:\n{}", wrong.join("\n"));
    assert!(uses > 50, "only {uses} uses were found");
}

#[test]
fn every_module_has_a_floor_and_every_floor_its_modules() {
    let floors = floors();
    let mut found: Vec<String> = sources().into_iter().map(|source| source.module).collect();
    found.retain(|module| !ROOTS.contains(&module.as_str()));
    found.sort();
    found.dedup();
    let planned: Vec<String> = floors.keys().map(|module| (*module).to_owned()).collect();
    assert_eq!(found, planned);
    let map = sources().into_iter().find(|source| source.module == "lib").unwrap().text;
    for module in planned {
        assert!(map.contains(&format!("mod {module};")), "lib.rs has no {module}");
    }
}

#[test]
fn a_member_depends_on_lower_members_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lower: [(&str, &[&str]); 4] = [
        ("base", &[]),
        ("http", &["base"]),
        ("simulator", &["base", "http"]),
        ("cassette", &["base", "http"]),
    ];
    for (member, allowed) in lower {
        let manifest = fs::read_to_string(root.join(format!("crates/{member}/Cargo.toml"))).unwrap();
        let used = manifest.lines().filter_map(|line| line.strip_prefix("vbc-")?.split('.').next());
        let used: Vec<_> = used.collect();
        assert_eq!(used, allowed, "{member}");
    }
    assert_eq!(fs::read_dir(root.join("crates")).unwrap().count(), lower.len());
}

#[test]
fn reqwest_is_used_only_towards_the_token_endpoint() {
    for source in sources() {
        let uses = source.text.lines().any(|line| {
            let code = line.trim_start();
            !code.starts_with("//") && (code.contains("reqwest::") || code.starts_with("use reqwest"))
        });
        assert!(!uses || source.module == "oauth", "{}", source.path.display());
    }
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let text = "//! crate::cli\nuse crate::{clock::Clock, config::{self, Config}, secret};\n\
                fn f() -> crate::oauth::Grant {}\n    // crate::app\nuse vbc_crate::x;\npub(in crate::simulator) fn g() {}";
    let names: Vec<(usize, String)> = used(text);
    let names: Vec<(usize, &str)> = names.iter().map(|(line, name)| (*line, name.as_str())).collect();
    assert_eq!(names, [(2, "clock"), (2, "config"), (2, "secret"), (3, "oauth"), (6, "simulator")]);
}
