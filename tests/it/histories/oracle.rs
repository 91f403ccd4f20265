//! What must never happen at the token endpoint, whatever happens around it. It sits where the wire is: it sees each
//! request that a credential sends and the answer that reaches it, and knows the truth about time.

use std::collections::HashMap;
use std::time::Duration;

use http::Response;
use serde_json::Value;
use tokio::time::Instant;

/// The brake's promise: no login for so long after the server said that the account is locked.
const LOCK: Duration = Duration::from_secs(35 * 60);

/// What became of a refresh token, as far as the credential was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its answer was lost, or said nothing about it: it may be presented again.
    Open,
    /// The credential was told that it is used up or no longer good. Presenting it again is a fault.
    Over,
}

/// What a token request asks for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Login { secret: String },
    Refresh { token: String },
    Code,
}

impl Asked {
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
    /// The credential is being killed: what breaks off now was not cancelled by it.
    pub(super) dying: bool,
    fates: HashMap<String, Fate>,
    refused: Vec<String>,
    /// The secret that was tried when the account was reported locked, and when.
    locked: Option<(String, Instant)>,
    /// Clocks that were set ahead make the credential believe that time has passed.
    pub(super) clock_is_ahead: bool,
    pub(super) requests: u64,
    pub(super) issued: u64,
    pub(super) violations: Vec<String>,
}

impl Oracle {
    pub(super) fn violated(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// A request leaves the credential.
    pub(super) fn leaves(&mut self, asked: &Asked, now: Instant) {
        self.requests += 1;
        self.in_flight += 1;
        if self.in_flight > 1 {
            self.violated("two token requests at once");
        }
        match asked {
            Asked::Refresh { token } => {
                if self.fates.get(token) == Some(&Fate::Over) {
                    self.violated("a refresh token was presented again after its answer had come");
                }
                self.fates.insert(token.clone(), Fate::Open);
            }
            Asked::Login { secret } => {
                if self.refused.contains(secret) {
                    self.violated("a refused password was sent again");
                }
                let locked = self.locked.as_ref().filter(|(of, _)| of == secret);
                if !self.clock_is_ahead && locked.is_some_and(|(_, at)| now.duration_since(*at) < LOCK) {
                    self.violated("a login while the account was known to be locked");
                }
            }
            Asked::Code => {}
        }
    }

    /// An answer reaches the credential, or the news that none will come.
    pub(super) fn arrives(&mut self, asked: &Asked, answer: Option<&Response<Vec<u8>>>, now: Instant) {
        self.in_flight -= 1;
        let Some(answer) = answer else { return };
        let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let error = body["error"].as_str().unwrap_or_default();
        let locked = body["error_description"].as_str().is_some_and(|text| text.contains("17003"));
        let usable = answer.status() == 200
            && body["access_token"].is_string()
            && body["token_type"].as_str().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        self.issued += u64::from(usable);
        match asked {
            Asked::Refresh { token } => {
                let successor = body["refresh_token"].as_str().filter(|next| next != token);
                if (usable && successor.is_some()) || error == "invalid_grant" && !locked {
                    self.fates.insert(token.clone(), Fate::Over);
                }
            }
            Asked::Login { secret } if locked => self.locked = Some((secret.clone(), now)),
            Asked::Login { secret } if error == "invalid_grant" => self.refused.push(secret.clone()),
            Asked::Login { secret } if usable => {
                self.locked = None;
                self.refused.retain(|refused| refused != secret);
            }
            Asked::Login { .. } | Asked::Code => {}
        }
    }

    /// A request ends without an answer having been waited for.
    pub(super) fn dropped(&mut self) {
        self.in_flight -= 1;
        if !self.dying {
            self.violated("an exchange was cancelled");
        }
    }

    /// Another life begins with what the store holds. What had been told to a life that died before it could store it
    /// was lost with it.
    pub(super) fn reborn(&mut self, stored: Option<&str>, brake_survived: bool) {
        if let Some(fate) = stored.and_then(|token| self.fates.get_mut(token)) {
            *fate = Fate::Open;
        }
        if !brake_survived {
            self.refused.clear();
            self.locked = None;
        }
    }

    /// An operator lifted the brake.
    pub(super) fn unlocked(&mut self) {
        self.refused.clear();
        self.locked = None;
    }

    /// Time has passed that the machine's own clock does not count.
    pub(super) fn slept(&mut self, by: Duration) {
        if let Some((_, at)) = &mut self.locked {
            *at = at.checked_sub(by).unwrap_or(*at);
        }
    }
}
