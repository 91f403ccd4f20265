//! `proxy.toml` and `docs/configuration.md` are what the tables say.

use std::fs;
use std::path::Path;

use super::*;
use crate::config::schema::{Key, Shape};
use crate::config::sections::SCHEMA;

const EXAMPLE_HEAD: &str = r#"# vbc-proxy adds a fresh Authorization header to every request for the Vonage Business
# Communications API.
#
# A line that is commented out shows the default, or an example if there is no default. Durations
# and sizes carry units: "250ms", "10s", "1h30m"; "64KiB", "1MB". Paths are relative to this file. An
# environment variable overrides any key: VBC_PROXY_LISTEN_ADDRESS,
# VBC_PROXY_CREDENTIALS_DEFAULT_GRANT.
#
# `vbc-proxy check` validates this file and prints the effective configuration. `vbc-proxy serve
# --simulate` runs it with the built-in simulator, without a VBC account.
"#;

const REFERENCE_HEAD: &str = r#"# Configuration

Every key of `proxy.toml`. `vbc-proxy init` writes the file, `vbc-proxy check` validates it and prints
the effective configuration. All keys are optional unless they are marked as required.

Durations have units (`"250ms"`, `"10s"`, `"1h30m"`; ms, s, m, h, d), and so have sizes (`"64KiB"`,
`"1MB"`; B, kB, KiB, MB, MiB, GB, GiB). Paths are relative to the file. An environment variable overrides
any key: `VBC_PROXY_<SECTION>_<KEY>`, for example `VBC_PROXY_LISTEN_ADDRESS` or
`VBC_PROXY_CREDENTIALS_DEFAULT_GRANT`. Commas separate the items of lists and tables there.

This page is written from the tables in `src/config`. To write it again:
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
        text.push_str(&format!("\n## `[{name}]`\n\n{}\n\n", sentence(shape.doc)));
        text.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
        for key in shape.keys {
            text.push_str(&row(key));
        }
    }
    text
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

#[test]
fn the_documents_are_what_the_tables_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, expected) in [("proxy.toml", example()), ("docs/configuration.md", reference())] {
        let path = root.join(file);
        if std::env::var_os("VBC_PROXY_WRITE_DOCUMENTS").is_some() {
            fs::write(&path, &expected).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let hint = "VBC_PROXY_WRITE_DOCUMENTS=1 cargo test --lib config::tests::documents writes it again";
        assert!(text == expected, "{file} is not what the tables in src/config say; {hint}");
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
                "proxy.toml:4:1: kettle.milk_frist: there is no such key; did you mean `milk_first`?",
                "proxy.toml:2:8: kettle.boil: a duration needs a unit; \
                 write for example \"5s\"; the units are ms, s, m, h and d",
                "proxy.toml:3:8: kettle.cups: this is not a number that makes sense; \
                 write a number from 1 to 12, without quotes",
            ]
        );
    }
}
