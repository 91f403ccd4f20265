//! Decides which values of a recording are kept, and replaces the others.
//!
//! [`Filter`] decides about single values. It uses the table of [`operations`], the known
//! [`secrets`] and the options in [`Retention`]. [`message`] applies it to whole requests and
//! responses.

mod archive;
mod harmless;
mod headers;
pub(crate) mod json;
mod kind;
mod message;
mod names;
pub(crate) mod operations;
mod pseudonyms;
mod secrets;
mod target;
mod vocabulary;

pub(crate) use harmless::is_harmless;
pub(crate) use kind::Kind;
pub(crate) use names::{names_secret, parameter_names_secret};
pub(crate) use pseudonyms::{Pseudonyms, is_hidden, may_be_recorded_as};
pub(crate) use secrets::KnownSecrets;

use operations::{Operation, PathMatch, Shape};

/// What a recording keeps in addition to harmless values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Telephone numbers, names, e-mail addresses and labels, in places that a table lists.
    pub(crate) personal: bool,
    /// Everything outside the operations of the API. Known secrets are not kept, nor values whose
    /// names call them credentials or personal data.
    pub(crate) unknown: bool,
    /// Values within an operation that no table lists. Set when a HAR is imported.
    pub(crate) unlisted: bool,
}

/// Keeps or replaces values. [`record`](Self::record) and [`request`](Self::request) take whole
/// messages. The other methods take single values.
#[derive(Clone, Copy)]
pub(crate) struct Filter<'f> {
    pub(crate) pseudonyms: &'f Pseudonyms,
    pub(crate) known: &'f KnownSecrets,
    pub(crate) retention: Retention,
}

/// The operation of a request. It decides about the parameters and both bodies.
#[derive(Clone, Copy, Debug)]
struct Endpoint {
    operation: Option<&'static Operation>,
    /// Whether values that no table lists are kept.
    keeps_unlisted: bool,
}

/// Decides about the values of one message.
#[derive(Clone, Copy)]
struct Scope<'s> {
    filter: &'s Filter<'s>,
    /// The scheme and authority under which the client reached the proxy. Links to this base are
    /// kept.
    base: &'s str,
    /// Whether values that no table lists are kept.
    keeps_unlisted: bool,
}

impl Scope<'_> {
    /// Replaces a value that no table lists. The value is never kept if its field's name calls it a
    /// secret.
    fn unlisted(&self, name: &str, text: &str) -> Option<String> {
        self.filter.unlisted(text, self.keeps_unlisted && !names_secret(name))
    }
}

impl Endpoint {
    /// The shape of the request's body. `None` if only its length is recorded.
    fn request(self) -> Option<Shape> {
        self.operation.map(|operation| operation.request).or(self.outside_api())
    }

    /// The shape of the response's body. `None` if only its length is recorded.
    fn response(self) -> Option<Shape> {
        self.operation.map(|operation| operation.response).or(self.outside_api())
    }

    fn outside_api(self) -> Option<Shape> {
        self.keeps_unlisted.then_some(Shape::Open)
    }
}

impl Filter<'_> {
    fn endpoint(&self, path: &PathMatch) -> Endpoint {
        let keeps_unlisted = self.retention.unlisted || (path.operation.is_none() && self.retention.unknown);
        Endpoint { operation: path.operation, keeps_unlisted }
    }

    /// Replaces a value of this kind. `None` if it is kept.
    fn value(&self, kind: Kind, text: &str) -> Option<String> {
        if is_hidden(text) {
            return None;
        }
        let is_kept = is_harmless(kind, text) || (self.retention.personal && kind.is_personal());
        if !is_kept {
            return Some(self.pseudonyms.of(kind, text));
        }
        self.known.is_in(text.as_bytes()).then(|| self.pseudonyms.opaque(text))
    }

    /// Replaces a name or a value that no table lists. `None` if it is kept.
    fn unlisted(&self, text: &str, keeps_unlisted: bool) -> Option<String> {
        if text.is_empty() || is_hidden(text) {
            return None;
        }
        if !keeps_unlisted {
            return Some(self.pseudonyms.of(Kind::Secret, text));
        }
        if !self.known.is_in(text.as_bytes()) {
            return None;
        }
        let rest = self.known.without(text.as_bytes()).and_then(|rest| String::from_utf8(rest).ok());
        Some(rest.unwrap_or_else(|| self.pseudonyms.opaque(text)))
    }
}
