//! Markdown as its parts: headings, code blocks, code spans, links and table cells.

use std::collections::BTreeMap;

/// A part of a document, and its line, counted from one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A code block with its language.
#[derive(Debug, PartialEq)]
pub(crate) struct Block {
    /// The line of its fence.
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) struct Markdown {
    /// The headings with their marks: `## A`.
    pub(crate) headings: Vec<Part>,
    pub(crate) blocks: Vec<Block>,
    /// The code spans outside of code blocks, on one line each.
    pub(crate) spans: Vec<Part>,
    /// The targets of links.
    pub(crate) links: Vec<Part>,
    pub(crate) cells: Vec<Part>,
}

impl Markdown {
    pub(crate) fn read(text: &str) -> Self {
        let (blocks, paragraphs) = divide(text);
        let spans = paragraphs.iter().flat_map(spans).collect();
        let links = paragraphs.iter().flat_map(links).collect();
        let lines: Vec<Part> = paragraphs.iter().flat_map(lines).collect();
        let headings = lines.iter().filter(|part| level(&part.text) > 0).cloned().collect();
        let cells = lines.iter().flat_map(cells).collect();
        Self { headings, blocks, spans, links, cells }
    }

    /// The anchors of the headings, as GitHub makes them. Repeated ones are numbered.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let anchors = self.headings.iter().map(|heading| {
            let anchor = slug(heading.text.trim_start_matches('#').trim());
            let count = seen.entry(anchor.clone()).or_default();
            *count += 1;
            if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
        });
        anchors.collect()
    }
}

/// The level of a heading; 0 for any other line.
fn level(line: &str) -> usize {
    let marks = line.bytes().take_while(|b| *b == b'#').count();
    if line[marks..].starts_with(' ') { marks } else { 0 }
}

/// The anchor of a heading: letters, digits, `-` and `_` in lower case, with `-` for each space.
fn slug(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    // A link is its text.
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

const FENCES: [char; 2] = ['`', '~'];

/// Whether a code block begins or ends at this line.
pub(crate) fn is_fence(line: &str) -> bool {
    let content = line.trim_start();
    content.starts_with("```") || content.starts_with("~~~")
}

/// The code blocks, and the runs of other lines that no blank line divides.
fn divide(text: &str) -> (Vec<Block>, Vec<Part>) {
    let mut blocks: Vec<Block> = Vec::new();
    let mut paragraphs: Vec<Part> = Vec::new();
    let mut is_code = false;
    let mut is_open = false;
    for (line, number) in text.lines().zip(1..) {
        let content = line.trim_start();
        if is_fence(content) {
            is_code = !is_code;
            is_open = false;
            if is_code {
                let language = content.trim_start_matches(FENCES).trim().to_owned();
                blocks.push(Block { line: number, language, text: String::new() });
            }
        } else if is_code {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        } else if content.is_empty() {
            is_open = false;
        } else if is_open {
            let paragraph = paragraphs.last_mut().unwrap();
            paragraph.text.push('\n');
            paragraph.text.push_str(content);
        } else {
            is_open = true;
            paragraphs.push(Part { line: number, text: content.to_owned() });
        }
    }
    (blocks, paragraphs)
}

fn lines(paragraph: &Part) -> Vec<Part> {
    let lines = paragraph.text.lines().zip(paragraph.line..);
    lines.map(|(text, line)| Part { line, text: text.to_owned() }).collect()
}

/// The code spans of a paragraph: where each begins and ends with its backticks, and its content.
pub(crate) fn ranges(text: &str) -> Vec<(usize, usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find('`').map(|start| at + start) {
        let length = text[start..].bytes().take_while(|b| *b == b'`').count();
        let (open, content) = text[start..].split_at(length);
        at = start + length;
        if let Some(end) = content.find(open) {
            at += end + length;
            found.push((start, at, &content[..end]));
        }
    }
    found
}

fn spans(paragraph: &Part) -> Vec<Part> {
    let spans = ranges(&paragraph.text).into_iter().map(|(start, _, content)| Part {
        line: line_at(paragraph, start),
        text: content.split_whitespace().collect::<Vec<_>>().join(" "),
    });
    spans.collect()
}

fn line_at(paragraph: &Part, offset: usize) -> usize {
    paragraph.line + paragraph.text[..offset].matches('\n').count()
}

/// Inline links, definitions of reference links, and links between angle brackets.
fn links(paragraph: &Part) -> Vec<Part> {
    let mut text = paragraph.text.clone().into_bytes();
    for (start, end, _) in ranges(&paragraph.text) {
        text[start..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
    }
    let text = String::from_utf8(text).unwrap();
    let mut found = Vec::new();
    for (opening, closing) in [("](", ')'), ("]: ", '\n'), ("<http", '>')] {
        for (start, _) in text.match_indices(opening) {
            let begin = start + if closing == '>' { 1 } else { opening.len() };
            let target = text[begin..].split(closing).next().unwrap();
            // A title may follow.
            let target = target.split_whitespace().next().unwrap_or_default();
            found.push(Part { line: line_at(paragraph, start), text: target.to_owned() });
        }
    }
    found
}

/// The cells of a line of a table.
pub(crate) fn cells(line: &Part) -> Vec<Part> {
    if !line.text.starts_with('|') {
        return Vec::new();
    }
    let text = line.text.replace("\\|", "\u{0}");
    let cells = text.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).filter(|cell| !cell.is_empty());
    cells.map(|text| Part { line: line.line, text }).collect()
}

#[test]
fn markdown_is_read_as_github_reads_it() {
    let text = "# A `b`: c_d\n\ne `f\ng` [h `i`](j.md#k \"l\") <http://m>\n\n```sh\n# n `o`\n```\n\
                ## A b\n## [p](q) – r's\n\n| `a\\|b` | c |\n\n[s]: t\n";
    let read = Markdown::read(text);
    let texts = |parts: &[Part]| -> Vec<(usize, String)> {
        parts.iter().map(|part| (part.line, part.text.clone())).collect()
    };
    let expected = |parts: &[(usize, &str)]| -> Vec<(usize, String)> {
        parts.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    };
    let anchors = Markdown::read("# A `b`: c_d\n\n## A b\n## a B\n## [p](q) – r's\n").anchors();
    assert_eq!(anchors, ["a-b-c_d", "a-b", "a-b-1", "p--rs"]);
    assert_eq!(
        texts(&read.headings),
        expected(&[(1, "# A `b`: c_d"), (9, "## A b"), (10, "## [p](q) – r's")])
    );
    assert_eq!(texts(&read.spans), expected(&[(1, "b"), (3, "f g"), (4, "i"), (12, "a\\|b")]));
    assert_eq!(texts(&read.links), expected(&[(4, "j.md#k"), (4, "http://m"), (10, "q"), (14, "t")]));
    assert_eq!(texts(&read.cells), expected(&[(12, "`a|b`"), (12, "c")]));
    let block = Block { line: 6, language: "sh".to_owned(), text: "# n `o`\n".to_owned() };
    assert_eq!(read.blocks, [block]);
}
