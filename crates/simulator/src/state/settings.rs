//! Changes made by actions. They are shown as active, and can be reverted one by one.

use serde_json::{Value, json};

use crate::fault::Action;
use crate::state::State;
use crate::world::Lock;

/// A change made by an action.
struct Setting {
    id: u64,
    action: Action,
    /// The action that reverts the change; `None` for the clock.
    before: Option<Action>,
}

/// The changed settings, in the order of their latest change. Each setting occurs once.
#[derive(Default)]
pub(crate) struct Settings(Vec<Setting>);

impl Settings {
    /// Records a change, or forgets it if the setting is back at its start. `before` and `after`
    /// are the results of [`Action::present`] before and after the action.
    pub(crate) fn note(&mut self, id: u64, action: Action, before: Option<Action>, after: Option<Action>) {
        if action.is_clock() {
            self.0.retain(|setting| !setting.action.is_clock());
            self.0.push(Setting { id, action, before: None });
            return;
        }
        let (Some(mut before), Some(after)) = (before, after) else { return };
        let known = self.0.iter().position(|setting| setting.action.subject() == action.subject());
        if let Some(known) = known {
            before = self.0.remove(known).before.unwrap_or(before);
        }
        if before.shown() != after.shown() {
            self.0.push(Setting { id, action: after, before: Some(before) });
        }
    }

    fn take(&mut self, id: u64) -> Option<Setting> {
        let at = self.0.iter().position(|setting| setting.id == id)?;
        Some(self.0.remove(at))
    }
}

impl State {
    /// Reverts a change, and returns whether there was one with this id.
    pub(crate) fn take_back(&mut self, id: u64) -> bool {
        let Some(setting) = self.settings.take(id) else { return false };
        let clock = self.options.clock.clone();
        match setting.before {
            // This cannot fail: the names already existed when the setting was first changed.
            Some(before) => before.act(self, &clock).is_ok(),
            None => {
                self.restore_clock();
                true
            }
        }
    }

    /// The body of `GET /__sim/faults`: faults on requests, then changes made by actions, each in
    /// order.
    pub(crate) fn in_force(&self) -> Value {
        let mut shown = self.faults.listed();
        for Setting { id, action, .. } in &self.settings.0 {
            let (name, mut with) = action.shown();
            if action.is_clock() {
                if self.advanced.is_zero() {
                    continue;
                }
                with["seconds"] = self.advanced.as_secs_f64().into();
            }
            shown.push(json!({
                "id": id, "kind": "setting", "fault": name, "with": with, "path": null, "endpoint": null, "method": null,
                "grant": null, "passing": 0, "remaining": null, "until": null, "probability": 1.0,
            }));
        }
        shown.into()
    }
}

impl Action {
    fn is_clock(&self) -> bool {
        matches!(self, Self::ClockAdvance(_) | Self::ClockSet(_))
    }

    /// The action that would restore the current setting. `None` for actions that cannot be
    /// reverted.
    pub(crate) fn present(&self, state: &State) -> Option<Self> {
        let login = |user: &str| state.world.logins.get(&user.to_lowercase());
        let app = |client_id: &str| state.world.apps.get(client_id);
        let policy = &state.policy;
        Some(match self {
            Self::ExpireIn { .. } => Self::ExpireIn { lifetime: policy.lifetimes.access, existing: false },
            Self::Mode(_) => Self::Mode(policy.mode),
            Self::OldAccess(_) => Self::OldAccess(policy.old_access),
            Self::SpentRefresh { .. } => Self::SpentRefresh { server_error: state.spent_is_server_error },
            Self::Quota(_) => Self::Quota(state.quota),
            Self::Unsubscribe { suite } | Self::Resubscribe { suite } => {
                let suite = suite.clone();
                let off = state.unsubscribed.contains(suite.as_str());
                if off { Self::Unsubscribe { suite } } else { Self::Resubscribe { suite } }
            }
            Self::LockUser { user, .. } | Self::UnlockUser { user } => {
                let user = user.to_lowercase();
                match login(&user)?.lock {
                    Some(Lock::Administrator) => Self::LockUser { user, keep_tokens: true },
                    _ => Self::UnlockUser { user },
                }
            }
            Self::SingleSignOn { user, .. } => {
                Self::SingleSignOn { user: user.to_lowercase(), sso: login(user)?.sso }
            }
            Self::Role { user, suite, .. } => {
                let allowed = login(user)?.roles.allow(suite);
                Self::Role { user: user.to_lowercase(), suite: suite.clone(), allowed }
            }
            Self::Subscription { client_id, suite, .. } => {
                let allowed = app(client_id)?.subscriptions.iter().any(|subscribed| subscribed == suite);
                Self::Subscription { client_id: client_id.clone(), suite: suite.clone(), allowed }
            }
            Self::ApplicationQuota { client_id, .. } | Self::CommonQuota { client_id } => {
                let client_id = client_id.clone();
                match app(&client_id)?.quota {
                    Some(per_minute) => Self::ApplicationQuota { client_id, per_minute },
                    None => Self::CommonQuota { client_id },
                }
            }
            Self::Openid { client_id: Some(id), .. } => {
                Self::Openid { client_id: Some(id.clone()), allowed: app(id)?.openid }
            }
            Self::Openid { client_id: None, .. } => {
                Self::Openid { client_id: None, allowed: state.world.apps.values().all(|app| app.openid) }
            }
            Self::RevokeAllAccess
            | Self::RevokeAllRefresh
            | Self::RotateSigningKid
            | Self::ChangePassword { .. }
            | Self::RegenerateSecret { .. }
            | Self::ClockAdvance(_)
            | Self::ClockSet(_) => return None,
        })
    }

