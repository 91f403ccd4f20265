//! The minimum for prose (CONTRIBUTING.md, "Habits").
//!
//! Comments and documents have at most 100 columns, sentences have at most 25 words, and neither
//! contains a turn from the list in `banned`. The allow-list that could only shrink is gone: it had
//! become empty.

mod banned;
mod text;

use self::banned::{BANNED, TERMS};
use self::text::{Marks, Paragraph, Word, comments, messages, paragraphs, rust_comments};
use crate::documents::assert_none;
use crate::documents::markdown::is_fence;
use crate::sources::{SourceFile, files, is_product};

const MOST_COLUMNS: usize = 100;
const MOST_WORDS: usize = 25;

/// The rules about length, which have no banned turn as their name.
const WIDE: &str = "columns";
const LONG: &str = "words";
const OPEN: &str = "code block";

/// A place that breaks a rule.
#[derive(Debug, PartialEq)]
struct Finding {
    line: usize,
    /// The turn, or [`WIDE`], [`LONG`] or [`OPEN`].
    rule: &'static str,
    /// The words at that place.
    quote: String,
    instead: &'static str,
}

/// The format of a file's text, which follows from the file's name.
enum Format {
    Rust {
        has_messages: bool,
    },
    Comments(Marks),
    Markdown,
    /// Not checked.
    Other,
}

const HASH: Marks = Marks { line: "#", block: None };
const PYTHON: Marks = Marks { line: "#", block: Some(("\"\"\"", "\"\"\"")) };
const SLASHES: Marks = Marks { line: "//", block: Some(("/*", "*/")) };

fn format_of(path: &str) -> Format {
    let name = path.rsplit('/').next().unwrap();
    match name.rsplit_once('.') {
        Some((_, "rs")) => Format::Rust { has_messages: is_product(path) },
        Some((_, "md")) => Format::Markdown,
        Some((_, "py")) => Format::Comments(PYTHON),
        Some((_, "mjs" | "js" | "java" | "css")) => Format::Comments(SLASHES),
        Some((_, "toml" | "sh" | "yml" | "txt" | "gitignore" | "dockerignore")) => Format::Comments(HASH),
        None if name == "Dockerfile" || path.starts_with("scripts/") || path == ".ci/run" => {
            Format::Comments(HASH)
        }
        _ => Format::Other,
    }
}

/// Everything in a file that breaks a rule.
fn check(file: &SourceFile) -> Vec<Finding> {
    let text = &file.text;
    match format_of(&file.path) {
        Format::Rust { has_messages } => {
            let messages = if has_messages { messages(text) } else { Vec::new() };
            let mut found: Vec<Finding> = Vec::new();
            for message in &messages {
                found.extend(turns(message));
                // A text with braces is JSON or a style sheet.
                if !message.text.contains(['{', '}']) {
                    found.extend(long(message, true));
                }
            }
            found.extend(check_comments(text, &rust_comments(text)));
            found
        }
        Format::Comments(marks) => check_comments(text, &comments(text, marks)),
        Format::Markdown if file.path == "CHANGELOG.md" => {
            // Released entries are history, so they are not checked.
            let lines = (1..).zip(text.lines()).skip_while(|(_, line)| *line != "## Unreleased");
            let lines = lines.enumerate().take_while(|(at, (_, line))| *at == 0 || !line.starts_with("## "));
            let lines: Vec<(usize, &str)> = lines.map(|(_, line)| line).collect();
            assert!(!lines.is_empty(), "CHANGELOG.md has no heading \"## Unreleased\"");
            check_document(&lines)
        }
        Format::Markdown => check_document(&(1..).zip(text.lines()).collect::<Vec<_>>()),
        Format::Other => Vec::new(),
    }
}

fn check_comments(text: &str, comments: &[Vec<(usize, &str)>]) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for comment in comments {
        found
            .extend(comment.iter().filter_map(|(number, content)| wide(*number, lines[number - 1], content)));
        found.extend(check_prose(comment));
    }
    found
}

