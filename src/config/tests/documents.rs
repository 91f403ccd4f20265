//! `proxy.toml` and `docs/configuration.md` are generated from the tables of the sections.

use std::fs;
use std::path::Path;

use super::*;
use crate::config::schema::{Key, Shape};
use crate::config::sections::SCHEMA;

const EXAMPLE_HEAD: &str = r#"# vbc-proxy adds a fresh Authorization header to every request for the Vonage Business
# Communications API.
#
# A commented-out line shows the default of its key, or an example if there is no default.
# Durations and sizes have units: "250ms", "10s", "1h30m"; "64KiB", "1MB". Relative paths are
# relative to this file. An environment variable overrides each key, for example
# VBC_PROXY_LISTEN_ADDRESS or VBC_PROXY_CREDENTIALS_DEFAULT_GRANT.
#
# `vbc-proxy check` checks this file and prints the effective settings.
# `vbc-proxy serve --simulate` runs it with the built-in simulator, without a VBC account.
"#;

const REFERENCE_HEAD: &str = r#"# Configuration

This page lists every key of `proxy.toml`. `vbc-proxy init` writes a file with all keys and their
defaults. `vbc-proxy check` reports all problems of your file at once, each with its line, key and
remedy, and prints the effective settings without secrets. The file is read once, at the start:
restart the proxy to apply a change. Only the certificates of `listen.tls` are reloaded while it
runs.

## How the file is found

1. `--config FILE` names it.
2. Without that option, `proxy.toml` in the working directory is used if it exists.
3. Without any file, the environment variables `VBC_CLIENT_ID`, `VBC_CLIENT_SECRET`, `VBC_USERNAME`
   and `VBC_PASSWORD` define one credential, called `default`. All other keys have their defaults.

Relative paths in the configuration are relative to the directory of the file, or to the working
directory if there is no file. A file that other users can change is rejected. Unknown sections and
keys are errors.

## Environment variables

`VBC_PROXY_<SECTION>_<KEY>` overrides a key of the file, or sets it if the file does not have it.
The name is in upper case, with `_` for `-`:

| key | variable |
| --- | --- |
| `listen.address` | `VBC_PROXY_LISTEN_ADDRESS` |
| `upstream.connect_timeout` | `VBC_PROXY_UPSTREAM_CONNECT_TIMEOUT` |
| `credentials.default.grant` | `VBC_PROXY_CREDENTIALS_DEFAULT_GRANT` |
| `credentials.my-crm.username` | `VBC_PROXY_CREDENTIALS_MY_CRM_USERNAME` |

The value is written without quotes. In lists and tables, commas separate the items:
`VBC_PROXY_LISTEN_HOSTS=vbc.internal,vbc.example`. An empty variable counts as not set. A variable
with an unknown name is ignored with a warning.

## Secrets

`client_id`, `client_secret`, `username` and `password` each have three forms. Give exactly one:

| form | meaning |
| --- | --- |
| `client_secret_env = "VBC_CLIENT_SECRET"` | the name of an environment variable that contains the value |
| `client_secret_file = "client_secret"` | a file that contains the value; a line end after it is ignored |
| `client_secret = "…"` | the value itself |

A first refresh token has only the forms `refresh_token_env` and `refresh_token_file`. There is a
warning if other users can read a file with a secret. `serve --simulate` reads no secrets. Messages,
logs and the output of `check` never show a secret.

## Values

- Durations have units: `"250ms"`, `"10s"`, `"1h30m"`. The units are ms, s, m, h and d.
- Sizes have units: `"64KiB"`, `"1MB"`. The units are B, kB, KiB, MB, MiB, GB and GiB.
- Strings have quotes. Numbers, `true` and `false` have none.
- A key is optional unless its default is *required*. *none* means that there is no default.
"#;

const REFERENCE_TAIL: &str = r#"
---

This page is generated from the tables in `src/config`. After a change there, run
`VBC_PROXY_WRITE_DOCUMENTS=1 cargo test --lib config::tests::documents`.
"#;

/// All sections, in the order in which they are printed.
fn shapes() -> Vec<(String, &'static Shape)> {
    let section = |shape: &'static Shape| (shape.name.to_owned(), shape);
    let mut shapes: Vec<_> = SCHEMA.sections.iter().map(section).collect();
    let log = shapes.iter().position(|(name, _)| name == "log").unwrap();
    shapes.insert(log, ("credentials.default".into(), &SCHEMA.credential));
    shapes
}

/// The shipped `proxy.toml`.
fn example() -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    for (name, shape) in shapes() {
        text.push('\n');
        push_comment(&mut text, shape.doc);
        text.push_str(&format!("[{name}]\n"));
        for key in shape.keys {
            push_comment(&mut text, key.doc);
            if key.lines.is_empty() {
                text.push_str(&format!("# {} = {}\n", key.names[0], key.default.unwrap()));
            }
            for line in key.lines {
                let (name, _) = line.trim_start_matches("# ").split_once(" = ").unwrap();
                assert!(key.names.contains(&name), "{line}");
                text.push_str(&format!("{line}\n"));
            }
        }
    }
    text
}

