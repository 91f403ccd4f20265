//! Stable, keyed pseudonyms, which have the form of the values that they replace.

use aws_lc_rs::hmac;

use super::kind::{Kind, is_uuid};
use crate::text::{debug_shows_nothing, is_hex};
use vbc_base::secret::hex;

/// The tenant of a login name, which is not personal data.
const TENANT: &str = "@vbc.prod";

/// The prefix of an opaque pseudonym, which does not have the form of the value that it replaces.
const HIDDEN: &str = "hidden-";

/// Replaces a piece of a known secret.
pub(crate) const REMOVED: &str = "hidden-bearer";

/// Whether a text is an opaque pseudonym. Such a text is never replaced again.
pub(crate) fn is_hidden(text: &str) -> bool {
    text == REMOVED || text.strip_prefix(HIDDEN).is_some_and(|digits| is_hex(digits, 16))
}

/// Whether `recorded` can result from replacing pieces of `text`: the text around the pieces is the
/// same. A whole text that was replaced matches only if `recorded` is [`REMOVED`]; callers compare
/// other opaque pseudonyms themselves.
pub(crate) fn may_be_recorded_as(text: &str, recorded: &str) -> bool {
    if is_hidden(recorded) {
        return recorded == REMOVED;
    }
    let mut rest = text;
    let mut around = recorded;
    let mut from = 0;
    let mut is_first = true;
    while let Some(at) = around[from..].find(HIDDEN).map(|at| from + at) {
        let Some(pseudonym) = pseudonym_at(around, at) else {
            from = at + HIDDEN.len();
            continue;
        };
        let before = &around[..at];
        let found = if is_first { rest.starts_with(before).then_some(0) } else { rest.find(before) };
        let Some(found) = found else { return false };
        rest = &rest[found + before.len()..];
        around = &around[at + pseudonym.len()..];
        from = 0;
        is_first = false;
    }
    if is_first { text == recorded } else { rest.ends_with(around) }
}

/// The opaque pseudonym that starts here.
fn pseudonym_at(text: &str, at: usize) -> Option<&str> {
    let lengths = [HIDDEN.len() + 16, REMOVED.len()];
    lengths.iter().find_map(|length| text.get(at..at + length).filter(|word| is_hidden(word)))
}

/// Makes pseudonyms under one key. Without the key nobody can test guesses at the originals.
pub(crate) struct Pseudonyms {
    key: hmac::Key,
}

debug_shows_nothing!(Pseudonyms);

