//! The hooks of `serve`: `--record`, `--mode`, `--allow-faults`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use clap::{Args, ValueEnum};

use super::exit::Exit;
use super::output::fail;
use crate::app::App;
use crate::config::Config;
use crate::proxy::Hooks;
use vbc_base::clock::Clock;
use vbc_base::secret::Secret;
use vbc_cassette::{Cassette, CassetteError, Matching, Order, Player, RecordOptions, Recorder, Summary};

#[derive(Debug, Args)]
pub(crate) struct HookArgs {
    /// Record requests and responses to FILE (created, or appended to)
    ///
    /// In operations of the VBC API, only harmless values are kept: identifiers, extensions, times,
    /// counts, states, and links. All other values are replaced by pseudonyms. Bodies outside the
    /// VBC API are recorded only as length and hash. The key of the pseudonyms is written to
    /// FILE.key. You can share the cassette, but never FILE.key.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Whether requests that match a record get the recorded response
    #[arg(long, value_name = "MODE", value_enum, default_value_t, requires = "record")]
    mode: Mode,
    /// How closely a request must match a record
    #[arg(long = "match", value_name = "HOW", value_enum, default_value_t, requires = "record")]
    matching: MatchingArg,
    /// Record phone numbers, names, addresses and labels of the VBC API without pseudonyms
    #[arg(long, requires = "record")]
    record_personal: bool,
    /// Record requests outside the VBC API as they are
    ///
    /// Keeps all bodies, paths and parameters outside the VBC API, for example those of other APIs.
    /// Replaces only the secrets that the proxy knows, and values whose names mark them as
    /// credentials or personal data (in JSON, forms, queries and headers). The cassette may still
    /// contain credentials and personal data: check it before you share it.
    #[arg(long, requires = "record")]
    record_unknown: bool,
    /// Record the arrival time of each piece of a response
    #[arg(long, requires = "record")]
    record_timing: bool,
    /// Inject the faults of the [faults] section, for staging
    #[arg(long)]
    pub(super) allow_faults: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Forward and record every request
    #[default]
    Record,
    /// Replay requests that match a record; forward and record the others
    ReplayThenRecord,
}

/// How closely a request must match a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MatchingArg {
    /// Compare method, target, body and the headers that select a response; ignore credentials
    #[default]
    Strict,
    /// Compare method and path only, ignore which user is meant, and pick the closest record
    Lenient,
}

impl From<MatchingArg> for Matching {
    fn from(matching: MatchingArg) -> Self {
        match matching {
            MatchingArg::Strict => Self::Strict,
            MatchingArg::Lenient => Self::Lenient,
        }
    }
}

/// The secrets of the configuration, which are removed from every record.
fn secrets(config: &Config) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for credential in &config.credentials {
        secrets.push(Secret::new(credential.client_id.as_str()));
        secrets.push(credential.client_secret.clone());
        secrets.extend(credential.password.clone());
        secrets.extend(credential.seed.clone());
    }
    secrets
}

/// Hooks with the faults of the configuration if they are `allowed`, otherwise without faults.
pub(super) fn faults(config: &Config, allowed: bool) -> Hooks {
    let hooks = Hooks::default();
    if allowed { hooks.with_faults(&config.faults) } else { hooks }
}

pub(super) struct OpenHooks {
    hooks: Option<Arc<Hooks>>,
    recorder: Option<Arc<Recorder>>,
}

impl HookArgs {
    pub(super) fn open(&self, config: &Config) -> Result<OpenHooks, Exit> {
        let mut hooks = faults(config, self.allow_faults);
        let Some(path) = &self.record else {
            let hooks = Some(hooks).filter(|hooks| !hooks.is_empty()).map(Arc::new);
            return Ok(OpenHooks { hooks, recorder: None });
        };
        // The cassette is read before it is opened for writing, because opening removes an
        // incomplete last record.
        let exists = path.metadata().is_ok_and(|metadata| metadata.len() > 0);
        if self.mode == Mode::ReplayThenRecord && exists {
            let cassette = Cassette::read(path).map_err(|error| refuse(&error))?;
            hooks = hooks.with_player(Player::new(cassette, self.matching.into(), Order::Any));
        }
        let options = RecordOptions {
            personal: self.record_personal,
            unknown: self.record_unknown,
            timing: self.record_timing,
        };
        let recorder = Recorder::start(path, options, secrets(config), Clock::system())
            .map_err(|error| refuse(&error))?;
        tracing::info!(
            file = %path.display(),
            personal_data = if self.record_personal { "kept" } else { "hidden" },
            unknown = if self.record_unknown { "kept" } else { "hidden" },
            "recording"
        );
        if self.record_unknown {
            tracing::warn!(
                "requests outside the VBC API are recorded almost unchanged; they may contain credentials and personal data"
            );
        }
        Ok(OpenHooks {
            hooks: Some(Arc::new(hooks.with_recorder(Arc::clone(&recorder)))),
            recorder: Some(recorder),
        })
    }
}

impl OpenHooks {
    pub(super) fn join(&self, app: App) -> App {
        if let Some(recorder) = &self.recorder {
            // Cannot fail: the metrics of a new proxy have no recording yet.
            let _ = app.metrics().recording.set(Arc::clone(recorder.counts()));
        }
        match &self.hooks {
            Some(hooks) => app.with_hooks(Arc::clone(hooks)),
            None => app,
        }
    }

    /// Writes the queued records and logs a summary.
    pub(super) fn finish(&self) {
        let Some(recorder) = &self.recorder else { return };
        recorder.finish();
        let counts = recorder.counts();
        if let Some(summary) = self.hooks.as_ref().and_then(|hooks| hooks.summary()) {
            tracing::info!("{}", describe(&summary));
        }
        let written = counts.written.load(Relaxed);
        let dropped = counts.dropped.load(Relaxed);
        tracing::info!(written, dropped, truncated = counts.truncated.load(Relaxed), "recorded");
        if dropped > 0 {
            tracing::warn!(dropped, "the cassette is incomplete: the writer fell behind or could not write");
        }
    }
}

pub(super) fn refuse(error: &CassetteError) -> Exit {
    let exit = match error {
        CassetteError::Locked { .. } => Exit::Unavailable,
        CassetteError::Thread(_) => Exit::Failed,
        CassetteError::File { source, .. } => Exit::of_file(source),
        _ => Exit::Config,
    };
    fail(exit, error)
}

/// A summary as lines: the counts, then the records that were not requested.
pub(super) fn describe(summary: &Summary) -> String {
    const SHOWN: usize = 20;
    let Summary { records, played, unmatched, never_asked } = summary;
    let mut lines = format!(
        "vbc-proxy replay: {records} records, {played} requests replayed, {unmatched} without a match"
    );
    for (n, name) in never_asked.iter().take(SHOWN) {
        lines += &format!("\nnot requested: record {n}, {name}");
    }
    if never_asked.len() > SHOWN {
        lines += &format!("\nnot requested: {} more", never_asked.len() - SHOWN);
    }
    lines
}
