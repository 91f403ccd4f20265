//! Issued tokens, their validity, and the effect of repeated logins.

pub(crate) mod jwt;
mod revocation;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::{Lifetimes, Mode, OldAccess, TokenFormat};
use crate::random::Random;
use vbc_base::clock::{Timestamp, after, until};
use vbc_base::secret::{Secret, fingerprint};

/// At most this many unknown tokens get a number of their own.
const STRANGERS: usize = 10_000;

/// The owner of a token row: client, user and scopes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) client: Arc<str>,
    /// `None` for a client's own token.
    pub(crate) user: Option<Arc<str>>,
    /// The scopes, sorted and separated by spaces.
    pub(crate) scopes: Arc<str>,
}

/// The state of a row for the identity server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Current for its owner.
    Active,
    /// The access token no longer works, but the refresh token does.
    Expired,
    /// Replaced by a refresh.
    Inactive,
    /// Revoked with its refresh token.
    Revoked,
}

/// An issued access token with its owner and its refresh token.
pub(crate) struct Row {
    access: Secret,
    refresh: Option<usize>,
    /// The row that a refresh created from this one.
    successor: Option<usize>,
    pub(crate) owner: Owner,
    pub(crate) issued: Timestamp,
    expires: Timestamp,
    state: State,
    /// Whether the gateway accepts the access token; the identity server may disagree.
    accepted: bool,
}

/// An issued refresh token.
struct Refresh {
    value: Secret,
    expires: Timestamp,
    state: RefreshState,
    row: usize,
}

/// The state of a refresh token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RefreshState {
    /// Can be redeemed.
    Live,
    /// Was redeemed.
    Spent,
    /// Was revoked before it was redeemed.
    Revoked,
}

/// How tokens are issued.
#[derive(Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) mode: Mode,
    pub(crate) old_access: OldAccess,
    /// Whether a refresh issues a new refresh token.
    pub(crate) rotation: bool,
    pub(crate) format: TokenFormat,
    pub(crate) lifetimes: Lifetimes,
    /// Whether the client is granted the scope `openid`.
    pub(crate) openid: bool,
    /// How often the signing key was replaced.
    pub(crate) kid: u32,
}

impl Policy {
    /// Reduces the requested scopes to those that are granted.
    fn granted(&self, mut owner: Owner) -> Owner {
        if !self.openid && owner.scopes.split(' ').any(|scope| scope == "openid") {
            let kept: Vec<&str> = owner.scopes.split(' ').filter(|scope| *scope != "openid").collect();
            owner.scopes = if kept.is_empty() { "default".into() } else { kept.join(" ").into() };
        }
        owner
    }
}

/// Why a refresh token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefreshError {
    /// It was never issued, or belongs to another client.
    Unknown,
    /// It was redeemed before.
    Spent,
    /// It was revoked.
    Revoked,
    /// Its owner has newer tokens.
    NotLatest,
    /// It has expired.
    Expired,
    /// The requested scopes exceed those granted.
    Scope,
}

/// The tokens of a response.
pub(crate) struct Pair<'a> {
    pub(crate) access: &'a Secret,
    pub(crate) refresh: Option<&'a Secret>,
    pub(crate) owner: &'a Owner,
    pub(crate) expires_in: u64,
}

/// All issued tokens. A row or a refresh token is identified by its position.
#[derive(Default)]
pub(crate) struct Tokens {
    rows: Vec<Row>,
    refreshes: Vec<Refresh>,
    by_access: HashMap<String, usize>,
    by_refresh: HashMap<String, usize>,
    latest: HashMap<Owner, usize>,
    /// The numbers of presented tokens that were never issued, by fingerprint. They are numbered in
    /// the order in which they were first presented.
    strangers: RefCell<HashMap<String, usize>>,
    /// The source of token values; `None` uses real randomness.
    seeded: Option<Random>,
}

impl Tokens {
    /// Starts without tokens. With `seeded`, the same requests at the same times get the same token
    /// values.
    pub(crate) fn new(seeded: Option<Random>) -> Self {
        Self { seeded, ..Self::default() }
    }

    /// A new token value. It is unpredictable unless seeded.
    pub(crate) fn value(&mut self) -> String {
        match &mut self.seeded {
            Some(random) => random.uuid(),
            None => uuid::Uuid::new_v4().to_string(),
        }
    }

    /// Issues tokens for a login or a code, according to the mode. Returns their row, which may be
    /// an earlier one.
    pub(crate) fn issue(
        &mut self,
        owner: Owner,
        with_refresh: bool,
        policy: Policy,
        now: Timestamp,
    ) -> usize {
        let owner = policy.granted(owner);
        let mut carried = None;
        if let Some(&latest) = self.latest.get(&owner) {
            let kept = self.rows[latest].refresh.filter(|&refresh| {
                let refresh = &self.refreshes[refresh];
                refresh.state == RefreshState::Live && refresh.expires > now
            });
            let row = &mut self.rows[latest];
            match policy.mode {
                Mode::Reuse => {
                    let living =
                        row.state == State::Active && until(now, row.expires) > Duration::from_secs(1);
                    if living && (kept.is_some() || row.refresh.is_none()) {
                        if with_refresh && row.refresh.is_none() {
                            let refresh = self.mint_refresh(latest, policy, now);
                            self.rows[latest].refresh = Some(refresh);
                        }
                        return latest;
                    }
                    carried = kept;
                }
                Mode::RenewRevoke => {
                    row.state = State::Revoked;
                    row.accepted = false;
                    carried = kept;
                }
                Mode::RenewKeep => {}
            }
        }
        let row = self.mint(owner, policy, now);
        let refresh = match carried {
            Some(refresh) => {
                self.refreshes[refresh].row = row;
                Some(refresh)
            }
            None => with_refresh.then(|| self.mint_refresh(row, policy, now)),
        };
        self.rows[row].refresh = refresh;
        row
    }

