//! Reads the keys of one section. A value that is wrong becomes a finding and reads as not given, so that reading
//! goes on and all findings come at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::document::{Entry, Item, Table, Value};
use super::environment::Variables;
use super::error::{Complaint, Finding, Place};
use super::schema::{self, Shape};
use super::units;

/// What all sections share while a configuration is read.
pub(super) struct Reader<'e> {
    /// What must be put right.
    pub(super) findings: Vec<Finding>,
    /// What should be looked at.
    pub(super) warnings: Vec<Finding>,
    /// The environment, for `*_env`.
    pub(super) environment: &'e Variables,
    /// The directory relative paths start from.
    pub(super) base: PathBuf,
    /// No real secret is read.
    pub(super) simulate: bool,
    /// A configuration that somebody else can change is a warning only.
    pub(super) lenient: bool,
    /// The place of what is missing altogether.
    pub(super) whole: Place,
    /// The first line that is not TOML. What follows may be the tail of a broken secret.
    pub(super) broken: Option<usize>,
    /// A secret stands in the file itself.
    pub(super) inline_secret: bool,
    /// The variables that secrets came from.
    pub(super) secret_variables: BTreeSet<String>,
    /// Directories that were checked already.
    pub(super) directories: BTreeSet<PathBuf>,
}

/// A value and the place it was given.
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// One section, being read.
pub(super) struct Section<'r, 'e> {
    pub(super) reader: &'r mut Reader<'e>,
    path: String,
    place: Place,
    entries: Table,
}

impl<'e> Reader<'e> {
    /// Opens the section of this name; one that is not there is empty. Unknown keys are found here.
    pub(super) fn section(&mut self, root: &mut Table, shape: &'static Shape) -> Section<'_, 'e> {
        let entry = root.remove(shape.name);
        self.open(entry, shape, shape.name.to_owned())
    }

    /// Opens a section from its entry.
    pub(super) fn open(
        &mut self,
        entry: Option<Entry>,
        shape: &'static Shape,
        path: String,
    ) -> Section<'_, 'e> {
        let place = entry.as_ref().map_or_else(|| self.whole.clone(), |entry| entry.key_place.clone());
        let mut entries = self.table(entry, &path);
        entries.retain(|key, entry| {
            if shape.keys.contains(&key.as_str()) {
                return true;
            }
            let complaint = if shape.later.contains(&key.as_str()) {
                Complaint::not_available("this key")
            } else {
                Complaint::new("there is no such key", schema::remedy_for_unknown_key(shape, key))
            };
            let key = self.shown(key, &entry.key_place);
            self.complain(entry.key_place.clone(), format!("{path}.{key}"), complaint);
            false
        });
        Section { reader: self, path, place, entries }
    }

    /// The table of an entry; empty, with a finding, when it is something else.
    pub(super) fn table(&mut self, entry: Option<Entry>, path: &str) -> Table {
        match entry.map(|entry| (entry.key_place, entry.item.value)) {
            None => Table::new(),
            Some((_, Value::Table(table))) => table,
            Some((place, _)) => {
                self.complain(
                    place,
                    path,
                    Complaint::new("this is a section", format!("write it as [{path}]")),
                );
                Table::new()
            }
        }
    }

    /// An unknown name as it may be shown.
    pub(super) fn shown(&self, name: &str, place: &Place) -> String {
        match (place, self.broken) {
            (Place::Line { line, .. }, Some(broken)) if *line >= broken => "(not shown)".into(),
            _ => name.escape_debug().to_string(),
        }
    }

    pub(super) fn complain(&mut self, place: Place, key: impl Into<String>, complaint: Complaint) {
        self.findings.push(Finding::new(place, key, complaint));
    }

    pub(super) fn warn(&mut self, place: Place, key: impl Into<String>, complaint: Complaint) {
        self.warnings.push(Finding::new(place, key, complaint));
    }

    /// A path as the operator means it: relative to the configuration.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(Path::new(path))
    }
}

