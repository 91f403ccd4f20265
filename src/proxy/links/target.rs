//! Recognizes the upstream's URLs.

use http::uri::Scheme;
use memchr::memmem::Finder;

use crate::config;

/// The upstream as it appears in URLs: with http or https, and with its port unless that is the
/// default.
pub(in crate::proxy) struct Target {
    /// The host, in lower case.
    host: Vec<u8>,
    port: u16,
    /// Whether `port` is the default of the upstream's scheme. Then a URL may
    /// omit the port, and may have the other one of http and https.
    default: bool,
    /// Searchers for the beginnings of JSON strings that may be URLs.
    pub(super) quoted: [Finder<'static>; 2],
}

/// The form of a slash in a JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slash {
    /// `/`
    Plain,
    /// `\/`
    Escaped,
    /// `\u002f`
    Unicode,
}

impl Slash {
    pub(super) fn text(self) -> &'static [u8] {
        match self {
            Self::Plain => b"/",
            Self::Escaped => br"\/",
            Self::Unicode => br"\u002f",
        }
    }
}

/// Why a text does not begin with a URL of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The text begins with something else.
    Other,
    /// More of the text is needed.
    Incomplete,
}

/// A position in a text that is compared from its beginning.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// Whether the text is the inside of a JSON string, and may continue.
    json: bool,
}

impl Cursor<'_> {
    /// The next byte. The end of a text counts as the closing quote of a string.
    fn peek(&self) -> Result<u8, Mismatch> {
        match self.text.get(self.at) {
            Some(byte) => Ok(*byte),
            None if self.json => Err(Mismatch::Incomplete),
            None => Ok(b'"'),
        }
    }

    fn expect(&mut self, lower: &[u8]) -> Result<(), Mismatch> {
        for wanted in lower {
            if self.peek()?.to_ascii_lowercase() != *wanted {
                return Err(Mismatch::Other);
            }
            self.at += 1;
        }
        Ok(())
    }

    fn take(&mut self, lower: u8) -> Result<bool, Mismatch> {
        let there = self.peek()?.eq_ignore_ascii_case(&lower);
        self.at += usize::from(there);
        Ok(there)
    }

    fn slash(&mut self) -> Result<Slash, Mismatch> {
        if self.take(b'/')? {
            return Ok(Slash::Plain);
        }
        if !self.json || !self.take(b'\\')? {
            return Err(Mismatch::Other);
        }
        if self.take(b'/')? {
            return Ok(Slash::Escaped);
        }
        self.expect(b"u002f").map(|()| Slash::Unicode)
    }

    /// The digits of the port, after a colon. Empty if there is no colon or no digit.
    fn port(&mut self) -> Result<&[u8], Mismatch> {
        let start = self.at + 1;
        if !self.take(b':')? {
            return Ok(&[]);
        }
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
            if self.at - start > 5 {
                return Err(Mismatch::Other);
            }
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Checks that the authority ends here. Otherwise the text is a longer host, or a user name.
    fn ends(&mut self) -> Result<(), Mismatch> {
        match self.peek()? {
            b'/' | b'?' | b'#' | b'"' => Ok(()),
            // The same characters may be escaped. Any other escape may belong to a longer host.
            _ if self.json => {
                let end = self.at;
                let mut ends = self.slash().map(drop);
                for other in [br"\u003f", br"\u0023"] {
                    if ends == Err(Mismatch::Other) {
                        self.at = end;
                        ends = self.expect(other);
                    }
                }
                self.at = end;
                ends
            }
            _ => Err(Mismatch::Other),
        }
    }
}

impl Target {
    pub(in crate::proxy) fn new(upstream: &config::Origin) -> Self {
        let usual = if upstream.tls { 443 } else { 80 };
        let port = upstream.authority.port_u16().unwrap_or(usual);
        Self {
            host: upstream.authority.host().to_ascii_lowercase().into_bytes(),
            port,
            default: port == usual,
            quoted: [Finder::new(b"\"h"), Finder::new(b"\"H")],
        }
    }

    /// The end of the authority and the form of slashes, if a string begins with a URL of the
    /// upstream.
    pub(super) fn in_string(&self, text: &[u8]) -> Result<(usize, Slash), Mismatch> {
        self.find(Cursor { text, at: 0, json: true })
    }

    /// The end of the authority, if a header's URL is the upstream's. `//host/path` counts as a URL
    /// too.
    pub(super) fn in_header(&self, text: &[u8]) -> Option<usize> {
        if text.starts_with(b"//") {
            let mut cursor = Cursor { text, at: 2, json: false };
            return self.authority(&mut cursor, None).ok().map(|()| cursor.at);
        }
        self.find(Cursor { text, at: 0, json: false }).ok().map(|(end, _)| end)
    }

    /// Whether an absolute-form target is for the upstream.
    pub(in crate::proxy) fn is_named_by(&self, scheme: Option<&Scheme>, authority: &str) -> bool {
        let tls = scheme.map(|scheme| *scheme == Scheme::HTTPS);
        let mut cursor = Cursor { text: authority.as_bytes(), at: 0, json: false };
        self.authority(&mut cursor, tls).is_ok()
    }

