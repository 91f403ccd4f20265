//! Finds secrets in recorded values, in every encoding.

use std::collections::HashSet;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// This many consecutive characters of a secret are a leak.
const ROW: usize = 16;

/// The most nested encodings that are decoded.
const DEEPEST: usize = 3;

/// The shortest base64 or hexadecimal text that is decoded.
const SHORTEST: usize = 8;

/// The shortest sent piece that counts as a leak. Shorter ones occur by chance.
const SHORTEST_SENT: usize = 6;

/// The secrets to find.
#[derive(Default)]
pub(super) struct Search {
    /// Short secrets in lower case, without whitespace.
    whole: Vec<String>,
    rows: HashSet<[u8; ROW]>,
    /// The digits of telephone numbers.
    numbers: Vec<String>,
    /// Short digit strings, which are a leak only if they stand alone.
    pins: Vec<String>,
}

/// The text in lower case, without whitespace between the characters of a secret.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '\u{a0}').flat_map(char::to_lowercase).collect()
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

impl Search {
    pub(super) fn of<'s>(secrets: impl Iterator<Item = &'s String>) -> Self {
        let mut search = Self::default();
        for secret in secrets {
            let is_number = secret.bytes().all(|byte| byte.is_ascii_digit() || byte == b'+');
            match squeezed(secret) {
                _ if is_number && secret.len() > 9 => search.numbers.push(digits(secret)),
                secret if is_number => search.pins.push(secret),
                secret => {
                    search.rows.extend(secret.as_bytes().windows(ROW).flat_map(<[u8; ROW]>::try_from));
                    search.whole.push(secret);
                }
            }
        }
        search
    }

    /// The first leak in a value: a secret, or a piece that was sent.
    pub(super) fn look_through(&self, value: &Value, sent: &[String]) -> Option<String> {
        let mut texts = Vec::new();
        collect(value, &mut texts);
        let mut seen: HashSet<String> = texts.iter().cloned().collect();
        for text in &texts {
            let sent = sent.iter().filter(|piece| {
                // Half a number may occur by chance.
                let is_number = piece.bytes().all(|byte| byte.is_ascii_digit());
                piece.len() >= if is_number { SHORTEST } else { SHORTEST_SENT }
            });
            if let Some(piece) = sent.into_iter().find(|piece| text.contains(piece.as_str())) {
                return Some(shown("what was sent", piece, text));
            }
        }
        for _ in 0..=DEEPEST {
            let mut next = Vec::new();
            for text in &texts {
                if let Some(secret) = self.find(text) {
                    return Some(shown("a secret", &secret, text));
                }
                decoded(text, &mut next);
            }
            next.retain(|text| seen.insert(text.clone()));
            texts = next;
        }
        None
    }

    fn find(&self, text: &str) -> Option<String> {
        let squeezed = squeezed(text);
        if let Some(secret) = self.whole.iter().find(|secret| squeezed.contains(secret.as_str())) {
            return Some(secret.clone());
        }
        let mut rows = squeezed.as_bytes().windows(ROW);
        if let Some(row) =
            rows.find(|row| <[u8; ROW]>::try_from(*row).is_ok_and(|row| self.rows.contains(&row)))
        {
            return Some(String::from_utf8_lossy(row).into_owned());
        }
        let all = digits(text);
        let number = self.numbers.iter().find(|number| all.contains(number.as_str()));
        number
            .or_else(|| {
                self.pins.iter().find(|pin| [text, &squeezed].iter().any(|text| stands_alone(text, pin)))
            })
            .cloned()
    }
}

fn stands_alone(text: &str, pin: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    text.match_indices(pin).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + pin.len()..].chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn shown(what: &str, secret: &str, text: &str) -> String {
    let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    format!("{what} ({}) in {}", short(secret, 40), short(text, 200))
}

/// Every text of a value, including names of members.
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => {
            for (name, member) in members {
                texts.push(name.clone());
                collect(member, texts);
            }
        }
        Value::String(text) => texts.push(text.clone()),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Bool(_) | Value::Null => {}
    }
}

