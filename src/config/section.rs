//! Reads the keys of one section. A wrong value becomes a finding and counts as not given. Reading
//! continues, so that one run reports all findings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::document::{Entry, Item, Table, Value};
use super::error::{Finding, Location, not_available};
use super::schema::{Schema, Shape};
use super::variables::Variables;
use vbc_base::trusted::{self, Checks, Flaw, TrustedFile};

/// State shared by all sections while a configuration is read.
pub(super) struct Reader<'e> {
    /// The sections and keys that exist.
    pub(super) schema: &'static Schema,
    /// Errors. With any of them there is no configuration.
    pub(super) findings: Vec<Finding>,
    /// Findings that do not prevent a start.
    pub(super) warnings: Vec<Finding>,
    /// The environment, for `*_env`.
    pub(super) environment: &'e Variables,
    /// The directory that relative paths are relative to.
    pub(super) base: PathBuf,
    /// If set, no secret is read.
    pub(super) simulate: bool,
    /// If set, a file that others can change is a warning instead of a finding.
    pub(super) lenient: bool,
    /// The location for findings about missing sections.
    pub(super) whole: Location,
    /// The first line that is not TOML. From this line on, a name may be a part of a secret.
    pub(super) broken: Option<usize>,
    /// Whether `proxy.toml` itself contains a secret.
    pub(super) inline_secret: bool,
    /// The variables that contain secrets.
    pub(super) secret_variables: BTreeSet<String>,
    /// Directories that have already been checked.
    pub(super) directories: BTreeSet<PathBuf>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(schema: &'static Schema, environment: &'e Variables, whole: Location) -> Self {
        Self {
            schema,
            findings: Vec::new(),
            warnings: Vec::new(),
            environment,
            base: PathBuf::new(),
            simulate: false,
            lenient: false,
            whole,
            broken: None,
            inline_secret: false,
            secret_variables: BTreeSet::new(),
            directories: BTreeSet::new(),
        }
    }

    /// Opens the section of this shape. It is empty if the file does not have it.
    pub(super) fn section(&mut self, root: &mut Table, shape: &'static Shape) -> Section<'_, 'e> {
        self.open(root.remove(shape.name), shape, shape.name.to_owned())
    }

    /// Opens a section from its entry. Unknown keys become findings.
    pub(super) fn open(
        &mut self,
        entry: Option<Entry>,
        shape: &'static Shape,
        path: String,
    ) -> Section<'_, 'e> {
        let location = entry.as_ref().map_or_else(|| self.whole.clone(), |entry| entry.key_location.clone());
        let mut entries = self.table(entry, &path);
        entries.retain(|key, entry| {
            if shape.has(key) {
                return true;
            }
            let flaw = if shape.later.contains(&key.as_str()) {
                not_available("this key")
            } else {
                Flaw::new("unknown key", self.schema.remedy_for_unknown_key(shape, key))
            };
            let key = self.printable(key, &entry.key_location);
            self.report(entry.key_location.clone(), format!("{path}.{key}"), flaw);
            false
        });
        let places = |entry: &Entry| (entry.key_location.clone(), vec![entry.item.location.clone()]);
        let given = entries.iter().map(|(key, entry)| (key.clone(), places(entry))).collect();
        Section { reader: self, shape, path, location, given, entries }
    }

    /// The table of an entry. Anything else is a finding and counts as an empty table.
    pub(super) fn table(&mut self, entry: Option<Entry>, path: &str) -> Table {
        match entry.map(|entry| (entry.key_location, entry.item.value)) {
            None => Table::new(),
            Some((_, Value::Table(table))) => table,
            Some((location, _)) => {
                let flaw = Flaw::new("expected a section", format!("write it as [{path}]"));
                self.report(location, path, flaw);
                Table::new()
            }
        }
    }

    /// An unknown name in a form that a finding may quote. Names after a broken line are not shown.
    pub(super) fn printable(&self, name: &str, location: &Location) -> String {
        match (location, self.broken) {
            (Location::Line { line, .. }, Some(broken)) if *line >= broken => "(not shown)".into(),
            _ => name.escape_debug().to_string(),
        }
    }

    pub(super) fn report(&mut self, location: Location, key: impl Into<String>, flaw: Flaw) {
        self.findings.push(Finding::new(location, key, flaw));
    }

    pub(super) fn warn(&mut self, location: Location, key: impl Into<String>, flaw: Flaw) {
        self.warnings.push(Finding::new(location, key, flaw));
    }

    /// Resolves a path. Relative paths are relative to the directory of the configuration file.
    pub(super) fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }

    /// Adds the findings about the owner and permissions of a file; with `lenient`, they are
    /// warnings. With `secret`, also warns if others can read the file. Also warns, once for each
    /// directory, if others can replace the file.
    pub(super) fn report_checks(
        &mut self,
        (location, key): (&Location, &str),
        path: &Path,
        checks: Checks,
        secret: bool,
    ) {
        for flaw in checks.flaws {
            if self.lenient {
                self.warn(location.clone(), key, flaw);
            } else {
                self.report(location.clone(), key, flaw);
            }
        }
        let exposed = checks.exposed.filter(|_| secret);
        let directories = trusted::directories(path).into_iter();
        let unchecked = directories.filter(|directory| self.directories.insert(directory.clone()));
        let replaceable = unchecked.filter_map(|directory| trusted::replaceable(path, &directory));
        for flaw in exposed.into_iter().chain(replaceable.collect::<Vec<_>>()) {
            self.warn(location.clone(), key, flaw);
        }
    }
}

