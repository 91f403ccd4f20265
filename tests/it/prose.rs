//! The minimum for prose (CONTRIBUTING.md, "Habits").
//!
//! Comments have at most 100 columns, sentences have at most 25 words, and neither contains a turn
//! from the list in `banned`.
//!
//! `prose/allowed.txt` lists the findings that are still allowed, as `path: rule: count`. It may
//! only shrink: a count that is too high fails as well. To lower it:
//! `VBC_PROXY_WRITE_DOCUMENTS=1 cargo test --test it prose`.

mod banned;
mod text;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use self::banned::{BANNED, TERMS};
use self::text::{Paragraph, Word, line_comments, messages, paragraphs, rust_comments};
use crate::sources::{SourceFile, files, is_product, root};

const MOST_COLUMNS: usize = 100;
const MOST_WORDS: usize = 25;

/// The rules about length, which have no banned turn as their name.
const WIDE: &str = "columns";
const LONG: &str = "words";

const ALLOWED: &str = "tests/it/prose/allowed.txt";

/// A place that breaks a rule.
#[derive(Debug, PartialEq)]
struct Finding {
    line: usize,
    /// The turn, or [`WIDE`] or [`LONG`].
    rule: &'static str,
    /// The words at that place.
    quote: String,
    instead: &'static str,
}

/// Counts by path and rule.
type Counts = BTreeMap<(String, String), usize>;

/// The format of a file's text, which follows from the file's name.
enum Format {
    Rust {
        has_messages: bool,
    },
    /// Comments begin with this mark.
    Lines(&'static str),
    Markdown,
    /// Not checked.
    Other,
}

fn format_of(path: &str) -> Format {
    let name = path.rsplit('/').next().unwrap();
    match name.rsplit_once('.') {
        Some((_, "rs")) => Format::Rust { has_messages: is_product(path) },
        Some((_, "md")) => Format::Markdown,
        Some((_, "toml" | "sh" | "py")) => Format::Lines("#"),
        Some((_, "mjs" | "js")) => Format::Lines("//"),
        _ if name == "docker-compose.yml" => Format::Lines("#"),
        None if name == "Dockerfile" || path.starts_with("scripts/") || path == ".ci/run" => {
            Format::Lines("#")
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
            let mut found: Vec<Finding> = messages.iter().flat_map(turns).collect();
            found.extend(check_comments(text, &rust_comments(text)));
            found
        }
        Format::Lines(mark) => check_comments(text, &line_comments(text, mark)),
        Format::Markdown if file.path == "CHANGELOG.md" => {
            // Released entries are history, so they are not checked.
            let lines = (1..).zip(text.lines()).skip_while(|(_, line)| *line != "## Unreleased");
            let lines = lines.enumerate().take_while(|(at, (_, line))| *at == 0 || !line.starts_with("## "));
            check_prose(lines.map(|(_, line)| line))
        }
        Format::Markdown => check_prose((1..).zip(text.lines())),
        Format::Other => Vec::new(),
    }
}

fn check_comments(text: &str, comments: &[Vec<(usize, &str)>]) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for comment in comments {
        for (number, content) in comment {
            let columns = lines[number - 1].chars().count();
            let is_url = content.contains("://") && !content.trim().contains(' ');
            if columns > MOST_COLUMNS && !is_url {
                let quote = format!("{columns} columns");
                found.push(Finding { line: *number, rule: WIDE, quote, instead: "at most 100 columns" });
            }
        }
        found.extend(check_prose(comment.iter().copied()));
    }
    found
}

fn check_prose<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<Finding> {
    let paragraphs = paragraphs(lines);
    paragraphs.iter().flat_map(|paragraph| turns(paragraph).into_iter().chain(long(paragraph))).collect()
}

fn long(paragraph: &Paragraph) -> impl Iterator<Item = Finding> {
    let sentences = paragraph.sentences().into_iter().filter(|(_, words, _)| *words > MOST_WORDS);
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
        "." => matches!(text(offset), None | Some("." | "," | ";" | ":" | ")" | "!" | "?" | "—" | "–")),
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

/// Reads the allow-list.
fn read_allowed(text: &str) -> Counts {
    let entries = text.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut parts = line.splitn(3, ": ");
        let mut part =
            || parts.next().unwrap_or_else(|| panic!("{ALLOWED}: not `path: rule: count`: {line}"));
        let (path, rule, count) = (part(), part(), part());
        ((path.to_owned(), rule.to_owned()), count.parse().unwrap())
    });
    entries.collect()
}

/// The list with each count lowered to the real one. Never adds or raises one.
fn lowered(allowed: &Counts, real: &Counts) -> Counts {
    let kept = allowed.iter().filter_map(|(key, count)| {
        let real = *real.get(key)?;
        Some((key.clone(), real.min(*count)))
    });
    kept.collect()
}

fn count(findings: &BTreeMap<String, Vec<Finding>>) -> Counts {
    let mut counts = Counts::new();
    for (path, findings) in findings {
        for finding in findings {
            *counts.entry((path.clone(), finding.rule.to_owned())).or_default() += 1;
        }
    }
    counts
}

