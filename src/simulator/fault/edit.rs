//! What is done to an answer after its request was executed: what was issued is issued.

use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value};

use crate::simulator::answer::{Answer, body, replace};

/// Members that a token answer can lack.
pub(super) const MEMBERS: &[&str] =
    &["expires_in", "refresh_token", "access_token", "token_type", "scope", "id_token"];

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Please wait</title></head>\
                    <body><h1>The service is being updated</h1></body></html>\n";

/// How an answer is altered.
#[derive(Clone, Debug)]
pub enum Edit {
    /// A token answer lacks this member.
    Missing(String),
    /// `expires_in` of a token answer is this; the token lives as long as ever.
    ExpiresInAs(Value),
    /// `token_type` of a token answer is this.
    TokenType(String),
    /// A page in place of the body; the status stays.
    HtmlBody,
    /// The second half of the body is missing, and the answer ends as if it were whole.
    TruncatedJson,
    /// No body; status and type stay.
    EmptyBody,
    /// The body is said to be of this type.
    WrongContentType(String),
}

impl Edit {
    /// Whether it makes sense for token answers only.
    pub(super) fn is_for_tokens(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::ExpiresInAs(_) | Self::TokenType(_))
    }

    /// Alters the answer.
    pub(in crate::simulator) fn apply(&self, answer: &mut Answer) {
        match self {
            Self::Missing(member) => edit_members(answer, |members| {
                members.remove(member);
            }),
            Self::ExpiresInAs(value) => edit_members(answer, |members| {
                members.insert("expires_in".into(), value.clone());
            }),
            Self::TokenType(value) => edit_members(answer, |members| {
                members.insert("token_type".into(), value.as_str().into());
            }),
            Self::HtmlBody => {
                replace(answer, PAGE.into());
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            }
            Self::TruncatedJson => {
                let whole = body(answer);
                replace(answer, whole.slice(..whole.len() / 2));
            }
            Self::EmptyBody => replace(answer, bytes::Bytes::new()),
            Self::WrongContentType(content_type) => {
                crate::simulator::answer::set(answer, CONTENT_TYPE, content_type);
            }
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::ExpiresInAs(_) => "expires_in_as",
            Self::TokenType(_) => "token_type",
            Self::HtmlBody => "html_body",
            Self::TruncatedJson => "truncated_json",
            Self::EmptyBody => "empty_body",
            Self::WrongContentType(_) => "wrong_content_type",
        }
    }
}

/// A refusal is left as it is.
fn edit_members(answer: &mut Answer, edit: impl FnOnce(&mut Map<String, Value>)) {
    if answer.status() != 200 {
        return;
    }
    if let Ok(mut members) = serde_json::from_slice(&body(answer)) {
        edit(&mut members);
        replace(answer, Value::Object(members).to_string().into());
    }
}
