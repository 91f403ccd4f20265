//! What a person brings: an authorization code, and the word that another user may take the place of the stored one.

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::Unavailable;
use super::refresher::Refresher;
use crate::clock::Timestamp;
use crate::oauth::{AccessToken, Class, Grant, Issued, Redeem, RedeemError};
use crate::random;
use crate::secret::Secret;

/// What the user is called whom the server has not named.
const NAMELESS: &str = "a user whom the server has not named";

/// How long the userinfo endpoint may take.
const USERINFO: Duration = Duration::from_secs(3);

/// How long the login of another user waits to be confirmed.
const HELD: Duration = Duration::from_secs(10 * 60);

/// An authorization code, with what it must be redeemed with.
#[derive(Clone, Debug)]
pub struct CodeLogin {
    /// The code.
    pub code: Secret,
    /// The redirect URI of the authorization request, to the letter.
    pub redirect_uri: String,
    /// The verifier, where the request carried a challenge (RFC 7636).
    pub verifier: Option<Secret>,
}

/// A login that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// Whose it is, where the server says so.
    pub subject: Option<String>,
    /// When the access token ends.
    pub expires_at: Timestamp,
    /// Whether it could not be stored yet, and is only in memory.
    pub unsaved: bool,
}

/// Why a login was not taken into use. The tokens there were are still there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoginError {
    /// It is another user's. Nothing is replaced until [`Credential::confirm`](super::Credential::confirm) is called
    /// with this number, within ten minutes and before another login.
    #[error("the login is that of {}, and the credential is {expected}'s", found.as_deref().unwrap_or("an unknown user"))]
    OtherUser {
        /// Whose tokens the credential has, or is configured for.
        expected: String,
        /// Who logged in, where the server says so.
        found: Option<String>,
        /// What to confirm.
        confirm: u64,
    },
    /// The code could not be redeemed; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// There is no login of that number to be confirmed, or not any more.
    #[error("there is no such login to be confirmed; log in again")]
    NothingToConfirm,
    /// The credential does not answer: it is shutting down, or too much is asked of it.
    #[error("{0}")]
    Unavailable(String),
}

/// The login of another user, which is kept in memory until somebody confirms it.
pub(super) struct HeldLogin {
    pub(super) number: u64,
    pub(super) issued: Issued,
    pub(super) received: Instant,
}

impl<R: Redeem> Refresher<R> {
    /// Redeems a code. Nothing that is there is touched before its token set is stored.
    pub(super) async fn redeem_code(&mut self, login: CodeLogin) -> Result<LoggedIn, LoginError> {
        let CodeLogin { code, redirect_uri, verifier } = login;
        self.held_login = None;
        // Before the code is spent, which works once.
        self.read_record().await?;
        self.reserve().await.map_err(|error| LoginError::Unavailable(error.message))?;
        let grant = Grant::AuthorizationCode { code, redirect_uri, verifier };
        let mut issued = self.redeem(&grant).await.map_err(|error| refused(&error))?;
        if issued.subject.is_none() {
            issued.subject = self.ask_subject(&issued.access_token).await;
        }
        match self.expected_subject(issued.subject.is_some()).await {
            Some(expected) if !is_same_user(&expected, issued.subject.as_deref()) => {
                let found = issued.subject.clone();
                let number = u64::from_be_bytes(random::bytes());
                let held = HeldLogin { number, issued, received: Instant::now() };
                self.held_login = Some(Box::new(held));
                tracing::warn!(credential = %self.shared.name, "another user logged in; nothing is replaced");
                Err(LoginError::OtherUser { expected, found, confirm: number })
            }
            _ => self.take_up(issued).await,
        }
    }

