//! `vbc-proxy login`.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::admin_client::AdminClient;
use super::config_args::{ConfigArgs, choose_of};
use super::exit::Exit;
use super::output::{fail, print, report};
use super::signals::Signals;
use super::{privacy, runtime};
use crate::admin::{
    CredentialStatus, LOGIN_LIFETIME, LastLogin, LoginOutcome, Status, credential_path, encode,
};
use crate::app::{Closed, OfflineAdmin, StartError};
use crate::config::{GrantKind, ListenAddress, Loaded, Store};
use crate::credential::is_same_user;
use crate::store::StoreError;
use vbc_base::secret::Secret;

/// The interval at which the outcome of a login in the browser is polled.
const POLL: Duration = Duration::from_millis(300);

/// The name in messages for a user that the service does not name.
const UNNAMED: &str = "an unknown user";

/// Log in through the browser (credentials with grant = "authorization_code")
///
/// Opens the login page in a browser and waits until the login has ended. A running proxy uses the
/// new tokens immediately. If no proxy is running, the tokens are written to its token store.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Name of the credential [default: the only one, or the one called `default`]
    credential: Option<String>,
    /// Open no browser: print the login address, then read the browser's final address, or the
    /// code, from standard input
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
    pub(crate) fn run(&self) -> Result<(), Exit> {
        let pasted = self.no_browser || self.code.is_some();
        if self.replace_user.is_some() && !pasted {
            let reason = "--replace-user needs --no-browser or --code; in a browser, the page asks instead";
            return Err(fail(Exit::Usage, reason));
        }
        let Loaded { config, secret_variables, .. } = self.config.find()?;
        let name = choose_of(self.credential.as_deref(), &config)?;
        runtime::run_to_end(async {
            let stop = Signals::for_command()?;
            let client = match AdminClient::running(&config).await? {
                Some(client) => client,
                None => self.open(&name, !pasted).await?,
            };
            let login = async {
                if pasted {
                    self.paste(&client, &name).await
                } else {
                    watch(&client, &name, &secret_variables).await
                }
            };
            let outcome = tokio::select! {
                outcome = login => outcome,
                () = stop => {
                    report_interrupted(client.close().await?, &name);
                    return Err(Exit::Failed);
                }
            };
            client.close().await?;
            outcome
        })
    }

    /// Opens the token store in this process, because no proxy is running.
    async fn open(&self, name: &str, listen: bool) -> Result<AdminClient, Exit> {
        let config = self.config.load(false)?.config;
        let credentials = config.credentials.iter();
        let interactive = credentials.filter(|credential| credential.grant == GrantKind::AuthorizationCode);
        let names: Vec<_> = interactive.map(|credential| credential.name.as_str()).collect();
        if !names.contains(&name) {
            let names = crate::admin::list(names.into_iter());
            let reason = format!(
                "credential {name} logs in automatically with its user name and password; credentials with an \
                 interactive login: {names}"
            );
            return Err(fail(Exit::Failed, reason));
        }
        if matches!(config.store, Store::Memory) {
            let reason = "no proxy is running, and with store.kind = \"memory\" the tokens would be lost when this \
                          command ends; start the proxy, then log in";
            return Err(fail(Exit::Failed, reason));
        }
        if listen && !matches!(config.admin.address, Some(ListenAddress::Tcp(_))) {
            let reason =
                "a browser cannot reach admin.address, which is off or a unix socket; use --no-browser";
            return Err(fail(Exit::Failed, reason));
        }
        match OfflineAdmin::open(config, name, listen).await {
            Ok(admin) => {
                report("No proxy is running; the tokens will be saved in its store.");
                Ok(AdminClient::InProcess(Box::new(admin)))
            }
            Err(error) => {
                let exit = fail(Exit::of_start(&error), &error);
                if let StartError::Store { source: StoreError::InUse { .. } } = &error {
                    report(
                        "If a running proxy uses the store, set admin.address to that proxy's admin listener.",
                    );
                }
                Err(exit)
            }
        }
    }

    /// Logs in with a browser elsewhere: the user pastes the browser's final address, or the code.
    async fn paste(&self, client: &AdminClient, name: &str) -> Result<(), Exit> {
        let started: StartedLogin =
            client.send("POST", &credential_path(name, "login"), None).await?.json()?;
        if self.code.is_some() {
            if started.pkce {
                let reason = format!(
                    "credential {name} has pkce = true, so a code works only for the login that requested it; use \
                     --no-browser"
                );
                return Err(fail(Exit::Failed, reason));
            }
        } else {
            report("Open this address in any browser and log in:");
            print(&started.url)?;
        }
        let path = credential_path(name, "login/answer");
        let response = loop {
            if self.code.is_none() {
                prompt(format_args!(
                    "Then paste the browser's final address ({}?…), even if that page does not load, or the code: ",
                    started.redirect_uri
                ));
            }
            let pasted = read_line().await?;
            let body = json!({ "login": started.login, "answer": pasted.expose() });
            let response = client.send("POST", &path, Some(&body)).await?;
            let why = match response.kind().as_deref() {
                Some("no-code") => "The pasted text contains no code.",
                Some("other-login") => "The pasted address belongs to another login.",
                _ => break response,
            };
            if !std::io::stdin().is_terminal() {
                break response;
            }
            report(why);
        };
        let mut outcome = response.json()?;
        if let LoginOutcome::OtherUser { expected, found, confirm } = outcome {
            self.check_other_user(name, &expected, found.as_deref()).await?;
            let body = json!({ "login": started.login, "confirm": confirm });
            outcome = client.send("POST", &path, Some(&body)).await?.json()?;
        }
        match outcome {
            LoginOutcome::LoggedIn { subject, expires_at, unsaved } => {
                done(client, name, subject.as_deref(), Some(format!("{expires_at:.0}")), unsaved)
            }
            LoginOutcome::OtherUser { .. } => Err(Exit::Failed),
        }
    }

    /// Fails unless another user may replace the current one. `--replace-user` or a prompt decides.
    async fn check_other_user(&self, name: &str, expected: &str, found: Option<&str>) -> Result<(), Exit> {
        let other = found.unwrap_or(UNNAMED);
        report(format_args!(
            "You logged in as {other}, but credential {name} belongs to {expected}. Nothing has been replaced yet."
        ));
        match &self.replace_user {
            Some(named) if is_same_user(named, found) => return Ok(()),
            Some(named) => {
                let reason =
                    format!("you logged in as {other}, not as {named} (--replace-user); nothing was changed");
                return Err(fail(Exit::Failed, reason));
            }
            None => {}
        }
        if !std::io::stdin().is_terminal() {
            let how = match found {
                Some(found) => format!("add --replace-user {found} to replace that user"),
                None => "run this command at a terminal to confirm the replacement".to_owned(),
            };
            let reason = format!("nothing was changed; log in as {expected}, or {how}");
            return Err(fail(Exit::Failed, reason));
        }
        let word = found.unwrap_or("replace");
        prompt(format_args!(
            "Type {word} to replace {expected} with {other}, or anything else to keep {expected}: "
        ));
        if read_line().await?.expose() == word {
            return Ok(());
        }
        Err(fail(Exit::Failed, "nothing was changed"))
    }
}

