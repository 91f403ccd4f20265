//! A TOML document as JSON, with the location of each key and value.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};
use vbc_base::lines::Lines;

use super::error::{Finding, Location};

/// The document. Paths join keys and indices with dots: `timeline.2.status`.
pub(super) struct Document {
    pub(super) root: Map<String, Value>,
    locations: HashMap<String, Location>,
}

impl Document {
    /// Parses the text; every syntax error is a finding.
    pub(super) fn read(text: &str) -> Result<Self, Vec<Finding>> {
        let lines = Lines::of(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let finding = |error: &toml::de::Error| {
                let location = lines.position(error.span().unwrap_or_default().start);
                let remedy = "check the quotes, brackets and `=` of this line";
                Finding::new(location, "", format!("this is not TOML: {}", error.message()), remedy)
            };
            return Err(errors.iter().map(finding).collect());
        }
        let mut reader = Reader { lines, locations: HashMap::new() };
        let root = reader.table("", table.into_inner());
        Ok(Self { root, locations: reader.locations })
    }

    /// The location of a path, or of its nearest ancestor.
    pub(super) fn location(&self, path: &str) -> Location {
        let mut path = path;
        loop {
            if let Some(location) = self.locations.get(path) {
                return *location;
            }
            let Some((above, _)) = path.rsplit_once('.') else { return (1, 1) };
            path = above;
        }
    }
}

/// Converts a TOML tree, and notes the location of each key and value.
struct Reader<'t> {
    lines: Lines<'t>,
    locations: HashMap<String, Location>,
}

impl Reader<'_> {
    fn table(&mut self, at: &str, table: DeTable<'_>) -> Map<String, Value> {
        let mut members = Map::new();
        for (key, value) in table {
            let path = join(at, key.get_ref());
            self.locations.insert(path.clone(), self.lines.position(key.span().start));
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
                    self.locations.insert(path.clone(), self.lines.position(item.span().start));
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
