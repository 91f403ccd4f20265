//! Presents a refresh token. Stores a note before that, and handles each outcome.

use std::time::Duration;

use super::{Need, Refresher};
use crate::credential::bearer::Unavailable;
use crate::credential::code_login::is_same_subject;
use crate::oauth::{Class, Grant, Issued, Redeem, TokenError};
use vbc_base::clock;
use vbc_base::secret::{Secret, fingerprint};

/// How long an early refresh is postponed if the note about it could not be stored.
const NOTE_AGAIN: Duration = Duration::from_secs(60);

impl<R: Redeem> Refresher<R> {
    /// Exchanges the refresh token. Returns whether a usable token is available now; if not, a
    /// login is next.
    pub(super) async fn refresh(&mut self, need: Need) -> Result<bool, Unavailable> {
        // The loop runs at most twice: if the refresh token is refused, another process may have
        // rotated it, if the store can be shared. The store then has the successor.
        for _ in 0..2 {
            let Some(refresh_token) = self.refresh_token() else { break };
            self.may_go_on()?;
            // The note below uses up this reservation. `redeem` makes another one for its outcome.
            if let Err(error) = self.reserve().await {
                return Err(self.failed(error).await);
            }
            let pending = self.stored.record.refresh_pending;
            // The note protects a working access token. A token that the gateway refuses needs no
            // note.
            if self.is_trusted() {
                self.note_presented(need).await?;
            }
            let error = match self.present(&refresh_token, pending).await {
                Ok(issued) if self.is_other_user(&issued) => {
                    self.reject_other_user(issued, &refresh_token).await;
                    break;
                }
                Ok(issued) => {
                    self.adopt(issued, Some(&refresh_token)).await;
                    return Ok(true);
                }
                Err(error) => error,
            };
            match error.class {
                Class::Refused | Class::Unexplained => {
                    if !self.reload_newer().await {
                        self.drop_refresh_token(&refresh_token).await;
                        break;
                    }
                    if self.is_alive() {
                        return Ok(true);
                    }
                }
                Class::Unsupported => {
                    tracing::warn!(
                        credential = %self.shared.name, %error,
                        "the server does not refresh tokens for this application; using each token until it expires"
                    );
                    self.unsupported = Some(error.message.into());
                    break;
                }
                Class::Ambiguous if self.is_trusted() => {
                    return self.keep_living_token(&error).await;
                }
                // The refresh token is not at fault, and a login may reach the endpoint.
                Class::WrongUrl if self.may_log_in(need) => break,
                class => {
                    if class == Class::Locked {
                        self.note_lock().await;
                    }
                    return Err(self.failed(error).await);
                }
            }
        }
        Ok(false)
    }

    /// Presents a refresh token. If the response is lost and no trusted access token is left,
    /// presents it once more. A server that has already rotated the token then refuses it, and the
    /// store may have the successor.
    ///
    /// `pending` is whether an earlier response was lost.
    async fn present(&mut self, refresh_token: &Secret, mut pending: bool) -> Result<Issued, TokenError> {
        let grant = Grant::RefreshToken { refresh_token: refresh_token.clone() };
        let mut outcome = self.redeem(&grant).await;
        if is_lost(&outcome) && !self.is_trusted() && self.may_go_on().is_ok() {
            pending = true;
            if let Err(error) = &outcome {
                tracing::warn!(
                    credential = %self.shared.name, %error,
                    "the response to a refresh was lost; presenting the refresh token once more"
                );
            }
            outcome = self.redeem(&grant).await;
        }
        // Any other failure says nothing about an earlier presentation.
        self.stored.record.refresh_pending = pending || is_lost(&outcome);
        outcome
    }

    /// Notes in the store that the refresh token of a living access token will be presented next. A
    /// crash before the response then counts as a lost response.
    ///
    /// Fails if the note cannot be stored and no token is needed yet. The refresh token must not be
    /// presented then.
    async fn note_presented(&mut self, need: Need) -> Result<(), Unavailable> {
        let pending = std::mem::replace(&mut self.stored.record.refresh_pending, true);
        if self.noted_pending {
            return Ok(());
        }
        self.save().await;
        if need == Need::Early && self.stored.is_unsaved() {
            self.stored.record.refresh_pending = pending;
            self.refresh_at = clock::after(self.now(), NOTE_AGAIN);
            let detail = "the early refresh is postponed, because it cannot be noted in the token store";
            self.trouble = Some(detail.to_owned());
            return Err(self.unavailable(detail, Some(NOTE_AGAIN)));
        }
        Ok(())
    }

