//! The logins that people have begun: what must be remembered until their answer comes, and who may bring it.
//!
//! A login is known by the state of its authorization request and bound to who began it: a browser by a cookie, the command
//! line by a number of its own. Without that binding anybody could bring an answer of theirs into somebody else's login
//! (RFC 6749 §10.12). Of everything that gives access only fingerprints are kept. Ended logins are remembered for a while,
//! so that a page that is loaded again is told what became of it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock::{Timestamp, after};
use crate::secret::{Secret, fingerprint};

/// How long a person may take.
pub const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Open logins of one credential: a few people, a few browsers.
const PER_CREDENTIAL: usize = 4;
/// Logins that are remembered, open or ended.
const TOTAL: usize = 256;

/// How the last login of a person ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLogin {
    /// When.
    pub at: Timestamp,
    /// `logged_in`, `refused`, `other_user` (it waits for a confirmation) or `kept` (the other user was turned away).
    pub outcome: String,
    /// Whose login it was, where the server has said so.
    pub subject: Option<String>,
    /// What happened, for people.
    pub detail: String,
}

/// Who began a login.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginner {
    Browser,
    CommandLine,
}

struct Login {
    credential: String,
    state: String,
    beginner: Beginner,
    /// Fingerprint of the cookie's value, or of the number that the command line has.
    binding: String,
    redirect_uri: String,
    verifier: Option<Secret>,
    expires: Timestamp,
    stage: Stage,
}

enum Stage {
    Open,
    /// Newer logins of the credential have taken its place.
    Replaced,
    /// Its answer has come; `well` is whether it ended in a login.
    Used {
        well: bool,
    },
    /// It is another user's; the fingerprints are of what the confirmation must bring.
    Waiting {
        number: u64,
        token: String,
        cookie: String,
    },
}

/// A login whose answer has come from whom it should, to be redeemed now. Nobody else gets it any more.
pub(super) struct Taken {
    pub(super) key: Key,
    pub(super) credential: String,
    pub(super) redirect_uri: String,
    pub(super) verifier: Option<Secret>,
}

/// Names a login inside this module's memory.
#[derive(Clone)]
pub(super) struct Key(String);

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// There is no such login, or it was long ago.
    Unknown,
    Expired,
    /// A newer login of the credential, from the same browser or one too many, took its place.
    Replaced,
    /// Its answer has come before; `well` is whether that ended in a login.
    Used {
        well: bool,
    },
    /// The cookie is not there, or not that of this login.
    OtherBrowser,
    /// It was begun on the command line, which waits for the answer.
    CommandLine,
    /// The answer on the command line is one to another login.
    OtherLogin,
}

