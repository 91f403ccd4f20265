//! `VBC_PROXY_<SECTION>_<KEY>` laid over the file, and the four variables that stand in for one.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::document::{Entry, Item, Table, Value};
use super::error::{Complaint, Finding, Place};
use super::schema::{self, ALTERNATIVES, CREDENTIAL, SECTIONS, SECTIONS_LATER};

const PREFIX: &str = "VBC_PROXY_";

/// The variables of the process, whose values may be secrets: they are wiped when dropped.
#[derive(Default)]
pub(super) struct Variables {
    texts: BTreeMap<String, Zeroizing<String>>,
    /// The names of those that are set and not UTF-8.
    not_text: BTreeSet<String>,
}

/// The value of a variable.
pub(super) enum Variable<'v> {
    NotSet,
    NotText,
    Text(&'v str),
}

impl Variables {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        let mut variables = Self::default();
        for (name, value) in std::env::vars_os() {
            // A name that is not UTF-8 can stand in no configuration.
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(text) => drop(variables.texts.insert(name, Zeroizing::new(text))),
                Err(_) => drop(variables.not_text.insert(name)),
            }
        }
        variables
    }

    /// The variable of this name, as it is.
    pub(super) fn get(&self, name: &str) -> Variable<'_> {
        match self.texts.get(name) {
            Some(text) => Variable::Text(text),
            None if self.not_text.contains(name) => Variable::NotText,
            None => Variable::NotSet,
        }
    }

    /// Whether it is set, and not to nothing.
    fn is_set(&self, name: &str) -> bool {
        match self.get(name) {
            Variable::NotSet => false,
            Variable::NotText => true,
            Variable::Text(text) => !text.is_empty(),
        }
    }

    /// Those whose names begin so, without the line end that a file or `echo` has left. An empty one is one that is not set.
    fn starting_with(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let all = self.texts.iter().filter(move |(name, _)| name.starts_with(prefix));
        all.map(|(name, text)| (name.as_str(), trim(text))).filter(|(_, text)| !text.is_empty())
    }
}

#[cfg(test)]
impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let texts = variables.into_iter().map(|(name, text)| (name, Zeroizing::new(text))).collect();
        Self { texts, not_text: BTreeSet::new() }
    }
}

#[cfg(test)]
impl Variables {
    /// The same with one whose value is not UTF-8.
    pub(super) fn with_garbage(mut self, name: &str) -> Self {
        self.not_text.insert(name.to_owned());
        self
    }
}

/// A value without a byte order mark before it and line ends after it.
pub(super) fn trim(text: &str) -> &str {
    without_mark(text).trim_end_matches(['\r', '\n'])
}

/// A text without the byte order mark that Windows programs write before UTF-8.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// What is wrong with a variable whose value is not UTF-8.
pub(super) fn not_text(name: &str) -> Complaint {
    Complaint::new(
        format!("the value of the variable {name} is not UTF-8"),
        format!("export {name} again, as UTF-8"),
    )
}

/// The credentials of the file, by their names in variables.
type Credentials = BTreeMap<String, String>;

/// The variables that make the credential `default` when there is no file, and the keys they stand for.
pub(super) const STAND_INS: [(&str, &str); 4] = [
    ("VBC_CLIENT_ID", "client_id_env"),
    ("VBC_CLIENT_SECRET", "client_secret_env"),
    ("VBC_USERNAME", "username_env"),
    ("VBC_PASSWORD", "password_env"),
];

/// What laying the environment over a file did.
pub(super) struct Overlay {
    /// The variables that took the place of a key.
    pub(super) used: Vec<String>,
    /// About variables that cannot be read.
    pub(super) findings: Vec<Finding>,
    /// About variables that mean nothing.
    pub(super) warnings: Vec<Finding>,
}

