//! The subcommands and options that documents name exist.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::markdown::{Block, Markdown};
use super::{assert_none, present_documents};
use crate::sources::files;

/// The languages of blocks with commands. The name of a file may follow the language.
const LANGUAGES: [&str; 5] = ["console", "sh", "bash", "shell", "yaml"];

/// Options of cargo and its tests that documents name alone.
const OPTIONS_OF_CARGO: [&str; 2] = ["--bench", "--nocapture"];

/// The help texts of the program, read when needed.
#[derive(Default)]
struct Program {
    known: BTreeMap<Vec<String>, Help>,
}

#[derive(Clone, Default)]
struct Help {
    subcommands: BTreeSet<String>,
    options: BTreeSet<String>,
}

impl Program {
    fn help(&mut self, subcommands: &[String]) -> &Help {
        self.known.entry(subcommands.to_vec()).or_insert_with(|| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_vbc-proxy"));
            let output = command.args(subcommands).arg("--help").output().unwrap();
            assert!(output.status.success(), "{subcommands:?}: {output:?}");
            Help::read(&String::from_utf8(output.stdout).unwrap())
        })
    }

    /// The options of these subcommands and of those below them.
    fn options(&mut self, subcommands: &[String]) -> BTreeSet<String> {
        let Help { subcommands: below, mut options } = self.help(subcommands).clone();
        for name in below.into_iter().filter(|name| name != "help") {
            options.extend(self.options(&[subcommands, &[name]].concat()));
        }
        options
    }

    /// What is wrong with the arguments of a command line, if anything.
    fn check(&mut self, arguments: &[String]) -> Result<(), String> {
        let mut subcommands = Vec::new();
        for argument in arguments {
            let help = self.help(&subcommands);
            if argument == "--" {
                break;
            }
            if let Some(option) = argument.strip_prefix("--") {
                let name = option.split('=').next().unwrap();
                if !help.options.contains(name) {
                    return Err(format!("{} has no option --{name}", shown(&subcommands)));
                }
            } else if !help.subcommands.is_empty() && is_name(argument) {
                if !help.subcommands.contains(argument) {
                    return Err(format!("{} has no subcommand {argument}", shown(&subcommands)));
                }
                subcommands.push(argument.clone());
            }
        }
        Ok(())
    }
}

fn shown(subcommands: &[String]) -> String {
    [&["vbc-proxy".to_owned()], subcommands].concat().join(" ")
}

