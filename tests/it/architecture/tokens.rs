//! Rust source as tokens.

/// A token and its line, counted from one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) line: usize,
    pub(crate) kind: Kind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind<'a> {
    /// A comment, its marks included.
    Comment(&'a str),
    /// A name, a keyword or a number.
    Word(&'a str),
    /// The content of a string literal, escapes included.
    Text(&'a str),
    /// Any other character. Character literals leave no token.
    Mark(char),
}

/// The tokens of a file that compiles, without comments.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = tokens_and_comments(source);
    found.retain(|token| !matches!(token.kind, Kind::Comment(_)));
    found
}

/// The tokens of a file that compiles. Each line of line comments is one token.
pub(crate) fn tokens_and_comments(source: &str) -> Vec<Token<'_>> {
    let mut rest = source;
    let mut line = 1;
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (length, kind) = next(rest, first);
        if let Some(kind) = kind {
            found.push(Token { line, kind });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// The length of the first token, and its kind. Whitespace and character literals have no kind.
fn next(rest: &str, first: char) -> (usize, Option<Kind<'_>>) {
    if rest.starts_with("//") {
        let end = rest.find('\n').unwrap_or(rest.len());
        return (end, Some(Kind::Comment(&rest[..end])));
    }
    if rest.starts_with("/*") {
        let end = rest.find("*/").map_or(rest.len(), |end| end + 2);
        return (end, Some(Kind::Comment(&rest[..end])));
    }
    if let Some((opening, closing)) = string(rest) {
        let length = if closing == "\"" { escaped(&rest[opening..]) } else { rest[opening..].find(&closing) };
        let end = opening + length.unwrap_or(rest.len() - opening);
        return ((end + closing.len()).min(rest.len()), Some(Kind::Text(&rest[opening..end])));
    }
    match first {
        '\'' => (quote(rest), None),
        c if c.is_whitespace() => (c.len_utf8(), None),
        c if is_of_word(c) => {
            let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            (end, Some(Kind::Word(&rest[..end])))
        }
        c => (c.len_utf8(), Some(Kind::Mark(c))),
    }
}

fn is_of_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The length of the opening of a string literal, and the text that closes the literal.
fn string(rest: &str) -> Option<(usize, String)> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes = rest[prefix.len()..].find('"')?;
    let is_raw = prefix.ends_with('r');
    (is_raw || hashes == 0).then(|| (prefix.len() + hashes + 1, format!("\"{}", "#".repeat(hashes))))
}

/// Where a literal with escapes ends.
fn escaped(content: &str) -> Option<usize> {
    let mut is_escaped = false;
    content.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })
}

/// The length of a character literal, or of the quote of a lifetime.
fn quote(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        // The character after the backslash may be a quote.
        Some((_, '\\')) => rest[3..].find('\'').map_or(1, |end| end + 4),
        _ => match characters.next() {
            Some((end, '\'')) => end + 1,
            _ => 1,
        },
    }
}

#[test]
fn comments_strings_and_characters_hide_no_code() {
    let source = "a // b\n/* c */ 'd' '\\'' '\\u{e}' \"f\\\"g\" r#\"h\"i\"# 'life j";
    let found: Vec<_> = tokens(source).into_iter().map(|token| (token.line, token.kind)).collect();
    let expected = [
        (1, Kind::Word("a")),
        (2, Kind::Text("f\\\"g")),
        (2, Kind::Text("h\"i")),
        (2, Kind::Word("life")),
        (2, Kind::Word("j")),
    ];
    assert_eq!(found, expected);
    let comments = tokens_and_comments(source).into_iter().filter_map(|token| match token.kind {
        Kind::Comment(comment) => Some(comment),
        _ => None,
    });
    assert_eq!(comments.collect::<Vec<_>>(), ["// b", "/* c */"]);
}
