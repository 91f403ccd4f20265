//! Whether a quoted text is one that the program can print.

/// A text with gaps that stand for anything.
#[derive(Debug, PartialEq)]
pub(super) struct Pattern(Vec<Element>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Element {
    Character(char),
    Gap,
}

use Element::{Character, Gap};

impl Pattern {
    /// A quote of a document. `…` is a gap.
    pub(super) fn of_quote(text: &str) -> Self {
        Self(text.chars().map(|c| if c == '…' { Gap } else { Character(c) }).collect())
    }

    /// A string literal of Rust. Each placeholder of a format string is a gap.
    pub(super) fn of_literal(text: &str) -> Self {
        let mut found: Vec<Element> = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '\\' => match characters.next() {
                    Some('n' | 'r' | 't') | None => found.push(Character(' ')),
                    Some(escaped) => found.push(Character(escaped)),
                },
                '{' | '}' if characters.peek() == Some(&c) => {
                    characters.next();
                    found.push(Character(c));
                }
                '{' => {
                    // JSON in a raw string has no placeholder.
                    let rest: String = characters.clone().collect();
                    match rest.split_once('}') {
                        Some((name, _)) if !name.contains(['"', ' ', '{']) => {
                            characters.nth(name.chars().count());
                            found.push(Gap);
                        }
                        _ => found.push(Character(c)),
                    }
                }
                // A continued line begins with the code's indentation.
                '\n' => while characters.next_if(|c| c.is_whitespace()).is_some() {},
                c => found.push(Character(c)),
            }
        }
        Self(found)
    }

    fn characters(&self) -> usize {
        self.0.iter().filter(|element| **element != Gap).count()
    }

    /// Whether this quote occurs in the literal, with at most half of its characters in gaps. So a
    /// literal that is nearly all gaps matches nothing.
    pub(super) fn occurs_in(&self, literal: &Self) -> bool {
        let (quote, literal) = (&self.0, &literal.0);
        let impossible = usize::MAX;
        // For each position in the literal, the rest of the quote matches from there with at least
        // this many of its characters in gaps.
        let mut after = vec![0; literal.len() + 1];
        for element in quote.iter().rev() {
            let mut before = vec![impossible; literal.len() + 1];
            for at in (0..=literal.len()).rev() {
                before[at] = match (element, literal.get(at)) {
                    (Gap, None) => after[at],
                    (Gap, Some(_)) => after[at].min(before[at + 1]),
                    (Character(_), None) => impossible,
                    // The gap takes the character, or ends before it.
                    (Character(_), Some(Gap)) => after[at].saturating_add(1).min(before[at + 1]),
                    (Character(a), Some(Character(b))) if a == b => after[at + 1],
                    (Character(_), Some(Character(_))) => impossible,
                };
            }
            after = before;
        }
        after.iter().min().is_some_and(|in_gaps| *in_gaps <= self.characters() / 2)
    }

    /// A quick check that excludes most literals in which the quote does not occur.
    pub(super) fn may_occur_in(&self, literal: &Self) -> bool {
        const WINDOW: usize = 6;
        let parts = |pattern: &Self| -> Vec<String> {
            let parts = pattern.0.split(|element| *element == Gap);
            let text = |part: &[Element]| {
                let characters = part.iter().map(|element| match element {
                    Character(c) => *c,
                    Gap => ' ',
                });
                characters.collect::<String>()
            };
            parts.map(text).collect()
        };
        let (ours, theirs) = (parts(self), parts(literal));
        let longest = ours.iter().max_by_key(|part| part.len()).unwrap();
        let window: Vec<char> = longest.chars().collect();
        let size = WINDOW.min(window.len());
        size > 0
            && window.windows(size).any(|window| {
                let window: String = window.iter().collect();
                theirs.iter().any(|part| part.contains(&window))
            })
    }
}

#[test]
fn a_quote_occurs_where_gaps_of_both_sides_may_stand_for_anything() {
    let occurs = |quote: &str, literal: &str| {
        let (quote, literal) = (Pattern::of_quote(quote), Pattern::of_literal(literal));
        let occurs = quote.occurs_in(&literal);
        assert!(!occurs || quote.may_occur_in(&literal));
        occurs
    };
    for (quote, literal) in [
        ("is locked (17003)", "the account is locked (17003); wait"),
        ("run … then restart", "please run {command} then restart it"),
        ("login to crm failed", "login to {name} failed"),
        ("login to … failed", "login to {name:?} failed"),
        ("store: … cannot be read", "store: {} cannot be read: {error}"),
        ("a \"b\" c", "a \\\"b\\\" c"),
        ("one two", "one \n        two"),
        ("{\"a\":1}", "{\"a\":1}"),
        ("{a}", "{{a}}"),
    ] {
        assert!(occurs(quote, literal), "{quote} is in {literal}");
    }
    for (quote, literal) in [
        ("is locked (17002)", "the account is locked (17003)"),
        ("anything at all", "{}"),
        ("anything at all", "{message}; {remedy}"),
        ("run … then restart", "then restart, run it"),
        ("login to crm failed", "login to {name} ended"),
    ] {
        assert!(!occurs(quote, literal), "{quote} is not in {literal}");
    }
}