impl Help {
    /// Reads the text that clap prints.
    fn read(text: &str) -> Self {
        let mut help = Self::default();
        let mut is_commands = false;
        for line in text.lines() {
            let content = line.trim_start();
            if !line.starts_with(' ') && !line.is_empty() {
                is_commands = line == "Commands:";
            } else if is_commands && line.len() - content.len() == 2 {
                help.subcommands.extend(content.split(' ').next().map(ToOwned::to_owned));
            } else if content.starts_with('-') {
                let words = content.split([' ', ',', '=', '[']);
                help.options.extend(words.filter_map(|word| word.strip_prefix("--")).map(ToOwned::to_owned));
            }
        }
        help
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// The arguments of each call of the program in a script.
fn calls(script: &str) -> Vec<Vec<String>> {
    let script = script.replace("\\\n", " ");
    script.lines().flat_map(calls_of_line).collect()
}

fn calls_of_line(line: &str) -> Vec<Vec<String>> {
    let line = line.trim_start().trim_start_matches("$ ");
    let line = line.split(" #").next().unwrap();
    if line.starts_with('#') {
        return Vec::new();
    }
    let mut found = Vec::new();
    for command in line.split(['|', ';', '&', '(', ')', '>', '<']) {
        let mut words =
            command.split_whitespace().map(|word| word.trim_matches(['"', '\'', '`', '[', ']', ',']));
        let is_program = |word: &str| word == "vbc-proxy" || word.ends_with("/vbc-proxy");
        if words.by_ref().any(is_program) {
            found.push(words.map(ToOwned::to_owned).collect());
        }
    }
    found
}

/// The calls of the program in a document, with their lines.
fn calls_of(document: &Markdown) -> Vec<(usize, Vec<String>)> {
    let language = |block: &Block| block.language.split(' ').next().unwrap_or_default().to_owned();
    let blocks = document.blocks.iter().filter(|block| LANGUAGES.contains(&&*language(block)));
    let in_blocks = blocks.flat_map(|block| {
        let is_console = block.language == "console";
        let text = block.text.replace("\\\n", " ");
        let lines: Vec<&str> = text.lines().filter(|line| !is_console || line.starts_with("$ ")).collect();
        calls(&lines.join("\n")).into_iter().map(|call| (block.line, call))
    });
    let spans = document.spans.iter().filter(|span| span.text.starts_with("vbc-proxy "));
    let in_spans = spans.flat_map(|span| calls(&span.text).into_iter().map(|call| (span.line, call)));
    in_blocks.chain(in_spans).collect()
}

#[test]
fn subcommands_and_options_in_documents_exist() {
    let mut program = Program::default();
    let mut findings = Vec::new();
    let mut count = 0;
    for (path, document) in present_documents() {
        for (line, call) in calls_of(&document) {
            count += 1;
            if let Err(why) = program.check(&call) {
                findings.push(format!("{path}:{line}: {why}"));
            }
        }
    }
    assert_none(&findings);
    assert!(count > 20, "only {count} calls were found");
}

/// The options that a code span begins with, if it has nothing else before them.
fn lone_options(span: &str) -> Vec<&str> {
    let words = span.split([' ', '=', '[']).filter(|_| span.starts_with("--"));
    words.filter(|word| word.len() > 2 && word.starts_with("--")).collect()
}

/// The words of a script, without the marks of the shell.
fn words_of(script: &str) -> BTreeSet<String> {
    let words = script.split(|c: char| c.is_whitespace() || "()\"'|;=".contains(c));
    words.map(ToOwned::to_owned).collect()
}

#[test]
fn options_in_documents_exist() {
    let options = Program::default().options(&[]);
    let scripts = files().into_iter().filter(|file| file.path.starts_with("scripts/"));
    let of_scripts: BTreeSet<String> = scripts.flat_map(|file| words_of(&file.text)).collect();
    let is_known = |option: &&str| {
        options.contains(&option[2..]) || of_scripts.contains(*option) || OPTIONS_OF_CARGO.contains(option)
    };
    let mut findings = Vec::new();
    let mut count = 0;
    for (path, document) in present_documents() {
        for span in &document.spans {
            let named = lone_options(&span.text);
            count += named.len();
            let unknown = named.into_iter().filter(|option| !is_known(option));
            findings.extend(unknown.map(|option| format!("{path}:{}: no command has {option}", span.line)));
        }
    }
    assert_none(&findings);
    assert!(count > 20, "only {count} options were found");
    assert_eq!(lone_options("--match lenient"), ["--match"]);
    assert_eq!(lone_options("--seed=1 --control"), ["--seed", "--control"]);
    for other in ["--", "a --b"] {
        assert_eq!(lone_options(other), [""; 0], "{other}");
    }
    assert!(is_known(&"--match") && !is_known(&"--no-such"));
}

#[test]
fn commands_in_files_and_in_yaml_are_found() {
    let text = "```sh a.sh\nvbc-proxy one\n```\n```yaml\ntest: [\"CMD\", \"vbc-proxy\", \"two\"]\nrun: vbc-proxy three\n```\n";
    let calls: Vec<String> =
        calls_of(&Markdown::read(text)).into_iter().map(|(_, call)| call.join(" ")).collect();
    assert_eq!(calls, ["one", "two", "three"]);
}

#[test]
fn wrong_subcommands_and_options_are_found() {
    let mut program = Program::default();
    let script = "$ A=b vbc-proxy serve --simulate --config=\"a b\" | head # vbc-proxy no\n\
                  cat x && target/vbc-proxy run \\\n  --simulate -- tool --anything\n\
                  # vbc-proxy no\ndocker build -t vbc-proxy .\nvbc-proxy cassette export a b\nvbc-proxy --help\n";
    let calls = calls(script);
    assert_eq!(calls.len(), 5, "{calls:?}");
    for call in &calls {
        assert_eq!(program.check(call), Ok(()), "{call:?}");
    }
    for (bad, why) in [
        ("vbc-proxy sing", "vbc-proxy has no subcommand sing"),
        ("vbc-proxy serve --sing", "vbc-proxy serve has no option --sing"),
        ("vbc-proxy cassette sing", "vbc-proxy cassette has no subcommand sing"),
        ("vbc-proxy run --sing -- vbc-proxy", "vbc-proxy run has no option --sing"),
    ] {
        assert_eq!(program.check(&calls_of_line(bad)[0]), Err(why.to_owned()), "{bad}");
    }
}
