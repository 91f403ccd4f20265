//! What is done to an answer after its request was executed: what was issued is issued.

use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value, json};

use crate::response::{Answer, body, cut, drip, replace, set};

/// Members that a token answer can lack.
pub(crate) const MEMBERS: &[&str] =
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
    /// The body is sent at this many bytes a second.
    Drip(u32),
    /// The connection is reset behind this many bytes of the body, or behind half of it; an empty one is left as it is.
    ResetMidBody(Option<usize>),
    /// An error of the gateway is written in XML, as gateways up to 2.x do.
    XmlFault,
    /// An error of the gateway is wrapped in a `fault`, with its code as a number, as gateways of 3.x do.
    FaultWrappedJson,
}

impl Edit {
    /// Whether it makes sense for token answers only.
    pub(super) fn is_for_tokens(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::ExpiresInAs(_) | Self::TokenType(_))
    }

    /// What it was given.
    pub(super) fn parameters(&self) -> Value {
        match self {
            Self::Missing(field) => json!({ "field": field }),
            Self::ExpiresInAs(value) => json!({ "value": value }),
            Self::TokenType(value) => json!({ "value": value }),
            Self::WrongContentType(content_type) => json!({ "content_type": content_type }),
            Self::Drip(pace) => json!({ "bytes_per_second": pace }),
            Self::ResetMidBody(Some(bytes)) => json!({ "bytes": bytes }),
            _ => json!({}),
        }
    }

    /// Alters the answer.
    pub(crate) fn apply(&self, answer: &mut Answer) {
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
                set(answer, CONTENT_TYPE, content_type);
            }
            Self::Drip(pace) => drip(answer, *pace),
            Self::ResetMidBody(behind) => cut(answer, *behind),
            Self::XmlFault => {
                if let Some(words) = GatewayError::of(answer) {
                    replace(answer, words.xml().into());
                    set(answer, CONTENT_TYPE, "application/xml; charset=UTF-8");
                }
            }
            Self::FaultWrappedJson => {
                if let Some(words) = GatewayError::of(answer) {
                    replace(answer, words.wrapped().into());
                }
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
            Self::Drip(_) => "drip",
            Self::ResetMidBody(_) => "reset_mid_body",
            Self::XmlFault => "xml_fault",
            Self::FaultWrappedJson => "fault_wrapped_json",
        }
    }
}

/// An error in the gateway's own words.
struct GatewayError {
    code: u64,
    message: String,
    description: String,
}

impl GatewayError {
    /// What an answer says, if it is one.
    fn of(answer: &mut Answer) -> Option<Self> {
        if answer.status().as_u16() < 400 {
            return None;
        }
        let members: Map<String, Value> = serde_json::from_slice(&body(answer)).ok()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        let code = text("code")?.parse().ok()?;
        Some(Self { code, message: text("message")?, description: text("description")? })
    }

    fn xml(&self) -> String {
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        format!(
            "<ams:fault xmlns:ams=\"http://wso2.org/apimanager/security\"><ams:code>{}</ams:code>\
             <ams:message>{}</ams:message><ams:description>{}</ams:description></ams:fault>",
            self.code,
            escaped(&self.message),
            escaped(&self.description)
        )
    }

    fn wrapped(&self) -> String {
        let (code, message, description) = (self.code, &self.message, &self.description);
        json!({ "fault": { "code": code, "message": message, "description": description } }).to_string()
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
