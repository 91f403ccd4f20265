//! `vbc-proxy doctor`.

use bytes::Bytes;
use clap::Args;
use http::Request;

use super::admin_client::{self, AdminClient};
use super::config_args::{ConfigArgs, choose, choose_of};
use super::exit::Exit;
use super::output::{fail, is_colourful, print};
use super::runtime;
use super::signals::Signals;
use crate::admin::{Status, credential_path};
use crate::app::{self, Examined};
use crate::config::{Config, Findings, Loaded};
use crate::doctor::{self, Check, Report, Style, Suite, Verdict};
use vbc_base::clock::Clock;
use vbc_http::client::{self, Target};

/// Find out what is wrong with a credential, and what to do about it
///
/// Checks the configuration, the token host, the clocks, the login, the scope and the upstream.
/// Sends each API suite one harmless request, which counts towards the application's quota.
///
/// A running proxy makes the checks. If none is running, this command makes them with the proxy's
/// token store. A token that the gateway rejects is replaced, as for any request. There is at most
/// one login, and none while a token is usable or logins are blocked to protect the account. With
/// store.kind = "memory", only a running proxy logs in: this command could not keep the token.
///
/// Exits with 0 if no check fails, and with 1 if a check fails or the command is interrupted. Exits
/// with 69 if the token store is in use by a process that does not respond, and with 78 if the
/// configuration is wrong.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Name of the credential [default: the only one, or the one called `default`]
    credential: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Check only these suites: provisioning, telephony, reports, call_recording, vis
    #[arg(long = "suite", value_name = "SUITE", value_delimiter = ',')]
    suites: Vec<Suite>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

struct Outcome {
    report: Report,
    /// A phrase for the heading that names the process that made the checks.
    examiner: String,
    /// The exit status. If `None`, the report decides.
    exit: Option<Exit>,
}

impl Doctor {
    pub(crate) fn run(&self) -> Result<(), Exit> {
        runtime::run_to_end(async { self.show(&self.examine().await?) })
    }

    async fn examine(&self) -> Result<Outcome, Exit> {
        // The address of a running proxy is found without the secrets, because this shell may be
        // unable to read them.
        let bare = Config::find(self.config.config.as_deref());
        let loaded = self.config.read(false);
        if let Ok(Loaded { config, .. }) = &bare
            && let Some((target, status)) = running_proxy(config).await
        {
            return self.examine_there(target, &status, &loaded).await;
        }
        match loaded {
            Ok(loaded) => self.examine_here(loaded).await,
            Err(findings) => {
                let report = self.report_of(doctor::refused(findings.iter()));
                let examiner = "Stopped: fix the configuration first".to_owned();
                Ok(Outcome { report, examiner, exit: Some(Exit::Config) })
            }
        }
    }

    /// Examines in the running proxy, which has the token.
    async fn examine_there(
        &self,
        target: Target,
        status: &Status,
        loaded: &Result<Loaded, Findings>,
    ) -> Result<Outcome, Exit> {
        let examiner = format!("Examined by the running proxy (admin {})", admin_client::name(&target));
        let names = status.credentials.iter().map(|credential| credential.name.as_str());
        let name = choose(self.credential.as_deref(), names)?;
        let query: Vec<_> = self.suites().iter().map(|suite| format!("suite={}", suite.name())).collect();
        let path = format!("{}?{}", credential_path(&name, "doctor"), query.join("&"));
        let mut report: Report = AdminClient::Remote(target).send("POST", &path, None).await?.json()?;
        let (checks, exit) = match loaded {
            Ok(loaded) => (doctor::accepted(&loaded.origin, &loaded.warnings), None),
            Err(findings) => {
                let checks = doctor::beside_a_running_proxy(findings);
                let fails = checks.iter().any(|check| check.verdict == Verdict::Fail);
                (checks, fails.then_some(Exit::Config))
            }
        };
        report.precede(checks);
        Ok(Outcome { report, examiner, exit })
    }

    /// Examines in this process, with the token store of the proxy.
    async fn examine_here(&self, loaded: Loaded) -> Result<Outcome, Exit> {
        let Loaded { config, warnings, origin, .. } = loaded;
        let checks = doctor::accepted(&origin, &warnings);
        let name = choose_of(self.credential.as_deref(), &config)?;
        let no_proxy = match admin_client::target(&config) {
            Some(target) => format!("no proxy responds on {} (admin.address)", admin_client::name(&target)),
            None => "the admin listener is off or its port is unknown (admin.address)".to_owned(),
        };
        let stop = Signals::for_command()?;
        let (report, exit) = match app::examine(config, &name, &self.suites(), Clock::system(), stop).await {
            Ok(Examined { report: Some(mut report), lost }) => {
                report.precede(checks);
                report.checks.extend(lost);
                (report, None)
            }
            Ok(Examined { report: None, lost }) => {
                for check in lost {
                    fail(Exit::Failed, check.found);
                }
                return Err(Exit::Failed);
            }
            Err(error) => {
                let exit = Exit::of_start(&error);
                let remedy = if exit == Exit::Unavailable {
                    format!(
                        "{no_proxy}, but another process uses the store; set admin.address to the admin listener of \
                         that process"
                    )
                } else {
                    String::new()
                };
                let mut report = self.report_of(checks);
                report.checks.push(Check::fail("start", "cannot-start", error.to_string(), remedy));
                (report, Some(exit))
            }
        };
        let examiner = "No proxy is running; examined by this command".to_owned();
        Ok(Outcome { report, examiner, exit })
    }

    /// The suites to check, each once, because every request counts towards a quota.
    fn suites(&self) -> Vec<Suite> {
        let mut suites = Vec::new();
        for suite in if self.suites.is_empty() { &Suite::ALL[..] } else { &self.suites } {
            if !suites.contains(suite) {
                suites.push(*suite);
            }
        }
        suites
    }

    /// A report with only `checks`: none of them needs a token.
    fn report_of(&self, checks: Vec<Check>) -> Report {
        Report {
            credential: self.credential.clone().unwrap_or_else(|| "default".to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Clock::system().now(),
            checks,
            suites: Vec::new(),
            quota: None,
        }
    }

    fn show(&self, Outcome { report, examiner, exit }: &Outcome) -> Result<(), Exit> {
        if self.json {
            let json = serde_json::to_string_pretty(report)
                .map_err(|error| fail(Exit::Failed, format_args!("cannot write the report: {error}")))?;
            print(json)?;
        } else {
            print(doctor::render(report, examiner, Style { colour: is_colourful(&std::io::stdout()) }))?;
        }
        let failed = (report.verdict() == Verdict::Fail).then_some(Exit::Failed);
        exit.or(failed).map_or(Ok(()), Err)
    }
}

/// The proxy at `admin.address`, if it responds.
async fn running_proxy(config: &Config) -> Option<(Target, Status)> {
    let target = admin_client::target(config)?;
    let request = Request::get("/status.json").body(Bytes::new()).ok()?;
    let response = client::send(&target, request, admin_client::TIMEOUT).await.ok()?;
    Some((target, serde_json::from_slice(response.body()).ok()?))
}