fn check_document(lines: &[(usize, &str)]) -> Vec<Finding> {
    let mut found = check_prose(lines);
    let mut is_code = false;
    for (number, line) in lines {
        is_code ^= is_fence(line);
        // The rows of a table and headings cannot be wrapped.
        if !is_code && !line.starts_with(['|', '#']) {
            found.extend(wide(*number, line, line));
        }
    }
    found
}

/// The finding for a line that is too wide. `content` is its prose: one URL may be wider.
fn wide(line: usize, text: &str, content: &str) -> Option<Finding> {
    let columns = text.chars().count();
    let is_url = content.contains("://") && !content.trim().contains(' ');
    let quote = format!("{columns} columns");
    let finding = Finding { line, rule: WIDE, quote, instead: "at most 100 columns" };
    (columns > MOST_COLUMNS && !is_url).then_some(finding)
}

fn check_prose(lines: &[(usize, &str)]) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for paragraph in paragraphs(lines.iter().copied()) {
        found.extend(turns(&paragraph));
        found.extend(long(&paragraph, false));
    }
    let fences: Vec<usize> =
        lines.iter().filter(|(_, text)| is_fence(text)).map(|(number, _)| *number).collect();
    if fences.len() % 2 == 1 {
        let line = fences[fences.len() - 1];
        found.push(Finding { line, rule: OPEN, quote: "```".to_owned(), instead: "its end, too" });
    }
    found
}

fn long(paragraph: &Paragraph, is_message: bool) -> impl Iterator<Item = Finding> {
    let sentences = paragraph.sentences(is_message).into_iter().filter(|(_, words, _)| *words > MOST_WORDS);
    sentences.map(|(line, words, text)| Finding {
        line,
        rule: LONG,
        quote: format!("{words} words: {text}"),
        instead: "two sentences",
    })
}

/// The banned turns of a paragraph.
fn turns(paragraph: &Paragraph) -> Vec<Finding> {
    let words = paragraph.words();
    let mut found = Vec::new();
    for (turn, instead) in BANNED {
        let pattern: Vec<&str> = turn.split(' ').collect();
        for at in 0..words.len() {
            let is_question = *turn == "what is" && closing(&words[at..]) == "?";
            if matches(&words, at, &pattern) && !is_question && !is_term(&words, at) {
                let around = &words[at.saturating_sub(4)..(at + 8).min(words.len())];
                let quote: Vec<&str> = around.iter().map(|word| word.text.as_str()).collect();
                found.push(Finding { line: words[at].line, rule: turn, quote: quote.join(" "), instead });
            }
        }
    }
    found
}

/// Whether these words begin with the pattern.
fn matches(words: &[Word], at: usize, pattern: &[&str]) -> bool {
    let is_first = at == 0 || matches!(&*words[at - 1].text, "." | "!" | "?");
    let pattern = match pattern {
        ["^", rest @ ..] if is_first => rest,
        pattern => pattern,
    };
    let text = |offset: usize| words.get(at + offset).map(|word| word.text.as_str());
    pattern.iter().enumerate().all(|(offset, part)| match *part {
        "." => matches!(text(offset), None | Some("." | "," | ";" | ":" | "(" | ")" | "!" | "?" | "—" | "–")),
        part => text(offset) == Some(part),
    })
}

/// The mark that ends the sentence.
fn closing(words: &[Word]) -> &str {
    let mark = words.iter().find(|word| matches!(&*word.text, "." | "!" | "?"));
    mark.map_or("", |word| &word.text)
}

/// Whether the word is part of a term of the field.
fn is_term(words: &[Word], at: usize) -> bool {
    TERMS.iter().any(|term| {
        let term: Vec<&str> = term.split(' ').collect();
        (at.saturating_sub(term.len() - 1)..=at).any(|start| matches(words, start, &term))
    })
}

#[test]
fn comments_documents_and_messages_keep_the_rules_of_prose() {
    let mut findings = Vec::new();
    for file in files() {
        for Finding { line, rule, quote, instead } in check(&file) {
            findings
                .push(format!("{}:{line}: \"{rule}\" in: {quote}\n    write instead: {instead}", file.path));
        }
    }
    assert_none(&findings);
}

