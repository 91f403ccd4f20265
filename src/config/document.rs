//! `proxy.toml` as a tree in which every key and value knows its place, with the environment laid over it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::error::{Complaint, Finding, Place};

/// A table: keys to entries.
pub(super) type Table = BTreeMap<String, Entry>;

/// What stands at a key.
pub(super) struct Entry {
    /// Where the key is.
    pub(super) key_place: Place,
    /// The value.
    pub(super) item: Item,
}

/// A value and its place.
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value. Numbers are kept as they are written. A text may be a secret, so it is wiped when dropped.
pub(super) enum Value {
    Text(Zeroizing<String>),
    Number(String),
    Bool(bool),
    List(Vec<Item>),
    Table(Table),
    Date,
}

impl Value {
    /// What kind of value it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Date => "a date",
        }
    }
}

impl Item {
    /// Whether it comes from an environment variable, where everything is text.
    pub(super) fn is_variable(&self) -> bool {
        matches!(self.place, Place::Variable(_))
    }
}

impl Entry {
    /// The text of an environment variable.
    pub(super) fn variable(name: &str, text: &str) -> Self {
        let place = Place::Variable(name.into());
        Self {
            key_place: place.clone(),
            item: Item { place, value: Value::Text(Zeroizing::new(text.to_owned())) },
        }
    }
}

/// Reads the text of a file. Syntax errors come beside whatever could be read; their messages quote nothing.
pub(super) fn parse(file: &Arc<str>, text: &str) -> (Table, Vec<Finding>) {
    let lines = Lines::new(file.clone(), text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let findings = errors.iter().map(|error| {
        let place = lines.place(&error.span().unwrap_or_default());
        let message = format!("this is not TOML: {}", error.message());
        Finding::new(place, "", Complaint::new(message, remedy(error.message())))
    });
    let findings = findings.collect();
    (lines.table(table.into_inner()), findings)
}

/// What to do about a syntax error, from the parser's words for it.
fn remedy(message: &str) -> &'static str {
    if message.contains("duplicate") {
        "keep one of the two"
    } else if message.contains("quoted") {
        "write it as key = \"value\""
    } else {
        "check the quotes, brackets and `=` of this line"
    }
}

/// Finds lines and columns.
struct Lines<'t> {
    file: Arc<str>,
    text: &'t str,
    /// Where each line but the first begins.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(file: Arc<str>, text: &'t str) -> Self {
        let starts = text.bytes().zip(1..).filter(|(byte, _)| *byte == b'\n').map(|(_, next)| next).collect();
        Self { file, text, starts }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let at = span.start.min(self.text.len());
        let above = self.starts.partition_point(|start| *start <= at);
        let start = above.checked_sub(1).and_then(|last| self.starts.get(last)).copied().unwrap_or(0);
        let column = self.text.get(start..at).unwrap_or_default().chars().count() + 1;
        Place::Line { file: self.file.clone(), line: above + 1, column }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        let entry = |(key, value): (toml::Spanned<toml::de::DeString<'_>>, toml::Spanned<DeValue<'_>>)| {
            let key_place = self.place(&key.span());
            (key.into_inner().into_owned(), Entry { key_place, item: self.item(value) })
        };
        table.into_iter().map(entry).collect()
    }

    fn item(&self, value: toml::Spanned<DeValue<'_>>) -> Item {
        let place = self.place(&value.span());
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(Zeroizing::new(text.into_owned())),
            DeValue::Integer(number) => Value::Number(number.to_string()),
            DeValue::Float(number) => Value::Number(number.to_string()),
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => Value::List(items.into_iter().map(|item| self.item(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Item { place, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_places() {
        let (table, findings) = parse(&"proxy.toml".into(), "# é\n[listen]\n\n\"wörkers\" = 4\n");
        assert!(findings.is_empty());
        let Value::Table(listen) = &table["listen"].item.value else { panic!("a table") };
        assert_eq!(table["listen"].key_place.to_string(), "proxy.toml:2:2");
        assert_eq!(listen["wörkers"].key_place.to_string(), "proxy.toml:4:1");
        assert_eq!(listen["wörkers"].item.place.to_string(), "proxy.toml:4:13");
    }

    #[test]
    fn syntax_errors_come_with_their_places_and_quote_nothing() {
        let text = "[log]\nlevel = hunter2\nformat = \"text\"\npassword = \"hunter2\nx hunter2\n";
        let (table, findings) = parse(&"proxy.toml".into(), text);
        let mut shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        shown.sort();
        assert!(shown.len() >= 3, "{shown:?}");
        assert!(shown[0].starts_with("proxy.toml:2:9: this is not TOML"), "{shown:?}");
        assert!(shown.iter().all(|line| !line.contains("hunter2")), "{shown:?}");
        assert!(table.contains_key("log"));
    }
}