    fn find(&self, mut cursor: Cursor<'_>) -> Result<(usize, Slash), Mismatch> {
        cursor.expect(b"http")?;
        let tls = cursor.take(b's')?;
        cursor.expect(b":")?;
        let slash = cursor.slash()?;
        cursor.slash()?;
        self.authority(&mut cursor, Some(tls))?;
        Ok((cursor.at, slash))
    }

    fn authority(&self, cursor: &mut Cursor<'_>, tls: Option<bool>) -> Result<(), Mismatch> {
        cursor.expect(&self.host)?;
        let digits = cursor.port()?;
        let port = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u16>().ok());
        let fits = match port {
            Some(port) if port == self.port => true,
            Some(port) => self.default && tls.is_some_and(|tls| port == usual(tls)),
            None => digits.is_empty() && (self.default || tls.is_some_and(|tls| self.port == usual(tls))),
        };
        if fits { cursor.ends() } else { Err(Mismatch::Other) }
    }
}

fn usual(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;

    use super::*;

    fn target(tls: bool, authority: &'static str) -> Target {
        Target::new(&config::Origin { tls, authority: Authority::from_static(authority) })
    }

    fn is_link(target: &Target, text: &str) -> bool {
        // The beginning of a link must never be reported as `Other`.
        let whole = target.in_string(format!("{text}\"").as_bytes()).is_ok();
        for end in 0..text.len() {
            let part = target.in_string(&text.as_bytes()[..end]);
            assert!(part != Err(Mismatch::Other) || !whole, "{text} up to {end}");
        }
        whole
    }

    #[test]
    fn the_upstreams_urls_are_known_whatever_their_case_scheme_or_written_port() {
        let vonage = target(true, "api.vonage.com");
        for url in [
            "https://api.vonage.com/t",
            "http://api.vonage.com/t",
            "HTTPS://API.Vonage.COM/t",
            "https://api.vonage.com:443/t",
            "http://api.vonage.com:80/t",
            "https://api.vonage.com:/t",
            "https://api.vonage.com",
            "https://api.vonage.com?a=b",
            "https://api.vonage.com#a",
            r"https:\/\/api.vonage.com\/t",
            r"https:/\/api.vonage.com/t",
            r"https:\u002f\u002Fapi.vonage.com\u002ft",
        ] {
            assert!(is_link(&vonage, url), "{url}");
        }
        let local = target(false, "127.0.0.1:8090");
        assert!(is_link(&local, "http://127.0.0.1:8090/a") && is_link(&local, "https://127.0.0.1:8090/a"));
        let six = target(false, "[::1]:8090");
        assert!(is_link(&six, "http://[::1]:8090/a") && !is_link(&six, "http://[::1]/a"));
        // Port 80 is the default of the other scheme only.
        let odd = target(true, "api.test:80");
        assert!(is_link(&odd, "http://api.test/a") && !is_link(&odd, "https://api.test/a"));
    }

    #[test]
    fn nothing_else_is_taken_for_the_upstream() {
        let vonage = target(true, "api.vonage.com");
        for url in [
            "https://api.vonage.com.evil.com/t",
            "https://api.vonage.community/",
            "https://api.vonage.com:8443/t",
            "https://api.vonage.com:4430/t",
            "https://api.vonage.com:80/t",
            "http://api.vonage.com:443000/t",
            "https://api.vonage.com@evil.com/",
            "https://api.vonage.com:443@evil.com/",
            "https://user@api.vonage.com/",
            "https://xapi.vonage.com/",
            "ftp://api.vonage.com/",
            "https:/api.vonage.com/",
            "https:api.vonage.com/",
            // The same host with a final dot, which is unusual and does not count as a link.
            "https://api.vonage.com./t",
            "https://api.vonage.com.:443/t",
            " https://api.vonage.com/",
            r"https://api.vonage.com\u002eevil.com/",
            r"https://api.vonage.com\\@evil.com/",
        ] {
            assert!(!is_link(&vonage, url), "{url}");
        }
        assert!(!is_link(&target(false, "127.0.0.1:8090"), "http://127.0.0.1/a"));
        assert!(!is_link(&target(false, "127.0.0.1:8090"), "http://127.0.0.1:80901/a"));
    }

    #[test]
    fn headers_have_no_escapes_and_may_leave_the_scheme_out() {
        let vonage = target(true, "api.vonage.com");
        assert_eq!(vonage.in_header(b"https://api.vonage.com/t"), Some(22));
        assert_eq!(vonage.in_header(b"https://api.vonage.com"), Some(22));
        assert_eq!(vonage.in_header(b"//api.vonage.com:443/t"), Some(20));
        for not in ["/t", "https://api.vonage", r"https:\/\/api.vonage.com/", "//api.vonage.com.evil/", "t"] {
            assert_eq!(vonage.in_header(not.as_bytes()), None, "{not}");
        }
    }
}
