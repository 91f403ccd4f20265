//! `vbc-proxy login`.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::desk::Desk;
use super::signals::Signals;
use super::{ConfigArgs, Exit, browser, choose_of, complain, run_to_end, say, serve};
use crate::admin::{
    CredentialStatus, LOGIN_LIFETIME, LastLogin, LoginOutcome, Status, credential_path, encode,
};
use crate::app::{self, Closed, StartError};
use crate::config::{Config, GrantKind, ListenAddress, Loaded, Store};
use crate::credential::is_same_user;
use crate::secret::Secret;
use crate::store::StoreError;

/// How often the outcome is looked for.
const LOOK: Duration = Duration::from_millis(300);

/// Log in through the browser (credentials with grant = "authorization_code")
///
/// Opens the login page in a browser and waits for the outcome. A running proxy takes the tokens into use at once; while none
/// runs, they are put into its token store.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The credential; can be left out where there is one, or one called `default`
    credential: Option<String>,
    /// Open no browser: print the address, and read from standard input the address that the login ends at, or its code
    #[arg(long, conflicts_with = "code")]
    no_browser: bool,
    /// Read an authorization code from standard input
    #[arg(long, value_name = "-", value_parser = ["-"], allow_hyphen_values = true)]
    code: Option<String>,
    /// Replace the current user with this one (with --no-browser or --code)
    #[arg(long, value_name = "USER")]
    replace_user: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Login {
    pub(crate) fn run(&self) -> Exit {
        let pasted = self.no_browser || self.code.is_some();
        if self.replace_user.is_some() && !pasted {
            complain("vbc-proxy: --replace-user goes with --no-browser or --code; a browser asks by itself");
            return Exit::Usage;
        }
        let Loaded { config, secret_variables, .. } = match self.config.find() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let name = match choose_of(self.credential.as_deref(), &config) {
            Ok(name) => name,
            Err(exit) => return exit,
        };
        run_to_end(async {
            let stop = Signals::for_command()?;
            let desk = match Desk::running(&config).await? {
                Some(desk) => desk,
                None => self.open(&name, !pasted).await?,
            };
            let outcome = tokio::select! {
                outcome = async {
                    match pasted {
                        true => self.paste(&desk, &name).await,
                        false => watch(&desk, &name, &secret_variables).await,
                    }
                } => outcome,
                () = stop => {
                    tell_interrupted(desk.close().await?, &name);
                    return Err(Exit::Failed);
                }
            };
            desk.close().await?;
            outcome
        })
    }

    /// Opens the token store itself: no proxy runs.
    async fn open(&self, name: &str, listen: bool) -> Result<Desk, Exit> {
        let config = self.config.load(false)?.config;
        let is_for_people = |one: &crate::config::Credential| one.grant == GrantKind::AuthorizationCode;
        if !config.credentials.iter().any(|one| one.name == name && is_for_people(one)) {
            let people = names_of(&config, is_for_people);
            complain(format_args!(
                "vbc-proxy: credential {name} logs in by itself, with its user name and password; a person logs in to: \
                 {people}"
            ));
            return Err(Exit::Failed);
        }
        if matches!(config.store, Store::Memory) {
            complain(
                "vbc-proxy: no proxy runs, and with store.kind = \"memory\" the login would end with this command; start \
                 the proxy, then log in",
            );
            return Err(Exit::Failed);
        }
        if listen && !matches!(config.admin.address, Some(ListenAddress::Tcp(_))) {
            complain(
                "vbc-proxy: no browser can come to admin.address, which is off or a unix socket; use --no-browser",
            );
            return Err(Exit::Failed);
        }
        match app::Desk::open(config, name, listen).await {
            Ok(desk) => {
                complain("No proxy runs; the tokens go into its store.");
                Ok(Desk::Own(Box::new(desk)))
            }
            Err(error) => {
                complain(format_args!("vbc-proxy: {error}"));
                if let StartError::Store { source: StoreError::InUse { .. } } = &error {
                    complain(
                        "A proxy that runs on it is reached by its admin listener; give this command the same \
                         admin.address.",
                    );
                }
                Err(serve::exit_of(&error))
            }
        }
    }

    /// The login of a person who brings the answer to the terminal.
    async fn paste(&self, desk: &Desk, name: &str) -> Result<(), Exit> {
        let begun: Begun = desk.ask("POST", &credential_path(name, "login"), None).await?.read()?;
        if self.code.is_some() {
            if begun.pkce {
                complain(format_args!(
                    "vbc-proxy: credential {name} has pkce = true: a code is good only together with the challenge it was \
                     asked for with; use --no-browser"
                ));
                return Err(Exit::Failed);
            }
        } else {
            complain("Open this address in any browser and log in:");
            say(&begun.url)?;
        }
        let path = credential_path(name, "login/answer");
        let answer = loop {
            if self.code.is_none() {
                prompt(format_args!(
                    "Then paste the address the browser ends at ({}?…), even if no page is shown there, or the code: ",
                    begun.redirect_uri
                ));
            }
            let pasted = read_line().await?;
            let given = json!({ "login": begun.login, "answer": pasted.expose() });
            let answer = desk.ask("POST", &path, Some(&given)).await?;
            let why = match answer.kind().as_deref() {
                Some("no-code") => "There is no code in that.",
                Some("other-login") => "This is the answer to another login.",
                _ => break answer,
            };
            if !std::io::stdin().is_terminal() {
                break answer;
            }
            complain(why);
        };
        match answer.read()? {
            LoginOutcome::LoggedIn { subject, expires_at, unsaved } => {
                done(desk, name, subject.as_deref(), Some(format!("{expires_at:.0}")), unsaved)
            }
            LoginOutcome::OtherUser { expected, found, confirm } => {
                self.check_other_user(name, &expected, found.as_deref()).await?;
                let given = json!({ "login": begun.login, "confirm": confirm });
                match desk.ask("POST", &path, Some(&given)).await?.read()? {
                    LoginOutcome::LoggedIn { subject, expires_at, unsaved } => {
                        done(desk, name, subject.as_deref(), Some(format!("{expires_at:.0}")), unsaved)
                    }
                    LoginOutcome::OtherUser { .. } => Err(Exit::Failed),
                }
            }
        }
    }

    /// Whether the other user may take the place of the one there is: as an option says, or a person at the terminal.
    async fn check_other_user(&self, name: &str, expected: &str, found: Option<&str>) -> Result<(), Exit> {
        let other = found.unwrap_or("a user whose name the service does not tell");
        complain(format_args!(
            "This is the login of {other}, and credential {name} is {expected}'s until now. Nothing has been replaced yet."
        ));
        match (&self.replace_user, found) {
            (Some(named), Some(_)) if is_same_user(named, found) => return Ok(()),
            (Some(named), _) => {
                complain(format_args!(
                    "vbc-proxy: --replace-user names {named}, not {other}; nothing was changed"
                ));
                return Err(Exit::Failed);
            }
            (None, _) => {}
        }
        if !std::io::stdin().is_terminal() {
            let how = match found {
                Some(found) => format!("with --replace-user {found} it takes {expected}'s place"),
                None => "do this at a terminal, which can ask".to_owned(),
            };
            complain(format_args!("vbc-proxy: nothing was changed; log in as {expected}, or {how}"));
            return Err(Exit::Failed);
        }
        let word = found.unwrap_or("replace");
        prompt(format_args!(
            "Type {word} to put {other} in {expected}'s place, anything else to keep {expected}: "
        ));
        if read_line().await?.expose() == word {
            return Ok(());
        }
        complain("vbc-proxy: nothing was changed");
        Err(Exit::Failed)
    }
}

