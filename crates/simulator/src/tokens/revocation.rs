//! Revoking tokens, and shortening their lives.

use std::time::Duration;

use super::{Pair, RefreshState, State, Tokens};
use vbc_base::clock::{Timestamp, after};

/// The token was issued to another client.
#[derive(Debug)]
pub(crate) struct OtherClient;

impl Tokens {
    /// Revokes an access token and its refresh token, given either of them. Returns the revoked
    /// pair; `None` if the value is unknown, replaced or already revoked.
    ///
    /// # Errors
    /// If the tokens were issued to another client.
    pub(crate) fn revoke(&mut self, value: &str, client: &str) -> Result<Option<Pair<'_>>, OtherClient> {
        let row = match (self.by_access.get(value), self.by_refresh.get(value)) {
            (Some(&row), _) => row,
            (None, Some(&refresh)) if self.refreshes[refresh].state == RefreshState::Live => {
                self.refreshes[refresh].row
            }
            _ => return Ok(None),
        };
        if &*self.rows[row].owner.client != client {
            return Err(OtherClient);
        }
        if !matches!(self.rows[row].state, State::Active | State::Expired) {
            return Ok(None);
        }
        self.revoke_row(row);
        Ok(Some(self.pair(row, Timestamp::MAX)))
    }

    pub(crate) fn revoke_row(&mut self, row: usize) {
        let row = &mut self.rows[row];
        row.state = State::Revoked;
        row.accepted = false;
        if let Some(refresh) = row.refresh {
            let refresh = &mut self.refreshes[refresh];
            if refresh.state == RefreshState::Live {
                refresh.state = RefreshState::Revoked;
            }
        }
    }

    /// Revokes a row and all rows that refreshes created from it.
    pub(crate) fn revoke_line(&mut self, row: usize) {
        let mut next = Some(row);
        while let Some(row) = next {
            self.revoke_row(row);
            next = self.rows[row].successor;
        }
    }

    /// Revokes all tokens of a user, as a changed password or a lock does.
    pub(crate) fn revoke_user(&mut self, user: &str) {
        for row in 0..self.rows.len() {
            if self.rows[row].owner.user.as_deref() == Some(user) {
                self.revoke_row(row);
            }
        }
    }

    /// Revokes all tokens of an application, as a new secret does.
    pub(crate) fn revoke_client(&mut self, client: &str) {
        for row in 0..self.rows.len() {
            if &*self.rows[row].owner.client == client {
                self.revoke_row(row);
            }
        }
    }

    /// Revokes every access token; refresh tokens stay valid.
    pub(crate) fn revoke_all_access(&mut self) {
        for row in &mut self.rows {
            row.accepted = false;
            if row.state == State::Active {
                row.state = State::Expired;
            }
        }
    }

    /// Revokes every refresh token; access tokens stay valid.
    pub(crate) fn revoke_all_refresh(&mut self) {
        for refresh in self.refreshes.iter_mut().filter(|refresh| refresh.state == RefreshState::Live) {
            refresh.state = RefreshState::Revoked;
        }
    }

    /// Makes every issued access token expire at the latest after `lifetime` from now.
    pub(crate) fn shorten(&mut self, lifetime: Duration, now: Timestamp) {
        let latest = after(now, lifetime);
        for row in &mut self.rows {
            row.expires = row.expires.min(latest);
        }
    }
}
