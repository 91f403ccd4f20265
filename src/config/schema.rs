//! The sections and keys that the tables declare, and suggestions for misspelled keys.

/// A key, declared by its line in a table.
#[cfg_attr(not(test), allow(dead_code, reason = "tests write and compare the documents"))]
pub(super) struct Key {
    /// The names under which the value can be given. Only one of them may be used.
    pub(super) names: &'static [&'static str],
    /// The meaning of the key, line by line.
    pub(super) doc: &'static str,
    /// The default as TOML, or `required`. `None`: the key has no default.
    pub(super) default: Option<&'static str>,
    /// The lines in the shipped `proxy.toml`. Empty: one line with the default, commented out.
    pub(super) lines: &'static [&'static str],
    /// Describes the values that the key accepts.
    pub(super) values: fn() -> String,
}

/// A section, declared by its table.
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// The meaning of the section, line by line.
    #[cfg_attr(not(test), allow(dead_code, reason = "tests write and compare the documents"))]
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
    /// Keys of features that this version does not have. Their findings say so.
    pub(super) later: &'static [&'static str],
}

impl Shape {
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().flat_map(|key| key.names.iter().copied())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// All names of the key that has this name, including `name` itself. Only one may be given.
    pub(super) fn alternatives(&self, name: &str) -> &'static [&'static str] {
        self.keys.iter().map(|key| key.names).find(|names| names.contains(&name)).unwrap_or_default()
    }
}

/// All sections.
pub(super) struct Schema {
    /// The sections that exist once.
    pub(super) sections: &'static [Shape],
    /// `[credentials.NAME]`.
    pub(super) credential: Shape,
    /// Sections of features that this version does not have. Their findings say so.
    pub(super) later: &'static [&'static str],
}

impl Schema {
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.sections.iter().map(|shape| shape.name).chain([self.credential.name])
    }

    pub(super) fn home(&self, name: &str) -> Option<&'static str> {
        self.sections.iter().find(|shape| shape.has(name)).map(|shape| shape.name)
    }

    pub(super) fn remedy_for_unknown_key(&self, shape: &Shape, key: &str) -> String {
        if let Some(near) = nearest(key, shape.names()) {
            format!("did you mean `{near}`?")
        } else if let Some(home) = self.home(key) {
            format!("it belongs to [{home}]")
        } else if self.credential.has(key) {
            "it belongs to [credentials.NAME]".into()
        } else {
            format!("the keys are: {}", shape.names().collect::<Vec<_>>().join(", "))
        }
    }
}

/// The candidate that is most similar to a misspelled word. `None` if none is similar enough.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_ascii_lowercase();
    let allowed = word.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
