//! `vbc-proxy status`.

use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode};

use super::admin_client::{self, TIMEOUT};
use super::config_args::ConfigArgs;
use super::exit::Exit;
use super::output::{fail, print};
use super::runtime;
use crate::admin::{CredentialStatus, RecordingStatus, Status as Report};
use vbc_base::clock::{Clock, Timestamp};
use vbc_http::client::{self, ClientError, Target};

/// Show the state of a running proxy
///
/// Works as a health check. Exits with 0 if at least one credential has a usable token, 1 if none
/// has, 69 if no proxy responds on the admin listener.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
    /// Check instead whether a simulator is running, through its control plane
    #[arg(long, conflicts_with = "json")]
    simulator: bool,
}

impl Status {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        // The secrets are not read: they are not needed, and this shell may be unable to read them.
        let config = self.config.find()?.config;
        if self.simulator {
            let health = self.get(&Target::Tcp(config.simulator.control), "/__sim/health")?;
            return print(format_args!("simulator: {}", String::from_utf8_lossy(&health).trim_end()));
        }
        self.show(&self.get(&admin_client::admin_target(&config)?, "/status.json")?)
    }

    /// Sends one GET request to a listener of this machine.
    fn get(&self, target: &Target, path: &str) -> Result<Bytes, Exit> {
        let request = Request::get(path).body(Bytes::new()).map_err(|_| Exit::Failed)?;
        let name = admin_client::name(target);
        let outcome = runtime::run_to_end(async { Ok(client::send(target, request, TIMEOUT).await) })?;
        let reason = match outcome {
            Ok(response) if response.status() == StatusCode::OK => return Ok(response.into_body()),
            Ok(response) => {
                format!("{name}{path} returned {}; is another program using this address?", response.status())
            }
            Err(ClientError::Refused(_)) if self.simulator => format!(
                "no simulator is running at {name} (simulator.control); start it with `vbc-proxy simulate`, or name \
                 its configuration file with --config"
            ),
            Err(ClientError::Refused(_)) => return Err(admin_client::no_proxy(target)),
            Err(error) => format!(
                "{name}{path}: {error}; if the proxy is elsewhere, name its configuration file with --config"
            ),
        };
        Err(fail(Exit::Unavailable, reason))
    }

    fn show(&self, body: &[u8]) -> Result<(), Exit> {
        let report: Report = serde_json::from_slice(body).map_err(|error| {
            let reason =
                format!("the response is not a status ({error}); is another program using this address?");
            fail(Exit::Unavailable, reason)
        })?;
        if self.json {
            print(String::from_utf8_lossy(body))?;
        } else {
            print(describe(&report, Clock::system().now()))?;
        }
        if report.ready { Ok(()) } else { Err(Exit::Failed) }
    }
}

fn describe(report: &Report, now: Timestamp) -> String {
    let ready = match (report.ready, report.degraded.len()) {
        (false, _) => "NOT READY".to_owned(),
        (true, 0) => "ready".to_owned(),
        (true, count) => format!("ready, DEGRADED: {count} of {} without a token", report.credentials.len()),
    };
    let mut lines = vec![
        format!("vbc-proxy {} on {}: {ready}", report.version, report.listen),
        format!("upstream     {}", report.upstream),
        format!("started      {:.0}, {} ago", report.started, span(report.started, now)),
        format!("connections  {}", report.connections),
    ];
    if report.faults_injected > 0 {
        lines.push(format!("faults       injected into {} requests", report.faults_injected));
    }
    if let Some(recording) = report.recording {
        let RecordingStatus { written, dropped, truncated } = recording;
        lines.push(format!(
            "recording    {written} written, {dropped} dropped, {truncated} without their body"
        ));
    }
    for credential in &report.credentials {
        lines.push(String::new());
        lines.extend(describe_credential(credential, now));
    }
    lines.join("\n")
}

fn describe_credential(credential: &CredentialStatus, now: Timestamp) -> Vec<String> {
    let mut lines = vec![format!("credential {}", credential.name)];
    lines.push(match credential.expires_at {
        Some(at) if credential.usable => {
            format!(
                "  token      usable for {}, until {at:.0} (revision {})",
                span(now, at),
                credential.revision
            )
        }
        Some(at) if at > now => format!("  token      NOT USABLE: rejected, although valid until {at:.0}"),
        Some(at) => format!("  token      NOT USABLE: expired {at:.0}"),
        None => "  token      NONE".to_owned(),
    });
    lines.extend(credential.subject.as_ref().map(|subject| format!("  user       {subject}")));
    lines.extend(credential.scope.as_ref().map(|scope| format!("  scope      {scope}")));
    let next = credential.next_attempt;
    lines.extend(next.map(|at| format!("  refresh    in {}, at {at:.0}", span(now, at))));
    lines.push(format!("  exchanges  {} with the token endpoint", credential.exchanges));
    if let Some(issuance) = &credential.issuance {
        lines.push(format!("  issuance   {issuance}: {}", explain(issuance)));
    }
    if credential.brake {
        lines.push(format!(
            "  brake      ON: logins are blocked, because another attempt could lock the account. Once the account is \
             unlocked and the secret is correct, run `vbc-proxy unlock {}`. After a change of the secret, restart first",
            credential.name
        ));
    }
    lines.extend(describe_login(credential, now));
    if credential.unsaved {
        lines.push("  store      UNSAVED: the latest token set is only in memory".to_owned());
    } else if credential.note_unsaved {
        lines.push("  store      UNSAVED: the record of a login is only in memory".to_owned());
    }
    lines.extend(credential.trouble.as_ref().map(|trouble| format!("  trouble    {trouble}")));
    lines
}

