//! The scanner against a reference that parses the whole text.

use proptest::prelude::*;

use crate::proxy::links::rewrite_pieces;

const UPSTREAM: &str = "https://api.vonage.com";
const BASE: &str = "http://localhost:8080";

fn rewrite(text: &str) -> String {
    String::from_utf8(rewrite_pieces(UPSTREAM, BASE, [text.as_bytes()])).unwrap()
}

/// Rewrites a text. Checks that cutting it anywhere, or byte by byte, gives the same result.
fn in_any_pieces(text: &str) -> String {
    let whole = rewrite(text);
    for at in 0..=text.len() {
        let (one, two) = text.as_bytes().split_at(at);
        assert_eq!(rewrite_pieces(UPSTREAM, BASE, [one, two]), whole.as_bytes(), "{text} cut at {at}");
    }
    assert_eq!(rewrite_pieces(UPSTREAM, BASE, text.as_bytes().chunks(1)), whole.as_bytes(), "{text}");
    whole
}

#[test]
fn strings_that_begin_with_the_upstream_point_to_us_wherever_they_are_cut() {
    for (before, after) in [
        (r#"{"a":"https://api.vonage.com/t?x=1"}"#, r#"{"a":"http://localhost:8080/t?x=1"}"#),
        (r#"["HTTPS://API.vonage.com:443/t" , "b"]"#, r#"["http://localhost:8080/t" , "b"]"#),
        (r#""https://api.vonage.com""#, r#""http://localhost:8080""#),
        (r#"{"a":"https:\/\/api.vonage.com\/t"}"#, r#"{"a":"http:\/\/localhost:8080\/t"}"#),
        (r#"["https:\u002F/api.vonage.com/t"]"#, r#"["http:\u002f\u002flocalhost:8080/t"]"#),
        (
            r#"["https://api.vonage.com/a","http://api.vonage.com/b"]"#,
            r#"["http://localhost:8080/a","http://localhost:8080/b"]"#,
        ),
        (r#"{"\\":"https://api.vonage.com/a"}"#, r#"{"\\":"http://localhost:8080/a"}"#),
        ("{\"a\":\"https://api.vonage.com/\u{e4}\"}", "{\"a\":\"http://localhost:8080/\u{e4}\"}"),
    ] {
        assert_eq!(in_any_pieces(before), after);
    }
}

#[test]
fn what_only_mentions_the_upstream_is_left_alone_and_so_are_keys_and_other_hosts() {
    for text in [
        r#"{"a":"see https://api.vonage.com/t"}"#,
        r#"{"a":"\"https://api.vonage.com/t\""}"#,
        r#"{"a":"{\"b\":\"https://api.vonage.com/t\"}"}"#,
        r#"{"https://api.vonage.com/rel" : 1, "https://api.vonage.com/other":2}"#,
        r#"{"a":"https://api.vonage.com.evil.com/"}"#,
        r#"{"a":"https://api.vonage.com@evil.com/"}"#,
        r#"{"a":"https://api.vonage.com:8443/"}"#,
        r#"{"href":"/t","H":"h","h":"https","q":"\"h"}"#,
        "",
        "\"",
        "{\"a\":\"https://api.vonage.com",
        "{\"a\":\"https://api.vonage.",
    ] {
        assert_eq!(in_any_pieces(text), text);
    }
}

#[test]
fn a_string_too_long_for_a_key_is_not_waited_for() {
    let long = "x".repeat(10_000);
    let text = format!("[\"https://api.vonage.com/{long}");
    assert_eq!(in_any_pieces(&text), format!("[\"http://localhost:8080/{long}"));
}

/// Does the same as the scanner by decoding each string as a whole. Only for valid JSON.
fn reference(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(quote) = rest.find('"') {
        let mut end = quote + 1;
        let bytes = rest.as_bytes();
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let (raw, after) = (&rest[quote..=end], &rest[end + 1..]);
        out.push_str(&rest[..quote]);
        let is_key = after.trim_start().starts_with(':');
        let value: String = serde_json::from_str(raw).unwrap();
        out.push_str(&if is_key { None } else { replaced(raw, &value) }.unwrap_or(raw.to_owned()));
        rest = after;
    }
    out + rest
}

fn replaced(raw: &str, value: &str) -> Option<String> {
    let colon = value.find("://")?;
    let end = value[colon + 3..].find(['/', '?', '#']).map_or(value.len(), |at| colon + 3 + at);
    let prefix = value[..end].to_ascii_lowercase();
    let known = [
        "https://api.vonage.com",
        "https://api.vonage.com:443",
        "http://api.vonage.com",
        "http://api.vonage.com:443",
    ];
    if !known.contains(&prefix.as_str()) {
        return None;
    }
    let slash = match raw.as_bytes()[raw.find(':')? + 1] {
        b'/' => "/",
        _ if raw[raw.find(':')? + 2..].starts_with('u') => r"\u002f",
        _ => r"\/",
    };
    // Finds the end of the prefix in the raw text, where escaped slashes are longer.
    let (mut at, mut decoded) = (1, 0);
    while decoded < end {
        at += match &raw[at..] {
            rest if rest.starts_with(r"\u") => 6,
            rest if rest.starts_with('\\') => 2,
            _ => 1,
        };
        decoded += 1;
    }
    Some(format!("\"{}{}", BASE.replace('/', slash), &raw[at..]))
}

fn string() -> impl Strategy<Value = String> {
    let slash = prop_oneof![Just("/"), Just(r"\/"), Just(r"\u002f"), Just(r"\u002F")];
    let scheme = prop_oneof![
        Just("https:"),
        Just("http:"),
        Just("HTTPS:"),
        Just("ftp:"),
        Just("see https:"),
        Just(r#"\"https:"#)
    ];
    let host = prop_oneof![
        4 => Just("api.vonage.com"), 1 => Just("API.Vonage.com:443"), 1 => Just("api.vonage.com.evil.com"),
        1 => Just("api.vonage.com:8443"), 1 => Just("api.vonage.co"), 1 => Just("u@api.vonage.com"),
    ];
    let path = prop_oneof![
        Just(""),
        Just("/t"),
        Just("?a=b"),
        Just("#f"),
        Just(r#"\/t\/\""#),
        Just(r"\u002ft"),
        Just(r"\\")
    ];
    let url = (scheme, slash.clone(), slash, host, path)
        .prop_map(|(scheme, one, two, host, path)| format!("\"{scheme}{one}{two}{host}{path}\""));
    let other = r#"([a-zH/:." ]|\\["\\/nu]){0,8}"#;
    let other = proptest::string::string_regex(other).unwrap().prop_map(|text| {
        let text = text.replace(r"\u", r"\u00e4").replace('"', r#"\""#).replace(r#"\\""#, r#"\""#);
        match serde_json::from_str::<String>(&format!("\"{text}\"")) {
            Ok(_) => format!("\"{text}\""),
            Err(_) => "\"h\"".to_owned(),
        }
    });
    prop_oneof![2 => url, 1 => other]
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![4 => string(), 1 => Just("1".to_owned()), 1 => Just("null".to_owned())];
    let space = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t")];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let array = (prop::collection::vec(inner.clone(), 0..5), space.clone()).prop_map(|(items, space)| {
            format!("[{space}{}{space}]", items.join(&format!("{space},{space}")))
        });
        let members = prop::collection::vec((string(), inner), 0..5);
        let object = (members, space.clone()).prop_map(|(members, space)| {
            let members: Vec<_> =
                members.into_iter().map(|(key, value)| format!("{key}{space}:{space}{value}")).collect();
            format!("{{{space}{}{space}}}", members.join(","))
        });
        prop_oneof![array, object]
    })
}

fn cut(text: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    at.sort_unstable();
    let ends = at.iter().copied().chain([text.len()]);
    let mut start = 0;
    ends.map(|end| text[std::mem::replace(&mut start, end)..end].to_vec()).collect()
}

/// Removes the colon after every host, whether a port follows or not.
fn without_empty_ports(text: &[u8]) -> Vec<u8> {
    let host = b"api.vonage.com";
    let mut out = Vec::new();
    for byte in text {
        if !(*byte == b':' && out.ends_with(host)) {
            out.push(*byte);
        }
    }
    out
}

proptest! {
    #[test]
    fn in_any_pieces_it_does_what_a_parser_would(
        text in json(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)
    ) {
        let pieces = cut(text.as_bytes(), &cuts);
        let rewritten = rewrite_pieces(UPSTREAM, BASE, pieces.iter().map(Vec::as_slice));
        prop_assert_eq!(String::from_utf8(rewritten).unwrap(), reference(&text));
    }

    #[test]
    fn any_bytes_come_out_the_same_however_they_are_cut(
        parts in prop::collection::vec(
            prop_oneof![
                Just(b"\"".to_vec()), Just(b"\\".to_vec()), Just(b"https://api.vonage.com".to_vec()),
                Just(b":".to_vec()), Just(b"\"h".to_vec()), prop::collection::vec(any::<u8>(), 0..4),
            ],
            0..12,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let text = parts.concat();
        let pieces = cut(&text, &cuts);
        let whole = rewrite_pieces(UPSTREAM, BASE, [text.as_slice()]);
        prop_assert_eq!(rewrite_pieces(UPSTREAM, BASE, pieces.iter().map(Vec::as_slice)), whole.clone());
        // Replacing the upstream with itself changes nothing, except that empty ports disappear.
        let same = rewrite_pieces(UPSTREAM, UPSTREAM, pieces.iter().map(Vec::as_slice));
        prop_assert_eq!(without_empty_ports(&same), without_empty_ports(&text));
    }
}
