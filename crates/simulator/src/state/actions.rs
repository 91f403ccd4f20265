//! The effect of actions on the state.

use crate::fault::{Action, FaultError};
use crate::names::SUITES;
use crate::state::State;
use crate::times::TIMES;
use crate::world::{App, Lock, Login};
use vbc_base::clock::{Clock, Timestamp, moved};

impl Action {
    /// Checks an action without doing it. `at` is the time before the action; returns the time
    /// after it. Only actions that move the clock change the time.
    pub(crate) fn check(&self, state: &State, at: Timestamp) -> Result<Timestamp, FaultError> {
        let user = |user: &String| {
            let known = state.world.logins.contains_key(&user.to_lowercase());
            if known { Ok(()) } else { Err(FaultError::NoSuchUser(user.clone())) }
        };
        let application = |id: &String| {
            let known = state.world.apps.contains_key(id.as_str());
            if known { Ok(()) } else { Err(FaultError::NoSuchApplication(id.clone())) }
        };
        match self {
            Self::ClockAdvance(by) => return in_time(moved(at, *by)),
            Self::ClockSet(to) => return in_time(*to),
            Self::Unsubscribe { suite } | Self::Resubscribe { suite } => {
                known_suite(suite)?;
            }
            Self::Role { user: name, suite, .. } => {
                known_suite(suite)?;
                user(name)?;
            }
            Self::Subscription { client_id, suite, .. } => {
                known_suite(suite)?;
                application(client_id)?;
            }
            Self::LockUser { user: name, .. }
            | Self::UnlockUser { user: name }
            | Self::ChangePassword { user: name, .. }
            | Self::SingleSignOn { user: name, .. } => user(name)?,
            Self::ApplicationQuota { client_id, .. }
            | Self::CommonQuota { client_id }
            | Self::RegenerateSecret { client_id, .. }
            | Self::Openid { client_id: Some(client_id), .. } => application(client_id)?,
            Self::Openid { client_id: None, .. }
            | Self::RevokeAllAccess
            | Self::RevokeAllRefresh
            | Self::ExpireIn { .. }
            | Self::Mode(_)
            | Self::OldAccess(_)
            | Self::SpentRefresh { .. }
            | Self::Quota(_)
            | Self::RotateSigningKid => {}
        }
        Ok(at)
    }

    /// Does the action. Call [`check`](Self::check) first: an invalid action may be done in part.
    pub(crate) fn act(&self, state: &mut State, clock: &Clock) -> Result<(), FaultError> {
        match self {
            Self::RevokeAllAccess => state.tokens.revoke_all_access(),
            Self::RevokeAllRefresh => state.tokens.revoke_all_refresh(),
            Self::ExpireIn { lifetime, existing } => {
                state.policy.lifetimes.access = *lifetime;
                if *existing {
                    state.tokens.shorten(*lifetime, clock.now());
                }
            }
            Self::Mode(mode) => state.policy.mode = *mode,
            Self::OldAccess(old) => state.policy.old_access = *old,
            Self::SpentRefresh { server_error } => state.spent_is_server_error = *server_error,
            Self::ClockAdvance(by) => state.advance(*by, clock),
            Self::ClockSet(to) => state.set_clock(*to, clock),
            Self::RotateSigningKid => state.policy.kid += 1,
            Self::Quota(quota) => {
                state.quota = *quota;
                state.windows.clear();
            }
            Self::Unsubscribe { suite } => {
                state.unsubscribed.insert(known_suite(suite)?);
            }
            Self::Resubscribe { suite } => {
                state.unsubscribed.remove(known_suite(suite)?);
            }
            Self::LockUser { .. }
            | Self::UnlockUser { .. }
            | Self::ChangePassword { .. }
            | Self::SingleSignOn { .. }
            | Self::Role { .. } => self.act_on_user(state)?,
            Self::RegenerateSecret { .. }
            | Self::Openid { .. }
            | Self::Subscription { .. }
            | Self::ApplicationQuota { .. }
            | Self::CommonQuota { .. } => self.act_on_application(state)?,
        }
        Ok(())
    }

    fn act_on_user(&self, state: &mut State) -> Result<(), FaultError> {
        match self {
            Self::LockUser { user, keep_tokens } => {
                let login = login(state, user)?;
                let name = login.name.clone();
                if login.lock.replace(Lock::Administrator).is_none() {
                    state.stats.lock_events += 1;
                }
                if !keep_tokens {
                    state.tokens.revoke_user(&name);
                }
            }
            Self::UnlockUser { user } => {
                let login = login(state, user)?;
                login.lock = None;
                login.failures = 0;
            }
            Self::ChangePassword { user, password } => {
                let login = login(state, user)?;
                login.password = password.clone();
                let name = login.name.clone();
                state.secrets.add(password);
                state.tokens.revoke_user(&name);
            }
            Self::SingleSignOn { user, sso } => login(state, user)?.sso = *sso,
            Self::Role { user, suite, allowed } => {
                let suite = known_suite(suite)?;
                login(state, user)?.roles.set(suite, *allowed);
            }
            _ => {}
        }
        Ok(())
    }

    fn act_on_application(&self, state: &mut State) -> Result<(), FaultError> {
        match self {
            Self::Subscription { client_id, suite, allowed } => {
                let suite = known_suite(suite)?;
                let app = application(state, client_id)?;
                app.subscriptions.retain(|subscribed| *subscribed != suite);
                if *allowed {
                    app.subscriptions.push(suite);
                }
            }
            Self::ApplicationQuota { client_id, per_minute } => {
                application(state, client_id)?.quota = Some(*per_minute);
                state.windows.clear();
            }
            Self::CommonQuota { client_id } => {
                application(state, client_id)?.quota = None;
                state.windows.clear();
            }
            Self::RegenerateSecret { client_id, secret } => {
                application(state, client_id)?.secret = secret.clone();
                state.secrets.add(secret);
                state.tokens.revoke_client(client_id);
            }
            Self::Openid { client_id: Some(id), allowed } => {
                application(state, id)?.openid = *allowed;
            }
            Self::Openid { client_id: None, allowed } => {
                state.world.apps.values_mut().for_each(|app| app.openid = *allowed);
            }
            _ => {}
        }
        Ok(())
    }
}

fn in_time(at: Timestamp) -> Result<Timestamp, FaultError> {
    if TIMES.contains(&at) { Ok(at) } else { Err(FaultError::ClockOutOfRange) }
}

fn known_suite(suite: &str) -> Result<&'static str, FaultError> {
    let known = SUITES.iter().copied().find(|known| *known == suite);
    known.ok_or_else(|| FaultError::NoSuchSuite(suite.to_owned()))
}

fn application<'a>(state: &'a mut State, client_id: &str) -> Result<&'a mut App, FaultError> {
    let app = state.world.apps.get_mut(client_id);
    app.ok_or_else(|| FaultError::NoSuchApplication(client_id.to_owned()))
}

fn login<'a>(state: &'a mut State, user: &str) -> Result<&'a mut Login, FaultError> {
    let login = state.world.logins.get_mut(&user.to_lowercase());
    login.ok_or_else(|| FaultError::NoSuchUser(user.to_owned()))
}
