//! From a file and the environment to a [`Config`], or to all findings at once.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::document::{self, Table};
use super::environment::{self, Variables};
use super::error::{Complaint, Finding, Findings, Place, remedy_for};
use super::section::Reader;
use super::{Config, file};
use crate::encoding::{self, NotUtf8};
use crate::trusted::{self, Checks, Flaw};

const DEFAULT_FILE: &str = "proxy.toml";

/// More than ten thousand credentials take.
const MAX_BYTES: usize = 64 << 20;

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
    /// The variables that secrets came from: a child process must not inherit them.
    pub secret_variables: Vec<String>,
}

/// How strictly a configuration is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve: secrets are read, and a file that others can change is a finding.
    Serve,
    /// To serve the simulator: no secret is read, and a file that others can change is a warning.
    Simulate,
    /// To find a running proxy: no secret is read, and a file that others can change is a finding.
    Find,
}

impl Purpose {
    fn of(options: &LoadOptions) -> Self {
        if options.simulate { Self::Simulate } else { Self::Serve }
    }
}

/// A file's text and what is known about it.
pub(super) struct Source {
    pub(super) name: Arc<str>,
    pub(super) text: Zeroizing<String>,
    /// The directory relative paths start from.
    pub(super) base: PathBuf,
    /// Where it was read, and what was found about owner and permissions. `None` for a text from elsewhere.
    pub(super) file: Option<(PathBuf, Checks)>,
}

impl Config {
    /// Reads the file and the environment.
    pub fn load(options: &LoadOptions) -> Result<Loaded, Findings> {
        load(options.file.as_deref(), Purpose::of(options), &Variables::of_process())
    }

    /// Reads where a running proxy listens, without any secret.
    pub fn find(file: Option<&Path>) -> Result<Loaded, Findings> {
        load(file, Purpose::Find, &Variables::of_process())
    }

    /// Reads a text that is laid out like `proxy.toml`, without the environment. Relative paths start from the working
    /// directory; `*_env` finds nothing.
    pub fn from_toml(text: &str) -> Result<Loaded, Findings> {
        let source = Source {
            name: "configuration".into(),
            text: Zeroizing::new(text.to_owned()),
            base: PathBuf::new(),
            file: None,
        };
        read(Some(source), &Variables::default(), Purpose::Serve)
    }
}

/// [`Config::load`] with an environment of one's own.
pub(super) fn load(file: Option<&Path>, purpose: Purpose, variables: &Variables) -> Result<Loaded, Findings> {
    let source = match file {
        Some(path) => Some(open(path).map_err(|error| unreadable(path, error))?),
        None => match open(Path::new(DEFAULT_FILE)) {
            Ok(source) => Some(source),
            Err(Unreadable::File(error)) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(Path::new(DEFAULT_FILE), error)),
        },
    };
    read(source, variables, purpose)
}

/// Why a file cannot be read.
enum Unreadable {
    File(std::io::Error),
    Text(Complaint),
}

fn open(path: &Path) -> Result<Source, Unreadable> {
    let (content, checks) = trusted::read(path, MAX_BYTES).map_err(Unreadable::File)?.into_parts();
    let text = encoding::decode(&content).map_err(|error| Unreadable::Text(not_text(error)))?;
    let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let file = Some((path.to_owned(), checks));
    Ok(Source { name: path.display().to_string().into(), text, base, file })
}

fn not_text(error: NotUtf8) -> Complaint {
    let message = match error {
        NotUtf8::Utf16 => error.of("the file"),
        NotUtf8::Binary => "this is not a text file".to_owned(),
        NotUtf8::Other { line } => {
            format!("line {line} is not UTF-8; the file may be Latin-1 (Windows-1252)")
        }
    };
    Complaint::new(message, error.remedy())
}

fn unreadable(path: &Path, error: Unreadable) -> Findings {
    let complaint = match error {
        Unreadable::Text(complaint) => complaint,
        Unreadable::File(error) => {
            let remedy = match error.kind() {
                ErrorKind::NotFound => "correct the path, or run `vbc-proxy init` to write a proxy.toml",
                ErrorKind::PermissionDenied | ErrorKind::IsADirectory => remedy_for(&error),
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
    variables: &Variables,
    purpose: Purpose,
) -> Result<Loaded, Findings> {
    if let Some(findings) = source.as_ref().filter(|_| purpose != Purpose::Simulate).and_then(distrusted) {
        return Err(findings);
    }
    let simulate = purpose != Purpose::Serve;
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
        return Err(nothing_at_all(overlay.findings));
    }
    let mut reader = Reader {
        findings: overlay.findings,
        warnings: overlay.warnings,
        environment: variables,
        base: source.as_ref().map(|source| source.base.clone()).unwrap_or_default(),
        simulate,
        lenient: purpose == Purpose::Simulate,
        broken: syntax.iter().filter_map(Finding::line).min(),
        whole: source.as_ref().map_or(Place::Environment, |source| Place::File(source.name.clone())),
        inline_secret: false,
        secret_variables: BTreeSet::new(),
        directories: BTreeSet::new(),
    };
    let config = file::read(&mut reader, &mut root);
    if let Some(Source { name, file: Some((path, checks)), .. }) = source {
        let of_secret =
            |flaw: Flaw| Flaw { message: format!("it holds a secret, and {}", flaw.message), ..flaw };
        let checks = Checks { exposed: checks.exposed.map(of_secret), ..checks };
        let secret = reader.inline_secret;
        reader.note_checks((&Place::File(name), ""), &path, checks, secret);
    }
    finish(config, reader, syntax, &origins)
}

/// Why nothing of a file is acted on: what somebody else wrote names files, directories and hosts.
fn distrusted(source: &Source) -> Option<Findings> {
    let (_, checks) = source.file.as_ref()?;
    let place = Place::File(source.name.clone());
    let finding = |flaw: &Flaw| Finding::new(place.clone(), "", flaw.clone().into());
    let findings: Vec<_> = checks.flaws.iter().map(finding).collect();
    (!findings.is_empty()).then(|| Findings::new(findings))
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
    let secret_variables = reader.secret_variables.into_iter().collect();
    Ok(Loaded { config, warnings, origin, secret_variables })
}

fn nothing_at_all(mut findings: Vec<Finding>) -> Findings {
    let message = format!(
        "there is neither a {DEFAULT_FILE} here nor any of VBC_CLIENT_ID, VBC_CLIENT_SECRET, \
                           VBC_USERNAME and VBC_PASSWORD"
    );
    let remedy = "run `vbc-proxy init` for a commented file, set the four variables, or try `vbc-proxy serve \
                  --simulate`, which needs no account";
    findings.push(Finding::new(Place::Environment, "", Complaint::new(message, remedy)));
    Findings::new(findings)
}
