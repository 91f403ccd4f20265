//! A lenient reader of JSON.
//!
//! A refusal must be recognized even in broken text, and a token set must not be lost because of an
//! irrelevant member. So raw control characters, lone surrogates, single quotes, missing quotes
//! around words, trailing commas and text around the value are accepted.

use serde_json::{Map, Number, Value};

/// The deepest nesting that is read. Responses of RFC 6749 have one level.
const DEEPEST: u32 = 16;

/// A value that was read.
pub(super) struct LenientJson {
    pub(super) value: Value,
    /// Whether the value is complete, and not cut off.
    pub(super) complete: bool,
}

/// Reads the first object or array in `text`.
pub(super) fn read(text: &str) -> Option<LenientJson> {
    let start = text.find(['{', '['])?;
    let mut reader = Reader { rest: &text[start..], complete: true };
    let value = reader.value(0);
    Some(LenientJson { value, complete: reader.complete })
}

struct Reader<'a> {
    rest: &'a str,
    complete: bool,
}

impl Reader<'_> {
    fn value(&mut self, depth: u32) -> Value {
        self.skip_space();
        match self.rest.chars().next() {
            None => self.cut(),
            Some(_) if depth > DEEPEST => self.cut(),
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some(quote @ ('"' | '\'')) => Value::String(self.string(quote)),
            Some(_) => self.word(),
        }
    }

    /// Ends reading in the middle of a value: the text has ended, is not JSON or is nested too
    /// deeply.
    fn cut(&mut self) -> Value {
        self.complete = false;
        self.rest = "";
        Value::Null
    }

    fn object(&mut self, depth: u32) -> Value {
        let mut members = Map::new();
        self.advance(1);
        loop {
            self.skip_separators();
            let name = match self.rest.chars().next() {
                Some('}') => {
                    self.advance(1);
                    break;
                }
                Some(quote @ ('"' | '\'')) => self.string(quote),
                _ => self.bare().to_owned(),
            };
            self.skip_space();
            if !self.rest.starts_with([':', '=']) {
                self.cut();
                break;
            }
            self.advance(1);
            let value = self.value(depth + 1);
            // A string that is cut off still counts.
            members.entry(name).or_insert(value);
        }
        Value::Object(members)
    }

    fn array(&mut self, depth: u32) -> Value {
        let mut elements = Vec::new();
        self.advance(1);
        loop {
            self.skip_separators();
            match self.rest.chars().next() {
                Some(']') => {
                    self.advance(1);
                    break;
                }
                None | Some('}' | ':' | '=') => {
                    self.cut();
                    break;
                }
                Some(_) => elements.push(self.value(depth + 1)),
            }
        }
        Value::Array(elements)
    }

    /// A string up to its closing quote, or to the end of the text.
    fn string(&mut self, quote: char) -> String {
        self.advance(1);
        let mut text = String::new();
        let mut units = Vec::new();
        loop {
            let next = self.take();
            if next == Some('\\') {
                self.escape(&mut text, &mut units);
                continue;
            }
            flush(&mut units, &mut text);
            match next {
                Some(c) if c != quote => text.push(c),
                _ => {
                    self.complete &= next.is_some();
                    return text;
                }
            }
        }
    }

    /// Reads the escape after a backslash. A UTF-16 unit may be half of a character.
    fn escape(&mut self, text: &mut String, units: &mut Vec<u16>) {
        if let Some(unit) =
            self.rest.strip_prefix('u').and_then(|rest| u16::from_str_radix(rest.get(..4)?, 16).ok())
        {
            self.advance(5);
            return units.push(unit);
        }
        flush(units, text);
        match self.take() {
            // These escapes are decoded exactly, so that an echoed secret is found and hidden.
            Some('b') => text.push('\u{8}'),
            Some('f') => text.push('\u{c}'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some(c) => text.push(c),
            None => self.complete = false,
        }
    }

    /// A number, a literal, or a word without quotes.
    fn word(&mut self) -> Value {
        match self.bare() {
            "" => self.cut(),
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            word => word.parse::<Number>().map_or_else(|_| Value::from(word), Value::Number),
        }
    }

    /// The text up to the end of a value or a name.
    fn bare(&mut self) -> &str {
        let end = self.rest.find([',', ';', ':', '=', '}', ']', '{', '[', '"', '\n', '\r']);
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word.trim()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    }

    fn skip_separators(&mut self) {
        let skipped = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | ';');
        self.rest = self.rest.trim_start_matches(skipped);
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let taken = chars.next();
        self.rest = chars.as_str();
        taken
    }

    /// Skips bytes that are known to be ASCII.
    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

fn flush(units: &mut Vec<u16>, text: &mut String) {
    text.extend(char::decode_utf16(units.drain(..)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        read(text).unwrap().value
    }

    #[test]
    fn proper_json_reads_as_serde_reads_it() {
        for text in [
            r#"{"a":"b","c":[1,2.5,-3e2,true,false,null],"d":{"e":{}},"f":"\u00e9\ud83d\ude00\"\\/"}"#,
            r#"[{"error":"invalid_grant"}]"#,
            " \r\n{ } ",
        ] {
            let read = read(text).unwrap();
            assert!(read.complete, "{text}");
            assert_eq!(read.value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn broken_json_still_says_what_it_says() {
        for text in [
            "{\"error\":\"invalid_grant\",\"d\":\"a\nb\u{1}\"}",
            r#"{"error":"invalid_grant","d":"\ud83d"}"#,
            r#"{"error":"invalid_grant",}"#,
            r#"{'error':'invalid_grant'}"#,
            r#"{error: invalid_grant}"#,
            r#"{"d":"x" "error":"invalid_grant"}"#,
            r#")]}', {"error":"invalid_grant"} trailing"#,
            r#"<pre>{"error":"invalid_grant"}</pre>"#,
            r#"{"d":"\x","error":"invalid_grant"#,
        ] {
            assert_eq!(value(text)["error"], json!("invalid_grant"), "{text}");
        }
    }

    #[test]
    fn what_is_cut_off_is_not_complete() {
        let whole = r#"{"access_token":"abc","list":[1,{"a":"b"}]}"#;
        assert!(read(whole).unwrap().complete);
        for end in 1..whole.len() {
            assert!(!read(&whole[..end]).unwrap().complete, "{}", &whole[..end]);
        }
    }

    #[test]
    fn any_depth_and_any_length_ends() {
        for text in ["[".repeat(100_000), "{\"a\":".repeat(100_000), "{\"a\"".repeat(1000), "[}]".repeat(9)] {
            assert!(!read(&text).unwrap().complete);
        }
        assert!(read("no value").is_none());
    }
}