impl Section<'_, '_> {
    /// Where the section begins; the place to say that something is missing in it.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// The full path of one of its keys.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Where a key that has not been read yet stands.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.entries.get(key).map(|entry| entry.key_place.clone())
    }

    /// Notes a finding about a key.
    pub(super) fn complain(&mut self, place: Place, key: &str, complaint: Complaint) {
        let key = self.key(key);
        self.reader.complain(place, key, complaint);
    }

    /// Notes a warning about a key.
    pub(super) fn warn(&mut self, place: Place, key: &str, complaint: Complaint) {
        let key = self.key(key);
        self.reader.warn(place, key, complaint);
    }

    fn take(&mut self, key: &str) -> Option<Item> {
        self.entries.remove(key).map(|entry| entry.item)
    }

    fn wrong_kind(&mut self, place: Place, key: &str, value: &Value, wanted: &str) {
        let complaint = Complaint::new(format!("this is {}", value.kind()), format!("write {wanted}"));
        self.complain(place, key, complaint);
    }

    /// A text, as it stands.
    pub(super) fn text(&mut self, key: &str) -> Option<Given<String>> {
        let Given { mut value, place } = self.secret(key)?;
        Some(Given { value: std::mem::take(&mut *value), place })
    }

    /// A text that may be a secret.
    pub(super) fn secret(&mut self, key: &str) -> Option<Given<Zeroizing<String>>> {
        let Item { place, value } = self.take(key)?;
        match value {
            Value::Text(value) => Some(Given { value, place }),
            other => {
                self.wrong_kind(place, key, &other, "a text in quotes");
                None
            }
        }
    }

    /// A text that `parse` understands. A bare number reaches it as written, for it to say which unit is missing.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<Given<T>> {
        let Item { place, value } = self.take(key)?;
        let text = match value {
            Value::Text(text) => text,
            Value::Number(text) => Zeroizing::new(text),
            other => {
                self.wrong_kind(place, key, &other, "a text in quotes");
                return None;
            }
        };
        match parse(&text) {
            Ok(value) => Some(Given { value, place }),
            Err(complaint) => {
                self.complain(place, key, complaint);
                None
            }
        }
    }

    /// A duration of at least `least` and at most a day.
    pub(super) fn duration(&mut self, key: &str, least: Duration, default: Duration) -> Duration {
        let most = Duration::from_secs(86_400);
        self.parsed(key, |text| units::duration_within(text, least, most))
            .map_or(default, |given| given.value)
    }

    /// A size of at most `most` bytes.
    pub(super) fn size(&mut self, key: &str, most: u64, default: usize) -> usize {
        self.size_within(key, 0..=most, default)
    }

    /// A size in this range, in bytes.
    pub(super) fn size_within(&mut self, key: &str, range: RangeInclusive<u64>, default: usize) -> usize {
        let (least, most) = range.into_inner();
        let parse = |text: &str| {
            let bytes = units::size(text)?;
            if bytes < least {
                let remedy = format!("at least {} makes sense", units::show_size(least));
                return Err(Complaint::new(format!("{text:?} is too little"), remedy));
            }
            let too_much = || {
                let remedy = format!("at most {} makes sense", units::show_size(most));
                Complaint::new(format!("{text:?} is too much"), remedy)
            };
            if bytes > most { Err(too_much()) } else { usize::try_from(bytes).map_err(|_| too_much()) }
        };
        self.parsed(key, parse).map_or(default, |given| given.value)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(item) = self.take(key) else { return default };
        match (&item.value, item.is_variable()) {
            (Value::Bool(value), _) => return *value,
            (Value::Text(text), true) if **text == "true" => return true,
            (Value::Text(text), true) if **text == "false" => return false,
            _ => {}
        }
        let complaint =
            Complaint::new("this is neither true nor false", "write true or false, without quotes");
        self.complain(item.place, key, complaint);
        default
    }

    /// A number between `least` and `most`.
    pub(super) fn number<T>(&mut self, key: &str, least: T, most: T) -> Option<T>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let item = self.take(key)?;
        let text = match &item.value {
            Value::Number(text) => Some(text),
            Value::Text(text) if item.is_variable() => Some(&**text),
            _ => None,
        };
        let number = text.and_then(|text| text.replace('_', "").parse().ok());
        match number {
            Some(number) if least <= number && number <= most => Some(number),
            _ => {
                let remedy = format!("write a number from {least} to {most}, without quotes");
                self.complain(
                    item.place,
                    key,
                    Complaint::new("this is not a number that makes sense", remedy),
                );
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let parse = |text: &str| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                Complaint::new(format!("{text:?} is not known"), format!("write {}", all.join(" or ")))
            })
        };
        self.parsed(key, parse).map(|given| given.value)
    }

    /// A list of texts, or a variable in which commas part them.
    pub(super) fn list(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<String, Complaint>,
    ) -> BTreeSet<String> {
        let Some(item) = self.take(key) else { return BTreeSet::new() };
        let mut values = BTreeSet::new();
        for (place, text) in texts(item) {
            let none =
                || Complaint::new("this is not a list of texts", "write for example [\"one\", \"two\"]");
            match text.ok_or_else(none).and_then(|text| parse(&text)) {
                Ok(value) => {
                    values.insert(value);
                }
                Err(complaint) => self.complain(place, key, complaint),
            }
        }
        values
    }

    /// A text or a list of texts, or a variable in which commas part them; `None` when the key is not there.
    pub(super) fn one_or_more<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Option<Vec<Given<T>>> {
        let item = self.take(key)?;
        let whole = item.place.clone();
        let texts = match item {
            Item { place, value: Value::Text(text) } if !matches!(place, Place::Variable(_)) => {
                vec![(place, Some(text.to_string()))]
            }
            item => texts(item),
        };
        if texts.is_empty() {
            let complaint = Complaint::new("the list is empty", "write at least one, or remove the key");
            self.complain(whole, key, complaint);
        }
        let mut values = Vec::new();
        for (place, text) in texts {
            let none = || {
                Complaint::new(
                    "this is neither a text nor a list of texts",
                    "write for example \"127.0.0.1:8080\"",
                )
            };
            match text.ok_or_else(none).and_then(|text| parse(&text)) {
                Ok(value) => values.push(Given { value, place }),
                Err(complaint) => self.complain(place, key, complaint),
            }
        }
        Some(values)
    }

    /// A table of names and values, or a variable with `name=value` between commas, in the order of the names.
    pub(super) fn map<K: Ord, V>(
        &mut self,
        key: &str,
        example: &str,
        parse: impl Fn(&str, &str) -> Result<(K, V), Complaint>,
    ) -> Option<BTreeMap<K, V>> {
        let item = self.take(key)?;
        let pairs: Vec<(Place, String, Option<String>)> = match item.value {
            Value::Table(table) => {
                let pairs = table.into_iter();
                pairs.map(|(name, entry)| (entry.item.place, name, written(entry.item.value))).collect()
            }
            Value::Text(text) if matches!(item.place, Place::Variable(_)) => {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                let pair = |word: &str| match word.rsplit_once('=') {
                    Some((name, value)) => (name.trim().to_owned(), Some(value.trim().to_owned())),
                    None => (word.to_owned(), None),
                };
                words.map(pair).map(|(name, value)| (item.place.clone(), name, value)).collect()
            }
            _ => vec![(item.place, String::new(), None)],
        };
        let mut values = BTreeMap::new();
        for (place, name, value) in pairs {
            let none = || {
                Complaint::new("this is not a table of texts", format!("write for example {key} = {example}"))
            };
            match value.ok_or_else(none).and_then(|value| parse(&name, &value)) {
                Ok((name, value)) => {
                    if values.insert(name, value).is_some() {
                        self.complain(
                            place,
                            key,
                            Complaint::new("a name is given twice", "keep one of the two"),
                        );
                    }
                }
                Err(complaint) => self.complain(place, key, complaint),
            }
        }
        Some(values)
    }

    /// A path, relative to the configuration.
    pub(super) fn path(&mut self, key: &str) -> Option<Given<PathBuf>> {
        let Given { value, place } = self.text(key)?;
        if value.is_empty() {
            self.complain(place, key, Complaint::new("the path is empty", "write a path or remove the key"));
            return None;
        }
        Some(Given { value: self.reader.resolve(&value), place })
    }

    /// Whether a list stands at this key, which is then taken away with a finding.
    pub(super) fn refuse_list(&mut self, key: &str) {
        let is_list = self.entries.get(key).is_some_and(|entry| matches!(entry.item.value, Value::List(_)));
        if is_list && let Some(item) = self.take(key) {
            let remedy = "write one address, for example \"127.0.0.1:8081\"";
            let complaint = Complaint::new("there can be one address only", remedy);
            self.complain(item.place, key, complaint);
        }
    }
}

/// The texts of a list, or of a variable in which commas part them; `None` for what is no text.
fn texts(item: Item) -> Vec<(Place, Option<String>)> {
    match item.value {
        Value::List(items) => items.into_iter().map(|item| (item.place, text_of(item.value))).collect(),
        Value::Text(text) if matches!(item.place, Place::Variable(_)) => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            words.map(|word| (item.place.clone(), Some(word.to_owned()))).collect()
        }
        _ => vec![(item.place, None)],
    }
}

/// A text, or a number as it is written, for the reader to say which unit is missing.
fn written(value: Value) -> Option<String> {
    match value {
        Value::Number(text) => Some(text),
        Value::Text(text) => Some(text.to_string()),
        _ => None,
    }
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.to_string()),
        _ => None,
    }
}