    /// Redeems a refresh token for a new access token, and returns the new row. With rotation, it
    /// also issues a new refresh token and spends the old one.
    pub(crate) fn redeem(
        &mut self,
        value: &str,
        client: &str,
        scopes: Option<&str>,
        policy: Policy,
        now: Timestamp,
    ) -> Result<usize, RefreshError> {
        let &index = self.by_refresh.get(value).ok_or(RefreshError::Unknown)?;
        let refresh = &self.refreshes[index];
        let row = &self.rows[refresh.row];
        if &*row.owner.client != client {
            return Err(RefreshError::Unknown);
        }
        match refresh.state {
            RefreshState::Spent => return Err(RefreshError::Spent),
            RefreshState::Revoked => return Err(RefreshError::Revoked),
            RefreshState::Live => {}
        }
        if !matches!(row.state, State::Active | State::Expired) {
            return Err(RefreshError::Revoked);
        }
        if refresh.expires <= now {
            return Err(RefreshError::Expired);
        }
        if self.latest.get(&row.owner) != Some(&refresh.row) {
            return Err(RefreshError::NotLatest);
        }
        let mut owner = row.owner.clone();
        if let Some(asked) = scopes {
            if !asked.split(' ').all(|scope| owner.scopes.split(' ').any(|granted| granted == scope)) {
                return Err(RefreshError::Scope);
            }
            owner.scopes = asked.into();
        }
        let old = refresh.row;
        self.rows[old].state = State::Inactive;
        if policy.old_access == OldAccess::Dead {
            self.rows[old].accepted = false;
        }
        let row = self.mint(policy.granted(owner), policy, now);
        let refresh = if policy.rotation {
            self.refreshes[index].state = RefreshState::Spent;
            self.mint_refresh(row, policy, now)
        } else {
            self.refreshes[index].row = row;
            index
        };
        self.rows[row].refresh = Some(refresh);
        self.rows[old].successor = Some(row);
        Ok(row)
    }

    pub(crate) fn pair(&self, row: usize, now: Timestamp) -> Pair<'_> {
        let row = &self.rows[row];
        Pair {
            access: &row.access,
            refresh: row.refresh.map(|refresh| &self.refreshes[refresh].value),
            owner: &row.owner,
            expires_in: until(now, row.expires).as_secs().max(1),
        }
    }

    /// The row of an access token that the gateway accepts.
    pub(crate) fn accept(&self, access: &str, now: Timestamp) -> Option<&Row> {
        let row = &self.rows[*self.by_access.get(access)?];
        (row.accepted && row.expires > now).then_some(row)
    }

    /// The owner of a refresh token in any state.
    pub(crate) fn owner_of_refresh(&self, value: &str) -> Option<&Owner> {
        Some(&self.rows[self.refreshes[*self.by_refresh.get(value)?].row].owner)
    }

    /// Whether the value was ever issued as an access or refresh token.
    pub(crate) fn knows(&self, value: &str) -> bool {
        self.by_access.contains_key(value) || self.by_refresh.contains_key(value)
    }

    /// A name that does not reveal the token: `access-1` is the first issued token, `unknown-1` the
    /// first token that was never issued. After 10,000 of those, the name is `unknown`.
    pub(crate) fn name_of(&self, access: &str) -> String {
        match self.by_access.get(access) {
            Some(row) => format!("access-{}", row + 1),
            None => self.name_of_stranger(access),
        }
    }

    /// Names a token that was never issued. The name is a number, which is the same in every run; a
    /// fingerprint would depend on when the token was issued.
    fn name_of_stranger(&self, access: &str) -> String {
        let mut strangers = self.strangers.borrow_mut();
        let next = strangers.len() + 1;
        if next > STRANGERS && !strangers.contains_key(&fingerprint(&[access])) {
            return "unknown".to_owned();
        }
        format!("unknown-{}", strangers.entry(fingerprint(&[access])).or_insert(next))
    }

    fn mint(&mut self, owner: Owner, policy: Policy, now: Timestamp) -> usize {
        let index = self.rows.len();
        let expires = after(now, policy.lifetimes.access);
        let access = match policy.format {
            TokenFormat::Uuid => self.value(),
            TokenFormat::Jwt => jwt::access(&owner, &self.value(), policy.kid, now, expires),
        };
        self.by_access.insert(access.clone(), index);
        self.latest.insert(owner.clone(), index);
        self.rows.push(Row {
            access: access.into(),
            refresh: None,
            successor: None,
            owner,
            issued: now,
            expires,
            state: State::Active,
            accepted: true,
        });
        index
    }

    fn mint_refresh(&mut self, row: usize, policy: Policy, now: Timestamp) -> usize {
        let index = self.refreshes.len();
        let value = self.value();
        self.by_refresh.insert(value.clone(), index);
        let expires = after(now, policy.lifetimes.refresh);
        self.refreshes.push(Refresh { value: value.into(), expires, state: RefreshState::Live, row });
        index
    }
}

#[cfg(test)]
mod tests;
