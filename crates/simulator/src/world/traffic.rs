//! Changes of calls, and their effects on webhooks, Reports and Call Recording.

use serde_json::{Value, json};

use super::calls::{Call, Direction, RINGS, Ring, View};
use super::{Account, World};
use crate::random::Random;
use vbc_base::clock::{Timestamp, after};

impl World {
    /// Starts a call and returns its position in the account.
    pub(crate) fn begin(&mut self, account: u64, call: Call, random: &mut Random) -> Option<usize> {
        let ring = call.ring;
        let start = call.start;
        let position = self.account(account)?.place(call);
        self.tell(account, position, start, &[]);
        match ring {
            Some(Ring { until, .. }) if until <= start => {
                self.change(account, position, until, random, |call, _| call.settle());
            }
            Some(Ring { until, .. }) => {
                self.next_ring = Some(self.next_ring.map_or(until, |next| next.min(until)));
            }
            None => {}
        }
        Some(position)
    }

    /// Places a call from the account, and returns its position.
    pub(crate) fn dial(
        &mut self,
        account: u64,
        from: String,
        to: String,
        now: Timestamp,
        random: &mut Random,
    ) -> Option<usize> {
        let ring = Ring { until: after(now, self.pace.ringing), picked_up: true };
        let call = Call::ringing(random, Direction::Outbound, from, to, now, Some(ring));
        self.begin(account, call, random)
    }

    /// Starts a call from outside to an extension or one of its numbers, and returns the call's id.
    pub(crate) fn receive(
        &mut self,
        account: u64,
        from: &str,
        number: &str,
        now: Timestamp,
        random: &mut Random,
    ) -> Option<String> {
        let called = self.account(account)?.called_by(number)?;
        let ring = Some(Ring { until: after(now, RINGS), picked_up: false });
        let call = Call::ringing(random, Direction::Inbound, from.into(), called, now, ring);
        let id = call.id.clone();
        self.begin(account, call, random).map(|_| id)
    }

    /// Changes a call and queues notices for webhooks. If the call has ended, plans its report and
    /// its recordings.
    pub(crate) fn change<T>(
        &mut self,
        account: u64,
        position: usize,
        now: Timestamp,
        random: &mut Random,
        act: impl FnOnce(&mut Call, &mut Random) -> T,
    ) -> Option<T> {
        let pace = self.pace;
        let watchers = self.webhooks.watchers(account, now);
        let of = self.account(account)?;
        let before = states(of, position, &watchers);
        let call = of.calls.get_mut(position)?;
        let was_over = call.end.is_some();
        let done = act(call, random);
        if let (Some(end), false) = (call.end, was_over) {
            call.reported = Some(pace.reported(&call.id, end));
            for recording in of.recordings(position, pace) {
                let place = of.recordings.partition_point(|other| other.start <= recording.start);
                of.recordings.insert(place, recording);
            }
        }
        self.tell(account, position, now, &before);
        Some(done)
    }

    /// Ends the ringing of every call whose ringing time is over.
    pub(crate) fn settle(&mut self, now: Timestamp, random: &mut Random) {
        if self.next_ring.is_none_or(|next| next > now) {
            return;
        }
        let mut due = Vec::new();
        self.next_ring = None;
        for account in self.accounts.values() {
            for (position, call) in account.calls.iter().enumerate() {
                let Some(Ring { until, .. }) = call.ring else { continue };
                if until <= now {
                    due.push((until, account.id, position));
                } else {
                    self.next_ring = Some(self.next_ring.map_or(until, |next| next.min(until)));
                }
            }
        }
        due.sort_unstable();
        for (at, account, position) in due {
            self.change(account, position, at, random, |call, _| call.settle());
        }
    }

    /// Queues a notice for the webhooks of every user whose view of the call has another state now.
    /// `before` has the users' earlier states.
    fn tell(&mut self, account: u64, position: usize, now: Timestamp, before: &[(usize, &'static str)]) {
        let watchers = self.webhooks.watchers(account, now);
        let Some(of) = self.accounts.get(&account) else { return };
        for user in watchers {
            let Some(view) = seen(of, position, user) else { continue };
            if before.contains(&(user, view.state)) {
                continue;
            }
            let event = event(of, position, user, &view);
            self.webhooks.queue((account, user), now, &event);
        }
    }
}

fn seen(account: &Account, position: usize, user: usize) -> Option<View> {
    account.calls.get(position)?.seen_by(|party| account.owns(user, party))
}

fn states(account: &Account, position: usize, users: &[usize]) -> Vec<(usize, &'static str)> {
    users.iter().filter_map(|user| Some((*user, seen(account, position, *user)?.state))).collect()
}

/// The event of a notice. Its members are sorted by name, because the signature is computed over
/// this form.
fn event(account: &Account, position: usize, user: usize, view: &View) -> Value {
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string();
    let id = account.users.get(user).map_or(0, |user| user.id);
    let ours = account.extensions.iter().any(|extension| extension.number == view.remote);
    let mut event = json!({
        "accountId": account.id.to_string(), "direction": view.direction.upper(),
        "duration": u64::try_from(view.duration().as_millis()).unwrap_or(u64::MAX),
        "externalId": account.calls.get(position).map_or("", |call| &call.id),
        "id": (position + 1).to_string(), "internal": ours, "phoneNumber": view.remote,
        "startTime": time(view.start), "state": view.state, "type": "CALL", "ucpType": "VBS",
        "userId": id.to_string(),
    });
    if let Some(name) = account.remote_name(view) {
        event["callerId"] = name.into();
    }
    for (name, at) in [("answerTime", view.answered), ("endTime", view.end)] {
        if let Some(at) = at {
            event[name] = time(at).into();
        }
    }
    event
}
