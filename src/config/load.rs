//! From a file and the environment to a [`Config`], or to all findings at once.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{self, Table};
use super::error::{Complaint, Finding, Findings, Place};
use super::section::Reader;
use super::{Config, encoding, environment, file, secrets};

const DEFAULT_FILE: &str = "proxy.toml";

/// What to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The file; `proxy.toml` in the working directory, where there is one, when not given.
    pub file: Option<PathBuf>,
    /// For the simulator: no real secret is read, and every credential gets an identity of the simulator's.
    pub simulate: bool,
}

/// A configuration that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed but should be looked at.
    pub warnings: Vec<Finding>,
    /// Where it came from, for people: `proxy.toml and VBC_PROXY_LOG_LEVEL`.
    pub origin: String,
}

/// A file's text and what is known about it.
pub(super) struct Source {
    pub(super) name: Arc<str>,
    pub(super) text: String,
    /// The directory relative paths start from.
    pub(super) base: PathBuf,
    pub(super) world_readable: bool,
}

impl Config {
    /// Reads the file and the environment.
    pub fn load(options: &LoadOptions) -> Result<Loaded, Findings> {
        let variables = std::env::vars_os();
        let variables =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        load(options, &variables.collect())
    }

    /// Reads a text that is laid out like `proxy.toml`, without the environment. Relative paths start from the working
    /// directory; `*_env` finds nothing.
    pub fn from_toml(text: &str) -> Result<Loaded, Findings> {
        let source = Source {
            name: "configuration".into(),
            text: text.to_owned(),
            base: PathBuf::new(),
            world_readable: false,
        };
        read(Some(source), &BTreeMap::new(), false)
    }
}

/// [`Config::load`] with an environment of one's own.
pub(super) fn load(options: &LoadOptions, variables: &BTreeMap<String, String>) -> Result<Loaded, Findings> {
    let source = match &options.file {
        Some(path) => Some(open(path).map_err(|error| unreadable(path, error))?),
        None => match open(Path::new(DEFAULT_FILE)) {
            Ok(source) => Some(source),
            Err(Unreadable::File(error)) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(Path::new(DEFAULT_FILE), error)),
        },
    };
    read(source, variables, options.simulate)
}

/// Why a file cannot be read.
enum Unreadable {
    File(std::io::Error),
    Text(Complaint),
}

fn open(path: &Path) -> Result<Source, Unreadable> {
    let bytes = std::fs::read(path).map_err(Unreadable::File)?;
    let text = encoding::decode(bytes).map_err(Unreadable::Text)?;
    let world_readable = std::fs::metadata(path).is_ok_and(|metadata| secrets::is_world_readable(&metadata));
    let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok(Source { name: path.display().to_string().into(), text, base, world_readable })
}

fn unreadable(path: &Path, error: Unreadable) -> Findings {
    let complaint = match error {
        Unreadable::Text(complaint) => complaint,
        Unreadable::File(error) => {
            let remedy = match error.kind() {
                ErrorKind::NotFound => "correct the path, or run `vbc-proxy init` to write a proxy.toml",
                ErrorKind::PermissionDenied => "let this user read the file and enter its directories",
                ErrorKind::IsADirectory => "name the file in it",
                _ => "correct the path",
            };
            Complaint::new(format!("cannot read it: {error}"), remedy)
        }
    };
    Findings::new(vec![Finding::new(Place::File(path.display().to_string().into()), "", complaint)])
}

/// The same, given the text: reads no other file than those the text names.
pub(super) fn read(
    source: Option<Source>,
    variables: &BTreeMap<String, String>,
    simulate: bool,
) -> Result<Loaded, Findings> {
    let (mut root, syntax) = match &source {
        Some(source) => document::parse(&source.name, &source.text),
        None => (Table::new(), Vec::new()),
    };
    let mut origins: Vec<String> = source.iter().map(|source| source.name.to_string()).collect();
    if source.is_none() && !simulate {
        origins.extend(environment::stand_in(&mut root, variables));
    }
    let overlay = environment::lay_over(&mut root, variables);
    origins.extend(overlay.used);
    if source.is_none() && !simulate && !root.contains_key("credentials") {
        return Err(nothing_at_all());
    }
    let mut reader = Reader {
        findings: Vec::new(),
        warnings: overlay.warnings,
        environment: variables,
        base: source.as_ref().map(|source| source.base.clone()).unwrap_or_default(),
        simulate,
        broken: syntax.iter().filter_map(Finding::line).min(),
        whole: source.as_ref().map_or(Place::Environment, |source| Place::File(source.name.clone())),
        inline_secret: false,
    };
    let config = file::read(&mut reader, &mut root);
    if let Some(source) = source.filter(|source| source.world_readable && reader.inline_secret) {
        let message = "it holds a secret and everyone on this machine can read it";
        let complaint = Complaint::new(message, format!("chmod 600 {}", source.name));
        reader.warn(Place::File(source.name), "", complaint);
    }
    finish(config, reader, syntax, &origins)
}

fn finish(
    config: Config,
    reader: Reader<'_>,
    syntax: Vec<Finding>,
    origins: &[String],
) -> Result<Loaded, Findings> {
    // What was read on a line that is not TOML is guesswork, and may name a part of a secret as a key.
    let broken: Vec<_> = syntax.iter().map(Finding::line).collect();
    let mut findings = reader.findings;
    findings.retain(|finding| finding.line().is_none() || !broken.contains(&finding.line()));
    findings.extend(syntax);
    if !findings.is_empty() {
        return Err(Findings::new(findings));
    }
    let mut warnings = reader.warnings;
    warnings.sort();
    let origin = match origins {
        [] => "defaults".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    };
    Ok(Loaded { config, warnings, origin })
}

fn nothing_at_all() -> Findings {
    let message = format!(
        "there is neither a {DEFAULT_FILE} here nor any of VBC_CLIENT_ID, VBC_CLIENT_SECRET, \
                           VBC_USERNAME and VBC_PASSWORD"
    );
    let remedy = "run `vbc-proxy init` for a commented file, set the four variables, or try `vbc-proxy serve \
                  --simulate`, which needs no account";
    Findings::new(vec![Finding::new(Place::Environment, "", Complaint::new(message, remedy))])
}