/// Puts the values of all `VBC_PROXY_*` variables into the tree.
pub(super) fn lay_over(root: &mut Table, environment: &Variables) -> Overlay {
    let credentials: Credentials = match root.get("credentials").map(|entry| &entry.item.value) {
        Some(Value::Table(table)) => {
            table.keys().rev().map(|name| (as_variable(name), name.clone())).collect()
        }
        _ => Credentials::new(),
    };
    let mut overlay = Overlay { used: Vec::new(), findings: Vec::new(), warnings: Vec::new() };
    for name in environment.not_text.iter().filter(|name| name.starts_with(PREFIX)) {
        overlay.findings.push(Finding::new(Place::Variable(name.as_str().into()), "", not_text(name)));
    }
    for (name, text) in environment.starting_with(PREFIX) {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if let Some((section, key)) = section_key(rest) {
            let table = table_at(root, section, name);
            put(table, key, Entry::variable(name, text));
        } else if let Some((credential, key)) = credential_key(rest, &credentials) {
            let table =
                table_at(root, "credentials", name).and_then(|table| table_at(table, &credential, name));
            put(table, key, Entry::variable(name, text));
        } else if let Some(section) = section_later(rest) {
            table_at(root, section, name);
        } else {
            overlay.warnings.push(unknown(name, &credentials));
            continue;
        }
        overlay.used.push(name.to_owned());
    }
    overlay
}

/// `LISTEN_ADDRESS` → `listen`, `address`.
fn section_key(rest: &str) -> Option<(&'static str, &'static str)> {
    SECTIONS.iter().find_map(|shape| {
        let key = rest.strip_prefix(&as_variable(shape.name))?.strip_prefix('_')?;
        let known = shape.keys.iter().chain(shape.later).find(|known| as_variable(known) == key)?;
        Some((shape.name, *known))
    })
}

/// A variable for a section that is not built yet: the section itself will be refused.
fn section_later(rest: &str) -> Option<&'static str> {
    let is_for = |name: &&&str| rest.strip_prefix(&as_variable(name)).is_some_and(|key| key.starts_with('_'));
    SECTIONS_LATER.iter().find(is_for).copied().filter(|_| !is_service_link(rest))
}

/// `CREDENTIALS_DEFAULT_GRANT` → `default`, `grant`. Variables make new credentials only where the file has none.
fn credential_key(rest: &str, credentials: &Credentials) -> Option<(String, &'static str)> {
    let rest = rest.strip_prefix("CREDENTIALS_")?;
    CREDENTIAL.keys.iter().chain(CREDENTIAL.later).find_map(|key| {
        let name = rest.strip_suffix(&as_variable(key))?.strip_suffix('_')?;
        let existing = credentials.get(name);
        let new = || (credentials.is_empty() && !name.is_empty()).then(|| name.to_ascii_lowercase());
        Some((existing.cloned().or_else(new)?, *key))
    })
}

/// A name as it appears in a variable: upper case, `-` as `_`.
pub(super) fn as_variable(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn table_at<'t>(table: &'t mut Table, key: &str, variable: &str) -> Option<&'t mut Table> {
    let new = || {
        let place = Place::Variable(variable.into());
        Entry { key_place: place.clone(), item: Item { place, value: Value::Table(Table::new()) } }
    };
    match &mut table.entry(key.to_owned()).or_insert_with(new).item.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

/// Puts an entry in place of the key and of those it excludes, unless these come from variables too.
fn put(table: Option<&mut Table>, key: &str, entry: Entry) {
    let Some(table) = table else { return };
    let excluded = ALTERNATIVES.iter().filter(|group| group.contains(&key)).flat_map(|group| group.iter());
    for other in excluded {
        if table.get(*other).is_some_and(|entry| !entry.item.is_variable()) {
            table.remove(*other);
        }
    }
    table.insert(key.to_owned(), entry);
}

fn unknown(name: &str, credentials: &Credentials) -> Finding {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    let all = SECTIONS.iter().flat_map(|shape| shape.keys.iter().map(|key| variable(shape.name, key)));
    // With thousands of credentials not every name can be weighed: the credential or the key is to be spelt right.
    let ending: Vec<&str> =
        CREDENTIAL.keys.iter().copied().filter(|key| rest.ends_with(&as_variable(key))).collect();
    let of_credential = |name: &String| {
        let keys = if rest.contains(name.as_str()) { CREDENTIAL.keys } else { &ending };
        let section = format!("credentials_{name}");
        keys.iter().map(move |key| variable(&section, key)).collect::<Vec<_>>()
    };
    let all = all.chain(credentials.keys().flat_map(of_credential));
    let all: Vec<String> = all.filter(|known| is_close(name, known)).collect();
    let remedy = match schema::nearest(name, all.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None if is_service_link(name) => {
            "Kubernetes sets it for a service named vbc-proxy; `enableServiceLinks: false` in the pod keeps it out".into()
        }
        None => "unset it".into(),
    };
    let complaint = Complaint::new("no key of the configuration has this name", remedy);
    Finding::new(Place::Variable(name.into()), "", complaint)
}