/// One section while it is read.
///
/// A value is taken once, by [`parsed`](Self::parsed) and similar methods. The locations remain, so
/// that later checks of several keys can report the location of each.
pub(super) struct Section<'r, 'e> {
    pub(super) reader: &'r mut Reader<'e>,
    shape: &'static Shape,
    path: String,
    location: Location,
    /// The location of each given key, and the locations of its values.
    given: BTreeMap<String, (Location, Vec<Location>)>,
    entries: Table,
}

impl Section<'_, '_> {
    /// The location of a key's value. If the key is not given: the beginning of the section.
    pub(super) fn location(&self, key: &str) -> Location {
        self.locations(key).first().unwrap_or(&self.location).clone()
    }

    pub(super) fn locations(&self, key: &str) -> &[Location] {
        self.given.get(key).map_or(&[], |(_, values)| values)
    }

    /// The location of a key, if it is given.
    pub(super) fn key_location(&self, key: &str) -> Option<Location> {
        self.given.get(key).map(|(location, _)| location.clone())
    }

    pub(super) fn names(&self, key: &str) -> &'static [&'static str] {
        self.shape.alternatives(key)
    }

    /// Whether a key is given, with a right or a wrong value.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    pub(super) fn is_wrong(&self, key: &str) -> bool {
        let path = self.path_of(key);
        self.reader.findings.iter().any(|finding| finding.key == path)
    }

    /// The text of a key that has not been taken yet.
    pub(super) fn peek(&self, key: &str) -> Option<&str> {
        match &self.entries.get(key)?.item.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Removes a key, so that it counts as not given. Returns its location.
    pub(super) fn discard(&mut self, key: &str) -> Option<Location> {
        self.entries.remove(key);
        self.given.remove(key).map(|(location, _)| location)
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    pub(super) fn report(&mut self, key: &str, flaw: Flaw) {
        self.report_at(self.location(key), key, flaw);
    }

    pub(super) fn report_at(&mut self, location: Location, key: &str, flaw: Flaw) {
        let path = self.path_of(key);
        self.reader.report(location, path, flaw);
    }

    pub(super) fn warn(&mut self, key: &str, flaw: Flaw) {
        self.warn_at(self.location(key), key, flaw);
    }

    pub(super) fn warn_at(&mut self, location: Location, key: &str, flaw: Flaw) {
        let path = self.path_of(key);
        self.reader.warn(location, path, flaw);
    }

    /// Uses the default of a key as its value. The key still counts as not given.
    pub(super) fn put_default(&mut self, key: &str, literal: &str) {
        self.entries.insert(key.to_owned(), Entry::default_value(literal));
    }

    /// The content of a file that a key names. Adds the findings about the file's owner and
    /// permissions. Returns the content even if there are findings, so that it can be checked too.
    pub(super) fn checked(
        &mut self,
        key: &str,
        path: &Path,
        file: TrustedFile,
        secret: bool,
    ) -> Zeroizing<Vec<u8>> {
        let (content, checks) = file.into_parts();
        let (location, key) = (self.location(key), self.path_of(key));
        self.reader.report_checks((&location, &key), path, checks, secret);
        content
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Item> {
        self.entries.remove(key).map(|entry| entry.item)
    }

    pub(super) fn accept<T>(&mut self, key: &str, value: Result<T, Flaw>) -> Option<T> {
        value.map_err(|flaw| self.report(key, flaw)).ok()
    }

    /// A text that may be a secret.
    pub(super) fn secret(&mut self, key: &str) -> Option<Zeroizing<String>> {
        let text = match self.take(key)?.value {
            Value::Text(value) => Ok(value),
            other => Err(other.not_a_text()),
        };
        self.accept(key, text)
    }

    /// A text that `parse` accepts. A number is passed to `parse` as text, so that the finding can
    /// name the missing unit.
    pub(super) fn parsed<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, Flaw>) -> Option<T> {
        let value = self.take(key)?.value.parse(parse);
        self.accept(key, value)
    }

    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.secret(key)?;
        if text.is_empty() {
            self.report(key, Flaw::new("the path is empty", "write a path or remove the key"));
            return None;
        }
        Some(self.reader.resolve(&text))
    }

    /// A list of texts; in a variable, commas separate them. Each wrong item is left out and
    /// becomes a finding. Afterwards, [`locations`](Self::locations) returns the locations of the
    /// accepted items.
    pub(super) fn items<T>(
        &mut self,
        key: &str,
        not_a_list: &Flaw,
        parse: impl Fn(&str) -> Result<T, Flaw>,
    ) -> Option<Vec<T>> {
        let (mut values, mut locations) = (Vec::new(), Vec::new());
        for (location, text) in self.take(key)?.texts() {
            match text.ok_or_else(|| not_a_list.clone()).and_then(|text| parse(&text)) {
                Ok(value) => {
                    values.push(value);
                    locations.push(location);
                }
                Err(flaw) => self.report_at(location, key, flaw),
            }
        }
        if let Some((_, values)) = self.given.get_mut(key)
            && !locations.is_empty()
        {
            *values = locations;
        }
        Some(values)
    }

    /// A text or a list of texts. In a variable, commas separate them.
    pub(super) fn one_or_more<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Flaw>,
    ) -> Option<Vec<T>> {
        let entry = self.entries.get(key)?;
        if matches!(&entry.item.value, Value::Text(_)) && !entry.item.is_variable() {
            return Some(self.parsed(key, parse).into_iter().collect());
        }
        let neither = "expected a string or a list of strings";
        let neither = Flaw::new(neither, "write one string in quotes, or [\"one\", \"two\"]");
        let values = self.items(key, &neither, parse)?;
        if values.is_empty() && self.is_given(key) && !self.is_wrong(key) {
            self.report(key, Flaw::new("the list is empty", "write at least one item, or remove the key"));
        }
        Some(values)
    }

    /// A table of names and values, sorted by name. In a variable: `name=value`, separated by
    /// commas.
    pub(super) fn map<K: Ord, V>(
        &mut self,
        key: &str,
        example: &str,
        parse: impl Fn(&str, &str) -> Result<(K, V), Flaw>,
    ) -> Option<BTreeMap<K, V>> {
        let mut values = BTreeMap::new();
        for (location, name, value) in self.take(key)?.pairs() {
            let none =
                || Flaw::new("expected a table of strings", format!("write, for example, {key} = {example}"));
            match value.ok_or_else(none).and_then(|value| parse(&name, &value)) {
                Ok((name, value)) => {
                    if values.insert(name, value).is_some() {
                        let flaw = Flaw::new("the same name is given twice", "keep one of the two");
                        self.report_at(location, key, flaw);
                    }
                }
                Err(flaw) => self.report_at(location, key, flaw),
            }
        }
        Some(values)
    }
}

