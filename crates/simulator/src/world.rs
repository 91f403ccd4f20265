//! The world behind the API: applications, logins, and accounts with their people, extensions, devices and calls.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::calls::{Call, Direction, View};
use super::exports::Job;
use super::pace::Pace;
use super::webhooks::Webhooks;
use vbc_base::clock::{Timestamp, until};
use vbc_base::secret::Secret;

/// The tenant every user name ends with.
pub(super) const TENANT: &str = "@vbc.prod";
/// How long a lock lasts from the last attempt.
const LOCKED: Duration = Duration::from_secs(30 * 60);
/// The suites an application can be subscribed to.
pub(super) const SUITES: &[&str] = &["provisioning", "telephony", "reports", "call_recording", INDIA, "vis"];
/// The name that comes with a call from outside.
pub(super) const OUTSIDE_NAME: &str = "WIRELESS CALLER";
/// Call Recording for accounts in India.
pub(super) const INDIA: &str = "call_recording_india";

pub(super) struct World {
    pub(super) apps: HashMap<String, App>,
    /// By whole user name, in lower case.
    pub(super) logins: HashMap<String, Login>,
    /// What an account grows from when it is first asked for.
    pub(super) plans: BTreeMap<u64, Plan>,
    pub(super) accounts: BTreeMap<u64, Account>,
    pub(super) seed: u64,
    /// Where the world's past ends.
    pub(super) midnight: Timestamp,
    pub(super) pace: Pace,
    pub(super) webhooks: Webhooks,
    /// When the next call that rings is picked up or given up.
    pub(super) next_ring: Option<Timestamp>,
    /// Until when somebody waits, to look after it.
    pub(super) awaited_ring: Option<Timestamp>,
}

/// An account that nobody has asked for yet. Most simulators never answer an API request for most of theirs.
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) people: usize,
    /// Its place among the accounts: each has a random sequence of its own.
    pub(super) position: u64,
    /// Logins of the account, without the tenant; its first people bear these names.
    pub(super) logins: Vec<String>,
}

pub(super) struct App {
    pub(super) secret: Secret,
    pub(super) grants: Vec<&'static str>,
    pub(super) callback: String,
    pub(super) subscriptions: Vec<&'static str>,
    /// A limit of its own, or none, whatever holds for all.
    pub(super) quota: Option<Option<u32>>,
    /// Whether it is given the scope `openid`.
    pub(super) openid: bool,
}

/// Which backends know the user; without the role they answer with an error of their own.
#[derive(Clone, Copy)]
pub(super) struct Roles {
    provisioning: bool,
    telephony: bool,
    reports: bool,
    call_recording: bool,
    call_recording_india: bool,
    vis: bool,
}

impl Roles {
    /// All that an account has; the one for India is had only there.
    pub(super) const ALL: Self = Self {
        provisioning: true,
        telephony: true,
        reports: true,
        call_recording: true,
        call_recording_india: false,
        vis: true,
    };

    /// Every role but the one for `suite`.
    pub(super) fn without(suite: &str) -> Self {
        let mut roles = Self::ALL;
        roles.set(suite, false);
        roles
    }

    pub(super) fn allow(mut self, suite: &str) -> bool {
        self.flag(suite).is_some_and(|flag| *flag)
    }

    pub(super) fn set(&mut self, suite: &str, allowed: bool) {
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

pub(super) struct Login {
    pub(super) name: String,
    pub(super) password: Secret,
    pub(super) account: u64,
    pub(super) roles: Roles,
    /// Logs in elsewhere: a password never works.
    pub(super) sso: bool,
    pub(super) failures: u32,
    pub(super) lock: Option<Lock>,
}

/// Why a login is refused, and since when.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Too many failures; the last attempt was then.
    Failures(Timestamp),
    /// By an administrator, until unlocked.
    Administrator,
}

pub(super) struct Account {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) locations: Vec<Location>,
    pub(super) users: Vec<User>,
    /// Positions of the users who can log in, by login without the tenant.
    pub(super) people: HashMap<String, usize>,
    pub(super) extensions: Vec<Extension>,
    pub(super) devices: Vec<Device>,
    /// In the order they began; never removed, so that positions hold.
    pub(super) calls: Vec<Call>,
    pub(super) call_positions: HashMap<String, usize>,
    /// In the order they began.
    pub(super) recordings: Vec<Recording>,
    pub(super) jobs: Vec<Job>,
}

#[derive(Clone)]
pub(super) struct Address {
    pub(super) street: String,
    pub(super) city: &'static str,
    pub(super) state: &'static str,
    pub(super) postal_code: String,
    pub(super) time_zone: &'static str,
}