fn push_comment(text: &mut String, doc: &str) {
    for line in doc.lines() {
        text.push_str(&format!("#{line}\n"));
    }
}

/// `docs/configuration.md`.
fn reference() -> String {
    let mut text = REFERENCE_HEAD.to_owned();
    for (name, shape) in shapes() {
        let name = name.replace("default", "NAME");
        text.push_str(&format!("\n## `[{name}]`\n\n{}\n\n", wrapped(&sentence(shape.doc))));
        text.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
        for key in shape.keys {
            text.push_str(&row(key));
        }
    }
    text + REFERENCE_TAIL
}

fn row(key: &Key) -> String {
    let names: Vec<String> = key.names.iter().map(|name| format!("`{name}`")).collect();
    let default = match key.default {
        Some("required") => "required".into(),
        Some(default) => format!("`{default}`"),
        None => "none".into(),
    };
    let values = (key.values)().replace('|', "\\|");
    format!("| {} | {values} | {default} | {} |\n", names.join(", "), sentence(key.doc).replace('|', "\\|"))
}

fn sentence(doc: &str) -> String {
    doc.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Breaks a text into lines of at most 100 columns.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[test]
fn the_documents_are_what_the_tables_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, expected) in [("proxy.toml", example()), ("docs/configuration.md", reference())] {
        let path = root.join(file);
        if std::env::var_os("VBC_PROXY_WRITE_DOCUMENTS").is_some() {
            fs::write(&path, &expected).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let hint = "run VBC_PROXY_WRITE_DOCUMENTS=1 cargo test --lib config::tests::documents";
        assert!(text == expected, "{file} differs from the tables in src/config; {hint}");
    }
}

mod section_of_a_test {
    use std::time::Duration;

    use super::*;
    use crate::config::document;
    use crate::config::kind::{DAY, MILLISECOND, flag, number, settings, span};
    use crate::config::page::Page;
    use crate::config::schema::Schema;
    use crate::config::section::Reader;
    use crate::config::{environment as overlay, error::Location};

    settings! {
        /// A section that only this test has.
        struct Kettle ["kettle"] {
            /// How long the water boils.
            boil: Duration = "3m", span(MILLISECOND, DAY);
            /// Cups at once.
            cups: u32 = 2, number(1, 12);
            /// Milk first.
            milk_first: bool = false, flag();
        }
    }

    const TEST_SCHEMA: Schema =
        Schema { sections: &[Kettle::SHAPE], credential: SCHEMA.credential, later: &[] };

    /// Reads a `[kettle]`. Returns it and the findings.
    fn kettle(lines: &str, variables: &[(&str, &str)]) -> (Kettle, Vec<String>) {
        let (mut root, _) = document::parse(&"proxy.toml".into(), &format!("[kettle]\n{lines}"));
        let variables = environment(variables);
        let mut reader = Reader::new(&TEST_SCHEMA, &variables, Location::Environment);
        overlay::lay_over(&mut reader, &mut root);
        let kettle = Kettle::read_keys(&mut reader.section(&mut root, &Kettle::SHAPE));
        (kettle, shown(&reader.findings))
    }

    #[test]
    fn a_line_in_a_table_is_all_that_a_key_takes() {
        let (kettle, findings) = kettle("cups = 4\n", &[("VBC_PROXY_KETTLE_BOIL", "1m")]);
        assert!(findings.is_empty(), "{findings:?}");
        let mut page = Page::default();
        kettle.print(&mut page);
        assert_eq!(page.into_text(), "boil = \"1m\"\ncups = 4\nmilk_first = false\n");
        let default = Kettle::default();
        assert_eq!((default.boil.as_secs(), default.cups, default.milk_first), (180, 2, false));
        let rows: String = Kettle::SHAPE.keys.iter().map(row).collect();
        assert_eq!(
            rows,
            "| `boil` | a duration from 1ms to 1d | `\"3m\"` | How long the water boils. |\n\
             | `cups` | a number from 1 to 12 | `2` | Cups at once. |\n\
             | `milk_first` | true or false | `false` | Milk first. |\n"
        );
    }

    #[test]
    fn what_is_wrong_with_a_key_of_a_table_is_found() {
        let (_, findings) = kettle("boil = 5\ncups = 13\nmilk_frist = true\n", &[]);
        assert_eq!(
            findings,
            [
                "proxy.toml:4:1: kettle.milk_frist: unknown key; did you mean `milk_first`?",
                "proxy.toml:2:8: kettle.boil: a duration needs a unit; \
                 write, for example, \"5s\"; the units are ms, s, m, h and d",
                "proxy.toml:3:8: kettle.cups: expected a number from 1 to 12, without quotes",
            ]
        );
    }
}
