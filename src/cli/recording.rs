//! What `serve` does beside serving: `--record`, `--mode`, `--allow-faults`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use clap::{Args, ValueEnum};

use super::{Exit, complain, exit_of_file};
use crate::app::App;
use crate::cassette::{
    Cassette, CassetteError, Matching, Order, Player, RecordOptions, Recorder, RecordingCounts, Summary,
};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::proxy::Hooks;
use crate::secret::Secret;

#[derive(Debug, Args)]
pub(crate) struct AsideArgs {
    /// Record requests and responses to FILE (created, or appended to)
    ///
    /// Of the operations of the VBC API, values that are known to be harmless are kept:
    /// identifiers, extensions, times, counts, states, and links. Everything else is replaced by
    /// pseudonyms. Other bodies are recorded as length and hash. The key of the pseudonyms is
    /// written to FILE.key; the cassette can be given away without it.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Whether requests that match a record are answered from it
    #[arg(long, value_name = "MODE", value_enum, default_value_t, requires = "record")]
    mode: Mode,
    /// How closely a request must match a record
    #[arg(long = "match", value_name = "HOW", value_enum, default_value_t, requires = "record")]
    matching: MatchingArg,
    /// Record phone numbers, names, addresses and labels as they are, where the VBC API has them
    #[arg(long, requires = "record")]
    record_personal: bool,
    /// Record what is no operation of the VBC API as it is
    ///
    /// Keeps bodies, paths and parameters that no table names, such as those of other APIs and
    /// audio. They may hold credentials and personal data: replaced are only the secrets that the
    /// proxy knows, and values whose name in JSON, a form, a query or a header says what they are.
    /// Look before you share.
    #[arg(long, requires = "record")]
    record_unknown: bool,
    /// Record when each piece of an answer came
    #[arg(long, requires = "record")]
    record_timing: bool,
    /// Let [faults] of the configuration make requests fail: for staging
    #[arg(long)]
    pub(super) allow_faults: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Everything is forwarded and recorded
    #[default]
    Record,
    /// What matches a record is answered from it; what does not is forwarded and recorded
    ReplayThenRecord,
}

/// How like a record a request has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MatchingArg {
    /// Method, target, body and the headers that choose an answer; credentials do not count
    #[default]
    Strict,
    /// Method and path, whoever the people in it are; of several the most similar
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

/// The secrets of the configuration, which are taken out of everything that is recorded.
fn secrets(config: &Config) -> Vec<Secret> {
    let of = |credential: &config::Credential| {
        [
            Some(Secret::new(credential.client_id.as_str())),
            Some(credential.client_secret.clone()),
            credential.password.clone(),
            credential.seed.clone(),
        ]
    };
    config.credentials.iter().flat_map(of).flatten().collect()
}

/// The faults of the configuration, where they are allowed; nothing at all where they are not.
pub(super) fn faults(config: &Config, allowed: bool) -> Hooks {
    let hooks = Hooks::default();
    if allowed { hooks.with_faults(&config.faults) } else { hooks }
}

/// A recording that is going on.
pub(super) struct Beside {
    hooks: Option<Arc<Hooks>>,
    recording: Option<(Arc<Recorder>, Arc<RecordingCounts>)>,
}

impl AsideArgs {
    /// Opens what was asked for.
    pub(super) fn open(&self, config: &Config) -> Result<Beside, Exit> {
        let mut hooks = faults(config, self.allow_faults);
        let Some(path) = &self.record else {
            let hooks = Some(hooks).filter(|hooks| !hooks.is_empty()).map(Arc::new);
            return Ok(Beside { hooks, recording: None });
        };
        // Read before it is opened to be written to, which takes away what a crash has left.
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
        let counts = Arc::<RecordingCounts>::default();
        let recorder = Recorder::start(path, options, secrets(config), Clock::system(), counts.clone());
        let recorder = recorder.map_err(|error| refuse(&error))?;
        tracing::info!(
            file = %path.display(),
            personal_data = if self.record_personal { "kept" } else { "hidden" },
            unknown = if self.record_unknown { "kept" } else { "hidden" },
            "recording"
        );
        if self.record_unknown {
            tracing::warn!(
                "what is no operation of the VBC API is recorded as it is: it may hold credentials and personal data"
            );
        }
        Ok(Beside {
            hooks: Some(Arc::new(hooks.with_recorder(Arc::clone(&recorder)))),
            recording: Some((recorder, counts)),
        })
    }
}

impl Beside {
    /// Lets the requests of a proxy meet it.
    pub(super) fn join(&self, app: App) -> App {
        if let Some((_, counts)) = &self.recording {
            // Once for a proxy, whose metrics are new.
            let _ = app.metrics().recording.set(counts.clone());
        }
        match &self.hooks {
            Some(hooks) => app.with_hooks(Arc::clone(hooks)),
            None => app,
        }
    }

    /// Writes what waits, and says what became of it.
    pub(super) fn finish(&self) {
        let Some((recorder, counts)) = &self.recording else { return };
        recorder.finish();
        if let Some(summary) = self.hooks.as_ref().and_then(|hooks| hooks.summary()) {
            tracing::info!("{}", describe(&summary));
        }
        let (written, dropped) = (counts.written.load(Relaxed), counts.dropped.load(Relaxed));
        tracing::info!(written, dropped, truncated = counts.truncated.load(Relaxed), "recorded");
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "the cassette is not complete: its writer could not follow, or could not write"
            );
        }
    }
}

/// Says why a cassette cannot be used, and how to end.
pub(super) fn refuse(error: &CassetteError) -> Exit {
    complain(format_args!("vbc-proxy: {error}"));
    match error {
        CassetteError::Locked { .. } => Exit::Unavailable,
        CassetteError::Thread(_) => Exit::Failed,
        CassetteError::File { source, .. } => exit_of_file(source),
        _ => Exit::Config,
    }
}

/// A summary in lines: what was played, and what was never asked for.
pub(super) fn describe(summary: &Summary) -> String {
    const SHOWN: usize = 20;
    let Summary { records, played, unmatched, never_asked } = summary;
    let mut lines = format!(
        "vbc-proxy replay: {records} records, {played} requests answered, {unmatched} without a match"
    );
    for (n, name) in never_asked.iter().take(SHOWN) {
        lines += &format!("\nnever asked for: record {n}, {name}");
    }
    if never_asked.len() > SHOWN {
        lines += &format!("\nnever asked for: {} more", never_asked.len() - SHOWN);
    }
    lines
}
