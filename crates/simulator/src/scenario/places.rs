//! A TOML document as JSON, and where everything in it stands.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use super::error::Finding;

/// Line and column, from 1.
pub(super) type Place = (usize, usize);

/// The document. A path is keys and positions with dots between: `timeline.2.status`.
pub(super) struct Document {
    pub(super) root: Map<String, Value>,
    places: HashMap<String, Place>,
}

impl Document {
    /// Reads the text. Every syntax error is a finding.
    pub(super) fn read(text: &str) -> Result<Self, Vec<Finding>> {
        let lines = Lines::of(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let finding = |error: &toml::de::Error| {
                let place = lines.place(&error.span().unwrap_or_default());
                let remedy = "check the quotes, brackets and `=` of this line";
                Finding::new(place, "", format!("this is not TOML: {}", error.message()), remedy)
            };
            return Err(errors.iter().map(finding).collect());
        }
        let mut reader = Reader { lines, places: HashMap::new() };
        let root = reader.table("", table.into_inner());
        Ok(Self { root, places: reader.places })
    }

    /// Where what a path leads to stands or, if it leads nowhere, what is nearest above it.
    pub(super) fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            let Some((above, _)) = path.rsplit_once('.') else { return (1, 1) };
            path = above;
        }
    }
}

struct Reader<'t> {
    lines: Lines<'t>,
    places: HashMap<String, Place>,
}

impl Reader<'_> {
    fn table(&mut self, at: &str, table: DeTable<'_>) -> Map<String, Value> {
        let mut members = Map::new();
        for (key, value) in table {
            let path = join(at, key.get_ref());
            self.places.insert(path.clone(), self.lines.place(&key.span()));
            let value = self.value(&path, value.into_inner());
            members.insert(key.into_inner().into_owned(), value);
        }
        members
    }

    fn value(&mut self, at: &str, value: DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Integer(number) => {
                let digits = number.to_string().replace('_', "");
                let parsed = digits.parse::<u64>().map(Number::from);
                parsed
                    .or_else(|_| digits.parse::<i64>().map(Number::from))
                    .map_or(digits.into(), Value::Number)
            }
            DeValue::Float(number) => {
                let digits = number.to_string().replace('_', "");
                digits.parse().ok().and_then(Number::from_f64).map_or(digits.into(), Value::Number)
            }
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(time) => Value::String(time.to_string()),
            DeValue::Table(table) => Value::Object(self.table(at, table)),
            DeValue::Array(items) => {
                let items = items.into_iter().enumerate().map(|(position, item)| {
                    let path = join(at, &position.to_string());
                    self.places.insert(path.clone(), self.lines.place(&item.span()));
                    self.value(&path, item.into_inner())
                });
                Value::Array(items.collect())
            }
        }
    }
}

pub(super) fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

/// Where lines and characters of a text are, counted once: a text may have a place for each of its
/// words.
struct Lines<'t> {
    bytes: &'t [u8],
    /// Where each line begins.
    begin: Vec<usize>,
    /// How many characters begin before every 1,024th byte.
    characters: Vec<usize>,
}

impl<'t> Lines<'t> {
    const STRIDE: usize = 1024;

    fn of(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let begin = [0].into_iter().chain(newlines.map(|(at, _)| at + 1)).collect();
        let mut characters = vec![0];
        for part in bytes.chunks(Self::STRIDE) {
            characters.push(characters.last().unwrap_or(&0) + beginning(part));
        }
        Self { bytes, begin, characters }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let at = span.start.min(self.bytes.len());
        let line = self.begin.partition_point(|begin| *begin <= at);
        let begin = self.begin.get(line - 1).copied().unwrap_or_default();
        (line, self.before(at) - self.before(begin) + 1)
    }

    /// How many characters begin before a byte.
    fn before(&self, at: usize) -> usize {
        let whole = at / Self::STRIDE;
        let rest = self.bytes.get(whole * Self::STRIDE..at).unwrap_or_default();
        self.characters.get(whole).unwrap_or(&0) + beginning(rest)
    }
}

/// How many characters begin in a part of a text.
fn beginning(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_its_line_and_the_character_in_it() {
        let text =
            "a = 1\n\u{fc} = \"\u{20ac}\u{20ac}\" # ".to_owned() + &"\u{fc}x".repeat(2_000) + "\n\nlast = 2";
        let lines = Lines::of(&text);
        for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let before = &text[..at];
            let line = before.rsplit('\n').next().unwrap_or_default();
            let expected = (before.matches('\n').count() + 1, line.chars().count() + 1);
            assert_eq!(lines.place(&(at..at)), expected, "{at}");
        }
    }
}
