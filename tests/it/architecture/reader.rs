//! Reads one file: its modules, its imports and its paths. Code for tests is skipped.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Kind, Token, tokens};

/// A path as written, and the module that contains it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    pub(super) line: usize,
    pub(super) scope: Vec<String>,
    pub(super) segments: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct File {
    /// The modules with their own file, and the path from a `#[path]` attribute.
    pub(super) children: BTreeMap<String, Option<String>>,
    /// Modules for tests, by name, with their path. They are not read.
    pub(super) for_tests: BTreeMap<String, Option<String>>,
    /// Imported names, and their paths.
    pub(super) imports: BTreeMap<String, Written>,
    /// Modules with a glob import.
    pub(super) globs: Vec<Written>,
    /// The names that the file defines.
    pub(super) definitions: BTreeSet<String>,
    /// Every path in code, imports included.
    pub(super) paths: Vec<Written>,
    /// Single names, which may come from a glob import.
    pub(super) words: Vec<(usize, String)>,
}

/// Reads the file of the module `scope`.
pub(super) fn read(source: &str, scope: &[String]) -> File {
    let mut reader = Reader {
        tokens: tokens(source),
        at: 0,
        scope: scope.to_vec(),
        blocks: Vec::new(),
        file: File::default(),
    };
    reader.read();
    reader.file
}

struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    scope: Vec<String>,
    /// For each open brace, whether it opened a module.
    blocks: Vec<bool>,
    file: File,
}

