//! Reads error bodies of every form, from token endpoints, the gateway and the suites.
//!
//! WSO2 sends `{"code":…}` (gateway 4.x), `{"fault":{…}}` (3.x) or XML (2.x). Token endpoints send
//! the JSON of RFC 6749 §5.2, but also arrays, forms and HTML pages. Backends send other JSON, or
//! plain text.

use std::borrow::Cow;

use serde_json::Value;
use url::form_urlencoded;

/// OAuth errors that are recognized in any text, in the order of the search. Errors that refuse a
/// grant come first, then errors about the application, then errors of a failing server. So a
/// refusal is never read as a harmless error.
const KNOWN: &[&str] = &[
    "invalid_grant",
    "invalid_request",
    "access_denied",
    "invalid_token",
    "expired_token",
    "invalid_credentials",
    "login_required",
    "interaction_required",
    "consent_required",
    "mfa_required",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "slow_down",
];

/// The body of an error. It has no `Debug`, because a token response with secrets may be read as an
/// error body.
pub struct ErrorBody<'a> {
    text: Cow<'a, str>,
    /// The text as JSON, if it is JSON.
    value: Option<Value>,
}

impl<'a> ErrorBody<'a> {
    /// Reads a body, or the beginning of one.
    pub fn read(bytes: &'a [u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let trimmed = text.trim_start_matches('\u{feff}').trim();
        let value = serde_json::from_str(trimmed).ok();
        let text = if trimmed.len() == text.len() { text } else { Cow::Owned(trimmed.to_owned()) };
        Self { text, value }
    }

    /// A body whose JSON was already read.
    pub(super) fn from_parts(text: String, value: Option<Value>) -> Self {
        Self { text: text.into(), value }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text as JSON, if it is JSON.
    pub fn json(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// Whether the body is XML or HTML.
    pub fn is_markup(&self) -> bool {
        self.value.is_none() && self.text.starts_with('<')
    }

    /// The gateway's error code, which has six digits. Other numbers are a backend's (`"code":
    /// 401`).
    pub fn gateway_code(&self) -> Option<u32> {
        let code: u32 = match self.field("code") {
            Some(Value::String(code)) => code.trim().parse().ok()?,
            Some(code) => code.as_u64()?.try_into().ok()?,
            None => self.element("code")?.parse().ok()?,
        };
        (100_000..=999_999).contains(&code).then_some(code)
    }

    /// The text of a member of the JSON object or of its `fault`, or of an XML element.
    pub fn member(&self, name: &str) -> Option<&str> {
        match &self.value {
            Some(_) => self.field(name)?.as_str(),
            None => self.element(name),
        }
    }

    fn field(&self, name: &str) -> Option<&Value> {
        let object = self.value.as_ref()?;
        object.get("fault").and_then(|fault| fault.get(name)).or_else(|| object.get(name))
    }

    /// The text of the first XML element with this local name and any prefix.
    pub fn element(&self, name: &str) -> Option<&str> {
        let mut rest: &str = self.is_markup().then_some(&self.text)?;
        while let Some((_, after)) = rest.split_once('<') {
            let (tag, after) = after.split_once('>')?;
            let local = tag.split_whitespace().next().unwrap_or_default().rsplit(':').next();
            if local.is_some_and(|local| local.eq_ignore_ascii_case(name)) {
                return Some(after.split('<').next().unwrap_or_default().trim());
            }
            rest = after;
        }
        None
    }

    /// The OAuth error as written: from JSON or a form, else the first known error in the text.
    pub(super) fn oauth_error(&self) -> Option<Cow<'_, str>> {
        self.structured_oauth_error().or_else(|| {
            let known = KNOWN.iter().find(|known| has_word(&self.text, known))?;
            Some(Cow::Borrowed(*known))
        })
    }

    /// The OAuth error from JSON or a form.
    pub(super) fn structured_oauth_error(&self) -> Option<Cow<'_, str>> {
        let Some(value) = &self.value else { return form_value(&self.text, "error") };
        let named = find(value, "error", &|value| non_blank(value).is_some());
        let error = named.or_else(|| find(value, "", &is_known))?;
        non_blank(error).map(Cow::Borrowed)
    }

    /// The text or number of a member of this name, at any depth and in any spelling.
    pub(super) fn find_member(&self, name: &str) -> Option<Cow<'_, str>> {
        let name = squeezed(name);
        let Some(value) = &self.value else { return form_value(&self.text, &name) };
        match find(value, &name, &|value| non_blank(value).is_some() || value.is_number())? {
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            value => non_blank(value).map(Cow::Borrowed),
        }
    }

    /// The server's error text. It may contain secrets: use it for judging, not for display.
    pub(super) fn words(&self) -> String {
        let names = ["error", "code", "error_code", "error_description", "description", "message"];
        let members: Vec<_> = names.iter().filter_map(|name| self.find_member(name)).collect();
        let is_object = matches!(self.value, Some(Value::Object(_)));
        if members.is_empty() && !is_object { self.text.clone().into_owned() } else { members.join("\n") }
    }
}

/// The first suitable member with this name, searched level by level from the top. An empty name
/// matches any member.
fn find<'a>(value: &'a Value, name: &str, suits: &dyn Fn(&Value) -> bool) -> Option<&'a Value> {
    let mut level = vec![value];
    while !level.is_empty() {
        let mut next = Vec::new();
        for value in level {
            match value {
                Value::Object(members) => {
                    let mut named =
                        members.iter().filter(|(key, _)| name.is_empty() || squeezed(key) == name);
                    if let Some((_, value)) = named.find(|(_, value)| suits(value)) {
                        return Some(value);
                    }
                    next.extend(members.values());
                }
                Value::Array(elements) => next.extend(elements),
                value if name.is_empty() && suits(value) => return Some(value),
                _ => {}
            }
        }
        level = next;
    }
    None
}

fn non_blank(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty())
}

/// A name in lower case without separators: `Error-Description` equals `error_description`.
fn squeezed(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

fn is_known(value: &Value) -> bool {
    non_blank(value).is_some_and(|text| KNOWN.iter().any(|known| text.trim().eq_ignore_ascii_case(known)))
}

/// The value of a pair, if `text` is a form. `name` is [`squeezed`].
fn form_value<'a>(text: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let text = text.trim().trim_start_matches(['?', '#']);
    if !text.contains('=') || text.contains(['<', '{', '\n']) {
        return None;
    }
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs.find(|(key, value)| squeezed(key) == name && !value.trim().is_empty()).map(|(_, value)| value)
}

fn has_word(text: &str, wanted: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word.eq_ignore_ascii_case(wanted))
}