impl Value {
    /// Parses a text, or the text of a number.
    pub(super) fn parse<T>(&self, parse: impl FnOnce(&str) -> Result<T, Flaw>) -> Result<T, Flaw> {
        match self {
            Self::Text(text) => parse(text),
            Self::Number(text) => parse(text),
            other => Err(other.not_a_text()),
        }
    }

    fn not_a_text(&self) -> Flaw {
        Flaw::new(format!("expected a string, found {}", self.kind()), "write the value in quotes")
    }

    /// A text, or the text of a number.
    fn into_text(self) -> Option<String> {
        match self {
            Self::Number(text) => Some(text),
            Self::Text(text) => Some(text.to_string()),
            _ => None,
        }
    }
}

impl Item {
    /// The items of a list, or the words of a variable between its commas. `None` for each item
    /// that is not a text.
    fn texts(self) -> Vec<(Location, Option<String>)> {
        match self.value {
            Value::List(items) => {
                let text = |item: Item| match item.value {
                    Value::Text(text) => (item.location, Some(text.to_string())),
                    _ => (item.location, None),
                };
                items.into_iter().map(text).collect()
            }
            Value::Text(text) if matches!(self.location, Location::Variable(_)) => {
                words(&text).map(|word| (self.location.clone(), Some(word.to_owned()))).collect()
            }
            _ => vec![(self.location, None)],
        }
    }

    /// The names and values of a table, or of a variable. `None` for each value that is not a text.
    fn pairs(self) -> Vec<(Location, String, Option<String>)> {
        match self.value {
            Value::Table(table) => {
                let pairs = table.into_iter();
                pairs.map(|(name, entry)| (entry.item.location, name, entry.item.value.into_text())).collect()
            }
            Value::Text(text) if matches!(self.location, Location::Variable(_)) => {
                let pair = |word: &str| match word.rsplit_once('=') {
                    Some((name, value)) => {
                        (self.location.clone(), name.trim().to_owned(), Some(value.trim().to_owned()))
                    }
                    None => (self.location.clone(), word.to_owned(), None),
                };
                words(&text).map(pair).collect()
            }
            _ => vec![(self.location, String::new(), None)],
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}