    /// Keeps a living access token after a lost response, and uses it to its end. If the refresh
    /// token were presented again, a server that detects reuse would end the access token.
    async fn keep_living_token(&mut self, error: &TokenError) -> Result<bool, Unavailable> {
        tracing::warn!(
            credential = %self.shared.name, %error,
            "the response to a refresh was lost; using the current token until it expires"
        );
        if self.reload_newer().await && self.is_alive() {
            return Ok(true);
        }
        let detail = match self.no_refresh() {
            Some(next) => format!("{}; {next}", error.message),
            None => error.message.clone(),
        };
        Err(self.unavailable(&detail, None))
    }

    /// Whether these tokens belong to another user than the tokens that they would replace. False
    /// if either user is unknown.
    pub(super) fn is_other_user(&self, issued: &Issued) -> bool {
        match (&self.stored.record.subject, &issued.subject) {
            (Some(expected), Some(found)) => !is_same_subject(expected, found),
            _ => false,
        }
    }

    /// Discards another user's tokens that a refresh returned. OpenID Connect Core §12.2 forbids
    /// their use. The refresh token is spent; the current access token is used to its end.
    async fn reject_other_user(&mut self, issued: Issued, refresh_token: &Secret) {
        tracing::error!(
            credential = %self.shared.name,
            "a refresh returned tokens of another user; they are not used"
        );
        self.stored.record.other_subject = issued.subject.map(Into::into);
        self.spend(refresh_token);
        self.save().await;
    }

    async fn drop_refresh_token(&mut self, refresh_token: &Secret) {
        tracing::warn!(credential = %self.shared.name, "the refresh token is no longer valid");
        self.spend(refresh_token);
        self.save().await;
    }

    fn spend(&mut self, refresh_token: &Secret) {
        let record = &mut self.stored.record;
        record.refresh_pending = false;
        if let Some(tokens) = &mut record.tokens
            && tokens.refresh_token.as_ref() == Some(refresh_token)
        {
            tokens.refresh_token = None;
        }
        self.note_spent_seed(refresh_token);
    }

    pub(super) fn note_spent_seed(&mut self, refresh_token: &Secret) {
        if self.options.seed.as_ref() == Some(refresh_token) {
            self.stored.record.spent_seed = Some(fingerprint(&[refresh_token.expose()]));
        }
    }

    /// The refresh token to present: the stored one, or a seed that is not spent.
    pub(super) fn refresh_token(&self) -> Option<Secret> {
        if self.unsupported.is_some() {
            return None;
        }
        let record = &self.stored.record;
        let stored = record.tokens.as_ref().and_then(|tokens| tokens.refresh_token.clone());
        stored.or_else(|| {
            let seed = self.options.seed.as_ref()?;
            let is_spent = record.spent_seed.as_deref() == Some(fingerprint(&[seed.expose()]).as_str());
            (!is_spent).then(|| seed.clone())
        })
    }

    pub(super) fn may_refresh_early(&self) -> bool {
        !self.stored.record.refresh_pending && self.refresh_token().is_some()
    }

    /// Whether the current tokens serve requests or can be refreshed, as far as is known.
    pub(super) fn has_living_tokens(&self) -> bool {
        let record = &self.stored.record;
        let Some(tokens) = record.tokens.as_ref().filter(|_| !record.login_needed) else { return false };
        let refresh_end = clock::after(tokens.refresh_issued_at, self.options.refresh_lifetime);
        let is_renewable = self.refresh_token().is_some() && refresh_end > self.now();
        is_renewable || self.is_trusted()
    }

    /// Why the current token is not refreshed before its end; `None` if it is.
    pub(super) fn no_refresh(&self) -> Option<String> {
        let record = &self.stored.record;
        if record.tokens.is_some() && record.refresh_pending {
            let detail = "the response to a refresh was lost; the proxy uses the token until it expires, then presents \
                          the refresh token again";
            return Some(detail.to_owned());
        }
        let reason = self.why_not_refreshed()?;
        let next = match self.permit {
            Some(_) => "the proxy logs in when the token expires".to_owned(),
            None => {
                let name = &self.shared.name;
                format!("a login is needed before the token expires. Run `vbc-proxy login {name}`")
            }
        };
        Some(format!("{reason}; {next}"))
    }

    /// Why no refresh token can be used; `None` if the token was merely refused or is missing.
    pub(super) fn why_not_refreshed(&self) -> Option<String> {
        if self.stored.record.other_subject.is_some() {
            return Some("a refresh returned tokens of another user, which are not used".to_owned());
        }
        let message = self.unsupported.as_deref()?;
        Some(format!("the server does not refresh tokens for this application ({message})"))
    }
}

fn is_lost(outcome: &Result<Issued, TokenError>) -> bool {
    matches!(outcome, Err(error) if error.class == Class::Ambiguous)
}
