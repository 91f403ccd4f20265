//! An account: its users, extensions, devices, calls and recordings.

use std::collections::HashMap;

use super::calls::{Call, Direction, View};
use super::exports::Job;
use super::recording::Recording;
use vbc_base::clock::Timestamp;

/// The caller's name that calls from outside show.
pub(crate) const OUTSIDE_NAME: &str = "WIRELESS CALLER";

/// An account of the service. A user or a call is identified by its position.
pub(crate) struct Account {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) address: Address,
    pub(crate) locations: Vec<Location>,
    pub(crate) users: Vec<AccountUser>,
    /// Positions of the users who can log in, by login without the tenant.
    pub(crate) people: HashMap<String, usize>,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) devices: Vec<Device>,
    /// In the order in which they started. Calls are never removed, so positions stay valid.
    pub(crate) calls: Vec<Call>,
    pub(crate) call_positions: HashMap<String, usize>,
    /// In the order in which they started.
    pub(crate) recordings: Vec<Recording>,
    pub(crate) jobs: Vec<Job>,
}

/// A postal address in the United States.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) street: String,
    pub(crate) city: &'static str,
    pub(crate) state: &'static str,
    pub(crate) postal_code: String,
    pub(crate) time_zone: &'static str,
}

/// An office of the account.
pub(crate) struct Location {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) address: Address,
}

/// A user of the account. Not every user can log in.
pub(crate) struct AccountUser {
    pub(crate) id: u64,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) login_name: String,
    pub(crate) email: String,
    pub(crate) mobile: String,
}

/// An extension with its direct numbers.
pub(crate) struct Extension {
    pub(crate) number: String,
    pub(crate) external_id: String,
    /// The user's position; `None` for a conference room or a fax.
    pub(crate) user: Option<usize>,
    pub(crate) label: String,
    pub(crate) location: u64,
    pub(crate) dids: Vec<String>,
    pub(crate) sip_id: String,
    pub(crate) voicemail_to_text: bool,
    pub(crate) do_not_disturb: bool,
}

/// A desk phone.
pub(crate) struct Device {
    pub(crate) mac: String,
    pub(crate) ip: String,
    pub(crate) last_seen: Timestamp,
    pub(crate) provisioned: Timestamp,
}

impl Account {
    /// The position of the user with an id.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        let id: u64 = id.parse().ok()?;
        self.users.iter().position(|user| user.id == id)
    }

    /// Adds a call and returns its position.
    pub(crate) fn place(&mut self, call: Call) -> usize {
        let position = self.calls.len();
        self.call_positions.insert(call.id.clone(), position);
        self.calls.push(call);
        position
    }

    /// The name of the other party. VBC knows it for an extension of this account, and for an
    /// outside caller whose network sends a name. `None` for any other party.
    pub(crate) fn remote_name(&self, view: &View) -> Option<&str> {
        let ours = self.extensions.iter().find(|extension| extension.number == view.remote);
        let sent = (view.direction == Direction::Inbound).then_some(OUTSIDE_NAME);
        ours.map(|extension| extension.label.as_str()).or(sent)
    }

    /// Whether an extension belongs to the user.
    pub(crate) fn owns(&self, user: usize, extension: &str) -> bool {
        self.extensions.iter().any(|own| own.user == Some(user) && own.number == extension)
    }

    /// The extension that a call from outside reaches. `number` is the extension itself or one of
    /// its direct numbers, which may have a plus.
    pub(crate) fn called_by(&self, number: &str) -> Option<String> {
        let bare = number.strip_prefix('+').unwrap_or(number);
        let has = |extension: &&Extension| {
            extension.number == number || extension.dids.iter().any(|did| did == bare)
        };
        self.extensions.iter().find(has).map(|extension| extension.number.clone())
    }

    /// The party that a call from inside reaches: the extension with this number, SIP id or direct
    /// number, or else the number itself.
    pub(crate) fn reached_by(&self, number: &str) -> String {
        let bare = number.strip_prefix('+').unwrap_or(number);
        let has = |extension: &&Extension| {
            extension.number == bare
                || extension.sip_id.eq_ignore_ascii_case(bare)
                || extension.dids.iter().any(|did| did == bare)
        };
        self.extensions.iter().find(has).map_or(bare, |extension| &extension.number).to_owned()
    }
}