/// The possible decodings of a text.
fn decoded(text: &str, into: &mut Vec<String>) {
    if text.contains('%') {
        into.push(percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned());
    }
    if text.contains("\\u") {
        into.push(with(text, "\\u", 4, ""));
    }
    if text.contains("&#x") {
        into.push(entities(text));
    }
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "+/-_".contains(c);
    for run in text.split(|c| !is_letter(c)).filter(|run| run.len() >= SHORTEST) {
        let plain: Vec<u8> = run.bytes().map(|byte| if byte == b'-' { b'+' } else { byte }).collect();
        let plain: Vec<u8> = plain.into_iter().map(|byte| if byte == b'_' { b'/' } else { byte }).collect();
        for from in 0..4.min(plain.len()) {
            into.extend(from_base64(&plain[from..]));
        }
    }
    for run in text.split(|c: char| !c.is_ascii_hexdigit()).filter(|run| run.len() >= SHORTEST) {
        for from in 0..2 {
            let pairs = run.as_bytes()[from..].chunks_exact(2);
            let bytes = pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
            into.extend(readable(bytes.collect()));
        }
    }
}

fn from_base64(letters: &[u8]) -> Option<String> {
    // An incomplete group at the end still contains some bits.
    let end = letters.len() - letters.len() % 4;
    let mut padded = letters.to_vec();
    match letters.len() % 4 {
        0 => {}
        1 => padded.truncate(end),
        2 => padded.extend(b"A="),
        _ => padded.extend(b"="),
    }
    let bytes = STANDARD.decode(&padded).or_else(|_| STANDARD.decode(&letters[..end])).ok()?;
    let mut plain = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b])
        && flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut plain).is_ok()
    {
        return readable(plain);
    }
    readable(bytes)
}

/// The bytes as text, if most are printable.
fn readable(bytes: Vec<u8>) -> Option<String> {
    let printable = bytes.iter().filter(|byte| byte.is_ascii_graphic() || **byte == b' ').count();
    (printable * 2 > bytes.len()).then(|| bytes.iter().map(|byte| char::from(*byte)).collect())
}

/// Decodes characters written as `before`, `digits` hexadecimal digits, and `after`.
fn with(text: &str, before: &str, digits: usize, after: &str) -> String {
    let mut parts = text.split(before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match code.and_then(char::from_u32) {
            Some(c) => {
                out.push(c);
                out.push_str(part[digits..].strip_prefix(after).unwrap_or(&part[digits..]));
            }
            None => out.push_str(part),
        }
    }
    out
}

fn entities(text: &str) -> String {
    let mut parts = text.split("&#x");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .split_once(';')
            .and_then(|(code, rest)| Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, rest)));
        match code {
            Some((c, rest)) => {
                out.push(c);
                out.push_str(rest);
            }
            None => out.push_str(part),
        }
    }
    out
}

#[test]
fn a_secret_is_found_in_every_encoding() {
    use super::encodings::Encoding;
    let secrets =
        ["wilhelmina.f@mail.example.org", "Zq7hT2vLx9Rb", "+4930555012345", "804271"].map(str::to_owned);
    let search = Search::of(secrets.iter());
    for secret in &secrets {
        for encoding in Encoding::ALL {
            let pieces = encoding.pieces(secret);
            let text = format!("a: {}!", pieces.join(" "));
            // After other bytes the digits do not stand alone.
            let found = search.look_through(&serde_json::json!({ "a": [text] }), &[]);
            let is_alone = secret != "804271" || !matches!(encoding, Encoding::Base64(1 | 2));
            assert_eq!(found.is_some(), is_alone, "{secret} {encoding:?}");
        }
    }
    let clean = serde_json::json!({ "Harmless": ["6c0a3c5a-1f0e-4f7b-9d57-0a1b2c3d4e5f", 1_804_271, "2026-11-24T16:06:12Z"] });
    assert_eq!(search.look_through(&clean, &["something".to_owned()]), None);
}
