//! The modules of a crate, and the ones that a path leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::reader::{File, Written, read};

/// The path of a module from the root of the crate. It is empty for the root.
pub(super) type Name = Vec<String>;

/// The most re-exports in a row that are followed.
const MOST_STEPS: usize = 8;

pub(super) struct Module {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

pub(super) struct Crate {
    pub(super) modules: BTreeMap<Name, Module>,
    /// The files of modules that are only for tests.
    pub(super) for_tests: BTreeSet<PathBuf>,
}

impl Crate {
    /// Follows the modules from `src/lib.rs`, as the compiler does.
    pub(super) fn read(src: &Path) -> Self {
        let mut all = Self { modules: BTreeMap::new(), for_tests: BTreeSet::new() };
        let mut left = vec![(Vec::new(), src.join("lib.rs"))];
        while let Some((name, path)) = left.pop() {
            let source =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let file = read(&source, &name);
            for (child, named) in &file.children {
                left.push((
                    [&name[..], std::slice::from_ref(child)].concat(),
                    file_of(&path, child, named.as_deref()),
                ));
            }
            let for_tests = file.for_tests.iter();
            all.for_tests.extend(for_tests.map(|(child, named)| file_of(&path, child, named.as_deref())));
            all.modules.insert(name, Module { path, file });
        }
        all
    }

    /// The length of the longest prefix of a path that is a module.
    fn module_of(&self, path: &[String]) -> usize {
        (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length])).unwrap()
    }

    /// Every module that a path leads to: the named one, and those behind its re-exports.
    pub(super) fn targets(&self, written: &Written) -> Vec<Name> {
        let mut found = Vec::new();
        let mut next = self.absolute(written, MOST_STEPS);
        while let Some(path) = next.filter(|_| found.len() < MOST_STEPS) {
            let length = self.module_of(&path);
            found.push(path[..length].to_vec());
            let (module, rest) = path.split_at(length);
            next = rest.first().and_then(|name| {
                let target = self.imported(module, name, MOST_STEPS)?;
                Some([&target[..], &rest[1..]].concat())
            });
        }
        found
    }

    /// The origin of a name that a module imports.
    pub(super) fn imported(&self, module: &[String], name: &str, steps: usize) -> Option<Name> {
        let steps = steps.checked_sub(1)?;
        let file = &self.modules[module].file;
        if let Some(written) = file.imports.get(name) {
            return self.absolute(written, steps);
        }
        file.globs.iter().find_map(|glob| {
            let target = self.absolute(glob, steps)?;
            let known = self.modules.get(&target)?;
            let has = known.file.definitions.contains(name)
                || known.file.children.contains_key(name)
                || self.imported(&target, name, steps).is_some();
            has.then(|| [&target[..], &[name.to_owned()]].concat())
        })
    }

    /// The path from the root of the crate. `None` if it leads out of the crate.
    fn absolute(&self, written: &Written, steps: usize) -> Option<Name> {
        let mut scope = written.scope.clone();
        let mut segments = &written.segments[..];
        let mut is_relative = false;
        while let Some((first, rest)) = segments.split_first() {
            match first.as_str() {
                "crate" => scope.clear(),
                "self" => {}
                "super" => {
                    scope.pop();
                }
                _ => break,
            }
            segments = rest;
            is_relative = true;
        }
        if is_relative {
            return Some([&scope[..], segments].concat());
        }
        let module = &scope[..self.module_of(&scope)];
        let (first, rest) = segments.split_first()?;
        if self.modules[module].file.children.contains_key(first) {
            return Some([module, segments].concat());
        }
        let target = self.imported(module, first, steps)?;
        Some([&target[..], rest].concat())
    }
}

/// The file of the module `name`, which the file `parent` declares.
fn file_of(parent: &Path, name: &str, named: Option<&str>) -> PathBuf {
    let directory = parent.parent().unwrap();
    if let Some(named) = named {
        return directory.join(named);
    }
    let stem = parent.file_stem().unwrap();
    let is_root = ["lib", "mod"].iter().any(|root| stem == *root);
    let directory = if is_root { directory.to_owned() } else { directory.join(stem) };
    let file = directory.join(format!("{name}.rs"));
    if file.exists() { file } else { directory.join(name).join("mod.rs") }
}
