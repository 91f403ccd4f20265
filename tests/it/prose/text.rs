//! Paragraphs and sentences of comments, documents and messages.

use crate::architecture::tokens::{Kind, tokens_and_comments};
use crate::documents::markdown::{Part, cells, is_fence, ranges};
use crate::sources::literals;

/// Stands for a code span, or for a placeholder of a message.
const CODE: char = '`';

/// A run of text that no blank line, list item, heading or table cell divides.
#[derive(Debug, PartialEq)]
pub(super) struct Paragraph {
    /// Its first line, counted from one.
    pub(super) line: usize,
    /// With the line breaks of the source. Code spans are one backtick.
    pub(super) text: String,
}

/// A word in lower case, or a mark, and the line that it is on.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) line: usize,
    pub(super) text: String,
}

impl Paragraph {
    fn new(line: usize, text: &str) -> Self {
        Self { line, text: without_code(text) }
    }

    /// Its words and marks. `'s` is a word of its own.
    pub(super) fn words(&self) -> Vec<Word> {
        let mut found: Vec<Word> = Vec::new();
        let mut line = self.line;
        let mut continues = false;
        let mut characters = self.text.chars().peekable();
        while let Some(c) = characters.next() {
            let next_is_word = characters.peek().is_some_and(|next| next.is_alphanumeric());
            let joins = continues && next_is_word && matches!(c, '-' | '_');
            if c.is_alphanumeric() || joins {
                if !continues {
                    found.push(Word { line, text: String::new() });
                }
                found.last_mut().unwrap().text.extend(c.to_lowercase());
                continues = true;
                continue;
            }
            let is_possessive = continues && next_is_word && matches!(c, '\'' | '’');
            if is_possessive {
                found.push(Word { line, text: "'".to_owned() });
                continue;
            }
            continues = false;
            if c == '\n' {
                line += 1;
            } else if !c.is_whitespace() && !matches!(c, '*' | '"' | '“' | '”' | '[') {
                found.push(Word { line, text: c.to_string() });
            }
        }
        found
    }

    /// Its sentences: the line where each begins, its number of words, and its text. In a message a
    /// semicolon ends one too.
    pub(super) fn sentences(&self, is_message: bool) -> Vec<(usize, usize, String)> {
        let lines = self.text.split('\n').zip(self.line..);
        let mut pieces =
            lines.flat_map(|(text, line)| text.split_whitespace().map(move |piece| (line, piece)));
        let mut found = Vec::new();
        let mut sentence: Vec<(usize, &str)> = Vec::new();
        loop {
            let next = pieces.next();
            let is_over = match (sentence.last(), next) {
                (Some((_, last)), Some((_, next))) => {
                    is_message && last.ends_with(';') || divides(last, next)
                }
                (Some(_), None) => true,
                (None, _) => false,
            };
            if is_over {
                let words = sentence.iter().filter(|(_, piece)| is_word(piece)).count();
                let text: Vec<&str> = sentence.iter().map(|(_, piece)| *piece).collect();
                found.push((sentence[0].0, words, text.join(" ")));
                sentence.clear();
            }
            match next {
                Some(piece) => sentence.push(piece),
                None => return found,
            }
        }
    }
}

fn is_word(piece: &str) -> bool {
    piece.contains(|c: char| c.is_alphanumeric() || c == CODE)
}

/// Whether a sentence ends between these pieces.
fn divides(last: &str, next: &str) -> bool {
    let last = last.trim_end_matches(['"', '”', ')', '*', '_']);
    let is_abbreviation = ["e.g.", "i.e.", "etc.", "vs."].iter().any(|short| last.ends_with(short));
    let begins = |c: char| c.is_uppercase() || matches!(c, '"' | '“' | '(' | '[' | '*' | '<');
    let may_begin = next.starts_with(begins);
    let may_begin_with_code = may_begin || next.starts_with(CODE);
    last.ends_with(['.', '!', '?']) && (may_begin_with_code || !is_abbreviation)
        || last.ends_with(';') && may_begin_with_code
        || last.ends_with(':') && may_begin
}

