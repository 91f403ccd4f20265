//! Reads pages like docs/testing.md: their sections with files and commands.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The content below a heading.
#[derive(Debug, Default)]
pub(crate) struct Section {
    pub(super) title: String,
    /// Blocks whose info string is `LANGUAGE NAME`.
    pub(crate) files: Vec<(String, String)>,
    /// Blocks of `sh` without a name, one after the other.
    pub(super) commands: Vec<String>,
}

impl Section {
    /// The text of one of its files.
    pub(crate) fn file(&self, name: &str) -> &str {
        let found = self.files.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| text.as_str()).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Its files, in a new directory.
    pub(super) fn lay_out(&self) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in &self.files {
            let path: PathBuf = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }
}

/// All sections of docs/testing.md, in their order.
pub(super) fn sections() -> Vec<Section> {
    sections_of("docs/testing.md")
}

/// All sections of a page, in their order.
pub(crate) fn sections_of(path: &str) -> Vec<Section> {
    let page = fs::read_to_string(root().join(path)).unwrap();
    let mut sections = vec![Section::default()];
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let (text, section) = (block.join("\n") + "\n", sections.last_mut().unwrap());
            match info.split_once(' ') {
                Some((_, name)) => section.files.push((name.to_owned(), text)),
                None if info == "sh" => section.commands.push(text),
                None => {}
            }
        } else if line.starts_with("## ") || line.starts_with("### ") {
            let title = line.trim_start_matches(['#', ' ']).to_owned();
            sections.push(Section { title, ..Section::default() });
        }
    }
    sections
}

/// The section with this title.
pub(super) fn section(title: &str) -> Section {
    let found = sections().into_iter().find(|section| section.title == title);
    found.unwrap_or_else(|| panic!("docs/testing.md has no section {title}"))
}
