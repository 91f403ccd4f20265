//! Metrics, configuration keys and environment variables that documents name exist.

use std::collections::{BTreeMap, BTreeSet};

use super::markdown::Markdown;
use super::{assert_none, documents, present_documents, texts};
use crate::architecture::tokens::{Kind, tokens};
use crate::sources::{SourceFile, files, is_product};

/// Variables that only tests, scripts and examples read.
const VARIABLES_OF_TESTS: [&str; 2] = ["VBC_PROXY_SEED", "VBC_PROXY_WRITE_DOCUMENTS"];

const METRIC: &str = "vbc_proxy_";
/// The name of another thing that begins like a metric: a member of cassettes.
const NO_METRIC: &str = "vbc_proxy_cassette";

const VARIABLE: &str = "VBC_";

/// Tables of examples for other programs: a manifest of cargo, and a scenario of the simulator.
const OTHER_TABLES: [&str; 2] = ["dev-dependencies", "field"];

/// The string literals and names in these files.
fn words(files: &[SourceFile]) -> BTreeSet<&str> {
    let words = files.iter().flat_map(|file| tokens(&file.text)).filter_map(|token| match token.kind {
        Kind::Word(word) | Kind::Text(word) => Some(word),
        _ => None,
    });
    words.collect()
}

/// The names with this prefix in a text. A name that ends with `_` is a prefix of several.
fn names<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = text.match_indices(prefix).map(|(start, _)| start);
    let starts = starts.filter(|start| !text[..*start].ends_with(is_of_name));
    starts.map(|start| text[start..].split(|c| !is_of_name(c)).next().unwrap()).collect()
}

/// Whether a name in a document is known. A name that ends with `_` stands for every name with that
/// prefix.
fn is_known(name: &str, mut known: impl Iterator<Item = String>) -> bool {
    if name.ends_with('_') {
        known.any(|known| known.starts_with(name))
    } else {
        known.any(|known| known == name)
    }
}

/// The metrics in the tables of `docs/operations.md`. A test of the admin listener compares them
/// with the exposition.
fn metrics() -> BTreeSet<String> {
    let documents = documents();
    let cells = documents["docs/operations.md"].cells.iter();
    let names = cells.filter_map(|cell| cell.text.strip_prefix('`')?.strip_suffix('`'));
    let metrics: BTreeSet<String> =
        names.filter(|name| name.starts_with(METRIC)).map(ToOwned::to_owned).collect();
    assert!(metrics.len() > 15, "{metrics:?}");
    metrics
}

#[test]
fn metrics_in_documents_exist() {
    let metrics = metrics();
    let known = |name: &str| is_known(name, metrics.iter().cloned()) || name == NO_METRIC;
    let mut findings = Vec::new();
    let mut count = 0;
    for (path, text) in texts() {
        for (line, number) in text.lines().zip(1..) {
            for name in names(line, METRIC) {
                count += 1;
                if path != "CHANGELOG.md" && !known(name) {
                    findings.push(format!("{path}:{number}: docs/operations.md lists no metric {name}"));
                }
            }
        }
    }
    assert_none(&findings);
    assert!(count > 5, "only {count} metrics were found");
    for (name, exists) in [
        ("vbc_proxy_connections_open", true),
        ("vbc_proxy_records_", true),
        ("vbc_proxy_requests_total", true),
        ("vbc_proxy_requests", false),
        ("vbc_proxy_connections_open_total", false),
        ("vbc_proxy_no", false),
        ("vbc_proxy_rec_", false),
    ] {
        assert_eq!(known(name), exists, "{name}");
    }
}

/// The keys of each section, from `docs/configuration.md`, which a test of the library keeps true.
fn keys() -> BTreeMap<String, BTreeSet<String>> {
    let documents = documents();
    let reference = &documents["docs/configuration.md"];
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for heading in reference.headings.iter().filter(|heading| heading.text.starts_with("## `[")) {
        let section = heading.text.trim_start_matches("## `[").trim_end_matches("]`");
        let next = reference.headings.iter().map(|next| next.line).find(|line| *line > heading.line);
        let lines = heading.line..next.unwrap_or(usize::MAX);
        let mut rows = BTreeMap::new();
        for cell in reference.cells.iter().filter(|cell| lines.contains(&cell.line)) {
            // The first cell of a row names the key.
            rows.entry(cell.line).or_insert(&cell.text);
        }
        let names = rows
            .values()
            .flat_map(|cell| cell.split(", "))
            .filter_map(|name| name.strip_prefix('`')?.strip_suffix('`').map(ToOwned::to_owned));
        found.insert(section.to_owned(), names.collect());
    }
    assert!(found.len() > 8 && found["listen"].contains("address"), "{found:?}");
    found
}

/// The section and the key of a code span like `listen.address` or `retry.memory = "1MB"`.
fn key_of<'a>(span: &'a str, keys: &BTreeMap<String, BTreeSet<String>>) -> Option<(String, &'a str)> {
    const EXTENSIONS: [&str; 8] = ["rs", "toml", "md", "json", "yml", "service", "cassette", "log"];
    let path = span.split([' ', '=', ':', ',']).next()?;
    let (section, key) = path.rsplit_once('.')?;
    let section = match section.split_once('.') {
        Some(("credentials", _)) => "credentials.NAME",
        _ => section,
    };
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (keys.contains_key(section) && is_key && !EXTENSIONS.contains(&key)).then(|| (section.to_owned(), key))
}