/// Whether a user has to act for a login, until when, and how.
fn describe_login(credential: &CredentialStatus, now: Timestamp) -> Option<String> {
    let how = match &credential.login_url {
        // `vbc-proxy login` does not accept credentials that log in automatically.
        _ if !credential.by_person => format!(
            "correct the password and restart; if it is correct already, run `vbc-proxy unlock {}`",
            credential.name
        ),
        Some(url) => format!("visit {url}"),
        None => format!("run `vbc-proxy login {} --no-browser`", credential.name),
    };
    // No token is usable, the rejected login is not repeated, and no other attempt is planned.
    let is_stuck = credential.brake && !credential.usable && credential.next_attempt.is_none();
    if credential.login_needed || is_stuck {
        return Some(format!("  login      NEEDED NOW: {how}"));
    }
    let by = credential.login_needed_by?;
    Some(if by <= now {
        format!("  login      NEEDED NOW: {how}")
    } else if credential.trouble.is_some() {
        format!("  login      needed by {by:.0}, in {}: {how}", span(now, by))
    } else {
        format!("  login      valid until {by:.0}, renewed automatically")
    })
}

fn explain(issuance: &str) -> &'static str {
    match issuance {
        "reuse" => "a second login returns the current tokens again",
        "renew_revoke" => "a second login revokes the access token of the first",
        "renew_keep" => "a second login leaves the tokens of the first valid",
        _ => "unknown to this version",
    }
}

/// A duration in its two largest units: `3h 20m`, `45s`.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = vbc_base::clock::until(from, to).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        let after = |seconds| span(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
        assert_eq!([after(5), after(65), after(3700), after(90_000)], ["5s", "1m 5s", "1h 1m", "1d 1h"]);
    }

    /// A credential with a token that lives for a day. `lines` override the members of its status.
    fn credential(lines: &serde_json::Value) -> CredentialStatus {
        let mut status = serde_json::json!({
            "name": "crm", "usable": true, "revision": 1, "issued_at": null, "expires_at": "1970-01-02T00:00:00Z",
            "next_attempt": null, "exchanges": 1, "brake": false, "login_needed": false, "unsaved": false,
            "trouble": null,
        });
        for (key, value) in lines.as_object().unwrap() {
            status[key] = value.clone();
        }
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn a_login_that_is_needed_now_is_not_said_to_be_needed_later() {
        let by = "1970-01-01T23:59:00Z";
        let login = |lines: serde_json::Value| describe_login(&credential(&lines), Timestamp::UNIX_EPOCH);
        let refused = serde_json::json!({
            "usable": false, "brake": true, "login_needed_by": by, "trouble": "VBC rejected the user name or password",
        });
        let needed = login(refused.clone()).unwrap();
        assert!(needed.starts_with("  login      NEEDED NOW: correct the password"), "{needed}");
        assert!(needed.ends_with("`vbc-proxy unlock crm`"), "{needed}");
        let mut while_the_token_lives = refused.clone();
        while_the_token_lives["usable"] = true.into();
        let later = login(while_the_token_lives).unwrap();
        assert!(
            later.contains("needed by 1970-01-01T23:59:00Z, in 23h 59m: correct the password"),
            "{later}"
        );
        let mut locked = refused;
        (locked["next_attempt"], locked["login_needed_by"]) =
            ("1970-01-01T00:35:00Z".into(), None::<&str>.into());
        assert_eq!(login(locked), None, "it is tried again by itself");
        assert_eq!(login(serde_json::json!({})), None);
    }

    #[test]
    fn a_login_that_is_renewed_by_itself_is_no_alarm() {
        let lines = serde_json::json!({ "login_needed_by": "1970-01-07T00:00:00Z", "by_person": true });
        let login = describe_login(&credential(&lines), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(login, "  login      valid until 1970-01-07T00:00:00Z, renewed automatically");
    }
}
