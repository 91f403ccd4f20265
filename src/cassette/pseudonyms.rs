//! What stands in place of credentials and personal data.

use std::collections::HashSet;

use aws_lc_rs::hmac;
use memchr::memmem;

use super::hide::{Hide, Kind};
use crate::secret::hex;

/// A login name's tenant, which says nothing about a person.
const TENANT: &str = "@vbc.prod";

/// How a pseudonym of a credential begins.
const HIDDEN: &str = "hidden-";

/// What stands for a token of ours that the upstream has repeated.
pub(super) const OURS: &str = "hidden-bearer";

/// The length of a credential's pseudonym that begins here.
pub(super) fn pseudonym_at(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(HIDDEN)?.as_bytes();
    let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let is_one = word == 16 && rest[..16].iter().all(u8::is_ascii_hexdigit);
    (is_one || text[..HIDDEN.len() + word] == *OURS).then_some(HIDDEN.len() + word)
}

/// Stable pseudonyms: keyed, so that nobody without the key can try who is behind one.
pub(super) struct Pseudonyms {
    key: hmac::Key,
    personal: bool,
    /// What is a pseudonym already, and stays.
    known: HashSet<String>,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pseudonyms").field("personal", &self.personal).finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// Those of this key; without `personal`, credentials alone are hidden.
    pub(super) fn new(key: &[u8], personal: bool) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), personal, known: HashSet::new() }
    }

    /// Takes what was found for pseudonyms, which are left alone from now on.
    pub(super) fn leave(&mut self, found: Found) {
        self.known.extend(found.0);
    }

    fn digest(&self, kind: &str, text: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(kind.as_bytes());
        context.update(b"\0");
        context.update(text.as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// The same digits written in another way have the same pseudonym, written in that way.
    fn phone(&self, text: &str) -> String {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let digest = self.digest("phone", &digits);
        let mut index = 0;
        let replace = |c: char| {
            if !c.is_ascii_digit() {
                return c;
            }
            index += 1;
            // The first digit says which plan it is of; no plan has a 0 or a 1 behind a country's code.
            if index == 1 { c } else { char::from(b'2' + digest[index % 32] % 8) }
        };
        text.chars().map(replace).collect()
    }

    fn email(&self, text: &str) -> String {
        let whole = text.to_ascii_lowercase();
        let domain = if whole.ends_with(TENANT) { TENANT } else { "@example.com" };
        word(&self.digest("email", &whole), 5) + domain
    }

    fn name(&self, text: &str) -> String {
        let made = word(&self.digest("name", &text.to_lowercase()), 4);
        let mut letters = text.chars().filter(|c| c.is_alphabetic());
        match (letters.next().is_some_and(char::is_uppercase), letters.next().is_some_and(char::is_uppercase))
        {
            (true, true) => made.to_ascii_uppercase(),
            (true, false) => made[..1].to_ascii_uppercase() + &made[1..],
            (false, _) => made,
        }
    }
}

impl Pseudonyms {
    fn of(&self, kind: Kind, text: &str) -> Option<String> {
        match kind {
            Kind::Credential => (pseudonym_at(text) != Some(text.len()))
                .then(|| HIDDEN.to_owned() + &hex(&self.digest("credential", text)[..8])),
            _ if !self.personal || self.known.contains(&plain(kind, text)) => None,
            Kind::Phone => Some(self.phone(text)),
            Kind::Email => Some(self.email(text)),
            Kind::Name => Some(self.name(text)),
        }
    }
}

impl Hide for Pseudonyms {
    fn hide(&mut self, kind: Kind, text: &str) -> Option<String> {
        self.of(kind, text)
    }
}

/// Several can ask at once.
impl Hide for &Pseudonyms {
    fn hide(&mut self, kind: Kind, text: &str) -> Option<String> {
        self.of(kind, text)
    }
}

/// One writing for all that mean the same.
fn plain(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Phone => text.chars().filter(char::is_ascii_digit).collect(),
        _ => text.to_lowercase(),
    }
}

/// A word that can be spoken, of so many syllables.
fn word(digest: &[u8; 32], syllables: usize) -> String {
    const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
    const VOWELS: &[u8; 5] = b"aeiou";
    let syllable = |pair: &[u8]| {
        [CONSONANTS[usize::from(pair[0] % 16)], VOWELS[usize::from(pair[1] % 5)]].map(char::from)
    };
    digest.chunks(2).take(syllables).flat_map(syllable).collect()
}

/// So many credentials of a request are looked for elsewhere: each is a look at all that follows.
const REMEMBERED: usize = 64;

/// Remembers the credentials that are hidden, to look for them where nothing tells that they are some.
pub(super) struct Remembering<'h> {
    pub(super) hide: &'h mut dyn Hide,
    seen: Vec<String>,
    /// Nothing is added any more.
    pub(super) is_full: bool,
}

impl<'h> Remembering<'h> {
    pub(super) fn new(hide: &'h mut dyn Hide) -> Self {
        Self { hide, seen: Vec::new(), is_full: false }
    }

    /// What repeats a remembered credential, without it.
    pub(super) fn without(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let mut bytes = bytes;
        for seen in &self.seen {
            if memmem::find(&bytes, seen.as_bytes()).is_some()
                && let Some(with) = self.hide.hide(Kind::Credential, seen)
            {
                bytes = replaced(&bytes, seen.as_bytes(), with.as_bytes());
            }
        }
        bytes
    }