/// Replaces each code span by one backtick, and each link by its text. Keeps line breaks.
fn without_code(text: &str) -> String {
    let mut found = String::new();
    let mut at = 0;
    for (start, end, content) in ranges(text) {
        found.push_str(&text[at..start]);
        found.push(CODE);
        found.extend(content.chars().filter(|c| *c == '\n'));
        at = end;
    }
    found.push_str(&text[at..]);
    without_links(&found)
}

fn without_links(text: &str) -> String {
    let mut found = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("](") {
        found.push_str(&rest[..start]);
        let target = &rest[start..];
        let end = target.find(')').map_or(target.len(), |end| end + 1);
        found.extend(target[..end].chars().filter(|c| *c == '\n'));
        rest = &target[end..];
    }
    found.push_str(rest);
    found
}

/// The paragraphs of Markdown, or of a comment without its marks. Code blocks are left out.
pub(super) fn paragraphs<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<Paragraph> {
    let mut reader = Reader::default();
    for (line, text) in lines {
        reader.line(line, text);
    }
    reader.finish()
}

#[derive(Default)]
struct Reader<'a> {
    found: Vec<Paragraph>,
    /// The lines of the paragraph that is being read.
    open: Vec<(usize, &'a str)>,
    is_code: bool,
    is_list: bool,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: usize, text: &'a str) {
        let content = text.trim().trim_start_matches("> ");
        self.is_code ^= is_fence(content);
        let is_definition =
            content.starts_with('[') && content.split_once("]: ").is_some_and(|(_, url)| !url.contains(' '));
        if self.is_code
            || is_fence(content)
            || content.is_empty()
            || is_definition
            || content.starts_with("<!--")
        {
            return self.close();
        }
        if content.starts_with('|') {
            self.close();
            let cells = cells(&Part { line, text: content.to_owned() });
            let cells = cells.into_iter().filter(|cell| is_word(&cell.text));
            return self.found.extend(cells.map(|cell| Paragraph::new(line, &cell.text)));
        }
        if content.starts_with('#') {
            self.close();
            return self.found.push(Paragraph::new(line, content.trim_start_matches(['#', ' '])));
        }
        if let Some(item) = list_item(content) {
            self.close();
            self.is_list = true;
            return self.open.push((line, item));
        }
        if self.open.is_empty() {
            let is_indented = text.starts_with("    ");
            self.is_list &= text.starts_with(' ');
            if is_indented && !self.is_list {
                return;
            }
        }
        self.open.push((line, content));
    }

    fn close(&mut self) {
        let lines = std::mem::take(&mut self.open);
        if let Some((line, _)) = lines.first() {
            let text: Vec<&str> = lines.iter().map(|(_, text)| *text).collect();
            self.found.push(Paragraph::new(*line, &text.join("\n")));
        }
    }

    fn finish(mut self) -> Vec<Paragraph> {
        self.close();
        self.found
    }
}

/// The text of a list item without its mark. The options of a script are list items.
fn list_item(content: &str) -> Option<&str> {
    let (mark, item) = content.split_once(' ')?;
    let is_number = mark.strip_suffix('.').is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
    (is_number || mark.starts_with("--") || matches!(mark, "-" | "*" | "•")).then_some(item)
}

/// The comments of a Rust file. Comments of one kind on consecutive lines are one comment.
pub(super) fn rust_comments(source: &str) -> Vec<Vec<(usize, &str)>> {
    let mut found: Vec<Vec<(usize, &str)>> = Vec::new();
    let mut last = (0, "");
    for token in tokens_and_comments(source) {
        let Kind::Comment(comment) = token.kind else { continue };
        let mark = ["///", "//!", "//"].into_iter().find(|mark| comment.starts_with(mark));
        let Some(mark) = mark else {
            let content = comment.trim_start_matches("/*").trim_end_matches("*/");
            found.push((token.line..).zip(content.lines()).collect());
            continue;
        };
        let content = &comment[mark.len()..];
        let content = content.strip_prefix(' ').unwrap_or(content);
        if last == (token.line - 1, mark) {
            found.last_mut().unwrap().push((token.line, content));
        } else {
            found.push(vec![(token.line, content)]);
        }
        last = (token.line, mark);
    }
    found
}

