//! Environment variables: `VBC_PROXY_<SECTION>_<KEY>` overrides a key of the file. Without a file,
//! four variables define a credential.

use std::collections::BTreeMap;

use super::document::{Entry, Table, Value};
use super::error::Location;
use super::schema::{self, Schema, Shape};
use super::section::Reader;
use super::variables::{Variable, Variables, not_text, trim};
use vbc_base::trusted::Flaw;

const PREFIX: &str = "VBC_PROXY_";

/// The variables that define the credential `default` if there is no file, and their keys.
pub(super) const STAND_INS: [(&str, &str); 4] = [
    ("VBC_CLIENT_ID", "client_id_env"),
    ("VBC_CLIENT_SECRET", "client_secret_env"),
    ("VBC_USERNAME", "username_env"),
    ("VBC_PASSWORD", "password_env"),
];

/// Puts the values of all `VBC_PROXY_*` variables into the tree. Returns the names of the variables
/// that set a key. A value that is not UTF-8 is a finding; an unknown name is a warning.
pub(super) fn lay_over(reader: &mut Reader<'_>, root: &mut Table) -> Vec<String> {
    let environment = reader.environment;
    let names = Names::new(reader.schema, root);
    let mut used = Vec::new();
    for name in environment.not_text.iter().filter(|name| name.starts_with(PREFIX)) {
        reader.report(Location::Variable(name.as_str().into()), "", not_text(name));
    }
    for (name, text) in environment.starting_with(PREFIX) {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let location = Location::Variable(name.into());
        let entry = Entry::new(location.clone(), Value::text(text));
        if let Some((shape, key)) = names.section_key(rest) {
            put(table_at(root, shape.name, &location), shape, key, entry);
        } else if let Some((credential, key)) = names.credential_key(rest) {
            let table = table_at(root, "credentials", &location);
            let table = table.and_then(|table| table_at(table, &credential, &location));
            put(table, &names.schema.credential, key, entry);
        } else if let Some(section) = names.later_section(rest) {
            table_at(root, section, &location);
        } else {
            reader.warn(location, "", names.unknown(name));
            continue;
        }
        used.push(name.to_owned());
    }
    used
}

/// A name in the form of variables: upper case, with `_` for `-`.
pub(super) fn as_variable(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{}_{}", as_variable(section), as_variable(key))
}

/// The table at `key`, created if it is missing. `None` if the key has another kind of value.
fn table_at<'t>(table: &'t mut Table, key: &str, variable: &Location) -> Option<&'t mut Table> {
    let new = || Entry::new(variable.clone(), Value::Table(Table::new()));
    match &mut table.entry(key.to_owned()).or_insert_with(new).item.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

/// Sets the key to the entry of a variable, and removes the key's alternatives. Alternatives that
/// come from other variables stay, so that the conflict is reported.
fn put(table: Option<&mut Table>, shape: &Shape, key: &str, entry: Entry) {
    let Some(table) = table else { return };
    for other in shape.alternatives(key) {
        if table.get(*other).is_some_and(|entry| !entry.item.is_variable()) {
            table.remove(*other);
        }
    }
    table.insert(key.to_owned(), entry);
}

/// The keys that a variable can name.
struct Names {
    schema: &'static Schema,
    /// The credentials of the file, by their names in the form of variables.
    credentials: BTreeMap<String, String>,
}

impl Names {
    fn new(schema: &'static Schema, root: &Table) -> Self {
        let credentials = match root.get("credentials").map(|entry| &entry.item.value) {
            Some(Value::Table(table)) => {
                table.keys().rev().map(|name| (as_variable(name), name.clone())).collect()
            }
            _ => BTreeMap::new(),
        };
        Self { schema, credentials }
    }

    /// `LISTEN_ADDRESS` → `[listen]`, `address`.
    fn section_key(&self, rest: &str) -> Option<(&'static Shape, &'static str)> {
        self.schema.sections.iter().find_map(|shape| {
            let key = rest.strip_prefix(&as_variable(shape.name))?.strip_prefix('_')?;
            let mut known = shape.names().chain(shape.later.iter().copied());
            Some((shape, known.find(|known| as_variable(known) == key)?))
        })
    }