/// A login that has begun: no `Debug`, it has secrets.
#[derive(Deserialize)]
struct Begun {
    url: String,
    login: String,
    redirect_uri: String,
    pkce: bool,
}

/// Sends a person to the browser, and waits for how the login ends.
async fn watch(desk: &Desk, name: &str, secret_variables: &[String]) -> Result<(), Exit> {
    let before = look(desk, name).await?;
    let Some(url) = before.login_url else {
        match before.by_person {
            true => complain(format_args!(
                "vbc-proxy: the answer to a login in the browser would not come to the proxy, since the redirect URI of \
                 credential {name} does not lead to its admin listener; use `vbc-proxy login {name} --no-browser`"
            )),
            false => complain(format_args!(
                "vbc-proxy: credential {name} logs in by itself, with its user name and password"
            )),
        }
        return Err(Exit::Failed);
    };
    complain("Log in here, within ten minutes:");
    say(&url)?;
    if !browser::open(&url, secret_variables) {
        complain("No browser could be opened; open the address yourself, or stop this and use --no-browser.");
    }
    let end = Instant::now() + LOGIN_LIFETIME;
    let mut seen = before.last_login;
    while Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        let now = look(desk, name).await?;
        if now.last_login == seen {
            continue;
        }
        seen.clone_from(&now.last_login);
        let Some(LastLogin { outcome, subject, detail, .. }) = now.last_login else { continue };
        match outcome.as_str() {
            "logged_in" => {
                let until = now.expires_at.map(|at| format!("{at:.0}"));
                return done(desk, name, subject.as_deref(), until, now.unsaved);
            }
            "other_user" => complain(format_args!("{detail}; decide in the browser")),
            // The page says "log in again", and its link leads to this process.
            "refused" if desk.is_own() => {
                complain(format_args!("vbc-proxy: the login failed: {detail}; log in again in the browser"));
            }
            _ => {
                complain(format_args!("vbc-proxy: the login failed: {detail}"));
                return Err(Exit::Failed);
            }
        }
    }
    complain("vbc-proxy: nobody has logged in within ten minutes; nothing was changed");
    Err(Exit::Failed)
}

