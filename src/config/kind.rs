//! The macro that declares sections, and the kinds of values of their keys.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;
use vbc_base::units::{show_duration, show_size};

use super::document::Value;
use super::environment::as_variable;
use super::error::{Location, remedy_for};
use super::page::Page;
use super::schema::{Schema, Shape};
use super::section::{Reader, Section};
use super::variables::Variables;
use super::{units, urls};
use vbc_base::trusted::{self, Flaw, PEM_BYTES};

type ReadKey<T> = dyn Fn(&mut Section<'_, '_>, &str) -> Option<T> + Send + Sync;
type PrintKey<T> = dyn Fn(&mut Page, &str, &T) + Send + Sync;

/// The values of a key: their description in the documents, how they are read, and how they are
/// printed without secrets.
pub(super) struct Kind<T> {
    /// For example `a duration from 1ms to 1d`.
    pub(super) description: String,
    read: Box<ReadKey<T>>,
    print: Box<PrintKey<T>>,
}

impl<T> Kind<T> {
    pub(super) fn new(
        description: impl Into<String>,
        read: impl Fn(&mut Section<'_, '_>, &str) -> Option<T> + Send + Sync + 'static,
        print: impl Fn(&mut Page, &str, &T) + Send + Sync + 'static,
    ) -> Self {
        Self { description: description.into(), read: Box::new(read), print: Box::new(print) }
    }

    /// Takes the value of `key` from the section. `None` if the key is not given, or if its value
    /// is wrong. A wrong value also becomes a finding.
    pub(super) fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<T> {
        (self.read)(section, key)
    }

    pub(super) fn print(&self, page: &mut Page, key: &str, value: &T) {
        (self.print)(page, key, value);
    }
}

