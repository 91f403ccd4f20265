//! The repository's own files, and the string literals of its sources.

use std::fs;
use std::path::Path;

use crate::architecture::tokens::{Kind, Token, tokens};

/// The folders that are read. Files at the top are read too.
const FOLDERS: [&str; 8] = [".ci", "benches", "crates", "docs", "fuzz", "scripts", "src", "tests"];

/// Folders with files that are not ours, or not written by hand.
const SKIPPED: [&str; 5] = ["target", "corpus", "artifacts", "node_modules", "published"];

pub(crate) struct SourceFile {
    /// The path relative to the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository, sorted by path.
pub(crate) fn files() -> Vec<SourceFile> {
    let mut found = Vec::new();
    collect(root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 300, "only {} files", found.len());
    found
}

/// Reads a directory. `prefix` is empty for the top, and ends with a slash otherwise.
fn collect(directory: &Path, prefix: &str, found: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            let is_read =
                if prefix.is_empty() { FOLDERS.contains(&&*name) } else { !SKIPPED.contains(&&*name) };
            if is_read {
                collect(&entry.path(), &format!("{prefix}{name}/"), found);
            }
        } else if kind.is_file()
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.push(SourceFile { path: format!("{prefix}{name}"), text });
        }
    }
}

/// Whether this Rust file belongs to a library or program, and not to tests.
pub(crate) fn is_product(path: &str) -> bool {
    let is_source = path.starts_with("src/") || path.starts_with("crates/");
    let is_for_tests = path.contains("/tests/") || path.ends_with("tests.rs") || path.ends_with("testing.rs");
    is_source && path.ends_with(".rs") && !is_for_tests
}

/// A string literal of Rust code.
#[derive(Debug, PartialEq)]
pub(crate) struct Literal {
    /// The line where the literal begins, counted from one.
    pub(crate) line: usize,
    /// The text with its escapes. At the end of a line, the `\` is gone and the line break stays.
    pub(crate) text: String,
}

/// The string literals outside of items that are only for tests.
pub(crate) fn literals(source: &str) -> Vec<Literal> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if let Some(length) = test_item(&tokens[at..]) {
            at += length;
            continue;
        }
        if let Kind::Text(text) = token.kind {
            found.push(Literal { line: token.line, text: text.replace("\\\n", "\n") });
        }
        at += 1;
    }
    found
}

/// The number of tokens of an item for tests, with its attribute. `None` if no such item begins
/// here.
fn test_item(tokens: &[Token<'_>]) -> Option<usize> {
    const ATTRIBUTES: [&[Kind<'_>]; 2] = [
        &[Kind::Mark('#'), Kind::Mark('['), Kind::Word("test"), Kind::Mark(']')],
        &[
            Kind::Mark('#'),
            Kind::Mark('['),
            Kind::Word("cfg"),
            Kind::Mark('('),
            Kind::Word("test"),
            Kind::Mark(')'),
            Kind::Mark(']'),
        ],
    ];
    let kinds = || tokens.iter().map(|token| token.kind);
    let attribute =
        ATTRIBUTES.iter().find(|attribute| kinds().take(attribute.len()).eq(attribute.iter().copied()))?;
    let mut depth = 0;
    for (at, kind) in kinds().enumerate().skip(attribute.len()) {
        match kind {
            Kind::Mark('{') => depth += 1,
            Kind::Mark('}') => depth -= 1,
            Kind::Mark(';') if depth == 0 => return Some(at + 1),
            _ => continue,
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    Some(tokens.len())
}

#[test]
fn literals_of_tests_are_left_out_and_continued_lines_are_joined() {
    let source = "fn a() { b(\"one \\\n two\"); }\n#[cfg(test)]\nmod tests { const C: &str = \"three\"; }\n\
                  #[test]\nfn d() { e(\"four\") }\nconst F: &str = \"five\";";
    let found = literals(source);
    let expected = [(1, "one \n two"), (7, "five")];
    assert_eq!(found, expected.map(|(line, text)| Literal { line, text: text.to_owned() }));
}
