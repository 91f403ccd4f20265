//! What `/token` and `/authorize` check alike: a user's login, and scopes.

use std::sync::Arc;

use super::error::Row;
use crate::names::TENANT;
use crate::state::{Attempt, State};
use vbc_base::clock::Timestamp;

/// The right password of a login of this tenant, or the row that says what is wrong.
pub(crate) fn check_login(
    state: &mut State,
    user: &str,
    password: &str,
    now: Timestamp,
) -> Result<Arc<str>, Row> {
    if !user.ends_with(TENANT) || state.is_developer(user) {
        return Err(Row::AuthenticationFailed(user.to_owned()));
    }
    match state.attempt(user, password, now) {
        Attempt::Right => Ok(login_name(state, user)),
        Attempt::Wrong => Err(Row::AuthenticationFailed(user.to_owned())),
        Attempt::Locked => Err(Row::Locked(user.to_owned())),
        Attempt::LockedByAdministrator => Err(Row::LockedByAdministrator(user.to_owned())),
    }
}

/// The name as it was given to the login, however it was typed.
pub(crate) fn login_name(state: &State, user: &str) -> Arc<str> {
    state.world.logins.get(&user.to_lowercase()).map_or(user, |login| &login.name).into()
}

/// Sorted and without repetitions; `default` when none is asked for. Device scopes pass unchecked, anything not
/// known is refused.
pub(crate) fn scopes(asked: Option<&str>) -> Result<Arc<str>, Row> {
    const KNOWN: &[&str] =
        &["openid", "default", "profile", "email", "phone", "address", "am_application_scope"];
    let scopes = normal(asked.unwrap_or_default());
    let known = |scope: &str| KNOWN.contains(&scope) || scope.starts_with("device_");
    if scopes.split_ascii_whitespace().all(known) { Ok(scopes.into()) } else { Err(Row::Scope) }
}

pub(super) fn normal(asked: &str) -> String {
    let mut scopes: Vec<&str> = asked.split_ascii_whitespace().collect();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() { "default".into() } else { scopes.join(" ") }
}
