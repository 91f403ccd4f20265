//! Turns a file and the environment into a [`Config`], or into all findings at once.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Config;
use super::document::{self, Table};
use super::environment;
use super::error::{Finding, Findings, Location, remedy_for};
use super::section::Reader;
use super::sections::SCHEMA;
use super::variables::Variables;
use vbc_base::encoding::{self, NotUtf8};
use vbc_base::trusted::{self, Checks, Flaw};

const DEFAULT_FILE: &str = "proxy.toml";

/// The maximum size of the file. Ten thousand credentials need less.
const MAX_BYTES: usize = 64 << 20;

/// Options of [`Config::load`].
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The file. `None`: `proxy.toml` in the working directory, if it exists.
    pub file: Option<PathBuf>,
    /// Loads for the simulator: reads no secret, and gives every credential an identity of the
    /// simulator.
    pub simulate: bool,
}

/// A configuration that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Findings that do not prevent a start.
    pub warnings: Vec<Finding>,
    /// The sources, as readable text: `proxy.toml and VBC_PROXY_LOG_LEVEL`.
    pub origin: String,
    /// The variables that contain secrets: a child process must not inherit them.
    pub secret_variables: Vec<String>,
}

/// The purpose of reading a configuration. It decides how strict the checks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve. Secrets are read, and a file that others can change is a finding.
    Serve,
    /// To serve the simulator. No secret is read, and a file that others can change is a warning.
    Simulate,
    /// To find a running proxy. No secret is read, and a file that others can change is a finding.
    Find,
}

/// The text of a configuration and its origin.
pub(super) struct Source {
    pub(super) name: Arc<str>,
    pub(super) text: Zeroizing<String>,
    /// The directory that relative paths are relative to.
    pub(super) base: PathBuf,
    /// The file, and the checks of its owner and permissions. `None`: the text does not come from a
    /// file.
    pub(super) file: Option<(PathBuf, Checks)>,
}

impl Config {
    /// Reads the file, the environment, and the files that hold secrets.
    ///
    /// # Errors
    /// All findings, sorted by location.
    pub fn load(options: &LoadOptions) -> Result<Loaded, Findings> {
        let purpose = if options.simulate { Purpose::Simulate } else { Purpose::Serve };
        load(options.file.as_deref(), purpose, &Variables::of_process())
    }

    /// Reads the configuration of a running proxy without secrets, to find the addresses of its
    /// listeners.
    ///
    /// # Errors
    /// All findings, sorted by location.
    pub fn find(file: Option<&Path>) -> Result<Loaded, Findings> {
        load(file, Purpose::Find, &Variables::of_process())
    }

    /// Reads a text with the layout of `proxy.toml`, without the environment: every `*_env` key is
    /// a finding. Paths are relative to the working directory.
    ///
    /// # Errors
    /// All findings, sorted by location.
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

/// [`Config::load`] with the given environment.
pub(super) fn load(file: Option<&Path>, purpose: Purpose, variables: &Variables) -> Result<Loaded, Findings> {
    let source = match file.map_or_else(|| open(Path::new(DEFAULT_FILE)), open) {
        Ok(source) => Some(source),
        Err((ErrorKind::NotFound, _)) if file.is_none() => None,
        Err((_, flaw)) => {
            let name = file.unwrap_or(Path::new(DEFAULT_FILE)).display().to_string();
            return Err(Findings::new(vec![Finding::new(Location::File(name.into()), "", flaw)]));
        }
    };
    read(source, variables, purpose)
}

fn open(path: &Path) -> Result<Source, (ErrorKind, Flaw)> {
    let unreadable = |error: io::Error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => "correct the path, or run `vbc-proxy init` to write a proxy.toml",
            ErrorKind::PermissionDenied | ErrorKind::IsADirectory => remedy_for(&error),
            _ => "correct the path",
        };
        (error.kind(), Flaw::new(format!("cannot read the file: {error}"), remedy))
    };
    let (content, checks) = trusted::read(path, MAX_BYTES).map_err(unreadable)?.into_parts();
    let not_text = |error: NotUtf8| {
        let message = match error {
            NotUtf8::Utf16 => error.of("the file"),
            NotUtf8::Binary => "this is not a text file".to_owned(),
            NotUtf8::Other { line } => {
                format!("line {line} is not UTF-8; the file may be Latin-1 (Windows-1252)")
            }
        };
        (ErrorKind::InvalidData, Flaw::new(message, error.remedy()))
    };
    let text = encoding::decode(&content).map_err(not_text)?;
    let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let file = Some((path.to_owned(), checks));
    Ok(Source { name: path.display().to_string().into(), text, base, file })
}

/// Reads a configuration from its text. Opens no files except those that the text names.
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
    let whole = source.as_ref().map_or(Location::Environment, |source| Location::File(source.name.clone()));
    let mut reader = Reader {
        base: source.as_ref().map(|source| source.base.clone()).unwrap_or_default(),
        simulate,
        lenient: purpose == Purpose::Simulate,
        broken: syntax.iter().filter_map(Finding::line).min(),
        ..Reader::new(&SCHEMA, variables, whole)
    };
    origins.extend(environment::lay_over(&mut reader, &mut root));
    if source.is_none() && !simulate && !root.contains_key("credentials") {
        return Err(nothing_at_all(reader.findings));
    }
    let config = Config::read(&mut reader, &mut root);
    if let Some(Source { name, file: Some((path, checks)), .. }) = source {
        let of_secret = |flaw: Flaw| Flaw {
            message: format!("the file contains a secret, and {}", flaw.message),
            ..flaw
        };
        let checks = Checks { exposed: checks.exposed.map(of_secret), ..checks };
        let secret = reader.inline_secret;
        reader.report_checks((&Location::File(name), ""), &path, checks, secret);
    }
    finish(config, reader, syntax, &origins)
}

/// The findings about a file that others can change. Such a file is not evaluated: nothing that it
/// names is opened, no file, directory or host.
fn distrusted(source: &Source) -> Option<Findings> {
    let (_, checks) = source.file.as_ref()?;
    let location = Location::File(source.name.clone());
    let finding = |flaw: &Flaw| Finding::new(location.clone(), "", flaw.clone());
    let findings: Vec<_> = checks.flaws.iter().map(finding).collect();
    (!findings.is_empty()).then(|| Findings::new(findings))
}

fn finish(
    config: Config,
    reader: Reader<'_>,
    syntax: Vec<Finding>,
    origins: &[String],
) -> Result<Loaded, Findings> {
    // Drops findings on lines that are not TOML: the keys there are guesses, and may be parts of a
    // secret.
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
        "there is no configuration: no {DEFAULT_FILE} in this directory, and none of VBC_CLIENT_ID, \
         VBC_CLIENT_SECRET, VBC_USERNAME and VBC_PASSWORD is set"
    );
    let remedy = "run `vbc-proxy init` to write a commented file, or set the four variables; to try the proxy without \
                  an account, run `vbc-proxy serve --simulate`, or `vbc-proxy run --simulate -- CMD`";
    findings.push(Finding::new(Location::Environment, "", Flaw::new(message, remedy)));
    Findings::new(findings)
}
