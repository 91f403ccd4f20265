//! Token rows: what was issued, what of it is still good, and what a second issue does.

pub(crate) mod jwt;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::{Lifetimes, Mode, OldAccess, TokenFormat};
use crate::random::Random;
use vbc_base::clock::{Timestamp, after, until};
use vbc_base::secret::{Secret, fingerprint};

/// So many tokens that were never issued are told apart.
const STRANGERS: usize = 10_000;

/// One set for one client, user and scope set; the order of scopes does not matter.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) client: Arc<str>,
    /// `None` for a client's own token.
    pub(crate) user: Option<Arc<str>>,
    /// Sorted, separated by spaces.
    pub(crate) scopes: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Expired,
    Inactive,
    Revoked,
}

pub(crate) struct Row {
    access: Secret,
    refresh: Option<usize>,
    /// The row that a refresh made of this one.
    successor: Option<usize>,
    pub(crate) owner: Owner,
    pub(crate) issued: Timestamp,
    expires: Timestamp,
    state: State,
    /// Whether the gateway takes it; not always what the identity server thinks of it.
    accepted: bool,
}

struct Refresh {
    value: Secret,
    expires: Timestamp,
    state: RefreshState,
    row: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RefreshState {
    Live,
    Spent,
    Revoked,
}

/// How tokens are issued now.
#[derive(Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) mode: Mode,
    pub(crate) old_access: OldAccess,
    /// Whether a refresh token is good for one refresh only.
    pub(crate) rotation: bool,
    pub(crate) format: TokenFormat,
    pub(crate) lifetimes: Lifetimes,
    /// Whether the client is given the scope `openid`.
    pub(crate) openid: bool,
    /// How often the signing key was replaced.
    pub(crate) kid: u32,
}

impl Policy {
    /// What is granted of what is asked for.
    fn granted(&self, mut owner: Owner) -> Owner {
        if !self.openid && owner.scopes.split(' ').any(|scope| scope == "openid") {
            let kept: Vec<&str> = owner.scopes.split(' ').filter(|scope| *scope != "openid").collect();
            owner.scopes = if kept.is_empty() { "default".into() } else { kept.join(" ").into() };
        }
        owner
    }
}

/// Why a refresh token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Unknown,
    Spent,
    Revoked,
    NotLatest,
    Expired,
    Scope,
}

/// What the token endpoint answers with.
pub(crate) struct Pair<'a> {
    pub(crate) access: &'a Secret,
    pub(crate) refresh: Option<&'a Secret>,
    pub(crate) owner: &'a Owner,
    pub(crate) expires_in: u64,
}

#[derive(Default)]
pub(crate) struct Tokens {
    rows: Vec<Row>,
    refreshes: Vec<Refresh>,
    by_access: HashMap<String, usize>,
    by_refresh: HashMap<String, usize>,
    latest: HashMap<Owner, usize>,
    /// Tokens that were presented and never issued, by their fingerprints, numbered as they came.
    strangers: RefCell<HashMap<String, usize>>,
    /// Where values come from; real randomness where there is none.
    seeded: Option<Random>,
}

impl Tokens {
    /// None yet. Seeded, the same requests at the same time are issued the same values.
    pub(crate) fn new(seeded: Option<Random>) -> Self {
        Self { seeded, ..Self::default() }
    }

    /// A value that nobody guesses, unless seeded.
    pub(crate) fn value(&mut self) -> String {
        match &mut self.seeded {
            Some(random) => random.uuid(),
            None => uuid::Uuid::new_v4().to_string(),
        }
    }

    /// Issues for a login or a code, as the mode says.
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

