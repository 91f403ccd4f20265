//! Files of one directory depend on each other in one direction only. A module and its own children
//! may know each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::modules::{Crate, Name};

/// The children of one module: for each, the siblings that it uses, and where it first does.
pub(super) type Level = BTreeMap<String, BTreeMap<String, (PathBuf, usize)>>;

/// The graph of every module's children.
pub(super) fn levels(all: &Crate) -> BTreeMap<Name, Level> {
    let mut levels: BTreeMap<Name, Level> = BTreeMap::new();
    for (name, module) in &all.modules {
        if let Some((last, parent)) = name.split_last() {
            levels.entry(parent.to_vec()).or_default().entry(last.clone()).or_default();
        }
        let mut uses: Vec<(usize, Name)> = Vec::new();
        for written in &module.file.paths {
            uses.extend(all.targets(written).into_iter().map(|target| (written.line, target)));
        }
        for (line, word) in &module.file.words {
            if !module.file.globs.is_empty() && !module.file.imports.contains_key(word) {
                uses.extend(all.imported(name, word, 8).map(|target| (*line, target)));
            }
        }
        for (line, target) in uses {
            let common = name.iter().zip(&target).take_while(|(own, other)| own == other).count();
            if let (Some(from), Some(to)) = (name.get(common), target.get(common)) {
                let level = levels.entry(name[..common].to_vec()).or_default();
                let edges = level.entry(from.clone()).or_default();
                edges.entry(to.clone()).or_insert_with(|| (module.path.clone(), line));
            }
        }
    }
    levels.retain(|_, level| level.len() > 1);
    levels
}

/// The shortest cycle from a module back to itself.
fn circle(level: &Level, start: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut left = VecDeque::from([vec![start.to_owned()]]);
    while let Some(way) = left.pop_front() {
        for next in level.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                left.push_back([&way[..], std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

/// Cycles such that every module on a cycle is on at least one of them.
fn circles(level: &Level) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    for start in level.keys() {
        if !found.iter().flatten().any(|known| known == start) {
            found.extend(circle(level, start));
        }
    }
    found
}

fn shown(level: &Level, circle: &[String]) -> String {
    let mut text = String::new();
    for (at, from) in circle.iter().enumerate() {
        let to = &circle[(at + 1) % circle.len()];
        let (path, line) = &level[from][to];
        writeln!(text, "    {from} uses {to}: {}:{line}", path.display()).unwrap();
    }
    text
}

#[test]
fn no_circle_among_sibling_files() {
    let mut wrong = String::new();
    for (package, src) in super::crates() {
        let all = Crate::read(&src);
        for (module, level) in levels(&all) {
            let module = [&[package.clone()][..], &module].concat().join("::");
            println!("{module}");
            for (from, edges) in &level {
                println!("  {from} → {}", edges.keys().map(String::as_str).collect::<Vec<_>>().join(" "));
            }
            for circle in circles(&level) {
                let text = format!("  a circle in {module}:\n{}", shown(&level, &circle));
                print!("{text}");
                wrong.push_str(&text);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_file_is_a_module_or_for_tests() {
    for (_, src) in super::crates() {
        let all = Crate::read(&src);
        let of_tests = |path: &Path| {
            all.for_tests.contains(&path.join("mod.rs")) || all.for_tests.contains(&path.with_extension("rs"))
        };
        for path in super::files(&src) {
            let is_module =
                all.modules.values().any(|module| module.path == path) || path.ends_with("main.rs");
            let is_known = is_module || path.ancestors().any(of_tests);
            assert!(is_known, "{} belongs to no module", path.display());
        }
    }
}