/// Compares the findings with the list. Empty if they agree.
fn report(findings: &BTreeMap<String, Vec<Finding>>, allowed: &Counts) -> String {
    let real = count(findings);
    let mut report = String::new();
    for (key @ (path, rule), count) in &real {
        let allowed = allowed.get(key).copied().unwrap_or(0);
        if *count <= allowed {
            continue;
        }
        for finding in findings[path].iter().filter(|finding| finding.rule == rule) {
            let Finding { line, quote, instead, .. } = finding;
            writeln!(report, "{path}:{line}: \"{rule}\" in: {quote}\n    write instead: {instead}").unwrap();
        }
    }
    for (key @ (path, rule), count) in allowed {
        let real = real.get(key).copied().unwrap_or(0);
        if real < *count {
            writeln!(
                report,
                "{ALLOWED}: remove or lower this line, {real} are left: {path}: {rule}: {count}"
            )
            .unwrap();
        }
    }
    report
}

#[test]
fn comments_documents_and_messages_keep_the_rules_of_prose() {
    let findings: BTreeMap<String, Vec<Finding>> =
        files().into_iter().map(|file| (file.path.clone(), check(&file))).collect();
    let list = root().join(ALLOWED);
    let mut allowed = read_allowed(&fs::read_to_string(&list).unwrap());
    if std::env::var_os("VBC_PROXY_WRITE_DOCUMENTS").is_some() {
        allowed = lowered(&allowed, &count(&findings));
        let lines = allowed.iter().map(|((path, rule), count)| format!("{path}: {rule}: {count}\n"));
        fs::write(&list, lines.collect::<String>()).unwrap();
    }
    let report = report(&findings, &allowed);
    assert!(report.is_empty(), "\n{report}");
}

/// The rules that a file with this name and text breaks, with the lines.
fn broken(path: &str, text: &str) -> Vec<(usize, &'static str)> {
    let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
    check(&file).into_iter().map(|finding| (finding.line, finding.rule)).collect()
}

#[test]
fn every_turn_is_found_in_comments_messages_and_documents() {
    for (turn, _) in BANNED {
        let words = turn.replace(" ;", ";").replace(" .", ".").to_uppercase();
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
    ] {
        assert_eq!(broken("docs/a.md", good), [], "{good}");
    }
    for (bad, rule) in [
        ("so\nmany", "so many"),
        ("A PERSON's", "a person"),
        ("it is at\nrest, not under encryption at rest", "at rest"),
        ("(some of it)", "of it ."),
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

#[test]
fn a_sentence_has_at_most_25_words() {
    let fits = ["word"; MOST_WORDS].join(" ");
    let long = format!("{fits} word");
    let half = ["word"; 13].join(" ");
    for good in [
        format!("{fits}. {fits}."),
        format!("{half}: `code` {half}"),
        format!("{half}. {half}"),
        format!("--a {half}\n--b {half}"),
        format!("- {fits}\n- {fits}\n\n{fits}"),
        format!("| {fits} | {fits} |\n| --- | --- |\n| {fits} | {fits} |"),
        format!("{fits} — –"),
        format!("```\n{long}\n```"),
        format!("{} `{long}`", &fits[5..]),
        format!("A:\n\n    {long}"),
    ] {
        assert_eq!(broken("docs/a.md", &good), [], "{good}");
    }
    assert_eq!(broken("docs/a.md", &long), [(1, LONG)]);
    assert_eq!(broken("docs/a.md", &format!("{half}, e.g. {half}")), [(1, LONG)]);
    assert_eq!(broken("docs/a.md", &format!("{half}: {half}")), [(1, LONG)]);
    assert_eq!(broken("docs/a.md", &format!("- A.\n  {long}")), [(2, LONG)]);
    assert_eq!(broken("docs/a.md", &format!("A. Word {fits}")), [(1, LONG)]);
    assert_eq!(broken("docs/a.md", &format!("| a | {long} |")), [(1, LONG)]);
    assert_eq!(broken("a.rs", &format!("// A\n// b.\n\n// {half}\n// {half}\nfn a() {{}}")), [(4, LONG)]);
    assert_eq!(broken("proxy.toml", &format!("# {half}\n# key = 1\n# {half}")), []);
}

#[test]
fn the_list_of_what_is_allowed_may_only_shrink() {
    let allowed = read_allowed("a.md: told: 2\nb.md: words: 1\n");
    let findings = |count| {
        let text = vec!["told"; count].join("\n\n");
        let file = SourceFile { path: "a.md".to_owned(), text };
        BTreeMap::from([(file.path.clone(), check(&file))])
    };
    let more = report(&findings(3), &allowed);
    assert!(more.contains("a.md:1: \"told\"") && more.contains("a.md:5: \"told\""), "{more}");
    assert!(more.contains("write instead: reported"), "{more}");
    assert!(more.contains("remove or lower this line, 0 are left: b.md: words: 1"), "{more}");
    let fewer = report(&findings(1), &allowed);
    assert!(fewer.contains("remove or lower this line, 1 are left: a.md: told: 2"), "{fewer}");
    let exact = read_allowed("a.md: told: 2\n");
    assert_eq!(report(&findings(2), &exact), "");
    assert_eq!(lowered(&allowed, &count(&findings(1))), read_allowed("a.md: told: 1\n"));
    assert_eq!(lowered(&allowed, &count(&findings(3))), exact);
}
