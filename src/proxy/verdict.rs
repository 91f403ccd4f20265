//! Whether another token may cure a 401. Pure.
//!
//! A 401 from the gateway has a WSO2 code and a challenge. A 401 from a backend usually has
//! neither.

use http::{HeaderMap, header};

use crate::credential::rejected_prefixes::Kind;
use crate::oauth::ErrorBody;

/// The verdict on a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A new token may cure the 401.
    Curable(Kind),
    /// A new token would not cure the 401, for this reason.
    Incurable(&'static str),
}

impl Verdict {
    /// The label in metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Curable(Kind::Token) => "token_refused",
            Self::Curable(Kind::Unclear) => "unclear",
            Self::Incurable(_) => "not_the_token",
        }
    }
}

/// Judges a 401 by its head and the beginning of its body.
pub(super) fn judge(headers: &HeaderMap, body: &[u8]) -> Verdict {
    if let Some(code) = ErrorBody::read(body).gateway_code() {
        return match code {
            // In this order: invalid (the gateway also sends it for expired and revoked tokens),
            // expired, inactive.
            900_901 | 900_903 | 900_904 => Verdict::Curable(Kind::Token),
            900_902 => Verdict::Incurable("900902: the gateway found no token in the request"),
            900_905 => Verdict::Incurable("900905: this token type does not fit the resource"),
            900_907 => Verdict::Incurable("900907: the API is blocked"),
            900_909 => Verdict::Incurable("900909: the application's subscription is inactive"),
            900_911 => Verdict::Incurable("900911: the gateway requires a client certificate"),
            _ => Verdict::Curable(Kind::Unclear),
        };
    }
    let challenges = || headers.get_all(header::WWW_AUTHENTICATE).iter().map(|value| value.as_bytes());
    if challenges().any(|challenge| contains(challenge, b"insufficient_scope")) {
        return Verdict::Incurable("the token's scope is insufficient");
    }
    if challenges().any(|challenge| contains(challenge, b"invalid_token")) {
        return Verdict::Curable(Kind::Token);
    }
    Verdict::Curable(Kind::Unclear)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const TOKEN: Verdict = Verdict::Curable(Kind::Token);
    const UNCLEAR: Verdict = Verdict::Curable(Kind::Unclear);

    fn by_body(body: &str) -> Verdict {
        judge(&HeaderMap::new(), body.as_bytes())
    }

    fn by_challenge(challenge: &'static str) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        judge(&headers, b"")
    }

    #[test]
    fn the_gateways_codes_are_read_in_every_wrapping() {
        assert_eq!(by_body(r#"{"code":"900901","message":"Invalid Credentials"}"#), TOKEN);
        assert_eq!(by_body(r#"{"fault":{"code":900901,"message":"Invalid Credentials"}}"#), TOKEN);
        assert_eq!(
            by_body(
                r#"<ams:fault xmlns:ams="http://wso2.org/apimanager/security"><ams:code>900903</ams:code></ams:fault>"#
            ),
            TOKEN
        );
        assert_eq!(by_body("\u{feff} {\"code\":\"900904\"}"), TOKEN);
    }

    #[test]
    fn bodies_that_the_gateway_does_not_write_are_judged_all_the_same() {
        assert_eq!(by_body(r#"{"code":"900902","fault":{"code":"900901"}}"#), TOKEN, "the fault's code");
        assert_eq!(by_body(r#"<e:fault a="b"><e:code lang="en">900901</e:code></e:fault>"#), TOKEN);
        assert_eq!(by_body("<fault><code>900904</code><e:code>900902</e:code></fault>"), TOKEN, "the first");
        let invalid_utf_8 = b"{\"code\":\"900901\",\"message\":\"\xff\"}";
        assert_eq!(judge(&HeaderMap::new(), invalid_utf_8), TOKEN);
        // The gateway's codes never have seven digits, so the challenge decides.
        let mut headers = HeaderMap::new();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer error="invalid_token""#));
        assert_eq!(judge(&headers, br#"{"code":"9009010"}"#), TOKEN);
        assert_eq!(by_body(r#"{"code":"9009010"}"#), UNCLEAR);
    }

    #[test]
    fn codes_that_are_not_about_the_token_are_passed_on() {
        for code in ["900902", "900905", "900907", "900909", "900911"] {
            let body = format!(r#"{{"code":"{code}"}}"#);
            assert!(matches!(by_body(&body), Verdict::Incurable(why) if why.starts_with(code)), "{code}");
        }
    }

    #[test]
    fn backends_and_nonsense_are_worth_one_try() {
        for body in [
            "",
            "missing user data",
            r#"{"title":"Problem with provided token"}"#,
            r#"{"code":401,"message":"User is not permitted to make a request against this account"}"#,
            r#"{"code":"#,
            "<html><code>",
            "\u{0}\u{1}",
        ] {
            assert_eq!(by_body(body), UNCLEAR, "{body}");
        }
        assert_eq!(judge(&HeaderMap::new(), b"\xff\xfe"), UNCLEAR);
    }

    #[test]
    fn the_challenge_decides_where_no_code_does() {
        let wso2 = r#"OAuth2 realm="WSO2 API Manager", error="invalid_token", error_description="expired""#;
        assert_eq!(by_challenge(wso2), TOKEN);
        assert_eq!(by_challenge(r#"null Bearer realm="x""#), UNCLEAR);
        assert!(matches!(by_challenge(r#"Bearer error="insufficient_scope""#), Verdict::Incurable(_)));
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(0_u8..255, 0..200)) {
            judge(&HeaderMap::new(), &body);
            judge(&HeaderMap::new(), &[&b"{\"code\":"[..], &body].concat());
            judge(&HeaderMap::new(), &[&b"<:code>"[..], &body].concat());
        }
    }
}
