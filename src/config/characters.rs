//! The characters that RFC 6749, appendix A, allows in a secret.

/// A set of characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Characters {
    /// `VSCHAR`: visible ASCII and blanks. Client id, client secret and refresh token.
    Ascii,
    /// `UNICODECHARNOCRLF`: every character except ASCII control characters (a tab is allowed),
    /// U+FFFE and U+FFFF. User name and password.
    Unicode,
}

impl Characters {
    /// The characters of the secret with this name.
    pub(super) fn of(key: &str) -> Self {
        match key {
            "username" | "password" => Self::Unicode,
            _ => Self::Ascii,
        }
    }

    fn allows(self, c: char) -> bool {
        match self {
            Self::Ascii => matches!(c, ' '..='~'),
            Self::Unicode => matches!(c, '\t' | ' '..='~' | '\u{80}'..='\u{fffd}' | '\u{10000}'..),
        }
    }

    /// Describes the first character that is not allowed and its position, counted from 1. `None`
    /// if all characters are allowed. Quotes no other part of the text.
    pub(super) fn refused(self, text: &str) -> Option<String> {
        let (position, c) = (1..).zip(text.chars()).find(|(_, c)| !self.allows(*c))?;
        let name = match c {
            '\0' => ", a zero byte",
            '\t' => ", a tab",
            '\n' => ", a line feed",
            '\r' => ", a carriage return",
            '\u{a0}' | '\u{202f}' => ", a no-break space",
            '\u{200b}'..='\u{200d}' | '\u{2060}' => ", which is invisible",
            '\u{2018}'..='\u{201f}' => ", a typographic quote",
            '\u{2010}'..='\u{2015}' => ", a typographic dash",
            '\u{feff}' => ", a byte order mark",
            c if c.is_control() => ", a control character",
            _ => "",
        };
        Some(format!("character {position} (U+{:04X}{name})", u32::from(c)))
    }

    pub(super) fn allowed(self) -> &'static str {
        match self {
            Self::Ascii => "only visible ASCII characters and blanks are allowed",
            Self::Unicode => "control characters, U+FFFE and U+FFFF are not allowed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_named_with_its_place_and_nothing_else_is_quoted() {
        let ascii = |text| Characters::Ascii.refused(text);
        assert_eq!(ascii("Az09 ~!\"\\"), None);
        assert_eq!(ascii("abc\ndef").unwrap(), "character 4 (U+000A, a line feed)");
        assert_eq!(ascii("pass\u{200b}").unwrap(), "character 5 (U+200B, which is invisible)");
        assert_eq!(ascii("\u{e4}").unwrap(), "character 1 (U+00E4)");
        assert_eq!(ascii("\t").unwrap(), "character 1 (U+0009, a tab)");
        let unicode = |text| Characters::Unicode.refused(text);
        assert_eq!(unicode("p\u{e4}ss \t\u{80}\u{1f511}\u{fffd}"), None);
        for (text, place) in
            [("\r", 1), ("a\n", 2), ("ab\0", 3), ("\u{7f}", 1), ("a\u{ffff}", 2), ("\u{fffe}", 1)]
        {
            assert!(unicode(text).unwrap().starts_with(&format!("character {place} (")), "{text:?}");
        }
    }

    #[test]
    fn each_secret_has_the_characters_of_the_rfc() {
        for key in ["client_id", "client_secret", "refresh_token"] {
            assert_eq!(Characters::of(key), Characters::Ascii);
        }
        for key in ["username", "password"] {
            assert_eq!(Characters::of(key), Characters::Unicode);
        }
    }
}