impl Pseudonyms {
    /// Pseudonyms under this key.
    pub(crate) fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    fn digest(&self, kind: &str, bytes: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(kind.as_bytes());
        context.update(b"\0");
        context.update(bytes);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// Identifies a body that is not recorded: the first 16 bytes of its HMAC-SHA-256, in
    /// hexadecimal.
    pub(crate) fn of_body(&self, bytes: &[u8]) -> String {
        hex(&self.digest("body", bytes)[..16])
    }

    /// The pseudonym of a value.
    pub(crate) fn of(&self, kind: Kind, text: &str) -> String {
        match kind {
            _ if is_hidden(text) => text.to_owned(),
            Kind::Phone if is_phone(text) => self.phone(text),
            Kind::Email => self.email(text),
            Kind::Name => self.name(text),
            // A caller id may be a name instead of a number.
            Kind::Phone if !text.bytes().any(|byte| byte.is_ascii_digit() || byte == b'@') => self.name(text),
            _ => self.of_form(text),
        }
    }

    /// The pseudonym of a value whose kind follows from its form.
    fn of_form(&self, text: &str) -> String {
        if text.starts_with("https://") || text.starts_with("http://") {
            return format!("https://{}.example.com/", self.opaque(text));
        }
        if is_uuid(text) {
            return self.uuid(text);
        }
        if is_email(text) {
            return self.email(text);
        }
        if text.parse::<std::net::Ipv4Addr>().is_ok() {
            // RFC 2544 reserves these addresses for benchmarks.
            let [a, b, c, ..] = self.digest("address", text.as_bytes());
            return format!("198.{}.{b}.{c}", 18 + a % 2);
        }
        if is_phone(text) {
            return self.phone(text);
        }
        self.opaque(text)
    }

    /// An opaque pseudonym, for a name or a secret.
    pub(crate) fn opaque(&self, text: &str) -> String {
        if is_hidden(text) {
            return text.to_owned();
        }
        HIDDEN.to_owned() + &hex(&self.digest("credential", text.as_bytes())[..8])
    }

    /// The pseudonym of a number in JSON. It has as many digits as the number, but at most 15.
    pub(crate) fn number(&self, text: &str) -> String {
        let most = text.bytes().filter(u8::is_ascii_digit).count().clamp(1, 15);
        let digest = self.digest("number", text.as_bytes());
        digest.iter().take(most).map(|byte| char::from(b'1' + byte % 9)).collect()
    }

    fn uuid(&self, text: &str) -> String {
        let digits = hex(&self.digest("uuid", text.to_ascii_lowercase().as_bytes())[..16]);
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]).join("-")
    }

    /// Replaces digits and keeps the punctuation. A number gets the same new digits with any
    /// punctuation.
    fn phone(&self, text: &str) -> String {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let digest = self.digest("phone", digits.as_bytes());
        let mut index = 0;
        let replace = |c: char| {
            if !c.is_ascii_digit() {
                return c;
            }
            index += 1;
            // The first digit names the numbering plan and is kept. The others become 2 to 9, since
            // no plan has a 0 or a 1 after a country code.
            if index == 1 { c } else { char::from(b'2' + digest[index % 32] % 8) }
        };
        text.chars().map(replace).collect()
    }

    /// The pseudonym of an address has a domain. A login name without a domain gets a pseudonym
    /// without one.
    fn email(&self, text: &str) -> String {
        let whole = text.to_ascii_lowercase();
        if !whole.contains('@') {
            return spoken_word(&self.digest("name", whole.as_bytes()), 4);
        }
        let domain = if whole.ends_with(TENANT) { TENANT } else { "@example.com" };
        spoken_word(&self.digest("email", whole.as_bytes()), 5) + domain
    }

    /// Replaces each word separately, so that a first name has the same pseudonym with and without
    /// the last name.
    fn name(&self, text: &str) -> String {
        let words = text.split([' ', '-', '.', ',', '\'']).filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(|word| self.word_of_name(word)).collect();
        words.join(" ")
    }

    fn word_of_name(&self, text: &str) -> String {
        if is_hidden(text) {
            return text.to_owned();
        }
        let word = spoken_word(&self.digest("name", text.to_lowercase().as_bytes()), 4);
        let mut letters = text.chars().filter(|c| c.is_alphabetic()).map(char::is_uppercase);
        match (letters.next().unwrap_or(false), letters.next().unwrap_or(false)) {
            (true, true) => word.to_ascii_uppercase(),
            (true, false) => word[..1].to_ascii_uppercase() + &word[1..],
            (false, _) => word,
        }
    }
}

/// Whether a text is a telephone number alone, in the notation of any country.
fn is_phone(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (7..=15).contains(&digits)
        && text.len() <= 24
        && text.bytes().all(|byte| byte.is_ascii_digit() || b" -./()+".contains(&byte))
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && domain.contains('.')
            && text.len() <= 254
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>(),;:\\[]".contains(&byte))
    })
}

