//! Edits of a response after its request was executed. The effects of the request stay.

use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value, json};

use crate::response::{Response, body, cut, drip, replace, set};

/// The members of a token response that the fault `missing` can remove.
pub(crate) const MEMBERS: &[&str] =
    &["expires_in", "refresh_token", "access_token", "token_type", "scope", "id_token"];

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Please wait</title></head>\
                    <body><h1>The service is being updated</h1></body></html>\n";

/// A change of a response.
#[derive(Clone, Debug)]
pub enum Edit {
    /// A token response lacks this member.
    Missing(String),
    /// `expires_in` of a token response has this value; the lifetime of the token is unchanged.
    ExpiresInAs(Value),
    /// `token_type` of a token response has this value.
    TokenType(String),
    /// The body is an HTML page; the status stays.
    HtmlBody,
    /// The second half of the body is missing, and the response ends as if it were complete.
    TruncatedJson,
    /// The body is empty; status and type stay.
    EmptyBody,
    /// The response has this type; the body stays.
    WrongContentType(String),
    /// The body is sent at this many bytes per second.
    Drip(u32),
    /// The connection is reset after this many bytes of the body, or after half the body. An empty
    /// body is sent unchanged.
    ResetMidBody(Option<usize>),
    /// An error of the gateway is written in XML, as by gateways up to 2.x.
    XmlFault,
    /// An error of the gateway is wrapped in `fault`, with a numeric code, as by gateways of 3.x.
    FaultWrappedJson,
}

impl Edit {
    /// Whether it applies to token responses only.
    pub(super) fn is_for_tokens(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::ExpiresInAs(_) | Self::TokenType(_))
    }

    /// The parameters of the edit.
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

    /// Applies the edit to a response.
    pub(crate) fn apply(&self, response: &mut Response) {
        match self {
            Self::Missing(member) => edit_members(response, |members| {
                members.remove(member);
            }),
            Self::ExpiresInAs(value) => edit_members(response, |members| {
                members.insert("expires_in".into(), value.clone());
            }),
            Self::TokenType(value) => edit_members(response, |members| {
                members.insert("token_type".into(), value.as_str().into());
            }),
            Self::HtmlBody => {
                replace(response, PAGE.into());
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            }
            Self::TruncatedJson => {
                let whole = body(response);
                replace(response, whole.slice(..whole.len() / 2));
            }
            Self::EmptyBody => replace(response, bytes::Bytes::new()),
            Self::WrongContentType(content_type) => {
                set(response, CONTENT_TYPE, content_type);
            }
            Self::Drip(pace) => drip(response, *pace),
            Self::ResetMidBody(behind) => cut(response, *behind),
            Self::XmlFault => {
                if let Some(words) = GatewayError::of(response) {
                    replace(response, words.xml().into());
                    set(response, CONTENT_TYPE, "application/xml; charset=UTF-8");
                }
            }
            Self::FaultWrappedJson => {
                if let Some(words) = GatewayError::of(response) {
                    replace(response, words.wrapped().into());
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

/// The content of a gateway's error.
struct GatewayError {
    code: u64,
    message: String,
    description: String,
}

impl GatewayError {
    /// Reads an error; `None` for any other response.
    fn of(response: &mut Response) -> Option<Self> {
        if response.status().as_u16() < 400 {
            return None;
        }
        let members: Map<String, Value> = serde_json::from_slice(&body(response)).ok()?;
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
        let code = self.code;
        let message = &self.message;
        let description = &self.description;
        json!({ "fault": { "code": code, "message": message, "description": description } }).to_string()
    }
}

/// Edits the members of a successful response. Errors are not changed.
fn edit_members(response: &mut Response, edit: impl FnOnce(&mut Map<String, Value>)) {
    if response.status() != 200 {
        return;
    }
    if let Ok(mut members) = serde_json::from_slice(&body(response)) {
        edit(&mut members);
        replace(response, Value::Object(members).to_string().into());
    }
}
