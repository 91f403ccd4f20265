//! Checks that `/token` and `/authorize` share: logins and scopes.

use std::sync::Arc;

use super::error::TokenError;
use crate::names::TENANT;
use crate::state::{Attempt, State};
use vbc_base::clock::Timestamp;

/// Checks a user name and its password. Returns the user name as the login spells it.
///
/// # Errors
/// A user name without the tenant fails like a wrong password.
pub(crate) fn check_login(
    state: &mut State,
    user: &str,
    password: &str,
    now: Timestamp,
) -> Result<Arc<str>, TokenError> {
    if !user.ends_with(TENANT) || state.is_developer(user) {
        return Err(TokenError::AuthenticationFailed(user.to_owned()));
    }
    match state.attempt(user, password, now) {
        Attempt::Right => Ok(login_name(state, user)),
        Attempt::Wrong => Err(TokenError::AuthenticationFailed(user.to_owned())),
        Attempt::Locked => Err(TokenError::Locked(user.to_owned())),
        Attempt::LockedByAdministrator => Err(TokenError::LockedByAdministrator(user.to_owned())),
    }
}

/// The user name in the spelling of its login.
pub(crate) fn login_name(state: &State, user: &str) -> Arc<str> {
    state.world.logins.get(&user.to_lowercase()).map_or(user, |login| &login.name).into()
}

/// Sorts scopes and removes duplicates. Without scopes the result is `default`. Device scopes are
/// not checked; any other unknown scope is rejected.
pub(crate) fn scopes(asked: Option<&str>) -> Result<Arc<str>, TokenError> {
    const KNOWN: &[&str] =
        &["openid", "default", "profile", "email", "phone", "address", "am_application_scope"];
    let scopes = normal(asked.unwrap_or_default());
    let known = |scope: &str| KNOWN.contains(&scope) || scope.starts_with("device_");
    if scopes.split_ascii_whitespace().all(known) { Ok(scopes.into()) } else { Err(TokenError::Scope) }
}

pub(super) fn normal(asked: &str) -> String {
    let mut scopes: Vec<&str> = asked.split_ascii_whitespace().collect();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() { "default".into() } else { scopes.join(" ") }
}
