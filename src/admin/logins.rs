//! The open and recent interactive logins, and the rules for completing them.
//!
//! A login is identified by the `state` of its authorization request. A cookie binds the login to
//! the browser that started it; a number binds a login to the command line. Without this binding,
//! an attacker could complete another user's login with the attacker's code (RFC 6749 §10.12). All
//! values that give access are kept as fingerprints. Ended logins are kept for a while, so that a
//! reloaded page still shows the outcome.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use vbc_base::clock::{Timestamp, after};
use vbc_base::secret::{Secret, fingerprint};

/// The time limit of a login, from its start to its end.
pub const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// At most this many open logins of one credential.
const PER_CREDENTIAL: usize = 4;
/// At most this many logins, open or ended.
const TOTAL: usize = 256;

/// How the last interactive login to a credential ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLogin {
    /// When it ended.
    pub at: Timestamp,
    /// `logged_in`, `refused`, `other_user` (the login waits for a confirmation) or `kept` (the
    /// other user was declined).
    pub outcome: String,
    /// The user, if the server named one.
    pub subject: Option<String>,
    /// A sentence about the outcome. May be empty.
    pub detail: String,
}

/// Who started a login.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Initiator {
    /// A browser, identified by a cookie.
    Browser,
    /// The command line, identified by a number.
    CommandLine,
}

struct Login {
    credential: String,
    state: String,
    initiator: Initiator,
    /// The fingerprint of the cookie's value, or of the command line's number.
    binding: String,
    redirect_uri: String,
    verifier: Option<Secret>,
    expires: Timestamp,
    stage: Stage,
}

enum Stage {
    /// No code has arrived yet.
    Open,
    /// Newer logins to the credential replaced it.
    Replaced,
    /// Its code has arrived. `well`: the login succeeded.
    Used { well: bool },
    /// Another user logged in. The confirmation must have the secrets with these fingerprints.
    Waiting { number: u64, token: String, cookie: String },
}

/// A login whose code has arrived from its initiator. Each login is handed out only once, for
/// redeeming the code.
pub(super) struct RedeemableLogin {
    pub(super) key: Key,
    pub(super) credential: String,
    pub(super) redirect_uri: String,
    pub(super) verifier: Option<Secret>,
}

/// Identifies a login in [`Logins`].
#[derive(Clone)]
pub(super) struct Key(String);

/// Why a code or a confirmation is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// There is no such login, or it has been forgotten.
    Unknown,
    /// It took longer than [`LIFETIME`].
    Expired,
    /// A newer login to the credential replaced it: from the same browser, or because more than
    /// [`PER_CREDENTIAL`] were open.
    Replaced,
    /// Its code has already arrived. `well`: that login succeeded.
    Used { well: bool },
    /// The cookie is missing, or belongs to another login.
    OtherBrowser,
    /// It was started on the command line, which waits for the code.
    CommandLine,
    /// The text pasted on the command line belongs to another login.
    OtherLogin,
}

/// The logins to all credentials.
///
/// A login goes through [`begin`](Self::begin), then `redeem_by_…`. If another user logged in,
/// [`wait`](Self::wait) and `confirm_by_…` follow. [`note`](Self::note) keeps the outcome.
#[derive(Default)]
pub(super) struct Logins {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    logins: VecDeque<Login>,
    last: HashMap<String, LastLogin>,
}

impl Logins {
    pub(super) fn begin(
        &self,
        now: Timestamp,
        credential: &str,
        state: &Secret,
        (initiator, binding): (Initiator, &Secret),
        redirect_uri: &str,
        verifier: Option<Secret>,
    ) {
        let mut inner = self.inner.lock();
        let logins = &mut inner.logins;
        let is_open =
            |login: &&mut Login| login.credential == credential && matches!(login.stage, Stage::Open);
        let open = logins.iter_mut().filter(is_open).count();
        for login in logins.iter_mut().filter(is_open).take((open + 1).saturating_sub(PER_CREDENTIAL)) {
            login.end(Stage::Replaced);
        }
        // At the limit, the oldest ended login is dropped. If none has ended, the oldest login is.
        if logins.len() >= TOTAL {
            let ended =
                logins.iter().position(|login| !matches!(login.stage, Stage::Open | Stage::Waiting { .. }));
            logins.remove(ended.unwrap_or(0));
        }
        logins.push_back(Login {
            credential: credential.to_owned(),
            state: print(state),
            initiator,
            binding: print(binding),
            redirect_uri: redirect_uri.to_owned(),
            verifier,
            expires: after(now, LIFETIME),
            stage: Stage::Open,
        });
    }

    /// The credential of the login with this state, in any stage.
    pub(super) fn credential_of(&self, state: &Secret) -> Option<String> {
        let state = print(state);
        let inner = self.inner.lock();
        inner.logins.iter().find(|login| login.state == state).map(|login| login.credential.clone())
    }

    /// Hands out the login with this state, once, to the browser that has one of these cookies.
    pub(super) fn redeem_by_browser(
        &self,
        now: Timestamp,
        state: &Secret,
        cookies: &[Secret],
    ) -> Result<RedeemableLogin, Denial> {
        let state = print(state);
        let cookies: Vec<_> = cookies.iter().map(print).collect();
        let mut inner = self.inner.lock();
        let at = inner.logins.iter().position(|login| login.state == state).ok_or(Denial::Unknown)?;
        let credential = inner.logins[at].credential.clone();
        let has_cookie = |login: &Login| cookies.iter().any(|cookie| same(cookie, &login.binding));
        // A browser has one cookie per credential: a second login overwrites the first cookie.
        let newer =
            inner.logins.iter().skip(at + 1).any(|other| other.credential == credential && has_cookie(other));
        let login = &mut inner.logins[at];
        login.check_open(now)?;
        if login.initiator == Initiator::CommandLine {
            return Err(Denial::CommandLine);
        }
        if !has_cookie(login) {
            return Err(if newer { Denial::Replaced } else { Denial::OtherBrowser });
        }
        Ok(login.redeem())
    }

