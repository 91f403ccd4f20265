//! A table of a scenario, with a reader for each type.

use serde_json::{Map, Value};

use super::document::{Document, join};
use super::error::Finding;
use crate::suggestion::choose;

pub(super) const A_TEXT: &str = "write a text in quotes";

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A table. Its [`end`](Section::end) reports every key that was not read as unknown.
pub(super) struct Section<'d, 'f> {
    document: &'d Document,
    at: String,
    members: &'d Map<String, Value>,
    known: Vec<&'static str>,
    findings: &'f mut Vec<Finding>,
}

impl<'d, 'f> Section<'d, 'f> {
    pub(super) fn new(
        document: &'d Document,
        at: &str,
        members: &'d Map<String, Value>,
        findings: &'f mut Vec<Finding>,
    ) -> Self {
        Self { document, at: at.to_owned(), members, known: Vec::new(), findings }
    }

    pub(super) fn find(&mut self, key: &str, problem: String, remedy: &str) {
        let path = join(&self.at, key);
        self.findings.push(Finding::new(self.document.location(&path), &path, problem, remedy));
    }

    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        remedy: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.members.get(key)?;
        let read = read(value);
        if read.is_none() {
            self.find(key, "invalid value".into(), remedy);
        }
        read
    }

    /// Reads a required text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        if !self.members.contains_key(key) {
            let at = self.at.clone();
            let location = self.document.location(&self.at);
            let remedy = format!("add {key} = \"…\"");
            self.findings.push(Finding::new(location, &at, format!("`{key}` is missing"), remedy));
        }
        self.take(key, A_TEXT, text).filter(|text| !text.is_empty())
    }

    pub(super) fn table(&mut self, key: &'static str) -> Option<&'d Map<String, Value>> {
        self.known.push(key);
        let members = self.members;
        let value = members.get(key)?;
        if value.as_object().is_none() {
            self.find(key, "this is not a table".into(), &format!("start it with [{key}]"));
        }
        value.as_object()
    }

    /// Reads a key whose value is either one switch for all, or a table of switches.
    pub(super) fn switches(&mut self, key: &'static str) -> (Option<bool>, Option<&'d Map<String, Value>>) {
        match self.members.get(key).map(Value::as_bool) {
            Some(Some(all)) => {
                self.known.push(key);
                (Some(all), None)
            }
            _ => (None, self.table(key)),
        }
    }

    /// Reads a list of tables, each with its path.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<(String, &'d Map<String, Value>)> {
        self.known.push(key);
        let members = self.members;
        let Some(value) = members.get(key) else { return Vec::new() };
        let tables =
            value.as_array().map(|list| list.iter().map(Value::as_object).collect::<Option<Vec<_>>>());
        match tables.flatten() {
            Some(tables) => {
                let path = |position: usize| join(&join(&self.at, key), &position.to_string());
                tables.into_iter().enumerate().map(|(position, table)| (path(position), table)).collect()
            }
            None => {
                self.find(
                    key,
                    "this is not a list of tables".into(),
                    &format!("start each entry with [[{key}]]"),
                );
                Vec::new()
            }
        }
    }

    /// Reports every key that was not read.
    pub(super) fn end(mut self) {
        let known: Vec<String> = self.known.iter().map(|key| (*key).to_owned()).collect();
        let members = self.members;
        for key in members.keys().filter(|key| !known.contains(key)) {
            let remedy = choose(key, &known);
            self.find(key, "unknown key".into(), &remedy);
        }
    }
}