async fn look(desk: &Desk, name: &str) -> Result<CredentialStatus, Exit> {
    let status: Status =
        desk.ask("GET", &format!("/status.json?credential={}", encode(name)), None).await?.read()?;
    status.credentials.into_iter().find(|one| one.name == name).ok_or_else(|| {
        complain(format_args!(
            "vbc-proxy: the running proxy has no credential {name}; was it started with this file?"
        ));
        Exit::Usage
    })
}

/// Says what became of a login that was interrupted.
fn tell_interrupted(closed: Option<Closed>, name: &str) {
    match closed {
        Some(Closed { renewed: true, .. }) => {
            complain(format_args!(
                "vbc-proxy: credential {name} was logged in all the same; its tokens are stored"
            ));
        }
        Some(_) => complain("vbc-proxy: no login was finished; the stored tokens are as they were"),
        None => complain("vbc-proxy: the running proxy finishes what it has begun: see `vbc-proxy status`"),
    }
}

fn done(
    desk: &Desk,
    name: &str,
    subject: Option<&str>,
    until: Option<String>,
    unsaved: bool,
) -> Result<(), Exit> {
    let subject = subject.unwrap_or("a user whose name the service does not tell");
    let until = until.map(|until| format!("; the access token is good until {until}")).unwrap_or_default();
    let shown = say(format_args!("credential {name}: logged in as {subject}{until}"));
    // Where no proxy runs, it is tried once more at the end, and only then told.
    if unsaved && !desk.is_own() {
        complain(
            "vbc-proxy: the tokens could not be stored yet and are only in memory; see the log of the proxy for the reason",
        );
    }
    shown
}

fn names_of(config: &Config, of: impl Fn(&crate::config::Credential) -> bool) -> String {
    let names = config.credentials.iter().filter(|one| of(one)).map(|one| one.name.as_str());
    crate::admin::list(names)
}

fn prompt(text: impl std::fmt::Display) {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{text}");
    let _ = stderr.flush();
    if !std::io::stdin().is_terminal() {
        let _ = writeln!(stderr);
    }
}

/// Reads a line from standard input; its end is an error.
async fn read_line() -> Result<Secret, Exit> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = Zeroizing::new(String::new());
        let count = std::io::stdin().lock().read_line(&mut line)?;
        Ok::<_, std::io::Error>((count > 0).then(|| Secret::new(line.trim())))
    });
    match read.await {
        Ok(Ok(Some(line))) => Ok(line),
        Ok(Ok(None)) => {
            complain("vbc-proxy: standard input ended before an answer came; nothing was changed");
            Err(Exit::Failed)
        }
        Ok(Err(error)) => {
            complain(format_args!("vbc-proxy: standard input cannot be read: {error}"));
            Err(Exit::Failed)
        }
        Err(_) => Err(Exit::Failed),
    }
}