/// Names share a long prefix, so a suggestion must be nearer than the usual third.
fn is_close(name: &str, known: &str) -> bool {
    name.len().abs_diff(known.len()) <= 3 && strsim::damerau_levenshtein(name, known) <= 3
}

fn is_service_link(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_TCP", "_UDP"].iter().any(|part| name.contains(part))
}

fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{}_{}", as_variable(section), as_variable(key))
}

/// Without a file: the credential `default`, if any of the four variables is set.
pub(super) fn stand_in(root: &mut Table, environment: &Variables) -> Vec<String> {
    let used: Vec<String> = STAND_INS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .filter(|name| environment.is_set(name))
        .collect();
    if used.is_empty() {
        return used;
    }
    let grant = environment.get("VBC_PROXY_CREDENTIALS_DEFAULT_GRANT");
    let code = matches!(grant, Variable::Text(grant) if !matches!(trim(grant), "" | "password"));
    let wanted = |name: &str| !code || matches!(name, "VBC_CLIENT_ID" | "VBC_CLIENT_SECRET");
    let entry =
        |value| Entry { key_place: Place::Environment, item: Item { place: Place::Environment, value } };
    let keys = STAND_INS.iter().filter(|(name, _)| wanted(name));
    let credential: Table = keys
        .map(|(name, key)| ((*key).to_owned(), entry(Value::Text(Zeroizing::new((*name).to_owned())))))
        .collect();
    let credentials = Table::from([("default".to_owned(), entry(Value::Table(credential)))]);
    root.insert("credentials".to_owned(), entry(Value::Table(credentials)));
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Credentials {
        names.iter().map(|name| (as_variable(name), (*name).to_owned())).collect()
    }

    #[test]
    fn variables_name_section_and_key() {
        assert_eq!(section_key("LISTEN_ADDRESS"), Some(("listen", "address")));
        assert_eq!(section_key("OAUTH_TOKEN_URL"), Some(("oauth", "token_url")));
        assert_eq!(section_key("LISTEN_ADRESS"), None);
    }

    #[test]
    fn variables_find_the_credential_they_mean() {
        let names = named(&["my-crm", "default"]);
        assert_eq!(
            credential_key("CREDENTIALS_MY_CRM_CLIENT_ID", &names),
            Some(("my-crm".into(), "client_id"))
        );
        assert_eq!(credential_key("CREDENTIALS_SALES_CLIENT_ID", &names), None);
        let none = Credentials::new();
        assert_eq!(credential_key("CREDENTIALS_SALES_CLIENT_ID", &none), Some(("sales".into(), "client_id")));
        assert_eq!(credential_key("CREDENTIALS_CLIENT_ID", &none), None);
    }

    #[test]
    fn an_unknown_variable_is_explained() {
        let names = named(&["default"]);
        let remedy = |name| unknown(name, &names).remedy().to_owned();
        assert_eq!(remedy("VBC_PROXY_LISTEN_ADRESS"), "did you mean VBC_PROXY_LISTEN_ADDRESS?");
        assert_eq!(
            remedy("VBC_PROXY_CREDENTIALS_DEFUALT_GRANT"),
            "did you mean VBC_PROXY_CREDENTIALS_DEFAULT_GRANT?"
        );
        assert!(remedy("VBC_PROXY_SERVICE_HOST").contains("enableServiceLinks"));
        assert!(remedy("VBC_PROXY_PORT_8080_TCP_ADDR").contains("enableServiceLinks"));
        assert_eq!(remedy("VBC_PROXY_QUUX"), "unset it");
    }
}
