//! Writes TOML, line by line.

use std::fmt::{Arguments, Display, Write};

/// The text of a configuration while it is written.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    pub(super) fn section(&mut self, name: &str) -> &mut Self {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}[{name}]"));
        self
    }

    /// Writes a value in quotes.
    pub(super) fn text(&mut self, key: &str, value: impl Display) {
        self.bare(key, quoted(value));
    }

    /// Writes a list of values in quotes.
    pub(super) fn list(&mut self, key: &str, values: impl IntoIterator<Item = impl Display>) {
        let values: Vec<String> = values.into_iter().map(quoted).collect();
        self.line(format_args!("{key} = [{}]", values.join(", ")));
    }

    /// Writes a value that is already TOML.
    pub(super) fn bare(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    pub(super) fn comment(&mut self, text: &str) {
        self.line(format_args!("# {text}"));
    }

    fn line(&mut self, line: Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

fn quoted(value: impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}