/// All logins.
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
    /// Remembers a login that is begun now.
    pub(super) fn begin(
        &self,
        now: Timestamp,
        credential: &str,
        state: &Secret,
        (beginner, binding): (Beginner, &Secret),
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
        // The oldest first, and what has ended before what has not.
        if logins.len() >= TOTAL {
            let ended =
                logins.iter().position(|login| !matches!(login.stage, Stage::Open | Stage::Waiting { .. }));
            logins.remove(ended.unwrap_or(0));
        }
        logins.push_back(Login {
            credential: credential.to_owned(),
            state: print(state),
            beginner,
            binding: print(binding),
            redirect_uri: redirect_uri.to_owned(),
            verifier,
            expires: after(now, LIFETIME),
            stage: Stage::Open,
        });
    }

    /// Whose login this state is, whatever has become of it.
    pub(super) fn credential_of(&self, state: &Secret) -> Option<String> {
        let state = print(state);
        let inner = self.inner.lock();
        inner.logins.iter().find(|login| login.state == state).map(|login| login.credential.clone())
    }

    /// Takes the login of this state for the browser that has one of these cookies. Each works once.
    pub(super) fn take_by_browser(
        &self,
        now: Timestamp,
        state: &Secret,
        cookies: &[Secret],
    ) -> Result<Taken, Denied> {
        let (state, cookies) = (print(state), cookies.iter().map(print).collect::<Vec<_>>());
        let mut inner = self.inner.lock();
        let at = inner.logins.iter().position(|login| login.state == state).ok_or(Denied::Unknown)?;
        let credential = inner.logins[at].credential.clone();
        let has_cookie = |login: &Login| cookies.iter().any(|cookie| same(cookie, &login.binding));
        // The browser has one cookie a credential: a second login took the first one's away.
        let newer =
            inner.logins.iter().skip(at + 1).any(|other| other.credential == credential && has_cookie(other));
        let login = &mut inner.logins[at];
        login.check_open(now)?;
        if login.beginner == Beginner::CommandLine {
            return Err(Denied::CommandLine);
        }
        if !has_cookie(login) {
            return Err(if newer { Denied::Replaced } else { Denied::OtherBrowser });
        }
        Ok(login.take())
    }

    /// Takes the login that the command line has the number of. An answer that names a state must name this one's.
    pub(super) fn take_by_command_line(
        &self,
        now: Timestamp,
        credential: &str,
        number: &Secret,
        state: Option<&Secret>,
    ) -> Result<Taken, Denied> {
        let mut inner = self.inner.lock();
        let login = inner.of_command_line(credential, number).ok_or(Denied::Unknown)?;
        login.check_open(now)?;
        if state.is_some_and(|state| print(state) != login.state) {
            return Err(Denied::OtherLogin);
        }
        Ok(login.take())
    }

    /// Notes that the login is another user's, and what confirms it: a token in the form and a cookie, both of which only
    /// the page that asks has.
    pub(super) fn wait(&self, now: Timestamp, key: &Key, number: u64, token: &Secret, cookie: &Secret) {
        let mut inner = self.inner.lock();
        if let Some(login) = inner.logins.iter_mut().find(|login| login.state == key.0) {
            login.expires = after(now, LIFETIME);
            login.stage = Stage::Waiting { number, token: print(token), cookie: print(cookie) };
        }
    }

    /// Takes the number to be confirmed, for the browser that has the token and one of these cookies. Works once.
    pub(super) fn confirm_by_browser(
        &self,
        now: Timestamp,
        credential: &str,
        token: &Secret,
        cookies: &[Secret],
    ) -> Result<(Key, u64), Denied> {
        let (given, cookies) = (print(token), cookies.iter().map(print).collect::<Vec<_>>());
        let mut inner = self.inner.lock();
        let found =
            inner.logins.iter_mut().filter(|login| login.credential == credential).find_map(|login| {
                match &login.stage {
                    Stage::Waiting { number, token, cookie } if same(token, &given) => {
                        let (number, cookie) = (*number, cookie.clone());
                        Some((login, number, cookie))
                    }
                    _ => None,
                }
            });
        let (login, number, cookie) = found.ok_or(Denied::Unknown)?;
        if !cookies.iter().any(|given| same(given, &cookie)) {
            return Err(Denied::OtherBrowser);
        }
        if login.expires <= now {
            return Err(Denied::Expired);
        }
        login.end(Stage::Used { well: false });
        Ok((Key(login.state.clone()), number))
    }

    /// Takes the confirmation of the command line that has the number of the login.
    pub(super) fn confirm_by_command_line(
        &self,
        now: Timestamp,
        credential: &str,
        number: &Secret,
        confirmed: u64,
    ) -> Result<Key, Denied> {
        let mut inner = self.inner.lock();
        let login = inner.of_command_line(credential, number).ok_or(Denied::Unknown)?;
        match login.stage {
            Stage::Waiting { number, .. } if number == confirmed && login.expires > now => {}
            Stage::Waiting { number, .. } if number == confirmed => return Err(Denied::Expired),
            _ => return Err(Denied::Unknown),
        }
        login.end(Stage::Used { well: false });
        Ok(Key(login.state.clone()))
    }

    /// Notes how a login ended.
    pub(super) fn note(&self, key: &Key, credential: &str, last: LastLogin) {
        let mut inner = self.inner.lock();
        let login = inner.logins.iter_mut().find(|login| login.state == key.0);
        if let (Some(login), "logged_in") = (login, last.outcome.as_str()) {
            login.stage = Stage::Used { well: true };
        }
        inner.last.insert(credential.to_owned(), last);
    }

    /// How the credential's last login ended.
    pub(super) fn last(&self, credential: &str) -> Option<LastLogin> {
        self.inner.lock().last.get(credential).cloned()
    }
}

impl Inner {
    fn of_command_line(&mut self, credential: &str, number: &Secret) -> Option<&mut Login> {
        let number = print(number);
        self.logins.iter_mut().find(|login| {
            login.beginner == Beginner::CommandLine
                && login.credential == credential
                && same(&login.binding, &number)
        })
    }
}

impl Login {
    fn check_open(&self, now: Timestamp) -> Result<(), Denied> {
        match self.stage {
            Stage::Used { well } => Err(Denied::Used { well }),
            Stage::Waiting { .. } => Err(Denied::Used { well: false }),
            Stage::Replaced => Err(Denied::Replaced),
            Stage::Open if self.expires <= now => Err(Denied::Expired),
            Stage::Open => Ok(()),
        }
    }

    fn take(&mut self) -> Taken {
        let verifier = self.verifier.take();
        self.end(Stage::Used { well: false });
        Taken {
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