/// How the comments of a file are marked, other than Rust's.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    /// The beginning of a comment that ends with its line.
    pub(super) line: &'static str,
    /// The beginning and the end of a comment that may have several lines.
    pub(super) block: Option<(&'static str, &'static str)>,
}

/// The comments of a file: those on lines that follow each other are one. Code divides them, and so
/// do settings that are commented out.
pub(super) fn comments(source: &str, marks: Marks) -> Vec<Vec<(usize, &str)>> {
    let mut lines: Vec<Option<(usize, &str)>> = Vec::new();
    // Within a block: whether it is a comment.
    let mut block = None;
    for (line, number) in source.lines().zip(1..) {
        let mut content = line.trim_start();
        if let Some((begin, end)) = marks.block {
            if block.is_none()
                && !content.starts_with(marks.line)
                && let Some((before, after)) = content.split_once(begin)
                // After code, the mark of Python begins a string.
                && (before.is_empty() || begin == end)
            {
                block = Some(before.is_empty());
                content = after;
            }
            if let Some(is_comment) = block {
                let text = content.split_once(end).map(|(text, _)| text);
                let comment = text.unwrap_or(content).trim_start_matches(['*', ' ']);
                lines.push(is_comment.then_some((number, comment)));
                if text.is_some() {
                    block = None;
                    lines.push(None);
                }
                continue;
            }
        }
        match content.strip_prefix(marks.line) {
            Some(comment) => {
                let comment = comment.strip_prefix(' ').unwrap_or(comment);
                let is_prose = !comment.starts_with('!') && !is_setting(comment);
                lines.push(is_prose.then_some((number, comment)));
            }
            None => {
                let comment = trailing(line, marks.line).map(|comment| (number, comment));
                lines.extend([None, comment, None]);
            }
        }
    }
    lines.split(Option::is_none).map(|comment| comment.iter().flatten().copied().collect()).collect()
}

/// The comment after the code of a line.
fn trailing<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let mut marks = line.match_indices(mark).map(|(at, _)| (&line[..at], &line[at + mark.len()..]));
    let found = marks.find(|(code, comment)| {
        code.ends_with(' ') && comment.starts_with(' ') && is_outside_of_quotes(code)
    });
    found.map(|(_, comment)| comment.trim_start())
}

/// Whether no string is open after this code.
fn is_outside_of_quotes(code: &str) -> bool {
    let mut quote = None;
    for c in code.chars() {
        match quote {
            None if matches!(c, '"' | '\'' | CODE) => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
    }
    quote.is_none()
}

/// Whether a line is a table header or a key with its value.
fn is_setting(content: &str) -> bool {
    let is_key =
        |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    let is_table = content.starts_with('[') && content.ends_with(']');
    is_table || content.split_once(" = ").is_some_and(|(key, _)| is_key(key))
}

/// The string literals with more than one word.
pub(super) fn messages(source: &str) -> Vec<Paragraph> {
    let literals = literals(source).into_iter().filter(|literal| literal.text.contains(' '));
    literals
        .map(|literal| {
            let text = literal.text.replace("\\n", " . ").replace("\\\"", "\"");
            Paragraph::new(literal.line, &without_placeholders(&text))
        })
        .collect()
}

/// Replaces each placeholder of a format string by a code span.
fn without_placeholders(text: &str) -> String {
    let mut found = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        found.push_str(before);
        match after.split_once('}') {
            Some((name, after)) if !name.contains([' ', '\n']) => {
                found.push_str("`x`");
                rest = after;
            }
            _ => {
                found.push('{');
                rest = after;
            }
        }
    }
    found + rest
}