    /// The same for a text.
    pub(super) fn without_in(&mut self, text: String) -> String {
        match self.seen.iter().any(|seen| text.contains(seen.as_str())) {
            // Text in place of text.
            true => String::from_utf8(self.without(text.into_bytes())).unwrap_or_default(),
            false => text,
        }
    }
}

impl Hide for Remembering<'_> {
    fn hide(&mut self, kind: Kind, text: &str) -> Option<String> {
        let new = self.hide.hide(kind, text)?;
        if kind == Kind::Credential
            && !self.is_full
            && self.seen.len() < REMEMBERED
            && is_telling(text)
            && !self.seen.iter().any(|seen| seen == text)
        {
            self.seen.push(text.to_owned());
        }
        Some(new)
    }
}

/// Whether a credential can be told from a word of every day, from a number or the name of a field.
fn is_telling(text: &str) -> bool {
    let has = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
    let is_mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    text.len() >= 16 || (text.len() >= 8 && is_mixed)
}

/// Bytes with others in place of those looked for.
pub(super) fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for at in memmem::find_iter(bytes, old) {
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(new);
        from = at + old.len();
    }
    out.extend_from_slice(&bytes[from..]);
    out
}

/// Changes nothing, and remembers what personal data there was.
#[derive(Default)]
pub(super) struct Found(HashSet<String>);

impl Hide for Found {
    fn hide(&mut self, kind: Kind, text: &str) -> Option<String> {
        if kind != Kind::Credential {
            self.0.insert(plain(kind, text));
        }
        None
    }
}

/// Every person is like every other, and so is every credential: for the lenient comparison.
pub(super) struct Shapes;

impl Hide for Shapes {
    fn hide(&mut self, kind: Kind, _: &str) -> Option<String> {
        let shape = match kind {
            Kind::Credential => "credential",
            Kind::Phone => "phone",
            Kind::Email => "email",
            Kind::Name => "name",
        };
        Some(shape.to_owned())
    }
}

/// Every credential is like every other, for each comparison; what else is found goes to the one inside.
pub(super) struct AnyCredential<'h>(pub(super) Option<&'h mut dyn Hide>);

impl Hide for AnyCredential<'_> {
    fn hide(&mut self, kind: Kind, text: &str) -> Option<String> {
        match (kind, &mut self.0) {
            (Kind::Credential, _) => Some("credential".to_owned()),
            (_, Some(inner)) => inner.hide(kind, text),
            (_, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonyms(key: u8) -> Pseudonyms {
        Pseudonyms::new(&[key; 32], true)
    }

    #[test]
    fn a_pseudonym_is_the_same_every_time_and_another_under_another_key() {
        let (mut one, mut two) = (pseudonyms(1), pseudonyms(2));
        for (kind, text) in [
            (Kind::Phone, "+15551234567"),
            (Kind::Email, "jane@example.org"),
            (Kind::Name, "Jane"),
            (Kind::Credential, "s3cret"),
        ] {
            let first = one.hide(kind, text).unwrap();
            assert_ne!(first, text);
            assert_eq!(one.hide(kind, text).unwrap(), first);
            assert_ne!(two.hide(kind, text).unwrap(), first, "{kind:?}");
        }
    }

    #[test]
    fn not_more_is_remembered_than_can_be_looked_for() {
        let mut hide = Shapes;
        let mut remembering = Remembering::new(&mut hide);
        for n in 0..100_000 {
            remembering.hide(Kind::Credential, &format!("s3cret-{n}"));
        }
        assert_eq!(remembering.seen.len(), REMEMBERED);
        assert_eq!(remembering.without_in("a s3cret-9 b".into()), "a credential b");
    }

    #[test]
    fn shapes_are_kept() {
        let mut hide = pseudonyms(1);
        let phone = hide.hide(Kind::Phone, "+1 (555) 123-4567").unwrap();
        assert_eq!(phone.len(), 17);
        assert!(phone.starts_with("+1 (") && phone[8..].starts_with(" ") && phone.contains('-'), "{phone}");
        let bare = hide.hide(Kind::Phone, "15551234567").unwrap();
        assert_eq!(phone.chars().filter(char::is_ascii_digit).collect::<String>(), bare);
        assert!(hide.hide(Kind::Email, "Jane@example.org").unwrap().ends_with("@example.com"));
        assert!(hide.hide(Kind::Email, "jane@vbc.prod").unwrap().ends_with("@vbc.prod"));
        let name = hide.hide(Kind::Name, "Jane").unwrap();
        assert_eq!(hide.hide(Kind::Name, "JANE").unwrap(), name.to_uppercase());
        assert_eq!(hide.hide(Kind::Name, "jane").unwrap(), name.to_lowercase());
    }

    #[test]
    fn what_is_known_for_a_pseudonym_stays() {
        let mut hide = pseudonyms(1);
        let phone = hide.hide(Kind::Phone, "+15551234567").unwrap();
        let mut found = Found::default();
        assert_eq!(found.hide(Kind::Phone, &phone), None);
        hide.leave(found);
        assert_eq!(hide.hide(Kind::Phone, &phone), None);
        let secret = hide.hide(Kind::Credential, "s3cret").unwrap();
        assert_eq!(hide.hide(Kind::Credential, &secret), None);
    }

    #[test]
    fn without_personal_data_credentials_are_hidden_all_the_same() {
        let mut hide = Pseudonyms::new(&[1; 32], false);
        assert_eq!(hide.hide(Kind::Phone, "+15551234567"), None);
        assert!(hide.hide(Kind::Credential, "s3cret").is_some());
    }
}