    /// The setting that the action changes: its kind and its owner.
    fn subject(&self) -> (&'static str, String) {
        let whose = |names: &[&str]| names.join(" ").to_lowercase();
        match self {
            Self::ExpireIn { .. } => ("lifetime", String::new()),
            Self::Mode(_) => ("mode", String::new()),
            Self::OldAccess(_) => ("old access", String::new()),
            Self::SpentRefresh { .. } => ("spent refresh", String::new()),
            Self::Quota(_) => ("quota", String::new()),
            Self::Unsubscribe { suite } | Self::Resubscribe { suite } => ("suite", whose(&[suite])),
            Self::LockUser { user, .. } | Self::UnlockUser { user } => ("lock", whose(&[user])),
            Self::SingleSignOn { user, .. } => ("single sign-on", whose(&[user])),
            Self::Role { user, suite, .. } => ("role", whose(&[user, suite])),
            Self::Subscription { client_id, suite, .. } => ("subscription", whose(&[client_id, suite])),
            Self::ApplicationQuota { client_id, .. } | Self::CommonQuota { client_id } => {
                ("application quota", client_id.clone())
            }
            Self::Openid { client_id, .. } => ("openid", client_id.clone().unwrap_or_default()),
            Self::ClockAdvance(_) | Self::ClockSet(_) => ("clock", String::new()),
            Self::RevokeAllAccess
            | Self::RevokeAllRefresh
            | Self::RotateSigningKid
            | Self::ChangePassword { .. }
            | Self::RegenerateSecret { .. } => ("done", String::new()),
        }
    }

    /// The fault's name and its parameters, without secrets.
    fn shown(&self) -> (&'static str, Value) {
        match self {
            Self::RevokeAllAccess => ("revoke_all_access", json!({})),
            Self::RevokeAllRefresh => ("revoke_all_refresh", json!({})),
            Self::RotateSigningKid => ("rotate_signing_kid", json!({})),
            Self::ExpireIn { lifetime, .. } => ("expire_in", json!({ "seconds": lifetime.as_secs() })),
            Self::Mode(mode) => ("mode", json!({ "mode": mode.word() })),
            Self::OldAccess(old) => ("old_access", json!({ "state": old.word() })),
            Self::SpentRefresh { server_error } => {
                ("spent_refresh", json!({ "status": if *server_error { 500 } else { 400 } }))
            }
            Self::LockUser { user, .. } => ("lock_user", json!({ "user": user })),
            Self::UnlockUser { user } => ("unlock_user", json!({ "user": user })),
            Self::ChangePassword { user, .. } => ("change_password", json!({ "user": user })),
            Self::SingleSignOn { user, sso } => ("single_sign_on", json!({ "user": user, "sso": sso })),
            Self::Role { user, suite, allowed } => {
                ("roles", json!({ "user": user, "suite": suite, "allowed": allowed }))
            }
            Self::ClockAdvance(by) => ("clock_advance", json!({ "seconds": by.as_secs_f64() })),
            Self::ClockSet(to) => ("clock_set", json!({ "time": to.to_string() })),
            Self::Quota(per_minute) => ("quota", json!({ "per_minute": per_minute.unwrap_or(0) })),
            Self::ApplicationQuota { client_id, per_minute } => {
                ("quota", json!({ "client_id": client_id, "per_minute": per_minute.unwrap_or(0) }))
            }
            Self::CommonQuota { client_id } => ("quota", json!({ "client_id": client_id })),
            Self::Unsubscribe { suite } => ("unsubscribe", json!({ "suite": suite })),
            Self::Resubscribe { suite } => ("resubscribe", json!({ "suite": suite })),
            Self::Subscription { client_id, suite, allowed } => {
                let name = if *allowed { "resubscribe" } else { "unsubscribe" };
                (name, json!({ "suite": suite, "client_id": client_id }))
            }
            Self::RegenerateSecret { client_id, .. } => {
                ("regenerate_secret", json!({ "client_id": client_id }))
            }
            Self::Openid { client_id, allowed } => {
                ("refuse_scope", json!({ "client_id": client_id, "allowed": allowed }))
            }
        }
    }
}