/// The rules that a file with this name and text breaks, with the lines.
fn broken(path: &str, text: &str) -> Vec<(usize, &'static str)> {
    let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
    check(&file).into_iter().map(|finding| (finding.line, finding.rule)).collect()
}

#[test]
fn every_turn_is_found_in_comments_messages_and_documents() {
    for (turn, _) in BANNED {
        let words = turn.replace(" ;", ";").replace(" .", ".").replace(" '", "'").to_uppercase();
        let sample = words.strip_prefix("^ ").map_or(format!("a {words}"), ToOwned::to_owned);
        assert_eq!(broken("src/a.rs", &format!("//! A.\n\n/// {sample}\nfn a() {{}}")), [(3, *turn)]);
        assert_eq!(broken("src/a.rs", &format!("const A: &str = \"{sample} \";")), [(1, *turn)]);
        assert_eq!(broken("docs/a.md", &format!("# A\n\n{sample}")), [(3, *turn)]);
        assert_eq!(broken("a.toml", &format!("# {sample}\na = 1")), [(1, *turn)]);
    }
}

#[test]
fn turns_are_whole_words_in_prose_and_outside_of_terms() {
    for term in TERMS {
        assert_eq!(broken("docs/a.md", term), []);
    }
    for good in [
        "half of its bytes",
        "part of it is left",
        "retold, whomever, so-many",
        "a `so many` b",
        "`so\nmany`",
        "What is a token?",
        "a connection, of which one is idle",
        "```\nso many\n```",
        "[a](so many)",
        "<!-- so many -->",
        "[so many]: https://a.example/",
    ] {
        assert_eq!(broken("docs/a.md", good), [], "{good}");
    }
    for (bad, rule) in [
        ("so\nmany", "so many"),
        ("A PERSON's", "a person"),
        ("it is at\nrest, not under encryption at rest", "at rest"),
        ("(some of it)", "of it ."),
        ("some of it (a)", "of it ."),
        ("[a]: so many", "so many"),
        ("- a\n  so many", "so many"),
        ("| a | so many |", "so many"),
        ("# so many", "so many"),
        ("**so** many", "so many"),
    ] {
        let found: Vec<_> = broken("docs/a.md", bad).into_iter().map(|(_, rule)| rule).collect();
        assert_eq!(found, [rule], "{bad}");
    }
    assert_eq!(broken("src/a.rs", "let a = \"told\"; // b\nlet c = 'd';"), []);
    assert_eq!(broken("src/a.rs", "#[test]\nfn a() { b(\"so many c\") }"), []);
    assert_eq!(broken("tests/it/a.rs", "const A: &str = \"so many b\";"), []);
    assert_eq!(broken("src/a.rs", "let a = \"b so \\\n   many\";"), [(1, "so many")]);
    let history = "# Changelog\n\n## Unreleased\n\n- so many\n\n## 0.1.0\n\n- so much\n";
    assert_eq!(broken("CHANGELOG.md", history), [(5, "so many")]);
}

#[test]
fn comments_are_at_most_100_columns_wide_but_one_url_may_be_wider() {
    let wide = "b".repeat(MOST_COLUMNS);
    for (path, mark) in [("a.rs", "//"), ("a.rs", "    ///"), ("a.toml", "#"), ("scripts/a", "#")] {
        let fits = format!("{mark} {}", &wide[mark.len() + 1..]);
        assert_eq!(broken(path, &fits), [], "{path}");
        assert_eq!(broken(path, &format!("{fits}b")), [(1, WIDE)], "{path}");
        assert_eq!(broken(path, &format!("{mark} <https://{wide}>")), [], "{path}");
    }
    assert_eq!(broken("a.rs", &format!("let a = \"{wide}\";")), []);
    assert_eq!(broken("a.rs", &format!("let a = \"{wide}\"; // b")), [(1, WIDE)]);
}

/// The sentences that are too long, in a file with this name and text.
fn long_sentences(path: &str, text: &str) -> Vec<(usize, &'static str)> {
    let mut found = broken(path, text);
    found.retain(|(_, rule)| *rule == LONG);
    found
}

