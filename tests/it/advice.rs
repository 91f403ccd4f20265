//! Every command that the program advises exists and does what the text says.

use std::collections::BTreeSet;

use tempfile::TempDir;
use vbc_proxy::Simulator;
use vbc_simulator::Action;

use crate::process::{Process, configuration, get, lay_out};
use crate::sources::{SourceFile, files, is_product, literals};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

/// The advised commands, with `default` as the name of a credential. Tests below run each.
const ADVISED: [&str; 10] = [
    "vbc-proxy check",
    "vbc-proxy init",
    "vbc-proxy login default",
    "vbc-proxy login default --no-browser",
    "vbc-proxy refresh",
    "vbc-proxy serve",
    "vbc-proxy serve --simulate",
    "vbc-proxy simulate",
    "vbc-proxy status",
    "vbc-proxy unlock default",
];

/// Texts that name the program but advise no fixed command. The last two advise `run` with the
/// user's own command; tests of `run` cover them.
const NO_ADVICE: [&str; 4] = [
    "vbc-proxy replay",
    "vbc-proxy doctor: credential",
    "vbc-proxy run {simulate}-- sh -c",
    "vbc-proxy run --simulate -- CMD",
];

/// The texts of the program, each with its file. Multi-line literals are joined.
fn texts() -> Vec<(String, String)> {
    let files = files().into_iter().filter(|file| is_product(&file.path));
    let texts = files.flat_map(|SourceFile { path, text }| {
        let joined = literals(&text).into_iter().map(|literal| joined(&literal.text));
        joined.map(move |text| (path.clone(), text)).collect::<Vec<_>>()
    });
    texts.collect()
}

/// A literal without its line breaks and the indentation after them.
fn joined(text: &str) -> String {
    let mut lines = text.split('\n');
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |joined, line| joined + line.trim_start())
}

/// An advised command for the credential `default`.
fn of_default(command: &str) -> String {
    let words = command.split(' ').map(|word| if word.starts_with('{') { "default" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_advised_command_is_in_the_table_and_between_backticks() {
    let subcommands = [
        "check", "doctor", "init", "login", "refresh", "replay", "run", "serve", "simulate", "status",
        "unlock", "cassette",
    ];
    let mut advised = BTreeSet::new();
    for (path, text) in texts() {
        for (at, _) in text.match_indices("vbc-proxy ") {
            let rest = &text[at..];
            let word = rest["vbc-proxy ".len()..].split(|c: char| !c.is_ascii_lowercase()).next().unwrap();
            let is_advice =
                subcommands.contains(&word) && !NO_ADVICE.iter().any(|known| rest.starts_with(known));
            if !is_advice {
                continue;
            }
            let command = match text[..at].chars().next_back() {
                Some('`') => rest.split('`').next().unwrap(),
                // A command for a page is alone in its string literal.
                None => rest,
                Some(_) => panic!("not between backticks in {path}: {rest}"),
            };
            advised.insert(of_default(command));
        }
    }
    assert_eq!(advised, ADVISED.map(str::to_owned).into());
}

/// The arguments of an advised command. Panics if the command is not in [`ADVISED`].
fn arguments(command: &'static str) -> Vec<&'static str> {
    assert!(ADVISED.contains(&command), "{command}");
    command.split(' ').skip(1).collect()
}

/// A directory with the proxy.toml of a proxy in front of the simulator.
fn before(sim: &Simulator, lines: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), lines);
    lay_out(directory.path(), &text, "sim-password");
    directory
}

#[tokio::test]
async fn the_advised_commands_work_with_a_running_proxy() {
    let sim = Simulator::start().await.unwrap();
    let directory = before(&sim, "");
    sim.inject(Action::LockUser { user: "alice@vbc.prod".into(), keep_tokens: false }).unwrap();
    let mut serve = Process::start(directory.path(), &arguments("vbc-proxy serve"), &[]);
    let (address, admin) = serve.listening().await;
    let admin = admin.to_string();
    let asked = [("VBC_PROXY_ADMIN_ADDRESS", admin.as_str())];
    get(address, USERS).await.assert_problem(503, "proxy_internal_error");
    let output = Process::run(directory.path(), &arguments("vbc-proxy status"), &asked).await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("`vbc-proxy unlock default`"), "{output:?}");

    sim.inject(Action::UnlockUser { user: "alice@vbc.prod".into() }).unwrap();
    let output = Process::run(directory.path(), &arguments("vbc-proxy unlock default"), &asked).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("logins are allowed again"), "{output:?}");
    assert_eq!(get(address, USERS).await.status, 200);

    let before = sim.stats().token_requests;
    let output = Process::run(directory.path(), &arguments("vbc-proxy refresh"), &asked).await;
    assert_eq!((output.code, sim.stats().token_requests), (Some(0), before + 1), "{output:?}");
    let output = Process::run(directory.path(), &arguments("vbc-proxy status"), &asked).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = Process::run(directory.path(), &arguments("vbc-proxy check"), &asked).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn the_advised_logins_print_an_address_to_log_in_at() {
    let sim = Simulator::start().await.unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), "");
    let kept = text.lines().filter(|line| !line.contains("username") && !line.contains("password_file"));
    let of_a_code = "credentials.default.grant = \"authorization_code\"";
    let authorize = format!("oauth.authorize_url = \"{}/authorize\"", sim.url());
    let text = kept.chain([of_a_code, &authorize]).collect::<Vec<_>>().join("\n");
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path(), &text, "");
    let mut serve = Process::start(directory.path(), &["serve"], &[]);
    let (address, admin) = serve.listening().await;
    let admin = admin.to_string();
    let asked = [("VBC_PROXY_ADMIN_ADDRESS", admin.as_str())];
    let refused = get(address, USERS).await;
    refused.assert_problem(503, "proxy_internal_error");
    assert!(refused.text().contains("`vbc-proxy login default`"), "{refused:?}");
    for command in ["vbc-proxy login default", "vbc-proxy login default --no-browser"] {
        let mut login = Process::start_to_write(directory.path(), &arguments(command), &asked);
        let line = login.line().await;
        assert!(line.starts_with("http://"), "{command}: {line}");
        login.kill();
    }
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn the_advised_commands_work_without_a_running_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let output = Process::run(directory.path(), &arguments("vbc-proxy init"), &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let free = |name: &'static str| (name, "127.0.0.1:0");
    let ports = [
        free("VBC_PROXY_LISTEN_ADDRESS"),
        free("VBC_PROXY_ADMIN_ADDRESS"),
        free("VBC_PROXY_SIMULATOR_ADDRESS"),
        free("VBC_PROXY_SIMULATOR_CONTROL"),
    ];
    for command in ["vbc-proxy serve --simulate", "vbc-proxy simulate"] {
        let mut started = Process::start(directory.path(), &arguments(command), &ports);
        started.simulating().await;
        assert_eq!(started.terminate().await.code, Some(0), "{command}");
    }
    let output = Process::run(directory.path(), &arguments("vbc-proxy check"), &[]).await;
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("VBC_CLIENT_ID"), "it says what is missing: {output:?}");
}
