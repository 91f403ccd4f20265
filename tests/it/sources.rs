//! The repository's own files, and the string literals of its sources.

use std::fs;
use std::path::Path;

use crate::architecture::tokens::{Kind, Token, tokens};

/// The folders that are read. Files at the top are read too.
pub(crate) const FOLDERS: [&str; 8] = [".ci", "benches", "crates", "docs", "fuzz", "scripts", "src", "tests"];

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

/// Every text file of the repository that git does not ignore, sorted by path.
pub(crate) fn files() -> Vec<SourceFile> {
    let mut found = Vec::new();
    collect(root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 300, "only {} files", found.len());
    found
}

/// Reads a directory. `prefix` is empty for the top, and ends with a slash otherwise.
fn collect(directory: &Path, prefix: &str, found: &mut Vec<SourceFile>) {
    let ignored = ignored(&fs::read_to_string(directory.join(".gitignore")).unwrap_or_default());
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let kind = entry.file_type().unwrap();
        if ignored.contains(&name) || SKIPPED.contains(&&*name) {
            continue;
        }
        if kind.is_dir() {
            if !prefix.is_empty() || FOLDERS.contains(&&*name) {
                collect(&entry.path(), &format!("{prefix}{name}/"), found);
            }
        } else if kind.is_file() {
            let path = format!("{prefix}{name}");
            match String::from_utf8(fs::read(entry.path()).unwrap()) {
                Ok(text) => found.push(SourceFile { path, text }),
                Err(_) => assert!(!must_be_text(&path), "{path} is not UTF-8"),
            }
        }
    }
}

/// The names that a `.gitignore` lists for its own folder.
fn ignored(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.trim_matches('/').to_owned()).collect()
}

/// Whether checks rely on this kind of file. Other files may be binary.
fn must_be_text(path: &str) -> bool {
    [".md", ".rs", ".toml"].iter().any(|end| path.ends_with(end))
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
    let literals = product_tokens(source).into_iter().filter_map(|token| match token.kind {
        Kind::Text(text) => Some(Literal { line: token.line, text: text.replace("\\\n", "\n") }),
        _ => None,
    });
    literals.collect()
}

/// The tokens outside of items that are only for tests.
pub(crate) fn product_tokens(source: &str) -> Vec<Token<'_>> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match test_item(&tokens[at..]) {
            Some(length) => at += length,
            None => {
                found.push(*token);
                at += 1;
            }
        }
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

#[test]
fn files_that_git_ignores_are_left_out() {
    assert_eq!(
        ignored("# a\n/tokens\n\ntarget/\n/proxy.local.toml\n"),
        ["tokens", "target", "proxy.local.toml"]
    );
    assert!(files().iter().all(|file| file.path != "proxy.local.toml"));
    assert!(must_be_text("docs/a.md") && !must_be_text("a.der"));
}