#[test]
fn configuration_keys_in_documents_exist() {
    let keys = keys();
    let mut findings = Vec::new();
    let mut count = 0;
    for (path, Markdown { spans, .. }) in present_documents() {
        for span in spans {
            let Some((section, key)) = key_of(&span.text, &keys) else { continue };
            count += 1;
            if !keys[&section].contains(key) {
                findings.push(format!("{path}:{}: [{section}] has no key {key}", span.line));
            }
        }
    }
    assert_none(&findings);
    assert!(count > 30, "only {count} keys were found");
    assert_eq!(key_of("listen.address = \"a\"", &keys), Some(("listen".to_owned(), "address")));
    assert_eq!(key_of("credentials.crm.grant", &keys), Some(("credentials.NAME".to_owned(), "grant")));
    for other in ["listen.rs", "a.address", "listen", "listen.Address"] {
        assert_eq!(key_of(other, &keys), None, "{other}");
    }
}

/// What is wrong with an example of `proxy.toml`.
fn check_example(example: &str, keys: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let table: toml::Table = match example.parse() {
        Ok(table) => table,
        Err(error) => return vec![format!("not TOML: {error}")],
    };
    let mut sections: Vec<(String, &toml::Value)> = Vec::new();
    for (name, value) in table.iter().filter(|(name, _)| !OTHER_TABLES.contains(&name.as_str())) {
        match value.as_table() {
            Some(credentials) if name == "credentials" => {
                sections.extend(credentials.values().map(|value| ("credentials.NAME".to_owned(), value)));
            }
            _ => sections.push((name.clone(), value)),
        }
    }
    let mut found = Vec::new();
    for (section, value) in sections {
        let (Some(known), Some(table)) = (keys.get(&section), value.as_table()) else {
            found.push(format!("there is no [{section}]"));
            continue;
        };
        let unknown = table.keys().filter(|key| !known.contains(*key));
        found.extend(unknown.map(|key| format!("[{section}] has no key {key}")));
    }
    found
}

#[test]
fn sections_and_keys_of_examples_exist() {
    let keys = keys();
    let mut findings = Vec::new();
    let mut count = 0;
    for (path, Markdown { blocks, .. }) in present_documents() {
        for block in blocks.iter().filter(|block| block.language == "toml") {
            count += 1;
            let found = check_example(&block.text, &keys);
            findings.extend(found.iter().map(|what| format!("{path}:{}: {what}", block.line)));
        }
    }
    assert_none(&findings);
    assert!(count > 5, "only {count} examples were found");
    let good = "listen.address = \"a\"\n[credentials.crm]\ngrant = \"a\"\n[field]\na = 1\n";
    assert_eq!(check_example(good, &keys), [""; 0]);
    for (bad, what) in [
        ("[no]\na = 1\n", "there is no [no]"),
        ("a = 1\n", "there is no [a]"),
        ("[listen]\nno = 1\n", "[listen] has no key no"),
        ("[credentials.crm]\nno = 1\n", "[credentials.NAME] has no key no"),
    ] {
        assert_eq!(check_example(bad, &keys), [what], "{bad}");
    }
    assert_eq!(check_example("[", &keys).len(), 1);
}

#[test]
fn environment_variables_in_documents_exist() {
    let keys = keys();
    let of_keys = keys.iter().flat_map(|(section, keys)| {
        let section = section.replace('.', "_").to_uppercase();
        keys.iter().map(move |key| format!("VBC_PROXY_{section}_{}", key.to_uppercase()))
    });
    let of_keys: BTreeSet<String> = of_keys.collect();
    let files: Vec<SourceFile> = files().into_iter().filter(|file| is_product(&file.path)).collect();
    let read = words(&files);
    let known = |name: &str| {
        // The name of a credential is a part of its variables, and may contain `_`.
        let of_credential = name.strip_prefix("VBC_PROXY_CREDENTIALS_").is_some_and(|rest| {
            keys["credentials.NAME"].iter().any(|key| rest.ends_with(&format!("_{}", key.to_uppercase())))
        });
        of_credential
            || read.contains(name)
            || VARIABLES_OF_TESTS.contains(&name)
            || is_known(name, of_keys.iter().cloned())
    };
    let mut findings = Vec::new();
    let mut count = 0;
    for (path, text) in texts() {
        for (line, number) in text.lines().zip(1..) {
            for name in names(line, VARIABLE) {
                count += 1;
                if path != "CHANGELOG.md" && !known(name) {
                    findings.push(format!("{path}:{number}: nothing reads {name}"));
                }
            }
        }
    }
    assert_none(&findings);
    assert!(count > 5, "only {count} variables were found");
    for (name, exists) in [
        ("VBC_PROXY_LISTEN_ADDRESS", true),
        ("VBC_PROXY_CREDENTIALS_MY_CRM_GRANT", true),
        ("VBC_PROXY_LISTEN_", true),
        ("VBC_PROXY_LISTEN_NO", false),
        ("VBC_PROXY_CREDENTIALS_CRM_NO", false),
        ("VBC_CLIENT_ID", true),
        ("VBC_CLIENT_NO", false),
    ] {
        assert_eq!(known(name), exists, "{name}");
    }
}