    /// Redeems a refresh token: a new pair, and the old one is spent.
    pub(crate) fn redeem(
        &mut self,
        value: &str,
        client: &str,
        scopes: Option<&str>,
        policy: Policy,
        now: Timestamp,
    ) -> Result<usize, Refused> {
        let &index = self.by_refresh.get(value).ok_or(Refused::Unknown)?;
        let refresh = &self.refreshes[index];
        let row = &self.rows[refresh.row];
        if &*row.owner.client != client {
            return Err(Refused::Unknown);
        }
        match refresh.state {
            RefreshState::Spent => return Err(Refused::Spent),
            RefreshState::Revoked => return Err(Refused::Revoked),
            RefreshState::Live => {}
        }
        if !matches!(row.state, State::Active | State::Expired) {
            return Err(Refused::Revoked);
        }
        if refresh.expires <= now {
            return Err(Refused::Expired);
        }
        if self.latest.get(&row.owner) != Some(&refresh.row) {
            return Err(Refused::NotLatest);
        }
        let mut owner = row.owner.clone();
        if let Some(asked) = scopes {
            if !asked.split(' ').all(|scope| owner.scopes.split(' ').any(|granted| granted == scope)) {
                return Err(Refused::Scope);
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

    /// Who an access token speaks for, if the gateway takes it.
    pub(crate) fn accept(&self, access: &str, now: Timestamp) -> Option<&Row> {
        let row = &self.rows[*self.by_access.get(access)?];
        (row.accepted && row.expires > now).then_some(row)
    }

    /// Whom a refresh token was issued to, whatever became of it since.
    pub(crate) fn owner_of_refresh(&self, value: &str) -> Option<&Owner> {
        Some(&self.rows[self.refreshes[*self.by_refresh.get(value)?].row].owner)
    }

    /// Whether it was ever issued, as an access token or as a refresh token.
    pub(crate) fn knows(&self, value: &str) -> bool {
        self.by_access.contains_key(value) || self.by_refresh.contains_key(value)
    }

    /// A name for an access token that gives nothing away: `access-1` for the first one issued, `unknown-1` for the
    /// first one that never was.
    pub(crate) fn name_of(&self, access: &str) -> String {
        match self.by_access.get(access) {
            Some(row) => format!("access-{}", row + 1),
            None => self.name_of_stranger(access),
        }
    }

    /// Numbers, not fingerprints: what a token looks like depends on when it was issued, the order does not.
    fn name_of_stranger(&self, access: &str) -> String {
        let mut strangers = self.strangers.borrow_mut();
        let next = strangers.len() + 1;
        if next > STRANGERS && !strangers.contains_key(&fingerprint(&[access])) {
            return "unknown".to_owned();
        }
        format!("unknown-{}", strangers.entry(fingerprint(&[access])).or_insert(next))
    }

    /// Revokes the pair an access or refresh token belongs to, for its own client.
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

    /// A row and whatever came of it by refreshes.
    pub(crate) fn revoke_line(&mut self, row: usize) {
        let mut next = Some(row);
        while let Some(row) = next {
            self.revoke_row(row);
            next = self.rows[row].successor;
        }
    }

    /// Everything of one user: what a changed password or a lock does.
    pub(crate) fn revoke_user(&mut self, user: &str) {
        for row in 0..self.rows.len() {
            if self.rows[row].owner.user.as_deref() == Some(user) {
                self.revoke_row(row);
            }
        }
    }

    /// Everything of one application: what a new secret does.
    pub(crate) fn revoke_client(&mut self, client: &str) {
        for row in 0..self.rows.len() {
            if &*self.rows[row].owner.client == client {
                self.revoke_row(row);
            }
        }
    }

    /// Kills every access token; refresh tokens stay good.
    pub(crate) fn revoke_all_access(&mut self) {
        for row in &mut self.rows {
            row.accepted = false;
            if row.state == State::Active {
                row.state = State::Expired;
            }
        }
    }

    /// Kills every refresh token; access tokens stay good.
    pub(crate) fn revoke_all_refresh(&mut self) {
        for refresh in self.refreshes.iter_mut().filter(|refresh| refresh.state == RefreshState::Live) {
            refresh.state = RefreshState::Revoked;
        }
    }

    /// Lets no living access token live longer than `lifetime` from now.
    pub(crate) fn shorten(&mut self, lifetime: Duration, now: Timestamp) {
        let latest = after(now, lifetime);
        for row in &mut self.rows {
            row.expires = row.expires.min(latest);
        }
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

/// The token was issued to another client.
#[derive(Debug)]
pub(crate) struct OtherClient;

#[cfg(test)]
mod tests;
