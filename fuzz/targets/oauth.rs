//! Parses any response of a token endpoint.

#![allow(clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::redact::Redactor;
use super::response::{TokenResponse, read};
use super::{AccessToken, ClientIdentity, Grant, Issued};
use vbc_base::clock::Timestamp;
use vbc_base::secret::Secret;

const SECRETS: [&str; 3] = ["fuzz-client-secret", "fuzz-refresh-token", "fuzz-password"];

/// The input is one byte for status and grant, a line for `Retry-After`, then the body.
///
/// # Panics
///
/// When a token is accepted that cannot be sent, or an error shows a secret.
pub fn token_response(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let (line, body) = rest.split_at(rest.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    let status = [200, 400, 401, 403, 429, 500, 502, 503, 302, 201][usize::from(kind % 10)];
    let grant = match kind / 10 % 2 {
        0 => Grant::RefreshToken { refresh_token: Secret::new(SECRETS[1]) },
        _ => Grant::Password {
            username: "alice@vbc.prod".to_owned(),
            password: Secret::new(SECRETS[2]),
            scope: "openid".to_owned(),
        },
    };
    let client =
        ClientIdentity { client_id: "app".into(), client_secret: Secret::new(SECRETS[0]), auth: None };
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(line.trim_ascii()) {
        headers.insert(header::RETRY_AFTER, value);
    }
    let redactor = Redactor::new(&grant, &client, Some("alice@vbc.prod"));
    let response =
        TokenResponse { status: StatusCode::from_u16(status).unwrap_or_default(), headers: &headers, body };
    let now = Timestamp::UNIX_EPOCH;
    match read(&response, &grant, &redactor, now) {
        Ok(issued) => {
            assert!(status < 300, "tokens from a {status}");
            assert!(issued.access_token.header_value().is_some(), "a token that cannot be sent");
            assert!(issued.expires_in.as_secs() >= 1);
            // Debug output must not depend on the tokens.
            let shown = format!("{issued:?}");
            let refresh_token = issued.refresh_token.as_ref().map(|_| Secret::new("other"));
            let other = Issued { access_token: AccessToken::new("other"), refresh_token, ..issued };
            assert_eq!(shown, format!("{other:?}"));
        }
        Err(error) => {
            let shown = format!("{error} {error:?}");
            let sent = match grant {
                Grant::Password { .. } => [SECRETS[0], SECRETS[2]],
                _ => [SECRETS[0], SECRETS[1]],
            };
            for secret in sent {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}
