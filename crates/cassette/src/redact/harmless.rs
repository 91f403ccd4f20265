//! Decides whether a value is harmless, so that it can be kept unchanged.

use super::kind::{self, Kind};
use super::operations::is_listed_name;
use super::vocabulary::{PHRASES, WORDS};

/// The longest harmless value, in bytes.
const LONGEST: usize = 512;

/// Whether a value has a harmless form of its kind. A [`Kind::Link`] never has one: its parts are
/// checked separately.
pub(crate) fn is_harmless(kind: Kind, text: &str) -> bool {
    text.is_empty()
        || text.len() <= LONGEST
            && match kind {
                Kind::Id => kind::is_id(text),
                Kind::Phone => is_date(text) || kind::is_digits(text, 1..=6),
                Kind::Extension => kind::is_digits(text, 1..=6),
                Kind::Number => kind::is_number(text),
                Kind::Time => kind::is_time(text),
                Kind::Word => text.split(',').all(|word| is_word(word.trim())),
                Kind::Phrase => is_phrase(text),
                Kind::File => is_file(text),
                Kind::Link | Kind::Email | Kind::Name | Kind::Text | Kind::Secret => false,
            }
}

fn is_word(text: &str) -> bool {
    WORDS.contains(&text) || is_listed_name(text)
}

/// Whether a text is a date. In other APIs, `from` and `to` may be dates instead of telephone
/// numbers.
fn is_date(text: &str) -> bool {
    text.starts_with("20") && text.contains('-') && kind::is_time(text)
}

/// Whether a text is one of the fixed texts. A `*` in these stands for a time, a number or listed
/// words.
fn is_phrase(text: &str) -> bool {
    PHRASES.iter().any(|phrase| match phrase.strip_suffix('*') {
        Some(start) => text.strip_prefix(start).is_some_and(|rest| {
            kind::is_time(rest) || kind::is_number(rest) || rest.split(", ").all(is_word)
        }),
        None => text == *phrase,
    })
}

/// Whether a text is the name of a recording's file, such as
/// `12345.6a7639c9-133a-4057-96cb-c43edb4a5282.1796071986000.mp3`.
fn is_file(text: &str) -> bool {
    let Some((parts, suffix)) = text.rsplit_once('.') else { return false };
    let parts: Vec<&str> = parts.split('.').collect();
    matches!(suffix, "mp3" | "wav" | "zip")
        && parts.len() <= 4
        && parts.iter().all(|part| kind::is_id(part) || kind::is_time(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_harmless_where_it_has_a_form_of_its_kind() {
        let harmless = [
            (Kind::Id, "self"),
            (Kind::Id, "1234500078"),
            (Kind::Id, "22781206-c176-4cde-8110-e6fc10bbb1c5"),
            (Kind::Id, "0004F293C702"),
            (Kind::Id, "79-5C-7D-28-1B-B3"),
            (Kind::Id, "VH8823637"),
            (Kind::Phone, "1001"),
            (Kind::Phone, "2026-11-29"),
            (Kind::Phone, "2026-11-29T08:09:54Z"),
            (Kind::Number, "240000"),
            (Kind::Number, "-0.25"),
            (Kind::Time, "2026-11-30T20:57:06+0000"),
            (Kind::Time, "2026-11-30T20:57:06 0000"),
            (Kind::Time, "2026-12-01T04:24:03.874Z"),
            (Kind::Time, "2026-11-29 08:09:54"),
            (Kind::Time, "2026-Sep-05 16:00:00+0000 UTC"),
            (Kind::Time, "Tue, 01 Dec 2026 04:24:03 GMT"),
            (Kind::Time, "1796083161000000"),
            (Kind::Word, "INBOUND,OUTBOUND"),
            (Kind::Word, "start:DESC"),
            (Kind::Phrase, "User not found"),
            (
                Kind::Phrase,
                "You have exceeded your quota .You can access API after 2026-Sep-05 16:00:00+0000 UTC",
            ),
            (Kind::File, "12345.22781206-c176-4cde-8110-e6fc10bbb1c5.1796071986000.mp3"),
        ];
        for (kind, text) in harmless {
            assert!(is_harmless(kind, text), "{kind:?} {text}");
        }
        let harmful = [
            (Kind::Id, "12345678901"),
            (Kind::Id, "s3cret"),
            (Kind::Id, "22781206-c176-4cde-8110-e6fc10bbb1c5x"),
            (Kind::Phone, "5551234"),
            (Kind::Phone, "12ab"),
            (Kind::Phone, "2025550123"),
            (Kind::Phone, "202-555-0123"),
            (Kind::Phone, "2025-55-0123"),
            (Kind::Number, "1 555 123"),
            (Kind::Number, "2025550123"),
            (Kind::Time, "2025550123"),
            (Kind::Time, "3906123456789"),
            (Kind::Time, "15551234567"),
            (Kind::Time, "2026-11-29 08:09:54 s3cret"),
            (Kind::Time, "s3cret"),
            (Kind::Word, "INBOUND,s3cret"),
            (Kind::Word, &"INBOUND,".repeat(100)),
            (Kind::Phrase, "Authentication failed for jane"),
            (Kind::Phrase, "You have exceeded your quota .You can access API after s3cret"),
            (Kind::File, "12345.s3cret.mp3"),
            (Kind::Name, "Jane"),
            (Kind::Secret, "1"),
        ];
        for (kind, text) in harmful {
            assert!(!is_harmless(kind, text), "{kind:?} {text}");
        }
    }
}
