//! Reads members of archives that are missing, or whose types deviate from the specification.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads `null` like a missing member.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads a number, also in quotes.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

/// Reads a text. Any other value is returned as its JSON.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(text_of(Value::deserialize(from)?))
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

/// Reads names and values. A pair without a name is left out.
pub(super) fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, String)>, D::Error> {
    let items = Option::<Vec<Value>>::deserialize(from)?.unwrap_or_default();
    let pair = |mut item: Value| {
        let name = item.get("name")?.as_str().filter(|name| !name.is_empty())?.to_owned();
        let value = item.get_mut("value").map(Value::take).unwrap_or_default();
        Some((name, text_of(value)))
    };
    Ok(items.into_iter().filter_map(pair).collect())
}

/// Replaces half surrogate pairs in JSON by U+FFFD. JavaScript writes them for truncated texts.
pub(super) fn without_lone_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let unit = unit(escape);
        let length = match unit {
            Some(0xd800..=0xdbff)
                if matches!(escape.get(6..).and_then(self::unit), Some(0xdc00..=0xdfff)) =>
            {
                12
            }
            Some(0xd800..=0xdfff) => {
                out.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            Some(_) => 6,
            None => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        let (whole, left) = escape.split_at(length);
        out.push_str(whole);
        rest = left;
    }
    out + rest
}

/// The code unit of the escape that starts here.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_costs_one_character_and_no_archive() {
        let cases = [
            (r#"["a\ud83db"]"#, "a\u{fffd}b"),
            (r#"["\ud83d\ude00"]"#, "😀"),
            (r#"["\ud83d\ud83d\ude00\udc00"]"#, "\u{fffd}😀\u{fffd}"),
            (r#"["\\ud83d\"\u00e9"]"#, "\\ud83d\"é"),
        ];
        for (text, expected) in cases {
            let read: Value = serde_json::from_str(&without_lone_surrogates(text)).unwrap();
            assert_eq!(read[0], expected, "{text}");
        }
    }
}
