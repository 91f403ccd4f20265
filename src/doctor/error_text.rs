//! Extracts the code and the text of an error body, in any wrapping. The body may
//! be `{"code":…}` (gateway 4.x), `{"fault":{…}}` (3.x), XML (2.x), a backend's own JSON, plain
//! text or a page. Pure.

use http::{HeaderMap, header};
use serde_json::Value;

use crate::oauth::ErrorBody;

/// At most this many bytes of a body are read.
const PREFIX: usize = 16 * 1024;

/// At most this many characters are quoted.
const QUOTE: usize = 100;

/// Longer words are not shown: they may be tokens, hashes or encoded data.
const LONGEST_WORD: usize = 24;

/// The members with a readable text, the more informative ones first.
const MEMBERS: [&str; 8] =
    ["description", "error_description", "message", "errorMessage", "title", "msg", "detail", "error"];

/// The code and the text of a body.
#[derive(Debug, Default)]
pub(super) struct ErrorText {
    /// The gateway's six-digit code.
    pub(super) code: Option<u32>,
    /// The whole text in lower case, to search for phrases.
    pub(super) lowercase: String,
    /// The most informative sentence. Safe to show; may be empty.
    pub(super) quote: String,
    /// The end of throttling, in the notation of the gateway.
    pub(super) next_access: Option<String>,
    /// Whether the body is a web page.
    pub(super) is_page: bool,
    /// Whether the body is JSON.
    pub(super) is_json: bool,
}

impl ErrorText {
    /// The quote after a colon and in quotation marks, to append to a sentence. Empty if there is
    /// no quote.
    pub(super) fn quoted(&self) -> String {
        if self.quote.is_empty() { String::new() } else { format!(": \"{}\"", self.quote) }
    }
}

/// Reads the beginning of a body.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> ErrorText {
    let body = ErrorBody::read(&body[..body.len().min(PREFIX)]);
    if is_page(headers, &body) {
        let title = body.element("title").unwrap_or_default();
        return ErrorText { is_page: true, quote: quote(title), ..ErrorText::default() };
    }
    let members: Vec<&str> = MEMBERS.iter().filter_map(|name| body.member(name)).collect();
    let (text, quoted) = match body.json() {
        Some(Value::Object(_)) => (members.join(" \n "), members.first().copied()),
        // Telephony responds with a bare text or a JSON string.
        Some(Value::String(text)) => (text.clone(), Some(text.as_str())),
        Some(_) => (String::new(), None),
        None if body.is_markup() => (body.text().to_owned(), members.first().copied()),
        None => (body.text().to_owned(), Some(body.text())),
    };
    ErrorText {
        code: body.gateway_code(),
        lowercase: text.to_lowercase(),
        quote: quote(quoted.unwrap_or_default()),
        next_access: body.member("nextAccessTime").map(str::to_owned),
        is_page: false,
        is_json: body.json().is_some(),
    }
}

fn is_page(headers: &HeaderMap, body: &ErrorBody<'_>) -> bool {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let starts =
        |start: &str| body.text().get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    starts("<!doctype html") || starts("<html") || (declared.starts_with("text/html") && body.is_markup())
}

/// A server's text on one line, shortened. Omits everything that could be a token or control a
/// terminal.
pub(super) fn quote(text: &str) -> String {
    let clean: String = text.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect();
    let words =
        clean.split_whitespace().map(|word| if word.chars().count() > LONGEST_WORD { "[…]" } else { word });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTE) {
        Some((at, _)) => format!("{}…", line[..at].trim_end()),
        None => line.trim_end_matches('.').to_owned(),
    }
}

/// A name on one line, without control characters, cut to [`QUOTE`] characters.
pub(super) fn name(text: &str) -> String {
    text.chars().filter(|c| is_plain(*c)).take(QUOTE).collect()
}

/// Whether a character is safe to show: not a control character, and without effect on line breaks
/// or the writing direction.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> ErrorText {
        read(&HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn the_gateways_code_is_read_in_every_wrapping() {
        for body in [
            r#"{"code":"900908","message":"Resource forbidden ","description":"API Subscription validation failed."}"#,
            r#"{"fault":{"code":900908,"message":"Resource forbidden","description":"API Subscription validation failed."}}"#,
            "<ams:fault xmlns:ams=\"http://wso2.org/apimanager/security\"><ams:code>900908</ams:code>\
             <ams:message>Resource forbidden</ams:message><ams:description>API Subscription validation failed.\
             </ams:description></ams:fault>",
            "\u{feff} <fault><code>900908</code><description>API Subscription validation failed</description></fault>",
        ] {
            let text = text(body);
            assert_eq!(text.code, Some(900_908), "{body}");
            assert!(text.lowercase.contains("subscription validation failed"), "{body}");
            assert_eq!(text.quote, "API Subscription validation failed", "{body}");
        }
    }

    #[test]
    fn a_backends_number_is_not_the_gateways_code() {
        let text = text(r#"{"code":401,"message":"User is not permitted"}"#);
        assert_eq!((text.code, text.quote.as_str()), (None, "User is not permitted"));
    }

    #[test]
    fn pages_and_plain_text_are_told_apart() {
        assert!(text("<!DOCTYPE html><html><title>Sign in</title></html>").is_page);
        assert_eq!(text("<HTML><head><TITLE>Sign in</TITLE>").quote, "Sign in");
        assert!(!text("<fault/>").is_page);
        assert_eq!(text("missing user data").lowercase, "missing user data");
        assert_eq!(text("\"missing user data\"").lowercase, "missing user data");
        assert!(text("[1]").is_json && text("{}").is_json && !text("").is_json);
    }

    #[test]
    fn what_may_be_a_token_or_controls_a_terminal_is_not_quoted() {
        assert_eq!(
            quote("no eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln here\r\n\u{1b}[31m\u{202e}x"),
            "no […] here [31m x"
        );
        assert_eq!(quote("Bearer 2674853f-a215-43fd-8486-9d656bffabeb"), "Bearer […]");
        assert!(quote(&"word ".repeat(100)).chars().count() <= QUOTE + 1);
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(0_u8..255, 0..200)) {
            text(&String::from_utf8_lossy(&body));
            read(&HeaderMap::new(), &[&b"{\"fault\":"[..], &body].concat());
            read(&HeaderMap::new(), &[&b"<a:code>"[..], &body].concat());
        }
    }
}
