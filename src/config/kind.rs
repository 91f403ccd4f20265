//! The tables of sections, and the kinds of values their keys take.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::document::Value;
use super::error::{Complaint, Location, remedy_for};
use super::page::Page;
use super::schema::{Schema, Shape};
use super::section::{Reader, Section};
use super::units::{self, show_duration, show_size};
use super::variables::Variables;
use crate::trusted::PEM_BYTES;

/// How the value of a key is read and printed.
pub(super) trait Kind {
    /// The value in the configuration.
    type Value;

    /// Describes the values for the documents: `a duration from 1ms to 1d`.
    fn describe(&self) -> String;

    /// Takes the value of `key`. A wrong value becomes a finding, and `None`.
    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<Self::Value>;

    /// Prints the value, without secrets.
    fn print(&self, page: &mut Page, key: &str, value: &Self::Value);
}

/// Declares a section: one line for each key, with its documentation above.
///
/// `field: Type = default, kind;` for a key that is called like its field. The default is TOML;
/// without one, the field is an `Option`. `required` makes a key without which there is no
/// configuration. Names in brackets after the field replace its own; of several, one can be given.
/// `lines [...]` has the lines of the shipped `proxy.toml`, if it is not the default, commented
/// out. `later` lists keys that are refused as not available, and `besides` fields that are not
/// keys.
///
/// Everything else comes from the table: the struct and its `Default`, the known keys, the reader,
/// the redacted printing, `proxy.toml` and `docs/configuration.md`.
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
            $(besides {
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
                    values: || $crate::config::kind::Kind::describe(&$kind),
                }),*],
                later: &[$($($later),+)?],
            };

            /// Reads the keys, each by itself.
            pub(super) fn read_keys(section: &mut $crate::config::section::Section<'_, '_>) -> Self {
                Self {
                    $($field: settings!(
                        @read section, settings!(@name $field $($($name)+)?), $kind, $($default)?
                    ),)*
                    $($($extra: $extra_value,)+)?
                }
            }

            /// Prints the keys, without secrets.
            pub(super) fn print(&self, page: &mut $crate::config::page::Page) {
                $(settings!(
                    @print page, settings!(@name $field $($($name)+)?), $kind, &self.$field, $($default)?
                );)*
            }
        }

        impl Default for $Section {
            fn default() -> Self {
                $crate::config::kind::defaults(&Self::SHAPE, Self::read_keys)
            }
        }
    };

    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal $($more:literal)*) => { $name };
    (@names $field:ident) => { &[stringify!($field)] };
    (@names $field:ident $($name:literal)+) => { &[$($name),+] };
    (@default) => { None };
    (@default $default:tt) => { Some(stringify!($default)) };

    (@read $section:ident, $name:expr, $kind:expr,) => {
        $crate::config::kind::Kind::read(&$kind, $section, $name)
    };
    (@read $section:ident, $name:expr, $kind:expr, required) => {
        $crate::config::secrets::required(&$kind, $section, $name)
    };
    (@read $section:ident, $name:expr, $kind:expr, $default:tt) => {
        $crate::config::kind::or_default(&$kind, $section, $name, stringify!($default))
    };
    (@print $page:ident, $name:expr, $kind:expr, $value:expr,) => {
        if let Some(value) = $value {
            $crate::config::kind::Kind::print(&$kind, $page, $name, value);
        }
    };
    (@print $page:ident, $name:expr, $kind:expr, $value:expr, $default:tt) => {
        $crate::config::kind::Kind::print(&$kind, $page, $name, $value);
    };
}
pub(super) use settings;

/// Reads a key that has a default.
#[expect(clippy::expect_used, reason = "for defaults in the tables, which a test reads")]
pub(super) fn or_default<K: Kind>(
    kind: &K,
    section: &mut Section<'_, '_>,
    key: &str,
    default: &str,
) -> K::Value {
    kind.read(section, key).unwrap_or_else(|| {
        section.put_default(key, default);
        kind.read(section, key).expect("a default that its kind accepts")
    })
}

/// Reads a section in which nothing is given.
pub(super) fn defaults<T>(shape: &'static Shape, read: impl FnOnce(&mut Section<'_, '_>) -> T) -> T {
    const NOTHING: Shape = Shape { name: "", doc: "", keys: &[], later: &[] };
    const EMPTY: Schema = Schema { sections: &[], credential: NOTHING, later: &[] };
    let environment = Variables::default();
    let mut reader = Reader::new(&EMPTY, &environment, Location::Environment);
    read(&mut reader.open(None, shape, String::new()))
}

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
pub(super) const TIB: u64 = 1 << 40;

/// A day, the longest of most durations.
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// A year, the longest of the others.
pub(super) const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// The shortest duration of a deadline.
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// A text in quotes that `parse` accepts and `show` prints.
pub(super) struct Text<T> {
    pub(super) what: &'static str,
    pub(super) parse: fn(&str) -> Result<T, Complaint>,
    pub(super) show: fn(&T) -> String,
}

/// A duration in this range.
pub(super) struct Span(pub(super) Duration, pub(super) Duration);

/// A number of bytes in this range.
pub(super) struct Size<T>(pub(super) T, pub(super) T);

/// A number in this range.
pub(super) struct Number<T>(pub(super) T, pub(super) T);

/// `true` or `false`.
pub(super) struct Flag {
    /// Printed only when it is true.
    pub(super) quiet: bool,
}

pub(super) const FLAG: Flag = Flag { quiet: false };

/// One of these words.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