/// A word that can be spoken, with this many syllables.
fn spoken_word(digest: &[u8; 32], syllables: usize) -> String {
    const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
    const VOWELS: &[u8; 5] = b"aeiou";
    let syllable = |pair: &[u8]| {
        [CONSONANTS[usize::from(pair[0] % 16)], VOWELS[usize::from(pair[1] % 5)]].map(char::from)
    };
    digest.chunks(2).take(syllables).flat_map(syllable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonyms(key: u8) -> Pseudonyms {
        Pseudonyms::new(&[key; 32])
    }

    #[test]
    fn a_pseudonym_is_the_same_every_time_and_another_under_another_key() {
        let (one, two) = (pseudonyms(1), pseudonyms(2));
        for (kind, text) in [
            (Kind::Phone, "+15551234567"),
            (Kind::Email, "jane@example.org"),
            (Kind::Email, "jane"),
            (Kind::Name, "Jane"),
            (Kind::Secret, "s3cret"),
            (Kind::Secret, "22781206-c176-4cde-8110-e6fc10bbb1c5"),
            (Kind::Secret, "10.145.0.36"),
            (Kind::Secret, "https://jane.example.org/?key=1"),
        ] {
            let first = one.of(kind, text);
            assert_ne!(first, text);
            assert_eq!(one.of(kind, text), first);
            assert_ne!(two.of(kind, text), first, "{kind:?}");
        }
        assert_ne!(one.of_body(b"1234"), two.of_body(b"1234"));
    }

    #[test]
    fn forms_are_kept() {
        let hide = pseudonyms(1);
        let phone = hide.of(Kind::Phone, "+1 (555) 123-4567");
        assert_eq!(phone.len(), 17);
        assert!(phone.starts_with("+1 (") && phone[8..].starts_with(" ") && phone.contains('-'), "{phone}");
        let bare = hide.of(Kind::Phone, "15551234567");
        assert_eq!(phone.chars().filter(char::is_ascii_digit).collect::<String>(), bare);
        assert!(hide.of(Kind::Email, "Jane@example.org").ends_with("@example.com"));
        assert!(hide.of(Kind::Email, "jane@vbc.prod").ends_with("@vbc.prod"));
        let name = hide.of(Kind::Name, "Jane");
        assert_eq!(hide.of(Kind::Name, "JANE"), name.to_uppercase());
        assert_eq!(hide.of(Kind::Name, "Jane Doe"), name.clone() + " " + &hide.of(Kind::Name, "Doe"));
        assert!(is_uuid(&hide.of(Kind::Secret, "22781206-c176-4cde-8110-e6fc10bbb1c5")));
        assert!(hide.of(Kind::Text, "10.145.0.36").starts_with("198.1"));
        let number = hide.number("1234");
        assert_eq!((number.len(), number.parse::<u64>().is_ok()), (4, true));
    }

    #[test]
    fn no_word_of_a_name_and_no_digit_among_words_stays() {
        let hide = pseudonyms(1);
        let name = hide.of(Kind::Name, "J s3cret 12345678 😀");
        for part in ["J", "s3cret", "12345678", "😀"] {
            assert!(!name.split(' ').any(|word| word == part), "{name}");
        }
        for odd in ["+1 555 123 s3cret", "1555\u{2009}1234567", "s3cret@", "a b@x.org"] {
            let hidden = hide.of(Kind::Phone, odd);
            assert!(is_hidden(&hidden), "{odd} {hidden}");
        }
    }

    #[test]
    fn a_text_may_be_what_was_recorded_with_pieces_replaced() {
        let hidden = "hidden-0123456789abcdef";
        for (text, recorded, may) in [
            ("x?token=abc&y", format!("x?token={hidden}&y"), true),
            ("x?token=abc&z", format!("x?token={hidden}&y"), false),
            ("a b c d e", format!("a {hidden} c {hidden} e"), true),
            ("a b d e", format!("a {hidden} c {hidden} e"), false),
            ("a b c d", format!("{hidden} c {hidden}"), true),
            ("anything", "hidden-bearer".to_owned(), true),
            ("anything", hidden.to_owned(), false),
            ("hidden-x", "hidden-x".to_owned(), true),
            ("hidden-y", "hidden-x".to_owned(), false),
            ("ü", format!("ü{hidden}ü"), false),
            ("hidden-x1", format!("hidden-x{hidden}"), true),
        ] {
            assert_eq!(may_be_recorded_as(text, &recorded), may, "{text} {recorded}");
        }
    }

    #[test]
    fn a_pseudonym_without_a_form_stays() {
        let hide = pseudonyms(1);
        let secret = hide.of(Kind::Secret, "s3cret");
        for kind in [Kind::Secret, Kind::Phone, Kind::Email, Kind::Name] {
            assert_eq!(hide.of(kind, &secret), secret);
        }
        assert!(is_hidden("hidden-bearer") && !is_hidden("hidden-s3cret"));
    }
}