    /// A section that this version does not have. It becomes a finding when the tree is read.
    fn later_section(&self, rest: &str) -> Option<&'static str> {
        let names =
            |section: &str| rest.strip_prefix(&as_variable(section)).is_some_and(|key| key.starts_with('_'));
        self.schema.later.iter().copied().find(|section| names(section) && !is_service_link(rest))
    }

    /// `CREDENTIALS_DEFAULT_GRANT` → `default`, `grant`. A variable defines a new credential only
    /// if the file has no credentials.
    fn credential_key(&self, rest: &str) -> Option<(String, &'static str)> {
        let rest = rest.strip_prefix("CREDENTIALS_")?;
        let shape = &self.schema.credential;
        shape.names().chain(shape.later.iter().copied()).find_map(|key| {
            let name = rest.strip_suffix(&as_variable(key))?.strip_suffix('_')?;
            let is_new = self.credentials.is_empty() && !name.is_empty();
            let new = || is_new.then(|| name.to_ascii_lowercase());
            Some((self.credentials.get(name).cloned().or_else(new)?, key))
        })
    }

    fn unknown(&self, name: &str) -> Flaw {
        let rest = name.strip_prefix(PREFIX).unwrap_or(name);
        let keys = self.schema.sections.iter();
        let keys = keys.flat_map(|shape| shape.names().map(|key| variable(shape.name, key)));
        // A name is suggested only if the credential or the key in it is spelled correctly. With
        // thousands of credentials, comparing every key of every credential would take too long.
        let of_credential = |credential: &String| {
            let is_named = rest.contains(credential.as_str());
            let keys = self.schema.credential.names();
            let keys = keys.filter(|key| is_named || rest.ends_with(&as_variable(key)));
            let section = format!("credentials_{credential}");
            keys.map(|key| variable(&section, key)).collect::<Vec<_>>()
        };
        let all = keys.chain(self.credentials.keys().flat_map(of_credential));
        let close: Vec<String> = all.filter(|known| is_close(name, known)).collect();
        let remedy = match schema::nearest(name, close.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None if is_service_link(name) => "Kubernetes sets it for a service named vbc-proxy; set \
                 `enableServiceLinks: false` in the pod to prevent that"
                .into(),
            None => "unset it".into(),
        };
        Flaw::new("this variable names no key of the configuration, so it is ignored", remedy)
    }
}

/// Whether a name is close enough to be suggested. Names of variables share a long prefix, so the
/// limit of [`schema::nearest`] alone would be too loose.
fn is_close(name: &str, known: &str) -> bool {
    name.len().abs_diff(known.len()) <= 3 && strsim::damerau_levenshtein(name, known) <= 3
}

fn is_service_link(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_TCP", "_UDP"].iter().any(|part| name.contains(part))
}

/// Adds the credential `default` if any of the four variables is set. Returns the names of those
/// that are set.
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
    let entry = |value| Entry::new(Location::Environment, value);
    let keys = STAND_INS.iter().filter(|(name, _)| wanted(name));
    let credential: Table = keys.map(|(name, key)| ((*key).to_owned(), entry(Value::text(name)))).collect();
    let credentials = Table::from([("default".to_owned(), entry(Value::Table(credential)))]);
    root.insert("credentials".to_owned(), entry(Value::Table(credentials)));
    used
}

#[cfg(test)]
mod tests {
    use super::super::sections::SCHEMA;
    use super::*;

    fn named(names: &[&str]) -> Names {
        let credentials = names.iter().map(|name| (as_variable(name), (*name).to_owned())).collect();
        Names { schema: &SCHEMA, credentials }
    }

    #[test]
    fn variables_name_section_and_key() {
        let section_key = |rest| named(&[]).section_key(rest).map(|(shape, key)| (shape.name, key));
        assert_eq!(section_key("LISTEN_ADDRESS"), Some(("listen", "address")));
        assert_eq!(section_key("OAUTH_TOKEN_URL"), Some(("oauth", "token_url")));
        assert_eq!(section_key("LISTEN_ADRESS"), None);
    }

    #[test]
    fn variables_find_the_credential_they_mean() {
        let names = named(&["my-crm", "default"]);
        let found = names.credential_key("CREDENTIALS_MY_CRM_CLIENT_ID");
        assert_eq!(found, Some(("my-crm".into(), "client_id")));
        assert_eq!(names.credential_key("CREDENTIALS_SALES_CLIENT_ID"), None);
        let none = named(&[]);
        let found = none.credential_key("CREDENTIALS_SALES_CLIENT_ID");
        assert_eq!(found, Some(("sales".into(), "client_id")));
        assert_eq!(none.credential_key("CREDENTIALS_CLIENT_ID"), None);
    }

    #[test]
    fn an_unknown_variable_is_explained() {
        let names = named(&["default"]);
        let remedy = |name| names.unknown(name).remedy;
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
