//! What the refresher does where its store does not: a record that cannot be read, an outcome that cannot be kept.

use super::brake;
use super::hold::Hold;
use super::keeper::Keeper;
use super::logins::{Seat, Trouble};
use super::refresher::Refresher;
use super::{Options, Unavailable};
use crate::oauth::{Class, Redeem, RedeemError};
use crate::secret::fingerprint;
use crate::store::StoreError;

/// Reads the record for the first time, or again where it could not be read.
pub(super) async fn read(keeper: &mut Keeper, options: &Options, seat: Option<&Seat>) {
    let moved = keeper.read_again(options.login.is_some()).await;
    if let (true, Some(seed)) = (moved, &options.seed) {
        // Whether it was used up is no longer known, and a login needs it not.
        keeper.record.spent_seed = Some(fingerprint(&[seed.expose()]));
        keeper.save().await;
    }
    if let Some(seat) = seat {
        move_brake(keeper, seat).await;
    }
}

/// What `check` says of a record that cannot be read, before a proxy starts on it.
pub fn record_finding(error: &StoreError, name: &str, has_login: bool) -> String {
    match error {
        StoreError::Damaged { .. } if has_login => format!(
            "{}; at its start the proxy moves it out of the way, deletes nothing, and logs in",
            error.describe()
        ),
        _ => record_held(error, name, has_login),
    }
}

/// Format 1 of the store kept the brake with the credential.
async fn move_brake(keeper: &mut Keeper, seat: &Seat) {
    let Some(kept) = keeper.record.brake.take() else { return };
    let mut turn = seat.turn().await;
    let noted = turn.note(|record, _, _| brake::absorb(record, &kept)).await;
    if noted.is_ok() && turn.is_saved() {
        keeper.save().await;
    } else {
        keeper.record.brake = Some(kept);
    }
}

/// What holds a credential whose record cannot be read. A failure to read is none: it is tried again.
pub(super) fn hold(keeper: &Keeper, options: &Options) -> Option<Hold> {
    let error = keeper.unreadable().filter(|error| error.is_of_record())?;
    Some(Hold::Record(record_held(error, &options.name, options.login.is_some()).into()))
}

/// Why the record holds its credential, and the way out.
pub(super) fn record_held(error: &StoreError, name: &str, has_login: bool) -> String {
    let then = match has_login {
        true => format!("run `vbc-proxy unlock {name}`, and the proxy logs in"),
        false => format!("run `vbc-proxy unlock {name}`, then `vbc-proxy login {name}`"),
    };
    let way_out = match error {
        StoreError::NoKey { has_keys: true, .. } => format!(
            "put that key back there, in a line below the one that is to encrypt, and restart; if it is lost, move the \
             record away, {then}"
        ),
        StoreError::NoKey { .. } => format!(
            "set store.key_file to the file with that key and restart; if it is lost, move the record away, {then}"
        ),
        StoreError::Damaged { .. } | StoreError::Foreign { .. } => {
            format!("it is left as it is; put a good copy in its place or move it away, {then}")
        }
        _ => "it is read again by itself".to_owned(),
    };
    format!("the stored record cannot be used: {}; {way_out}", error.describe())
}

/// Why no login is made while the record of earlier ones cannot be read, and the way out.
pub fn notes_held(reason: &str, name: &str) -> String {
    format!(
        "no login is made, so as not to lock the account: the record of earlier logins cannot be used: {reason}; if the \
         account is in order, run `vbc-proxy unlock {name}`, which moves that record out of the way"
    )
}

/// All that is wrong: what holds exchanges back, and what the store could not do.
pub(super) fn together(trouble: Option<String>, store: Option<&str>) -> Option<String> {
    match (trouble, store) {
        (Some(trouble), Some(store)) if !trouble.contains(store) => Some(format!("{trouble}; {store}")),
        (trouble, store) => trouble.or_else(|| store.map(str::to_owned)),
    }
}

impl<R: Redeem> Refresher<R> {
    /// Reads the stored record again, where it could not be read; says whether it is there since.
    pub(super) async fn read_record(&mut self) -> Result<bool, Unavailable> {
        if self.keeper.unreadable().is_none() {
            return Ok(false);
        }
        read(&mut self.keeper, &self.parts.options, self.parts.seat.as_ref()).await;
        if let Some(hold) = hold(&self.keeper, &self.parts.options) {
            let held = self.held(&hold, self.now());
            self.hold = Some(hold);
            return Err(held);
        }
        if let Some(error) = self.keeper.unreadable() {
            let options = &self.parts.options;
            let why = record_held(error, &options.name, options.login.is_some());
            return Err(self.failed(store_failed(why)).await);
        }
        if matches!(self.hold, Some(Hold::Record(_))) {
            self.hold = None;
        }
        self.trouble = None;
        self.backoff.reset();
        self.keeper.set_back_to(self.now());
        self.token_revision = self.keeper.record.revision;
        self.read_ends();
        if self.alive() {
            self.publish();
        }
        Ok(true)
    }

    /// Makes sure that what an exchange brings can be stored. Where it could not be, the exchange is not begun: a grant
    /// that works once would be lost with the process.
    pub(super) async fn reserve(&mut self) -> Result<(), RedeemError> {
        self.keeper.reserve().await.map_err(|error| {
            let why = error.describe();
            tracing::error!(
                credential = %self.shared.name, reason = why,
                "a new token set could not be stored, so none is asked for"
            );
            store_failed(format!("no new token set is asked for: {}", unwritable(&why)))
        })
    }

    /// Lifts what holds the login back because its record cannot be read, once that is over.
    pub(super) fn look_at_notes(&mut self) {
        let is_over = self.parts.seat.as_ref().is_none_or(|seat| !seat.is_unreadable());
        if is_over && matches!(self.hold, Some(Hold::Notes(_))) {
            self.hold = None;
            self.report();
        }
    }

    /// What the store could not do, for people.
    pub(super) fn store_trouble(&self) -> Option<String> {
        if let Some(error) = self.keeper.unreadable() {
            let options = &self.parts.options;
            return Some(record_held(error, &options.name, options.login.is_some()));
        }
        if let Some(reason) = self.keeper.trouble() {
            return Some(unwritable(reason));
        }
        match self.parts.seat.as_ref()?.trouble()? {
            Trouble::Unreadable(reason) => Some(notes_held(&reason, &self.shared.name)),
            Trouble::Failed(reason) => Some(format!("the token store fails: {reason}")),
        }
    }
}

/// That the store takes nothing, and why.
fn unwritable(reason: &str) -> String {
    format!(
        "the token store cannot be written to: {reason}; free space, or make store.path writable: the proxy tries again \
         by itself"
    )
}

fn store_failed(message: String) -> RedeemError {
    RedeemError { class: Class::NotJudged, message, retry_after: None }
}

#[cfg(test)]
#[path = "storing_tests.rs"]
mod tests;