pub(super) struct Location {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) address: Address,
}

pub(super) struct User {
    pub(super) id: u64,
    pub(super) first_name: String,
    pub(super) last_name: String,
    pub(super) login_name: String,
    pub(super) email: String,
    pub(super) mobile: String,
}

pub(super) struct Extension {
    pub(super) number: String,
    pub(super) external_id: String,
    /// Position in the account's users; `None` for a conference room or a fax.
    pub(super) user: Option<usize>,
    pub(super) label: String,
    pub(super) location: u64,
    pub(super) dids: Vec<String>,
    pub(super) sip_id: String,
    pub(super) voicemail_to_text: bool,
    pub(super) do_not_disturb: bool,
}

pub(super) struct Device {
    pub(super) mac: String,
    pub(super) ip: String,
    pub(super) last_seen: Timestamp,
    pub(super) provisioned: Timestamp,
}

#[derive(Clone)]
pub(super) struct Recording {
    pub(super) id: u64,
    /// The position of the user who recorded; `None` is a rule of the company.
    pub(super) on_demand: Option<usize>,
    pub(super) call_id: String,
    /// `INBOUND`, `OUTBOUND` or `INTRA_PBX`.
    pub(super) direction: &'static str,
    pub(super) caller_id: String,
    pub(super) cnam: String,
    pub(super) dnis: String,
    pub(super) extension: String,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) bytes: u64,
    /// When it can be had.
    pub(super) ready: Timestamp,
}

impl World {
    /// An account, grown if this is the first time.
    pub(super) fn account(&mut self, id: u64) -> Option<&mut Account> {
        if !self.accounts.contains_key(&id) {
            let account = Account::grown(id, self.plans.get(&id)?, self.seed, self.midnight);
            self.accounts.insert(id, account);
        }
        self.accounts.get_mut(&id)
    }

    /// The account of a login and the login's place among its users.
    pub(super) fn person(&mut self, login: &str) -> Option<(&mut Account, usize)> {
        let login = self.logins.get(&login.to_lowercase())?;
        let local = login.local().to_owned();
        let account = self.account(login.account)?;
        let position = *account.people.get(&local)?;
        Some((account, position))
    }
}

impl Login {
    /// Whether every password is refused.
    pub(super) fn is_locked(&self, now: Timestamp) -> bool {
        match self.lock {
            Some(Lock::Administrator) => true,
            Some(Lock::Failures(last)) => until(last, now) < LOCKED,
            None => false,
        }
    }

    /// The name without the tenant.
    pub(super) fn local(&self) -> &str {
        self.name.strip_suffix(TENANT).unwrap_or(&self.name)
    }
}

impl Account {
    /// Where the user of an id is.
    pub(super) fn position(&self, id: &str) -> Option<usize> {
        let id: u64 = id.parse().ok()?;
        self.users.iter().position(|user| user.id == id)
    }

    /// Adds a call and gives its position.
    pub(super) fn place(&mut self, call: Call) -> usize {
        let position = self.calls.len();
        self.call_positions.insert(call.id.clone(), position);
        self.calls.push(call);
        position
    }

    /// The name of the other party, where the service can know one: a colleague's, or what a
    /// caller's network sends.
    pub(super) fn remote_name(&self, view: &View) -> Option<&str> {
        let ours = self.extensions.iter().find(|extension| extension.number == view.remote);
        let sent = (view.direction == Direction::Inbound).then_some(OUTSIDE_NAME);
        ours.map(|extension| extension.label.as_str()).or(sent)
    }

    /// Whether an extension is one of the user's.
    pub(super) fn owns(&self, user: usize, extension: &str) -> bool {
        self.extensions.iter().any(|own| own.user == Some(user) && own.number == extension)
    }

    /// The extension that somebody outside reaches: by its number or one of its direct ones, with
    /// or without a plus.
    pub(super) fn called_by(&self, number: &str) -> Option<String> {
        let bare = number.strip_prefix('+').unwrap_or(number);
        let has = |extension: &&Extension| {
            extension.number == number || extension.dids.iter().any(|did| did == bare)
        };
        self.extensions.iter().find(has).map(|extension| extension.number.clone())
    }

    /// Whose number it is: an extension, where one of ours has it, else the number as it was given.
    pub(super) fn reached_by(&self, number: &str) -> String {
        let bare = number.strip_prefix('+').unwrap_or(number);
        let has = |extension: &&Extension| {
            extension.number == bare
                || extension.sip_id.eq_ignore_ascii_case(bare)
                || extension.dids.iter().any(|did| did == bare)
        };
        self.extensions.iter().find(has).map_or(bare, |extension| &extension.number).to_owned()
    }
}
