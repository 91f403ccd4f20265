//! Checks for requests that must never reach the token endpoint. The oracle sees each request of a
//! credential and each response that reaches it, and knows the true time.

use std::collections::HashMap;
use std::time::Duration;

use http::Response;
use serde_json::Value;
use tokio::time::Instant;

/// The brake's guarantee: no login for this long after the server reported a locked account.
const LOCK: Duration = Duration::from_secs(35 * 60);

/// The longest time to store the outcome of a response: a few writes in sequence.
const UNSTORED: Duration = Duration::from_millis(60);

/// The state of a refresh token, as known to the credential.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The token was presented, and the credential knows no conclusive response. It may be
    /// presented again.
    Open,
    /// The credential learned at this time that the token is spent or invalid. Presenting the token
    /// again is a violation.
    Over(Instant),
}

/// The grant of a token request.
#[derive(Clone, Debug)]
pub(super) enum TokenRequest {
    Login { secret: String },
    Refresh { token: String },
    Code,
}

impl TokenRequest {
    pub(super) fn read(form: &str) -> Self {
        let value = |wanted: &str| {
            let mut pairs = url::form_urlencoded::parse(form.as_bytes());
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        match value("grant_type").as_str() {
            "password" => Self::Login { secret: value("password") },
            "refresh_token" => Self::Refresh { token: value("refresh_token") },
            _ => Self::Code,
        }
    }
}

#[derive(Default)]
pub(super) struct Oracle {
    in_flight: u32,
    /// The credential is being killed, so requests that end now do not count as cancelled.
    pub(super) dying: bool,
    fates: HashMap<String, Fate>,
    /// Refused passwords, and when the credential learned of each refusal.
    refused: Vec<(String, Instant)>,
    /// When the credential learned that the account is locked.
    locked: Option<Instant>,
    /// An access token may have been revoked between its issue and its arrival.
    pub(super) doomed: bool,
    pub(super) requests: u64,
    pub(super) issued: u64,
    pub(super) violations: Vec<String>,
}

impl Oracle {
    pub(super) fn violated(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// A request leaves the credential.
    pub(super) fn leaves(&mut self, asked: &TokenRequest, now: Instant) {
        self.requests += 1;
        self.doomed = false;
        self.in_flight += 1;
        if self.in_flight > 1 {
            self.violated("two token requests at the same time");
        }
        match asked {
            TokenRequest::Refresh { token } => {
                if matches!(self.fates.get(token), Some(Fate::Over(_))) {
                    self.violated("a refresh token was presented again after its response had arrived");
                }
                self.fates.insert(token.clone(), Fate::Open);
            }
            TokenRequest::Login { secret } => {
                if self.refused.iter().any(|(refused, _)| refused == secret) {
                    self.violated("a refused password was sent again");
                }
                if self.locked.is_some_and(|at| now.duration_since(at) < LOCK) {
                    self.violated("a login while the account was known to be locked");
                }
            }
            TokenRequest::Code => {}
        }
    }

    /// The credential receives a response, or learns that there will be none.
    pub(super) fn arrives(
        &mut self,
        asked: &TokenRequest,
        response: Option<&Response<Vec<u8>>>,
        now: Instant,
    ) {
        self.in_flight -= 1;
        let Some(response) = response else { return };
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let error = body["error"].as_str().unwrap_or_default();
        let locked = body["error_description"].as_str().is_some_and(|text| text.contains("17003"));
        let usable = response.status() == 200
            && body["access_token"].is_string()
            && body["token_type"].as_str().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        self.issued += u64::from(usable);
        if locked {
            self.locked = Some(now);
        }
        match asked {
            TokenRequest::Refresh { token } => {
                let successor = body["refresh_token"].as_str().filter(|next| next != token);
                if (usable && successor.is_some()) || error == "invalid_grant" && !locked {
                    self.fates.insert(token.clone(), Fate::Over(now));
                }
            }
            TokenRequest::Login { secret } if error == "invalid_grant" && !locked => {
                self.refused.push((secret.clone(), now));
            }
            TokenRequest::Login { secret } if usable => {
                self.locked = None;
                self.refused.retain(|(refused, _)| refused != secret);
            }
            // The resource owner has logged in, so the account is not locked.
            TokenRequest::Code if usable => self.locked = None,
            TokenRequest::Login { .. } | TokenRequest::Code => {}
        }
    }

    /// A request is dropped before its response arrives.
    pub(super) fn dropped(&mut self) {
        self.in_flight -= 1;
        if !self.dying {
            self.violated("an exchange was cancelled");
        }
    }

    /// A new life starts with the content of the store. Knowledge of the last life is lost only if
    /// there was no time to store it, or the store failed.
    pub(super) fn reborn(&mut self, stored: Option<&str>, store_failed: bool, now: Instant) {
        let lost = |at: Instant| store_failed || now.duration_since(at) < UNSTORED;
        if let Some(fate) = stored.and_then(|token| self.fates.get_mut(token))
            && matches!(fate, Fate::Over(at) if lost(*at))
        {
            *fate = Fate::Open;
        }
        self.refused.retain(|(_, at)| !lost(*at));
        self.locked = self.locked.filter(|at| !lost(*at));
    }

    /// Tokens are revoked at the server. The tokens of an exchange in flight may be among them.
    pub(super) fn revoked(&mut self) {
        self.doomed |= self.in_flight > 0;
    }

    /// The proxy's clock was set ahead. The credential counts this as time that has passed.
    pub(super) fn hurried(&mut self) {
        self.locked = None;
    }

    /// An operator unlocked the credential.
    pub(super) fn unlocked(&mut self) {
        self.refused.clear();
        self.locked = None;
    }

    /// Time has passed that the machine's own clock does not count.
    pub(super) fn slept(&mut self, by: Duration) {
        if let Some(at) = &mut self.locked {
            *at = at.checked_sub(by).unwrap_or(*at);
        }
    }
}