#[test]
fn a_sentence_has_at_most_25_words() {
    let fits = ["word"; MOST_WORDS].join(" ");
    let long = format!("{fits} word");
    let half = ["word"; 13].join(" ");
    for good in [
        format!("{fits}. {fits}."),
        format!("{half}. `code` {half}"),
        format!("{half}. {half}"),
        format!("--a {half}\n--b {half}"),
        format!("- {fits}\n- {fits}\n\n{fits}"),
        format!("| {fits} | {fits} |\n| --- | --- |\n| {fits} | {fits} |"),
        format!("{fits} — –"),
        format!("```\n{long}\n```"),
        format!("{} `{long}`", &fits[5..]),
        format!("A:\n\n    {long}"),
    ] {
        assert_eq!(long_sentences("docs/a.md", &good), [], "{good}");
    }
    assert_eq!(long_sentences("docs/a.md", &long), [(1, LONG)]);
    assert_eq!(long_sentences("docs/a.md", &format!("{half}, e.g. {half}")), [(1, LONG)]);
    assert_eq!(long_sentences("docs/a.md", &format!("{half}: {half}")), [(1, LONG)]);
    assert_eq!(long_sentences("docs/a.md", &format!("{half}: `code` {half}")), [(1, LONG)]);
    assert_eq!(long_sentences("docs/a.md", &format!("{half}; {half}")), [(1, LONG)]);
    assert_eq!(long_sentences("src/a.rs", &format!("const A: &str = \"{half}; {half}\";")), []);
    assert_eq!(long_sentences("src/a.rs", &format!("const A: &str = \"{half}, {half}\";")), [(1, LONG)]);
    assert_eq!(long_sentences("docs/a.md", &format!("- A.\n  {long}")), [(2, LONG)]);
    assert_eq!(long_sentences("docs/a.md", &format!("A. Word {fits}")), [(1, LONG)]);
    assert_eq!(long_sentences("docs/a.md", &format!("| a | {long} |")), [(1, LONG)]);
    assert_eq!(
        long_sentences("a.rs", &format!("// A\n// b.\n\n// {half}\n// {half}\nfn a() {{}}")),
        [(4, LONG)]
    );
    assert_eq!(long_sentences("proxy.toml", &format!("# {half}\n# key = 1\n# {half}")), []);
}

#[test]
fn comments_are_found_in_every_kind_of_file() {
    for (path, text, lines) in [
        ("a.yml", "a: 1 # so many\n# so many\nb: \" # so many\"", &[1, 2][..]),
        ("tests/a/requirements.txt", "# so many\na==1", &[1]),
        ("a.py", "\"\"\"So many.\n\nso many\"\"\"\na = \"\"\"\nso many\n\"\"\"\n# so many", &[1, 3, 7]),
        ("a.py", "def a():\n    \"\"\"So many.\"\"\"\n    return b  # so many", &[2, 3]),
        ("a.mjs", "// so many\na(\"http://so many\"); // so many\n/* so\n * many */", &[1, 2, 3]),
        ("a.java", "/** So many. */\nclass A {} // so many", &[1, 2]),
        ("scripts/a", "a # so many\nb '# so many'\nc ${d#so many}", &[1]),
        ("a.sh", "#!so many\na", &[]),
    ] {
        let expected: Vec<_> = lines.iter().map(|line| (*line, "so many")).collect();
        assert_eq!(broken(path, text), expected, "{path}: {text}");
    }
}

#[test]
fn documents_are_at_most_100_columns_wide_and_close_their_code_blocks() {
    let wide = ["word-word"; 11].join(" ");
    for good in [
        format!("# {wide}"),
        format!("| {wide} |"),
        format!("```\n{wide}\n```"),
        format!("<https://{}>", wide.replace(' ', "/")),
    ] {
        assert_eq!(broken("docs/a.md", &good), [], "{good}");
    }
    assert_eq!(broken("docs/a.md", &wide), [(1, WIDE)]);
    assert_eq!(broken("docs/a.md", &format!("```\na\n```\n- {wide}")), [(4, WIDE)]);
    assert_eq!(broken("docs/a.md", "a\n\n```sh\nb\n"), [(3, OPEN)]);
    assert_eq!(broken("src/a.rs", "/// ```\n/// a\nfn a() {}"), [(1, OPEN)]);
}