    /// Hands out the login, once, to the command line that has its number. If a state is given,
    /// it must be the login's state.
    pub(super) fn redeem_by_command_line(
        &self,
        now: Timestamp,
        credential: &str,
        number: &Secret,
        state: Option<&Secret>,
    ) -> Result<RedeemableLogin, Denial> {
        let mut inner = self.inner.lock();
        let login = inner.of_command_line(credential, number).ok_or(Denial::Unknown)?;
        login.check_open(now)?;
        if state.is_some_and(|state| print(state) != login.state) {
            return Err(Denial::OtherLogin);
        }
        Ok(login.redeem())
    }

    /// Notes that another user logged in, with the secrets that confirm the login: a token in the
    /// form and a cookie. Only the page with the question has both.
    pub(super) fn wait(&self, now: Timestamp, key: &Key, number: u64, token: &Secret, cookie: &Secret) {
        let mut inner = self.inner.lock();
        if let Some(login) = inner.logins.iter_mut().find(|login| login.state == key.0) {
            login.expires = after(now, LIFETIME);
            login.stage = Stage::Waiting { number, token: print(token), cookie: print(cookie) };
        }
    }

    /// Hands out the number to confirm, once, to the browser that has the token and one of these
    /// cookies.
    pub(super) fn confirm_by_browser(
        &self,
        now: Timestamp,
        credential: &str,
        token: &Secret,
        cookies: &[Secret],
    ) -> Result<(Key, u64), Denial> {
        let token = print(token);
        let cookies: Vec<_> = cookies.iter().map(print).collect();
        let mut inner = self.inner.lock();
        let mut logins = inner.logins.iter_mut().filter(|login| login.credential == credential);
        let found = logins.find_map(|login| match &login.stage {
            Stage::Waiting { number, token: expected, cookie } if same(expected, &token) => {
                let (number, cookie) = (*number, cookie.clone());
                Some((login, number, cookie))
            }
            _ => None,
        });
        let (login, number, expected) = found.ok_or(Denial::Unknown)?;
        if !cookies.iter().any(|cookie| same(cookie, &expected)) {
            return Err(Denial::OtherBrowser);
        }
        if login.expires <= now {
            return Err(Denial::Expired);
        }
        login.end(Stage::Used { well: false });
        Ok((Key(login.state.clone()), number))
    }

    /// Accepts the confirmation of the command line that has the number of the login.
    pub(super) fn confirm_by_command_line(
        &self,
        now: Timestamp,
        credential: &str,
        number: &Secret,
        confirmed: u64,
    ) -> Result<Key, Denial> {
        let mut inner = self.inner.lock();
        let login = inner.of_command_line(credential, number).ok_or(Denial::Unknown)?;
        match login.stage {
            Stage::Waiting { number, .. } if number == confirmed && login.expires > now => {}
            Stage::Waiting { number, .. } if number == confirmed => return Err(Denial::Expired),
            _ => return Err(Denial::Unknown),
        }
        login.end(Stage::Used { well: false });
        Ok(Key(login.state.clone()))
    }

    pub(super) fn note(&self, key: &Key, credential: &str, last: LastLogin) {
        let mut inner = self.inner.lock();
        let login = inner.logins.iter_mut().find(|login| login.state == key.0);
        if let (Some(login), "logged_in") = (login, last.outcome.as_str()) {
            login.stage = Stage::Used { well: true };
        }
        inner.last.insert(credential.to_owned(), last);
    }

    pub(super) fn last(&self, credential: &str) -> Option<LastLogin> {
        self.inner.lock().last.get(credential).cloned()
    }
}

impl Inner {
    fn of_command_line(&mut self, credential: &str, number: &Secret) -> Option<&mut Login> {
        let number = print(number);
        self.logins.iter_mut().find(|login| {
            login.initiator == Initiator::CommandLine
                && login.credential == credential
                && same(&login.binding, &number)
        })
    }
}

impl Login {
    fn check_open(&self, now: Timestamp) -> Result<(), Denial> {
        match self.stage {
            Stage::Used { well } => Err(Denial::Used { well }),
            Stage::Waiting { .. } => Err(Denial::Used { well: false }),
            Stage::Replaced => Err(Denial::Replaced),
            Stage::Open if self.expires <= now => Err(Denial::Expired),
            Stage::Open => Ok(()),
        }
    }

    fn redeem(&mut self) -> RedeemableLogin {
        let verifier = self.verifier.take();
        self.end(Stage::Used { well: false });
        RedeemableLogin {
            key: Key(self.state.clone()),
            credential: self.credential.clone(),
            redirect_uri: self.redirect_uri.clone(),
            verifier,
        }
    }

    fn end(&mut self, stage: Stage) {
        self.verifier = None;
        self.stage = stage;
    }
}

fn print(secret: &Secret) -> String {
    fingerprint(&[secret.expose()])
}

fn same(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
#[path = "logins_tests.rs"]
mod tests;