/// A started login. Not `Debug`, because it holds secrets.
#[derive(Deserialize)]
struct StartedLogin {
    url: String,
    login: String,
    redirect_uri: String,
    pkce: bool,
}

/// Opens the login page in a browser and polls for the outcome.
async fn watch(client: &AdminClient, name: &str, secret_variables: &[String]) -> Result<(), Exit> {
    let before = credential_status(client, name).await?;
    let Some(url) = before.login_url else {
        let reason = if before.by_person {
            format!(
                "a login in the browser cannot return to the proxy, because redirect_uri of credential {name} \
                 does not point to the proxy's admin listener; use `vbc-proxy login {name} --no-browser`"
            )
        } else {
            format!(
                "credential {name} logs in automatically with its user name and password; no login is needed"
            )
        };
        return Err(fail(Exit::Failed, reason));
    };
    report("Log in here, within ten minutes:");
    print(&url)?;
    if !open_browser(&url, secret_variables) {
        report(
            "No browser could be started. Open the address yourself, or press Ctrl-C and use --no-browser.",
        );
    }
    let end = Instant::now() + LOGIN_LIFETIME;
    let mut last_login = before.last_login;
    while Instant::now() < end {
        tokio::time::sleep(POLL).await;
        let now = credential_status(client, name).await?;
        if now.last_login == last_login {
            continue;
        }
        last_login.clone_from(&now.last_login);
        let Some(LastLogin { outcome, subject, detail, .. }) = now.last_login else { continue };
        match outcome.as_str() {
            "logged_in" => {
                let until = now.expires_at.map(|at| format!("{at:.0}"));
                return done(client, name, subject.as_deref(), until, now.unsaved);
            }
            "other_user" => report(format_args!("{detail}; decide in the browser")),
            // The page's link "log in again" leads to this process, which therefore must continue.
            "refused" if client.is_in_process() => {
                report(format_args!("vbc-proxy: the login failed: {detail}; log in again in the browser"));
            }
            _ => return Err(fail(Exit::Failed, format_args!("the login failed: {detail}"))),
        }
    }
    Err(fail(Exit::Failed, "no login was completed within ten minutes; nothing was changed"))
}

