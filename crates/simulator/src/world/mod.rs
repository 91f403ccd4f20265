//! The simulated world: applications, logins, and accounts with users, extensions, devices and
//! calls.

mod account;
pub(crate) mod calls;
pub(crate) mod exports;
mod growth;
mod numbers;
mod pace;
mod past;
mod people;
mod recording;
mod recording_rules;
mod seed;
mod traffic;
pub(crate) mod webhooks;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

pub(crate) use account::{Account, AccountUser, Address, Device, Extension, Location};
use pace::Pace;
pub(crate) use recording::Recording;
use webhooks::Webhooks;

use crate::names::{INDIA, TENANT};
use vbc_base::clock::{Timestamp, until};
use vbc_base::secret::Secret;

/// How long a lock after failures lasts, counted from the last attempt.
const LOCKED: Duration = Duration::from_secs(30 * 60);

/// The simulated world. Accounts are created when first requested.
pub(crate) struct World {
    pub(crate) apps: HashMap<String, App>,
    /// By full user name in lower case.
    pub(crate) logins: HashMap<String, Login>,
    /// The plans of all accounts, including accounts that have not been requested yet.
    pub(crate) plans: BTreeMap<u64, Plan>,
    pub(crate) accounts: BTreeMap<u64, Account>,
    pub(crate) seed: u64,
    /// The midnight at which the seeded past ends.
    pub(crate) midnight: Timestamp,
    pub(crate) pace: Pace,
    pub(crate) webhooks: Webhooks,
    /// When the next ringing call is answered or missed.
    pub(crate) next_ring: Option<Timestamp>,
    /// The time that a task is already waiting for, to end the ringing then.
    pub(crate) awaited_ring: Option<Timestamp>,
}

/// The plan of an account. The account is created from it when first requested, because most
/// simulators need only a few of their accounts.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) people: usize,
    /// The account's position among the accounts. Its random sequence depends on it.
    pub(crate) position: u64,
    /// The account's logins, without the tenant. Some of its users get these names.
    pub(crate) logins: Vec<String>,
}

/// An application: its secret, rights and limits.
pub(crate) struct App {
    pub(crate) secret: Secret,
    pub(crate) grants: Vec<&'static str>,
    pub(crate) callback: String,
    pub(crate) subscriptions: Vec<&'static str>,
    /// Its own quota; `Some(None)` means no limit. With `None` the common quota applies.
    pub(crate) quota: Option<Option<u32>>,
    /// Whether it is granted the scope `openid`.
    pub(crate) openid: bool,
}

/// The suites whose backends know the user. The other suites respond with their own errors.
#[derive(Clone, Copy)]
pub(crate) struct Roles {
    provisioning: bool,
    telephony: bool,
    reports: bool,
    call_recording: bool,
    call_recording_india: bool,
    vis: bool,
}

impl Roles {
    /// Every role except that of Call Recording for India.
    pub(crate) const ALL: Self = Self {
        provisioning: true,
        telephony: true,
        reports: true,
        call_recording: true,
        call_recording_india: false,
        vis: true,
    };

    /// Every role in `ALL` except the role for this suite.
    pub(crate) fn without(suite: &str) -> Self {
        let mut roles = Self::ALL;
        roles.set(suite, false);
        roles
    }

    pub(crate) fn allow(mut self, suite: &str) -> bool {
        self.flag(suite).is_some_and(|flag| *flag)
    }

    pub(crate) fn set(&mut self, suite: &str, allowed: bool) {
        if let Some(flag) = self.flag(suite) {
            *flag = allowed;
        }
    }

    fn flag(&mut self, suite: &str) -> Option<&mut bool> {
        match suite {
            "provisioning" => Some(&mut self.provisioning),
            "telephony" => Some(&mut self.telephony),
            "reports" => Some(&mut self.reports),
            "call_recording" => Some(&mut self.call_recording),
            INDIA => Some(&mut self.call_recording_india),
            "vis" => Some(&mut self.vis),
            _ => None,
        }
    }
}

/// The login of a user, and its lock.
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) password: Secret,
    pub(crate) account: u64,
    pub(crate) roles: Roles,
    /// Whether the user logs in through single sign-on, so that no password works.
    pub(crate) sso: bool,
    pub(crate) failures: u32,
    pub(crate) lock: Option<Lock>,
}

/// The reason for a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Too many failures, with the time of the last attempt.
    Failures(Timestamp),
    /// An administrator's lock; it lasts until it is removed.
    Administrator,
}

impl World {
    /// The account with an id, which is created if necessary.
    pub(crate) fn account(&mut self, id: u64) -> Option<&mut Account> {
        if !self.accounts.contains_key(&id) {
            let account = Account::grown(id, self.plans.get(&id)?, self.seed, self.midnight);
            self.accounts.insert(id, account);
        }
        self.accounts.get_mut(&id)
    }

    /// The account of a login, and the user's position in it.
    pub(crate) fn person(&mut self, login: &str) -> Option<(&mut Account, usize)> {
        let login = self.logins.get(&login.to_lowercase())?;
        let local = login.local().to_owned();
        let account = self.account(login.account)?;
        let position = *account.people.get(&local)?;
        Some((account, position))
    }
}

impl Login {
    /// Whether the login is locked, so that every password is rejected.
    pub(crate) fn is_locked(&self, now: Timestamp) -> bool {
        match self.lock {
            Some(Lock::Administrator) => true,
            Some(Lock::Failures(last)) => until(last, now) < LOCKED,
            None => false,
        }
    }

    /// The user name without the tenant.
    pub(crate) fn local(&self) -> &str {
        self.name.strip_suffix(TENANT).unwrap_or(&self.name)
    }
}

#[cfg(test)]
mod tests;