/// Declares a section: one line per key, with the documentation of the key above it.
///
/// - `field: Type = default, kind;` declares a key with the name of its field. The default is TOML.
///   Without a default, the field is an `Option`; `required` makes the key mandatory.
/// - Names in brackets after the field replace the field's name. Only one of several may be given.
/// - `lines [...]` are the key's lines in the shipped `proxy.toml`. Without `lines`, the key gets
///   one line: its default, commented out.
/// - `later` lists keys that are rejected as not available in this version.
/// - `fields` declares fields that are not keys.
///
/// The table generates the struct and its `Default`, the known keys, the reader, the redacted
/// printing, `proxy.toml` and `docs/configuration.md`.
macro_rules! settings {
    (
        $(#[doc = $doc:literal])+
        $vis:vis struct $Section:ident [$section:literal] {
            $(
                $(#[doc = $key_doc:literal])+
                $field:ident $([$($name:literal),+])?: $type:ty $(= $default:tt)?, $kind:expr
                    $(, lines [$($line:literal),+])?;
            )*
            $(later [$($later:literal),+];)?
            $(fields {
                $($(#[$meta:meta])+ $extra_vis:vis $extra:ident: $extra_type:ty = $extra_value:expr;)+
            })?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        $vis struct $Section {
            $($(#[doc = $key_doc])+ pub $field: $type,)*
            $($($(#[$meta])+ $extra_vis $extra: $extra_type,)+)?
        }

        impl $Section {
            pub(super) const SHAPE: $crate::config::schema::Shape = $crate::config::schema::Shape {
                name: $section,
                doc: concat!($($doc, "\n"),+),
                keys: &[$($crate::config::schema::Key {
                    names: settings!(@names $field $($($name)+)?),
                    doc: concat!($($key_doc, "\n"),+),
                    default: settings!(@default $($default)?),
                    lines: &[$($($line),+)?],
                    values: || $kind.description,
                }),*],
                later: &[$($($later),+)?],
            };

            pub(super) fn read_keys(section: &mut $crate::config::section::Section<'_, '_>) -> Self {
                Self {
                    $($field: settings!(
                        @read section, settings!(@names $field $($($name)+)?), $type, $kind, $($default)?
                    ),)*
                    $($($extra: $extra_value,)+)?
                }
            }

            /// Prints the keys, without secrets.
            pub(super) fn print(&self, page: &mut $crate::config::page::Page) {
                $(settings!(
                    @print page, settings!(@names $field $($($name)+)?), $type, $kind, &self.$field, $($default)?
                );)*
            }
        }

        impl Default for $Section {
            fn default() -> Self {
                $crate::config::kind::defaults(&Self::SHAPE, Self::read_keys)
            }
        }
    };

    (@names $field:ident) => { &[stringify!($field)] };
    (@names $field:ident $($name:literal)+) => { &[$($name),+] };
    (@default) => { None };
    (@default $default:tt) => { Some(stringify!($default)) };

    // Kinds and defaults are built only once, because there may be thousands of credentials.
    (@once $type:ty, $kind:expr) => {{
        static KIND: std::sync::LazyLock<$crate::config::kind::Kind<$type>> =
            std::sync::LazyLock::new(|| $kind);
        &*KIND
    }};
    (@once_optional $type:ty, $kind:expr) => {
        settings!(@once <$type as $crate::config::kind::Optional>::Value, $kind)
    };
    (@read $section:ident, $names:expr, $type:ty, $kind:expr,) => {
        settings!(@once_optional $type, $kind).read($section, $names[0])
    };
    (@read $section:ident, $names:expr, $type:ty, $kind:expr, required) => {
        $crate::config::kind::required(settings!(@once $type, $kind), $section, $names)
    };
    (@read $section:ident, $names:expr, $type:ty, $kind:expr, $default:tt) => {
        settings!(@once $type, $kind).read($section, $names[0]).unwrap_or_else(|| {
            static DEFAULT: std::sync::LazyLock<$type> = std::sync::LazyLock::new(|| {
                $crate::config::kind::default_of(&$kind, $names[0], stringify!($default))
            });
            DEFAULT.clone()
        })
    };
    (@print $page:ident, $names:expr, $type:ty, $kind:expr, $value:expr,) => {
        if let Some(value) = $value {
            settings!(@once_optional $type, $kind).print($page, $names[0], value);
        }
    };
    (@print $page:ident, $names:expr, $type:ty, $kind:expr, $value:expr, $default:tt) => {
        settings!(@once $type, $kind).print($page, $names[0], $value);
    };
}
pub(super) use settings;

/// The type of the value in an optional field: `T` for a field of type `Option<T>`, whose kind is
/// `Kind<T>`.
pub(super) trait Optional {
    type Value;
}

impl<T> Optional for Option<T> {
    type Value = T;
}

/// The default of a key. A path stays relative.
#[expect(
    clippy::expect_used,
    reason = "parses only the defaults in the tables, and a test parses all of them"
)]
pub(super) fn default_of<T>(kind: &Kind<T>, key: &str, default: &str) -> T {
    defaults(&NOTHING, |section| {
        section.put_default(key, default);
        kind.read(section, key).expect("a default that its kind accepts")
    })
}

pub(super) fn required<T: From<String>>(kind: &Kind<T>, section: &mut Section<'_, '_>, names: &[&str]) -> T {
    check_given(section, names, "");
    kind.read(section, names[0]).unwrap_or_else(|| String::new().into())
}

/// Reports a value that is given in none of its forms. `reason` says why it is needed.
pub(super) fn check_given(section: &mut Section<'_, '_>, names: &[&str], reason: &str) {
    if section.reader.simulate || names.iter().any(|name| section.is_given(name)) {
        return;
    }
    let name = names[0];
    let example = format!("{name}_env = \"VBC_{}\"", as_variable(name));
    let remedy = format!("give {name}, {name}_file or {name}_env, for example {example}");
    section.report(name, Flaw::new(format!("it is missing{reason}"), remedy));
}

const NOTHING: Shape = Shape { name: "", doc: "", keys: &[], later: &[] };

pub(super) fn defaults<T>(shape: &'static Shape, read: impl FnOnce(&mut Section<'_, '_>) -> T) -> T {
    const EMPTY: Schema = Schema { sections: &[], credential: NOTHING, later: &[] };
    let environment = Variables::default();
    let mut reader = Reader::new(&EMPTY, &environment, Location::Environment);
    read(&mut reader.open(None, shape, String::new()))
}

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
pub(super) const TIB: u64 = 1 << 40;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const YEAR: Duration = Duration::from_secs(365 * 86_400);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// A string that `parse` accepts and `show` prints.
pub(super) fn text<T>(
    description: impl Into<String>,
    parse: impl Fn(&str) -> Result<T, Flaw> + Send + Sync + 'static,
    show: impl Fn(&T) -> String + Send + Sync + 'static,
) -> Kind<T> {
    Kind::new(
        description,
        move |section, key| section.parsed(key, &parse),
        move |page, key, value| page.text(key, show(value)),
    )
}

/// A URL without a query.
pub(super) fn url(example: &'static str) -> Kind<Url> {
    text("a URL", move |text| urls::url(text, example), Url::to_string)
}

pub(super) fn span(least: Duration, most: Duration) -> Kind<Duration> {
    let description = format!("a duration from {} to {}", show_duration(least), show_duration(most));
    let parse = move |text: &str| units::duration_within(text, least, most);
    text(description, parse, |value| show_duration(*value))
}

pub(super) fn size<T>(least: T, most: T) -> Kind<T>
where
    T: Copy + TryInto<u64> + TryFrom<u64>,
{
    let bytes = |size: T| size.try_into().unwrap_or(u64::MAX);
    let (least, most) = (bytes(least), bytes(most));
    let parse = move |text: &str| {
        let size = units::size_within(text, least, most)?;
        T::try_from(size).map_err(|_| units::too_much(text, most))
    };
    let description = format!("a size from {} to {}", show_size(least), show_size(most));
    text(description, parse, move |size| show_size(bytes(*size)))
}

pub(super) fn number<T>(least: T, most: T) -> Kind<T>
where
    T: Copy + FromStr + PartialOrd + Display + Send + Sync + 'static,
{
    let read = move |section: &mut Section<'_, '_>, key: &str| {
        let item = section.take(key)?;
        let text = match &item.value {
            Value::Number(text) => Some(text),
            Value::Text(text) if item.is_variable() => Some(&**text),
            _ => None,
        };
        let number = text.and_then(|text| text.replace('_', "").parse().ok());
        let wrong = || Flaw::new(format!("expected a number from {least} to {most}, without quotes"), "");
        let number = number.filter(|number| least <= *number && *number <= most);
        let number = number.ok_or_else(wrong);
        section.accept(key, number)
    };
    let description = format!("a number from {least} to {most}");
    Kind::new(description, read, |page, key, value| page.bare(key, value))
}

pub(super) fn flag() -> Kind<bool> {
    Kind::new("true or false", read_flag, |page, key, value| page.bare(key, value))
}

/// `true` or `false`; printed only if true.
pub(super) fn quiet_flag() -> Kind<bool> {
    let print = |page: &mut Page, key: &str, value: &bool| {
        if *value {
            page.bare(key, value);
        }
    };
    Kind::new("true or false", read_flag, print)
}

fn read_flag(section: &mut Section<'_, '_>, key: &str) -> Option<bool> {
    let item = section.take(key)?;
    let value = match &item.value {
        Value::Bool(value) => Ok(*value),
        Value::Text(text) if item.is_variable() && **text == "true" => Ok(true),
        Value::Text(text) if item.is_variable() && **text == "false" => Ok(false),
        _ => Err(Flaw::new("expected true or false, without quotes", "")),
    };
    section.accept(key, value)
}

pub(super) fn choice<T: Copy + PartialEq + Sync>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let description = quoted.join(" or ");
    let remedy = format!("write {description}");
    let parse = move |text: &str| {
        let known = words.iter().find(|(word, _)| *word == text);
        let unknown = || Flaw::new(format!("unknown value {text:?}"), remedy.clone());
        known.map(|(_, value)| *value).ok_or_else(unknown)
    };
    let show = move |value: &T| {
        let word = words.iter().find(|(_, known)| known == value);
        word.map(|(word, _)| (*word).to_owned()).unwrap_or_default()
    };
    text(description, parse, show)
}

pub(super) fn set(what: &str, parse: fn(&str) -> Result<String, Flaw>) -> Kind<BTreeSet<String>> {
    let read = move |section: &mut Section<'_, '_>, key: &str| {
        let remedy = "write, for example, [\"one\", \"two\"]";
        let values = section.items(key, &Flaw::new("expected a list of strings", remedy), parse)?;
        Some(values.into_iter().collect())
    };
    Kind::new(format!("a list of {what}"), read, |page, key, value| page.list(key, value))
}

/// A path. Relative paths are relative to the directory of the file.
pub(super) fn path() -> Kind<PathBuf> {
    Kind::new("a path", |section, key| section.path(key), |page, key, value| page.text(key, value.display()))
}

/// A file of trust roots. It is not read under `--simulate`.
pub(super) fn ca_file() -> Kind<PathBuf> {
    let read = |section: &mut Section<'_, '_>, key: &str| {
        let path = section.path(key).filter(|_| !section.reader.simulate)?;
        let shown = path.display();
        let content = trusted::read(&path, PEM_BYTES).map(|file| section.checked(key, &path, file, false));
        let flaw = match content {
            Err(error) => Flaw::new(format!("cannot read {shown}: {error}"), remedy_for(&error)),
            Ok(bytes) if !String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") => {
                let remedy = "name a PEM file with -----BEGIN CERTIFICATE-----";
                Flaw::new(format!("{shown} contains no certificate"), remedy)
            }
            Ok(_) => return Some(path),
        };
        section.accept(key, Err(flaw))
    };
    let print = |page: &mut Page, key: &str, value: &PathBuf| page.text(key, value.display());
    Kind::new("a file with PEM certificates", read, print)
}
