//! Redeems the codes of interactive logins. Another user's login replaces nothing until it is
//! confirmed.

use std::time::Duration;

use tokio::time::Instant;

use super::Refresher;
use crate::credential::code_login::{CodeLogin, LoginError, LoginSummary, is_same_user};
use crate::oauth::{AccessToken, Class, Grant, Issued, Redeem, TokenError};
use vbc_base::clock::Timestamp;
use vbc_base::random;

/// Stands for the user of the current tokens if the server has not named that user.
const NAMELESS: &str = "a user that the server did not name";

/// The userinfo endpoint's time limit.
const USERINFO: Duration = Duration::from_secs(3);

/// How long the login of another user waits for confirmation.
const CONFIRMATION: Duration = Duration::from_secs(10 * 60);

/// The login of another user, kept in memory until it is confirmed.
pub(super) struct UnconfirmedLogin {
    number: u64,
    issued: Issued,
    received: Instant,
}

impl UnconfirmedLogin {
    fn is_current(&self) -> bool {
        self.received.elapsed() < CONFIRMATION
    }
}

impl<R: Redeem> Refresher<R> {
    /// Redeems a code. The current tokens stay in use until the new set is stored.
    pub(super) async fn redeem_code(&mut self, login: CodeLogin) -> Result<LoginSummary, LoginError> {
        let CodeLogin { code, redirect_uri, verifier } = login;
        self.unconfirmed_login = None;
        // The store is checked before the code is spent, because a code works only once.
        self.read_record().await?;
        self.reserve().await.map_err(|error| LoginError::Unavailable(error.message))?;
        let grant = Grant::AuthorizationCode { code, redirect_uri, verifier };
        let mut issued = self.redeem(&grant).await.map_err(|error| code_refused(&error))?;
        if issued.subject.is_none() {
            issued.subject = self.ask_subject(&issued.access_token).await;
        }
        match self.expected_subject(issued.subject.is_some()).await {
            Some(expected) if !is_same_user(&expected, issued.subject.as_deref()) => {
                let found = issued.subject.clone();
                let number = u64::from_be_bytes(random::bytes());
                let unconfirmed = UnconfirmedLogin { number, issued, received: Instant::now() };
                self.unconfirmed_login = Some(Box::new(unconfirmed));
                tracing::warn!(
                    credential = %self.shared.name,
                    "another user logged in; keeping the current tokens until the login is confirmed"
                );
                Err(LoginError::OtherUser { expected, found, confirm: number })
            }
            _ => self.adopt_login(issued).await,
        }
    }

    /// Starts using the unconfirmed login with this number.
    pub(super) async fn confirm(&mut self, number: u64) -> Result<LoginSummary, LoginError> {
        match self.unconfirmed_login.take().filter(|login| login.is_current()) {
            Some(login) if login.number == number => {
                let UnconfirmedLogin { mut issued, received, .. } = *login;
                // The token has aged while the login waited for confirmation.
                issued.expires_in = issued.expires_in.saturating_sub(received.elapsed());
                tracing::warn!(credential = %self.shared.name, "the login of another user was confirmed");
                self.adopt_login(issued).await
            }
            other => {
                self.unconfirmed_login = other;
                Err(LoginError::NothingToConfirm)
            }
        }
    }

    /// The user whose login is expected: the owner of the current tokens, else the configured user.
    /// `None` if the login of any user is accepted.
    ///
    /// `is_named` says whether the server has named the user of the new login.
    async fn expected_subject(&self, is_named: bool) -> Option<String> {
        let record = &self.stored.record;
        if let Some(known) = &record.subject {
            return Some(known.clone());
        }
        let is_living = self.has_living_tokens();
        // Dead tokens need no protection from a login whose user is unknown.
        if let Some(configured) = self.options.username.as_deref().filter(|_| is_named || is_living) {
            return Some(configured.to_owned());
        }
        let tokens = record.tokens.as_ref().filter(|_| is_living)?;
        let subject = self.ask_subject(&tokens.access_token).await;
        Some(subject.unwrap_or_else(|| NAMELESS.to_owned()))
    }

    /// Requests the user's name from the userinfo endpoint. The time is limited because the tokens
    /// of a redeemed code are only in memory until then.
    async fn ask_subject(&self, token: &AccessToken) -> Option<String> {
        tokio::time::timeout(USERINFO, self.endpoint.subject(token)).await.ok().flatten()
    }

    async fn adopt_login(&mut self, issued: Issued) -> Result<LoginSummary, LoginError> {
        let subject = issued.subject.clone();
        let record = &mut self.stored.record;
        if record.subject.is_some() && record.subject != subject {
            // Observations of another user's tokens do not apply to these.
            (record.full_lifetime, record.issuance, record.tokens) = (0, None, None);
        }
        record.subject.clone_from(&subject);
        self.adopt(issued, None).await;
        tracing::info!(credential = %self.shared.name, "interactive login completed");
        let tokens = self.stored.record.tokens.as_ref();
        let expires_at = tokens.map_or(Timestamp::MIN, |tokens| tokens.expires_at);
        Ok(LoginSummary { subject, expires_at, unsaved: self.stored.is_unsaved() })
    }
}

fn code_refused(error: &TokenError) -> LoginError {
    let advice = match error.class {
        Class::Refused | Class::Unexplained => {
            "an authorization code works once, for five minutes, and only with the redirect_uri of its request; log in \
             again"
        }
        Class::Locked => "the account is locked; wait half an hour after the last attempt, then log in again",
        Class::WrongUrl => "correct token_url first, then log in again",
        Class::Configuration | Class::Unsupported => {
            "correct the credential's configuration (client id, secret, grants, scope) first"
        }
        Class::NotJudged => "log in again when the token endpoint responds",
        Class::Ambiguous => "the code may be spent; log in again",
    };
    LoginError::Refused(format!("{}; {advice}", error.message))
}