    /// Takes the held login into use.
    pub(super) async fn confirm(&mut self, number: u64) -> Result<LoggedIn, LoginError> {
        match self.held_login.take() {
            Some(held) if held.number == number && held.received.elapsed() < HELD => {
                let HeldLogin { mut issued, received, .. } = *held;
                // It has been getting older meanwhile.
                issued.expires_in = issued.expires_in.saturating_sub(received.elapsed());
                tracing::warn!(credential = %self.shared.name, "a person confirmed the login of another user");
                self.take_up(issued).await
            }
            held => {
                self.held_login = held.filter(|held| held.received.elapsed() < HELD);
                Err(LoginError::NothingToConfirm)
            }
        }
    }

    /// Whose login is expected: whose tokens there are, else whom the configuration names. `named` is whether the server
    /// has named the user of the new login. `None` when there is nothing to be compared or replaced.
    async fn expected_subject(&self, named: bool) -> Option<String> {
        let record = &self.keeper.record;
        if let Some(known) = &record.subject {
            return Some(known.clone());
        }
        let living = self.has_living_tokens();
        // Against a login that names nobody, dead tokens need no protection.
        if let Some(configured) = self.parts.options.username.as_deref().filter(|_| named || living) {
            return Some(configured.to_owned());
        }
        let tokens = record.tokens.as_ref().filter(|_| living)?;
        let asked = self.ask_subject(&tokens.access_token).await;
        Some(asked.unwrap_or_else(|| NAMELESS.to_owned()))
    }

    /// Asks the userinfo endpoint, not for long: the answer to a code is only in memory meanwhile.
    async fn ask_subject(&self, token: &AccessToken) -> Option<String> {
        tokio::time::timeout(USERINFO, self.parts.endpoint.subject(token)).await.ok().flatten()
    }

    async fn take_up(&mut self, issued: Issued) -> Result<LoggedIn, LoginError> {
        let subject = issued.subject.clone();
        let record = &mut self.keeper.record;
        if record.subject.is_some() && record.subject != subject {
            // What was seen of another user's tokens says nothing about these.
            (record.full_lifetime, record.issuance, record.tokens) = (0, None, None);
        }
        record.subject.clone_from(&subject);
        self.adopt(issued, None).await;
        tracing::info!(credential = %self.shared.name, "a person has logged in");
        let expires_at =
            self.keeper.record.tokens.as_ref().map_or(Timestamp::MIN, |tokens| tokens.expires_at);
        Ok(LoggedIn { subject, expires_at, unsaved: self.keeper.unsaved() })
    }
}

/// Whether `found`, the user of an interactive login, is the expected one. Case is ignored. The
/// service has been seen to leave its tenant out of a name.
pub fn is_same_user(expected: &str, found: Option<&str>) -> bool {
    let bare = |name: &str| name.to_lowercase().trim_end_matches("@vbc.prod").to_owned();
    found.is_some_and(|found| bare(found) == bare(expected))
}

/// Whether a refresh names the same user as before. A `sub` is case sensitive (OpenID Connect Core
/// §2). Only the tenant may be missing from one of the two.
pub(super) fn is_same_subject(expected: &str, found: &str) -> bool {
    let bare = |subject| str::strip_suffix(subject, "@vbc.prod").unwrap_or(subject);
    bare(found) == bare(expected)
}

fn refused(error: &RedeemError) -> LoginError {
    let advice = match error.class {
        Class::Refused | Class::Unexplained => {
            "an authorization code works once and for five minutes, and only with the redirect_uri it was asked for; \
             log in again"
        }
        Class::Locked => "the account is locked; wait half an hour after the last attempt, then log in again",
        Class::WrongUrl => "correct token_url first, then log in again",
        Class::Configuration | Class::Unsupported => {
            "correct the credential's configuration (client id, secret, grants, scope) first"
        }
        Class::NotJudged => "log in again when the token endpoint answers",
        Class::Ambiguous => "the code may have been used up; log in again",
    };
    LoginError::Refused(format!("{}; {advice}", error.message))
}

impl From<Unavailable> for LoginError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable.detail)
    }
}
