//! `proxy.toml` as a tree in which every key and value has its location.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use vbc_base::lines::Lines;
use zeroize::Zeroizing;

use super::error::{Finding, Location};
use vbc_base::trusted::Flaw;

pub(super) type Table = BTreeMap<String, Entry>;

/// The value of a key, and the location of the key.
pub(super) struct Entry {
    pub(super) key_location: Location,
    pub(super) item: Item,
}

pub(super) struct Item {
    pub(super) location: Location,
    pub(super) value: Value,
}

/// A TOML value.
pub(super) enum Value {
    /// A string. It may be a secret, so it is wiped when dropped.
    Text(Zeroizing<String>),
    /// An integer or a float, in the notation of the file.
    Number(String),
    /// A boolean.
    Bool(bool),
    /// An array.
    List(Vec<Item>),
    /// A table, inline or not.
    Table(Table),
    /// A date or a time. No key accepts one.
    Date,
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(Zeroizing::new(text.to_owned()))
    }

    /// The name of this kind of value in findings.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Date => "a date",
        }
    }
}

impl Item {
    /// Whether the value comes from an environment variable. Values of variables are all strings.
    pub(super) fn is_variable(&self) -> bool {
        matches!(self.location, Location::Variable(_))
    }
}

impl Entry {
    /// An entry that is not in a file. Key and value have the same location.
    pub(super) fn new(location: Location, value: Value) -> Self {
        Self { key_location: location.clone(), item: Item { location, value } }
    }

    /// An entry with the default of a key. `literal` is TOML from a `settings!` table.
    pub(super) fn default_value(literal: &str) -> Self {
        let value = match literal {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "[]" => Value::List(Vec::new()),
            "{}" => Value::Table(Table::new()),
            _ => match literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(text) => Value::text(text),
                None => Value::Number(literal.to_owned()),
            },
        };
        Self::new(Location::Environment, value)
    }
}

/// Parses the text of a file. Returns the keys that could be read, and the syntax errors. Messages
/// never quote the text, which may contain secrets.
pub(super) fn parse(file: &Arc<str>, text: &str) -> (Table, Vec<Finding>) {
    let tree = Tree { file: file.clone(), lines: Lines::of(text) };
    let (table, errors) = DeTable::parse_recoverable(text);
    let findings = errors.iter().map(|error| {
        let location = tree.location(&error.span().unwrap_or_default());
        let message = format!("this is not TOML: {}", error.message());
        Finding::new(location, "", Flaw::new(message, remedy(error.message())))
    });
    let findings = findings.collect();
    (tree.table(table.into_inner()), findings)
}

fn remedy(message: &str) -> &'static str {
    if message.contains("duplicate") {
        "keep one of the two"
    } else if message.contains("escape") {
        "write paths with backslashes in 'single quotes'"
    } else if message.contains("quoted") {
        "write it as key = \"value\""
    } else {
        "check the quotes, brackets and `=` of this line"
    }
}

struct Tree<'t> {
    file: Arc<str>,
    lines: Lines<'t>,
}

impl Tree<'_> {
    fn location(&self, span: &Range<usize>) -> Location {
        let (line, column) = self.lines.position(span.start);
        Location::Line { file: self.file.clone(), line, column }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        let entry = |(key, value): (toml::Spanned<toml::de::DeString<'_>>, toml::Spanned<DeValue<'_>>)| {
            let key_location = self.location(&key.span());
            (key.into_inner().into_owned(), Entry { key_location, item: self.item(value) })
        };
        table.into_iter().map(entry).collect()
    }

    fn item(&self, value: toml::Spanned<DeValue<'_>>) -> Item {
        let location = self.location(&value.span());
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(Zeroizing::new(text.into_owned())),
            DeValue::Integer(number) => Value::Number(number.to_string()),
            DeValue::Float(number) => Value::Number(number.to_string()),
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => Value::List(items.into_iter().map(|item| self.item(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Item { location, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_locations() {
        let (table, findings) = parse(&"proxy.toml".into(), "# é\n[listen]\n\n\"wörkers\" = 4\n");
        assert!(findings.is_empty());
        let Value::Table(listen) = &table["listen"].item.value else { panic!("a table") };
        assert_eq!(table["listen"].key_location.to_string(), "proxy.toml:2:2");
        assert_eq!(listen["wörkers"].key_location.to_string(), "proxy.toml:4:1");
        assert_eq!(listen["wörkers"].item.location.to_string(), "proxy.toml:4:13");
    }

    #[test]
    fn syntax_errors_come_with_their_locations_and_quote_nothing() {
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