async fn credential_status(client: &AdminClient, name: &str) -> Result<CredentialStatus, Exit> {
    let path = format!("/status.json?credential={}", encode(name));
    let status: Status = client.send("GET", &path, None).await?.json()?;
    status.credentials.into_iter().find(|credential| credential.name == name).ok_or_else(|| {
        let reason =
            format!("the running proxy has no credential {name}; name the proxy's own file with --config");
        fail(Exit::Usage, reason)
    })
}

fn report_interrupted(closed: Option<Closed>, name: &str) {
    report(match closed {
        Some(Closed { renewed: true, .. }) => {
            format!("vbc-proxy: the login to credential {name} had succeeded; its tokens are stored")
        }
        Some(_) => "vbc-proxy: no login was completed; the stored tokens are unchanged".to_owned(),
        None => "vbc-proxy: if the login has already reached the proxy, it is still completed; see `vbc-proxy status`"
            .to_owned(),
    });
}

fn done(
    client: &AdminClient,
    name: &str,
    subject: Option<&str>,
    until: Option<String>,
    unsaved: bool,
) -> Result<(), Exit> {
    let subject = subject.unwrap_or(UNNAMED);
    let until = until.map(|until| format!("; the access token is valid until {until}")).unwrap_or_default();
    let shown = print(format_args!("credential {name}: logged in as {subject}{until}"));
    // If this process has the tokens, closing its store tries again to save them, and reports a
    // failure itself.
    if unsaved && !client.is_in_process() {
        report(
            "vbc-proxy: could not save the tokens; the proxy uses them from memory and will retry. Its log has the reason",
        );
    }
    shown
}

fn prompt(text: impl std::fmt::Display) {
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{text}");
    let _ = stderr.flush();
    if !std::io::stdin().is_terminal() {
        let _ = writeln!(stderr);
    }
}

/// Reads a line from standard input. The end of the input is an error.
async fn read_line() -> Result<Secret, Exit> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = Zeroizing::new(String::new());
        let count = std::io::stdin().lock().read_line(&mut line)?;
        Ok::<_, std::io::Error>((count > 0).then(|| Secret::new(line.trim())))
    });
    match read.await {
        Ok(Ok(Some(line))) => Ok(line),
        Ok(Ok(None)) => {
            Err(fail(Exit::Failed, "standard input ended before a line was read; nothing was changed"))
        }
        Ok(Err(error)) => Err(fail(Exit::Failed, format_args!("cannot read standard input: {error}"))),
        Err(_) => Err(Exit::Failed),
    }
}

/// Opens `url` and returns whether a browser was started.
///
/// The URL must hold no secret, because other users can see the arguments of a process. `$BROWSER`
/// takes precedence. Without it the desktop's own command is used: a text browser would take over
/// the terminal. The browser inherits neither the credentials nor `secret_variables`.
fn open_browser(url: &str, secret_variables: &[String]) -> bool {
    if let Some(browsers) = variable("BROWSER") {
        let browsers = browsers.to_string_lossy();
        let mut names = browsers.split(':').filter(|name| !name.is_empty());
        return names.any(|name| start_browser(name, url, secret_variables));
    }
    if cfg!(target_os = "macos") {
        return start_browser("open", url, secret_variables);
    }
    let has_desktop = variable("DISPLAY").or(variable("WAYLAND_DISPLAY")).is_some();
    has_desktop && start_browser("xdg-open", url, secret_variables)
}

/// An environment variable that is not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn start_browser(program: &str, url: &str, secret_variables: &[String]) -> bool {
    let mut command = Command::new(program);
    privacy::without_secrets(&mut command, secret_variables);
    let child = command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    // The child is not waited for: it may be the browser itself, which outlives this process.
    child.is_ok()
}
