//! `vbc-proxy doctor`.

use bytes::Bytes;
use clap::Args;
use http::Request;

use super::desk::{self, Desk};
use super::output::is_colourful;
use super::privacy::Privacy;
use super::signals::Signals;
use super::{ConfigArgs, Exit, choose, choose_of, complain, run_to_end, say, serve};
use crate::admin::{Status, credential_path};
use crate::app::{self, Examined};
use crate::client;
use crate::clock::Clock;
use crate::config::{Config, Findings, LoadOptions, Loaded};
use crate::doctor::{self, Check, Look, Report, Suite, Verdict};

/// Find out what is wrong with a credential, and what to do about it
///
/// Checks the configuration, the token host, the clocks, the login, the scope, the upstream, and asks each API suite one
/// harmless question (which counts towards the application's quota). A running proxy is asked to do so itself; else the command
/// uses the token store in its place. A token that the gateway refuses is replaced, as a request would have it replaced.
/// Makes at most one login, and none while a usable token lives or the login brake is on. While no proxy runs, none with store.kind = "memory" either, whose token would end with the command.
///
/// Exits with 0 when all is well or there are only warnings, 1 when something fails or it is interrupted, 69 when the token store is in use by
/// a process that cannot be asked, 78 when the configuration has findings.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The credential; without it the one called `default`, or the only one
    credential: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Ask only these suites: provisioning, telephony, reports, call_recording, vis
    #[arg(long = "suite", value_name = "SUITE", value_delimiter = ',')]
    suites: Vec<Suite>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// A report, how it came about, and what the process is to end with beyond what the report says.
struct Outcome {
    report: Report,
    made: String,
    exit: Option<Exit>,
}

impl Doctor {
    pub(crate) fn run(&self) -> Exit {
        run_to_end(async {
            match self.show(&self.examine().await?) {
                Exit::Done => Ok(()),
                exit => Err(exit),
            }
        })
    }

    async fn examine(&self) -> Result<Outcome, Exit> {
        // Without secrets, for where a proxy would be: they may not be there where one asks from.
        let bare = Config::find(self.config.config.as_deref());
        let privacy = Privacy::begin();
        let read = Config::load(&LoadOptions { file: self.config.config.clone(), simulate: false });
        privacy.settle(read.as_ref().is_ok_and(|loaded| loaded.config.process.core_dumps));
        if let Ok(Loaded { config, .. }) = &bare
            && let Some(proxy) = Proxy::find(config).await
        {
            return self.examine_there(&proxy, &read).await;
        }
        match read {
            Ok(loaded) => self.examine_here(loaded).await,
            Err(findings) => {
                let report = self.only(doctor::refused(&findings));
                let made = "Stopped: fix the configuration first".to_owned();
                Ok(Outcome { report, made, exit: Some(Exit::Config) })
            }
        }
    }

    /// In the proxy, which has the token.
    async fn examine_there(&self, proxy: &Proxy, read: &Result<Loaded, Findings>) -> Result<Outcome, Exit> {
        let names = proxy.status.credentials.iter().map(|credential| credential.name.as_str());
        let name = choose(self.credential.as_deref(), &names.collect::<Vec<_>>())?;
        let mut report = proxy.examine(&name, &self.suites()).await?;
        let (checks, exit) = match read {
            Ok(loaded) => (doctor::accepted(&loaded.origin, &loaded.warnings), None),
            Err(findings) => {
                let checks = doctor::beside_a_running_proxy(findings);
                let fails = checks.iter().any(|check| check.verdict == Verdict::Fail);
                (checks, fails.then_some(Exit::Config))
            }
        };
        report.precede(checks);
        let made = format!("Examined by the running proxy (admin {})", proxy.shown);
        Ok(Outcome { report, made, exit })
    }

    /// In this process, which takes the proxy's place at the token store for as long as it takes.
    async fn examine_here(&self, loaded: Loaded) -> Result<Outcome, Exit> {
        let Loaded { config, warnings, origin, .. } = loaded;
        let checks = doctor::accepted(&origin, &warnings);
        let name = choose_of(self.credential.as_deref(), &config)?;
        let asked = match desk::target(&config) {
            Some(target) => format!("no proxy answers on {}", desk::name(&target)),
            None => "the admin listener is off, or its port is not known".to_owned(),
        };
        let made = "No proxy is running; examined by this command".to_owned();
        let stop = Signals::for_command()?;
        match app::examine(config, &name, &self.suites(), Clock::system(), stop).await {
            Ok(Examined { report: Some(mut report), lost }) => {
                report.precede(checks);
                report.checks.extend(lost);
                Ok(Outcome { report, made, exit: None })
            }
            Ok(Examined { report: None, lost }) => {
                for check in lost {
                    complain(format_args!("vbc-proxy: {}", check.found));
                }
                Err(Exit::Failed)
            }
            Err(error) => {
                let exit = serve::exit_of(&error);
                let remedy = match exit {
                    Exit::Unavailable => {
                        format!(
                            "{asked} (admin.address), yet a process uses the store; give this command the admin.address \
                             of that process"
                        )
                    }
                    _ => String::new(),
                };
                let mut report = self.only(checks);
                report.checks.push(Check::fail("start", "cannot-start", error.to_string(), remedy));
                Ok(Outcome { report, made, exit: Some(exit) })
            }
        }
    }

    fn suites(&self) -> Vec<Suite> {
        if self.suites.is_empty() {
            return Suite::ALL.to_vec();
        }
        // Each question counts towards a quota.
        let mut suites = Vec::new();
        for suite in &self.suites {
            if !suites.contains(suite) {
                suites.push(*suite);
            }
        }
        suites
    }

    /// A report of what could be looked at without a token.
    fn only(&self, checks: Vec<Check>) -> Report {
        Report {
            credential: self.credential.clone().unwrap_or_else(|| "default".to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Clock::system().now(),
            checks,
            suites: Vec::new(),
            quota: None,
        }
    }

    fn show(&self, outcome: &Outcome) -> Exit {
        let Outcome { report, made, exit } = outcome;
        let shown = if self.json {
            match serde_json::to_string_pretty(report) {
                Ok(json) => say(json),
                Err(error) => {
                    complain(format_args!("vbc-proxy: the report cannot be written: {error}"));
                    Err(Exit::Failed)
                }
            }
        } else {
            say(doctor::render(report, made, Look { colour: is_colourful(&std::io::stdout()) }))
        };
        if let Err(exit) = shown {
            return exit;
        }
        exit.unwrap_or(match report.verdict() {
            Verdict::Fail => Exit::Failed,
            _ => Exit::Done,
        })
    }
}

/// A proxy that runs.
struct Proxy {
    desk: Desk,
    shown: String,
    status: Status,
}

impl Proxy {
    /// The one whose admin listener is where the configuration says, if it answers there.
    async fn find(config: &Config) -> Option<Self> {
        let target = desk::target(config)?;
        let request = Request::get("/status.json").body(Bytes::new()).ok()?;
        let answer = client::send(&target, request, desk::PATIENCE).await.ok()?;
        let status = serde_json::from_slice(answer.body()).ok()?;
        Some(Self { shown: desk::name(&target), desk: Desk::Running(target), status })
    }

    async fn examine(&self, name: &str, suites: &[Suite]) -> Result<Report, Exit> {
        let asked = suites.iter().map(|suite| format!("suite={suite}")).collect::<Vec<_>>().join("&");
        self.desk.ask("POST", &format!("{}?{asked}", credential_path(name, "doctor")), None).await?.read()
    }
}
