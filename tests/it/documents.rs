//! Checks the size and the links of documents, and that the things that documents name exist.

mod commands;
pub(crate) mod markdown;
mod names;
mod quotes;
mod troubleshooting;

use std::collections::BTreeMap;
use std::path::{Component, Path};

use self::markdown::Markdown;
use crate::sources::{FOLDERS, files, root};

/// The most lines of a document.
const LENGTHS: [(&str, usize); 2] = [("README.md", 150), ("ARCHITECTURE.md", 250)];

/// The most characters of a table cell.
const LONGEST_CELL: usize = 300;

/// Every Markdown file by path, with its text.
fn texts() -> BTreeMap<String, String> {
    let files = files().into_iter().filter(|file| file.path.ends_with(".md"));
    files.map(|file| (file.path, file.text)).collect()
}

/// Every Markdown file by path.
fn documents() -> BTreeMap<String, Markdown> {
    let documents: BTreeMap<_, _> =
        texts().into_iter().map(|(path, text)| (path, Markdown::read(&text))).collect();
    assert!(documents.len() > 5, "{:?}", documents.keys());
    documents
}

/// The documents that describe the present. The changelog also names things that are gone.
fn present_documents() -> BTreeMap<String, Markdown> {
    let mut documents = documents();
    documents.remove("CHANGELOG.md");
    documents
}

/// Fails with all findings in one message.
pub(crate) fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn the_readme_and_the_map_are_short() {
    let texts = texts();
    for (path, most) in LENGTHS {
        let lines = texts[path].lines().count();
        assert!(lines <= most, "{path} has {lines} lines; at most {most}");
    }
}

#[test]
fn table_cells_are_short() {
    let mut findings = Vec::new();
    for (path, document) in documents() {
        for cell in document.cells {
            let length = cell.text.chars().count();
            if length > LONGEST_CELL {
                findings.push(format!("{path}:{}: a cell of {length} characters: {}", cell.line, cell.text));
            }
        }
    }
    assert_none(&findings);
}

#[test]
fn links_lead_to_files_and_headings_that_exist_or_to_https() {
    let documents = documents();
    let mut findings = Vec::new();
    for (path, document) in &documents {
        for link in &document.links {
            if let Err(why) = follow(&documents, path, &link.text) {
                findings.push(format!("{path}:{}: {}: {why}", link.line, link.text));
            }
        }
    }
    assert_none(&findings);
}

/// Follows a link of the document at `path`.
fn follow(documents: &BTreeMap<String, Markdown>, path: &str, link: &str) -> Result<(), String> {
    if link.contains("://") {
        return if link.starts_with("https://") { Ok(()) } else { Err("not https".to_owned()) };
    }
    let (file, anchor) = match link.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (link, None),
    };
    let target = if file.is_empty() { path.to_owned() } else { resolve(path, file)? };
    if !root().join(&target).exists() {
        return Err(format!("there is no {target}"));
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let document = documents.get(&target).ok_or_else(|| format!("{target} has no headings"))?;
    let anchors = document.anchors();
    if anchors.iter().any(|known| known == anchor) {
        return Ok(());
    }
    Err(format!("{target} has no such heading; it has {}", anchors.join(", ")))
}

/// Resolves a file that the document at `path` names. Returns the path from the repository's root.
fn resolve(path: &str, file: &str) -> Result<String, String> {
    let outside = || format!("{file} is outside of the repository");
    let mut found: Vec<&str> = path.split('/').collect();
    found.pop();
    for component in Path::new(file).components() {
        match component {
            Component::ParentDir => {
                found.pop().ok_or_else(outside)?;
            }
            Component::Normal(name) => found.push(name.to_str().unwrap()),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err(outside()),
        }
    }
    Ok(found.join("/"))
}

#[test]
fn paths_of_the_repository_in_documents_exist() {
    let mut findings = Vec::new();
    let mut known = 0;
    for (path, document) in present_documents() {
        for span in &document.spans {
            let Some(named) = repository_path(&span.text) else { continue };
            known += 1;
            if !root().join(named).exists() {
                findings.push(format!("{path}:{}: there is no {named}", span.line));
            }
        }
    }
    assert_none(&findings);
    assert!(known > 50, "only {known} paths were found");
}

/// The path that a code span begins with, if it looks like a path of the repository.
fn repository_path(span: &str) -> Option<&str> {
    let path = span.split([' ', '[', ':']).next()?;
    let (folder, rest) = path.split_once('/')?;
    let is_pattern = path.contains(['*', '<', '{', '…']) || rest.contains("NNNN");
    (FOLDERS.contains(&folder) && !is_pattern).then_some(path)
}

#[test]
fn links_are_followed_and_paths_are_recognized() {
    let documents = [("docs/testing.md", "# One\n\n# Two `x`\n"), ("README.md", "# A\n\n# A\n")];
    let documents: BTreeMap<_, _> =
        documents.iter().map(|(path, text)| ((*path).to_owned(), Markdown::read(text))).collect();
    for good in [
        "https://a.example/",
        "#one",
        "#two-x",
        "configuration.md",
        "../README.md#a-1",
        "../src/lib.rs",
        "..",
    ] {
        assert_eq!(follow(&documents, "docs/testing.md", good), Ok(()), "{good}");
    }
    for bad in [
        "http://a.example/",
        "#three",
        "no.md",
        "../README.md#a-2",
        "../src/lib.rs#a",
        "README.md",
        "../../README.md",
        "/README.md",
    ] {
        assert!(follow(&documents, "docs/testing.md", bad).is_err(), "{bad}");
    }
    assert_eq!(repository_path("src/lib.rs"), Some("src/lib.rs"));
    assert_eq!(repository_path("scripts/bench --quick"), Some("scripts/bench"));
    for other in ["src", "application/json", "docs/decisions/NNNN-title.md", "tests/*.rs", "a b/c"] {
        assert_eq!(repository_path(other), None, "{other}");
    }
}