impl<'a> Reader<'a> {
    fn peek(&self, ahead: usize) -> Option<Kind<'a>> {
        self.tokens.get(self.at + ahead).map(|token| token.kind)
    }

    fn is_mark(&self, ahead: usize, mark: char) -> bool {
        self.peek(ahead) == Some(Kind::Mark(mark))
    }

    fn word(&self, ahead: usize) -> Option<&'a str> {
        match self.peek(ahead) {
            Some(Kind::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn read(&mut self) {
        let mut path = None;
        while let Some(kind) = self.peek(0) {
            match kind {
                Kind::Mark('#') => {
                    let attribute = self.attribute();
                    path = path_of(&attribute).or(path);
                    if is_for_tests(&attribute) {
                        self.skip_item(path.take());
                    }
                }
                Kind::Word("mod") if self.word(1).is_some() => self.module(path.take()),
                Kind::Word("use") => {
                    self.at += 1;
                    self.import(Vec::new());
                }
                Kind::Word(_) => self.path(),
                Kind::Mark(mark) => {
                    self.brace(mark);
                    self.at += 1;
                }
                Kind::Text(_) | Kind::Comment(_) => self.at += 1,
            }
        }
    }

    fn brace(&mut self, mark: char) {
        match mark {
            '{' => self.blocks.push(false),
            '}' if self.blocks.pop() == Some(true) => {
                self.scope.pop();
            }
            _ => {}
        }
    }

    /// Reads `#[…]` or `#![…]`.
    fn attribute(&mut self) -> Vec<Kind<'a>> {
        self.at += if self.is_mark(1, '!') { 2 } else { 1 };
        let start = self.at;
        self.skip_balanced();
        self.tokens[start..self.at].iter().map(|token| token.kind).collect()
    }

    /// Skips one token, or a bracketed group that starts here.
    fn skip_balanced(&mut self) {
        let mut depth = 0_usize;
        while let Some(kind) = self.peek(0) {
            match kind {
                Kind::Mark('(' | '[' | '{') => depth += 1,
                Kind::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips an item that is compiled for tests only.
    fn skip_item(&mut self, mut path: Option<String>) {
        while self.is_mark(0, '#') {
            path = path_of(&self.attribute()).or(path);
        }
        let mut previous = None;
        while let Some(kind) = self.peek(0) {
            if let (Some(Kind::Word("mod")), Kind::Word(name)) = (previous, kind)
                && self.is_mark(1, ';')
            {
                self.file.for_tests.insert(name.to_owned(), path.take());
            }
            previous = Some(kind);
            self.skip_balanced();
            if matches!(kind, Kind::Mark(';' | ',' | '{')) {
                return;
            }
        }
    }

    fn module(&mut self, path: Option<String>) {
        let name = self.word(1).unwrap().to_owned();
        if self.is_mark(2, '{') {
            self.scope.push(name);
            self.blocks.push(true);
        } else {
            self.file.children.insert(name, path);
        }
        self.at += 3;
    }

    /// Reads one tree of a `use`, after these segments.
    fn import(&mut self, mut segments: Vec<String>) {
        let line = self.tokens[self.at].line;
        loop {
            match self.peek(0) {
                Some(Kind::Word(word)) => {
                    segments.push(word.to_owned());
                    self.at += 1;
                }
                Some(Kind::Mark(':')) => self.at += 1,
                Some(Kind::Mark('*')) => {
                    self.at += 1;
                    let written = self.written(line, segments);
                    self.file.paths.push(written.clone());
                    self.file.globs.push(written);
                    return;
                }
                Some(Kind::Mark('{')) => {
                    self.at += 1;
                    while !self.is_mark(0, '}') {
                        self.import(segments.clone());
                        self.at += usize::from(self.is_mark(0, ','));
                    }
                    self.at += 1;
                    return;
                }
                _ => break,
            }
        }
        // `a as b` has been read as three segments.
        let mut name = None;
        if segments.len() > 2 && segments[segments.len() - 2] == "as" {
            name = segments.pop();
            segments.pop();
        }
        if segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let Some(last) = segments.last().cloned() else { return };
        let written = self.written(line, segments);
        self.file.paths.push(written.clone());
        self.file.imports.insert(name.unwrap_or(last), written);
    }

    /// Reads a path in code, or a single word.
    fn path(&mut self) {
        let line = self.tokens[self.at].line;
        let after = self.at.checked_sub(1).map(|before| self.tokens[before].kind);
        let mut segments = Vec::new();
        while let Some(word) = self.word(0) {
            segments.push(word.to_owned());
            self.at += 1;
            if !(self.is_mark(0, ':') && self.is_mark(1, ':') && self.word(2).is_some()) {
                break;
            }
            self.at += 2;
        }
        let defines = ["struct", "enum", "union", "trait", "type", "fn", "const", "static"];
        match after {
            Some(Kind::Mark('.')) => {}
            Some(Kind::Word(keyword)) if defines.contains(&keyword) => {
                self.file.definitions.extend(segments);
            }
            _ if segments.len() == 1 => self.file.words.extend(segments.pop().map(|word| (line, word))),
            _ => {
                let written = self.written(line, segments);
                self.file.paths.push(written);
            }
        }
    }

    fn written(&self, line: usize, segments: Vec<String>) -> Written {
        Written { line, scope: self.scope.clone(), segments }
    }
}

/// The file that `#[path = "…"]` names.
fn path_of(attribute: &[Kind]) -> Option<String> {
    match attribute {
        [_, Kind::Word("path"), Kind::Mark('='), Kind::Text(file), _] => Some((*file).to_owned()),
        _ => None,
    }
}

fn is_for_tests(attribute: &[Kind]) -> bool {
    let not = [Kind::Word("not"), Kind::Mark('('), Kind::Word("test")];
    let of_tests = [Kind::Word("test"), Kind::Word("doctest"), Kind::Text("testing")];
    matches!(attribute, [_, Kind::Word("cfg"), ..])
        && attribute.iter().any(|kind| of_tests.contains(kind))
        && !attribute.windows(not.len()).any(|window| window == not)
}

#[test]
fn imports_paths_and_modules_are_read_as_the_compiler_reads_them() {
    let source = "mod a; #[path = \"x.rs\"] mod b;\n#[cfg(test)] #[path = \"t.rs\"] mod c;\n\
        use super::{d::{self, E as F}, g::*};\nmod inner { fn h() { super::i::j(); } }\n\
        #[cfg(test)]\nfn k() { crate::l::m(); }\nfn n(o: crate::p::Q) { r.s(); }";
    let file = read(source, &["here".to_owned()]);
    let none = |name: &str| (name.to_owned(), None);
    let some = |name: &str, path: &str| (name.to_owned(), Some(path.to_owned()));
    assert_eq!(file.children, BTreeMap::from([none("a"), some("b", "x.rs")]));
    assert_eq!(file.for_tests, BTreeMap::from([some("c", "t.rs")]));
    let imported: Vec<_> =
        file.imports.iter().map(|(name, path)| (name.as_str(), path.segments.join("::"))).collect();
    assert_eq!(imported, [("F", "super::d::E".to_owned()), ("d", "super::d".to_owned())]);
    assert_eq!(file.globs[0].segments.join("::"), "super::g");
    let paths: Vec<_> =
        file.paths.iter().map(|path| (path.line, path.scope.len(), path.segments.join("::"))).collect();
    let expected = [
        (3, 1, "super::d"),
        (3, 1, "super::d::E"),
        (3, 1, "super::g"),
        (4, 2, "super::i::j"),
        (7, 1, "crate::p::Q"),
    ];
    assert_eq!(paths, expected.map(|(line, depth, path)| (line, depth, path.to_owned())));
    assert_eq!(file.definitions, BTreeSet::from(["h".to_owned(), "n".to_owned()]));
}