/// A set of texts.
pub(super) struct Set(pub(super) &'static str, pub(super) fn(&str) -> Result<String, Complaint>);

/// A path, relative to the file.
pub(super) struct FilePath;

/// A file of trust roots. It is not read under `--simulate`.
pub(super) struct CaFile;

impl<T> Kind for Text<T> {
    type Value = T;

    fn describe(&self) -> String {
        self.what.to_owned()
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<T> {
        section.parsed(key, self.parse)
    }

    fn print(&self, page: &mut Page, key: &str, value: &T) {
        page.text(key, (self.show)(value));
    }
}

impl Kind for Span {
    type Value = Duration;

    fn describe(&self) -> String {
        format!("a duration from {} to {}", show_duration(self.0), show_duration(self.1))
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<Duration> {
        section.parsed(key, |text| units::duration_within(text, self.0, self.1))
    }

    fn print(&self, page: &mut Page, key: &str, value: &Duration) {
        page.text(key, show_duration(*value));
    }
}

/// Numbers of bytes, in memory or on disk.
pub(super) trait Bytes: Copy + TryFrom<u64> {
    fn get(self) -> u64;
}

impl Bytes for usize {
    fn get(self) -> u64 {
        self as u64
    }
}

impl Bytes for u64 {
    fn get(self) -> u64 {
        self
    }
}

impl<T: Bytes> Kind for Size<T> {
    type Value = T;

    fn describe(&self) -> String {
        format!("a size from {} to {}", show_size(self.0.get()), show_size(self.1.get()))
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<T> {
        let parse = |text: &str| {
            let bytes = units::size_within(text, self.0.get(), self.1.get())?;
            T::try_from(bytes).map_err(|_| units::too_much(text, self.1.get()))
        };
        section.parsed(key, parse)
    }

    fn print(&self, page: &mut Page, key: &str, value: &T) {
        page.text(key, show_size(value.get()));
    }
}

impl<T: Copy + FromStr + PartialOrd + Display> Kind for Number<T> {
    type Value = T;

    fn describe(&self) -> String {
        format!("a number from {} to {}", self.0, self.1)
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<T> {
        let item = section.take(key)?;
        let text = match &item.value {
            Value::Number(text) => Some(text),
            Value::Text(text) if item.is_variable() => Some(&**text),
            _ => None,
        };
        let number = text.and_then(|text| text.replace('_', "").parse().ok());
        let number = number.filter(|number| self.0 <= *number && *number <= self.1);
        if number.is_none() {
            let remedy = format!("write a number from {} to {}, without quotes", self.0, self.1);
            section.report(key, Complaint::new("this is not a number that makes sense", remedy));
        }
        number
    }

    fn print(&self, page: &mut Page, key: &str, value: &T) {
        page.bare(key, value);
    }
}

impl Kind for Flag {
    type Value = bool;

    fn describe(&self) -> String {
        "true or false".into()
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<bool> {
        let item = section.take(key)?;
        match &item.value {
            Value::Bool(value) => return Some(*value),
            Value::Text(text) if item.is_variable() && **text == "true" => return Some(true),
            Value::Text(text) if item.is_variable() && **text == "false" => return Some(false),
            _ => {}
        }
        let remedy = "write true or false, without quotes";
        section.report(key, Complaint::new("this is neither true nor false", remedy));
        None
    }

    fn print(&self, page: &mut Page, key: &str, value: &bool) {
        if *value || !self.quiet {
            page.bare(key, value);
        }
    }
}

impl<T> Choice<T> {
    fn words(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        words.join(" or ")
    }
}

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn describe(&self) -> String {
        self.words()
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<T> {
        section.parsed(key, |text| {
            let known = self.0.iter().find(|(word, _)| *word == text);
            let unknown =
                || Complaint::new(format!("{text:?} is not known"), format!("write {}", self.words()));
            known.map(|(_, value)| *value).ok_or_else(unknown)
        })
    }

    fn print(&self, page: &mut Page, key: &str, value: &T) {
        for (word, _) in self.0.iter().filter(|(_, known)| known == value) {
            page.text(key, word);
        }
    }
}

impl Kind for Set {
    type Value = BTreeSet<String>;

    fn describe(&self) -> String {
        format!("a list of {}", self.0)
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<BTreeSet<String>> {
        let remedy = "write for example [\"one\", \"two\"]";
        let values = section.items(key, &Complaint::new("this is not a list of texts", remedy), self.1)?;
        Some(values.into_iter().collect())
    }

    fn print(&self, page: &mut Page, key: &str, value: &BTreeSet<String>) {
        page.list(key, value);
    }
}

impl Kind for FilePath {
    type Value = PathBuf;

    fn describe(&self) -> String {
        "a path".into()
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<PathBuf> {
        section.path(key)
    }

    fn print(&self, page: &mut Page, key: &str, value: &PathBuf) {
        page.text(key, value.display());
    }
}

impl Kind for CaFile {
    type Value = PathBuf;

    fn describe(&self) -> String {
        "a file with PEM certificates".into()
    }

    fn read(&self, section: &mut Section<'_, '_>, key: &str) -> Option<PathBuf> {
        let path = section.path(key)?;
        if section.reader.simulate {
            return None;
        }
        let shown = path.display();
        let complaint = match section.trusted(key, &path, PEM_BYTES, false) {
            Err(error) => Complaint::new(format!("cannot read {shown}: {error}"), remedy_for(&error)),
            Ok(bytes) if !String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") => {
                let remedy = "it must be PEM: -----BEGIN CERTIFICATE-----";
                Complaint::new(format!("{shown} holds no certificate"), remedy)
            }
            Ok(_) => return Some(path),
        };
        section.report(key, complaint);
        None
    }

    fn print(&self, page: &mut Page, key: &str, value: &PathBuf) {
        page.text(key, value.display());
    }
}
