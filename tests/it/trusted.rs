//! Permissions of trusted files and outputs, and exposure to other processes of the machine. Owners
//! are tested only if the tests run as root.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use vbc_proxy::Simulator;

use crate::process::{Process, configuration, get, lay_out};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
/// A user id and a group id without files on this machine.
const STRANGER: u32 = 54_321;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs the program in `directory` as this user, or as the user of the tests.
fn program(directory: &Path, user: Option<u32>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vbc-proxy"));
    command.args(arguments).env_clear().env("PATH", PATH).current_dir(directory).stdin(Stdio::null());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

fn check(directory: &Path, user: Option<u32>) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = program(directory, user, &["check"]).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with a configuration that passes, which every user may enter.
fn laid_out() -> tempfile::TempDir {
    laid_out_with("")
}

/// A directory for `check` by users who cannot write there. It uses the memory store, so that
/// `check` does not report the file store.
fn laid_out_for_strangers() -> tempfile::TempDir {
    laid_out_with("store.kind = \"memory\"")
}

fn laid_out_with(lines: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o755);
    let url = "http://127.0.0.1:9";
    lay_out(directory.path(), &configuration(url, url, lines), "sim-password");
    directory
}

#[test]
fn a_configuration_that_others_can_write_to_is_refused_by_every_command_that_uses_it() {
    let directory = laid_out();
    set_mode(&directory.path().join("proxy.toml"), 0o646);
    for arguments in [
        &["check"][..],
        &["serve"],
        &["run", "--", "true"],
        &["login", "default"],
        &["status"],
        &["unlock", "default"],
    ] {
        let output = program(directory.path(), None, arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {stderr}");
        let expected = "proxy.toml: everyone on this machine can write to proxy.toml; chmod o-w proxy.toml\n";
        assert!(stderr.starts_with(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_configuration_or_a_password_of_another_user_is_refused() {
    for name in ["proxy.toml", "password"] {
        let directory = laid_out();
        let path = directory.path().join(name);
        if !is_root() {
            // Only root can give a file to another user. Others test that their own files pass.
            assert_eq!(check(directory.path(), None).0, Some(0));
            continue;
        }
        chown(&path, Some(STRANGER), Some(STRANGER)).unwrap();
        let (code, stderr) = check(directory.path(), None);
        assert_eq!(code, Some(78), "{name}: {stderr}");
        let belongs = format!("{name} belongs to user {STRANGER}, who can change it; chown root ");
        assert!(stderr.contains(&belongs), "{name}: {stderr}");
    }
}

#[test]
fn a_private_group_may_write_and_a_shared_one_may_not() {
    let directory = laid_out_for_strangers();
    let (config, password) = (directory.path().join("proxy.toml"), directory.path().join("password"));
    if !is_root() {
        assert_eq!(check(directory.path(), None).0, Some(0));
        return;
    }
    // A clone with umask 002 has these groups and modes.
    for path in [&config, &password] {
        chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
        set_mode(path, 0o664);
    }
    let (code, stderr) = check(directory.path(), Some(STRANGER));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("everyone on this machine can read") && stderr.contains("chmod 600 "),
        "{stderr}"
    );
    set_mode(&password, 0o660);
    let (code, stderr) = check(directory.path(), Some(STRANGER));
    assert_eq!((code, stderr.contains("password_file")), (Some(0), false), "{stderr}");
    chown(&password, Some(STRANGER), Some(STRANGER + 1)).unwrap();
    let (code, stderr) = check(directory.path(), Some(STRANGER));
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.contains(&format!("members of the group {} can write to", STRANGER + 1)), "{stderr}");
}

#[test]
fn a_secret_that_root_owns_may_be_readable_as_containers_mount_it() {
    let directory = laid_out_for_strangers();
    let password = directory.path().join("password");
    set_mode(&directory.path().join("proxy.toml"), 0o644);
    for mode in [0o444, 0o644, 0o640, 0o440] {
        set_mode(&password, mode);
        let (code, stderr) = check(directory.path(), None);
        assert_eq!(code, Some(0), "{mode:o}: {stderr}");
        assert_eq!(stderr.contains("can read"), !is_root() && mode & 0o004 != 0, "{mode:o}: {stderr}");
    }
    if is_root() {
        // The service runs as its own user, and Kubernetes mounts secrets through links.
        fs::rename(&password, directory.path().join("..data")).unwrap();
        symlink("..data", &password).unwrap();
        set_mode(&password, 0o644);
        let (code, stderr) = check(directory.path(), Some(STRANGER));
        assert_eq!(code, Some(0), "{stderr}");
        assert!(!stderr.contains("can read"), "{stderr}");
    }
}

#[test]
fn a_cassettes_key_that_others_can_write_to_is_not_used() {
    let directory = laid_out();
    let har = r#"{"log":{"version":"1.2","creator":{"name":"t","version":"1"},"entries":[]}}"#;
    fs::write(directory.path().join("in.har"), har).unwrap();
    let key = directory.path().join("a.cassette.key");
    fs::write(&key, "00".repeat(32)).unwrap();
    set_mode(&key, 0o666);
    let import = ["cassette", "import", "a.cassette", "--har", "in.har"];
    let output = program(directory.path(), None, &import).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("can write to a.cassette.key; chmod"), "{stderr}");
}

#[test]
fn outputs_follow_no_link_and_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let har = r#"{"log":{"version":"1.2","creator":{"name":"t","version":"1"},"entries":[]}}"#;
    fs::write(at("in.har"), har).unwrap();
    fs::write(at("victim"), "victim").unwrap();
    symlink("victim", at("link")).unwrap();
    let cassette = |arguments: &[&str]| {
        let arguments = [&["cassette"], arguments].concat();
        let output = program(directory.path(), None, &arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (done, stderr) = cassette(&["import", "link", "--har", "in.har"]);
    assert!(!done && stderr.contains("link: it is a symbolic link"), "{stderr}");
    assert!(cassette(&["import", "a.cassette", "--har", "in.har"]).0);
    let (done, stderr) = cassette(&["export", "a.cassette", "--har", "link"]);
    assert!(!done && stderr.contains("link: it is a symbolic link"), "{stderr}");
    assert_eq!(fs::read(at("victim")).unwrap(), b"victim");
    // An existing file is replaced by one that only its owner can access.
    fs::write(at("out.har"), "old").unwrap();
    set_mode(&at("out.har"), 0o666);
    assert!(cassette(&["export", "a.cassette", "--har", "out.har"]).0);
    for name in ["a.cassette", "a.cassette.key", "out.har"] {
        assert_eq!(fs::metadata(at(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert!(fs::read_to_string(at("out.har")).unwrap().contains("\"entries\""));
}

#[tokio::test]
async fn secrets_with_the_line_ends_of_windows_and_a_byte_order_mark_log_in() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "\u{feff}listen.address = \"127.0.0.1:0\"\r\nadmin.address = \"127.0.0.1:0\"\r\nupstream.url = \"{0}\"\r\n\
         oauth.token_url = \"{0}/token\"\r\ncredentials.default.client_id_env = \"ID\"\r\n\
         credentials.default.client_secret_env = \"SECRET\"\r\ncredentials.default.username_env = \"USERNAME\"\r\n\
         credentials.default.password_file = \"password\"\r\n",
        sim.url()
    );
    lay_out(directory.path(), &text, "\u{feff}sim-password\r\n");
    let variables = [("ID", "sim-client\r"), ("SECRET", "sim-secret\n"), ("USERNAME", "alice\r\n")];
    let mut serve = Process::start(directory.path(), &["serve"], &variables);
    let (address, _) = serve.listening().await;
    assert_eq!(get(address, USERS).await.status, 200);
    let stats = sim.stats();
    assert_eq!((stats.token_requests, stats.api_requests), (1, 1), "{stats:?}");
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[test]
fn a_variable_that_is_not_utf8_is_named_and_not_called_unset() {
    let directory = tempfile::tempdir().unwrap();
    let garbage = OsStr::from_bytes(b"caf\xe9");
    for name in ["VBC_PASSWORD", "VBC_PROXY_LISTEN_ADDRESS"] {
        let mut check = program(directory.path(), None, &["check"]);
        for (known, value) in [("VBC_CLIENT_ID", "i"), ("VBC_CLIENT_SECRET", "s"), ("VBC_USERNAME", "u")] {
            check.env(known, value);
        }
        let output = check.env("VBC_PASSWORD", "p").env(name, garbage).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains(&format!("the value of the variable {name} is not UTF-8")), "{stderr}");
        assert!(!stderr.contains("not set") && !stderr.contains("caf"), "{stderr}");
    }
}

#[tokio::test]
async fn a_command_inherits_no_variable_that_may_be_a_secret() {
    let sim = Simulator::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&sim.url(), &format!("{}/token", sim.url()), "log.level = \"warn\"").replace(
        "credentials.default.password_file = \"password\"",
        "credentials.default.password_env = \"PASS\"",
    );
    lay_out(directory.path(), &text, "");
    let variables = [
        ("PATH", PATH),
        ("PASS", "sim-password"),
        ("VBC_PROXY_CREDENTIALS_DEFAULT_CLIENT_SECRET", "sim-secret"),
        ("VBC_PROXY_LISTEN_WORKERS", "1"),
        ("VBC_CLIENT_ID", "hunter2"),
        ("VBC_USERNAME", "hunter2"),
        ("KEPT", "kept"),
    ];
    let script = format!("curl -sf -o /dev/null $VBC_BASE_URL{USERS} && env");
    for simulate in [&[][..], &["--simulate"]] {
        let arguments = [&["run"], simulate, &["--", "/bin/sh", "-c", &script]].concat();
        let output = Process::run(directory.path(), &arguments, &variables).await;
        assert_eq!(output.code, Some(0), "{output:?}");
        let names = output.stdout.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
        let mut names: Vec<_> =
            names.filter(|name| name.starts_with("VBC_") || name.ends_with("PASS")).collect();
        names.sort_unstable();
        let addresses: &[_] = match simulate {
            [] => &["VBC_ADMIN_URL", "VBC_BASE_URL"],
            _ => &["VBC_ADMIN_URL", "VBC_BASE_URL", "VBC_CONTROL_URL", "VBC_SIMULATOR_URL"],
        };
        assert_eq!(names, addresses, "{}", output.stdout);
        assert!(output.stdout.contains("KEPT=kept\n"), "{}", output.stdout);
    }
    assert_eq!(sim.stats().api_requests, 1);
}

#[test]
fn a_cassette_key_that_others_can_read_causes_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    // A readable file of root causes no warning, so another user runs the command.
    let user = is_root().then_some(STRANGER);
    chown(directory.path(), user, user).unwrap();
    let har = "{\"log\":{\"version\":\"1.2\",\"creator\":{\"name\":\"x\",\"version\":\"1\"},\"entries\":[]}}";
    fs::write(directory.path().join("a.har"), har).unwrap();
    let import = ["cassette", "import", "a.cassette", "--har", "a.har"];
    let stderr = |arguments: &[&str]| {
        let output = program(directory.path(), user, arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        stderr
    };
    assert!(!stderr(&import).contains("can read"));
    set_mode(&directory.path().join("a.cassette.key"), 0o644);
    for arguments in [&import[..], &["cassette", "export", "a.cassette", "--har", "-"]] {
        let stderr = stderr(arguments);
        assert!(stderr.contains("everyone on this machine can read a.cassette.key"), "{stderr}");
        assert!(stderr.contains("chmod 600 a.cassette.key"), "{stderr}");
    }
}

#[test]
fn a_har_and_a_scenario_in_another_encoding_are_reported_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let utf_16: Vec<u8> = "\u{feff}seed = 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(directory.path().join("file"), utf_16).unwrap();
    for arguments in [
        &["cassette", "import", "a.cassette", "--har", "file"][..],
        &["simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--scenario", "file"],
    ] {
        let output = program(directory.path(), None, arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {stderr}");
        assert!(stderr.contains("file is UTF-16, not UTF-8; save it as UTF-8"), "{arguments:?}: {stderr}");
    }
}

const FREE: [(&str, &str); 4] = [
    ("VBC_PROXY_LISTEN_ADDRESS", "127.0.0.1:0"),
    ("VBC_PROXY_ADMIN_ADDRESS", "127.0.0.1:0"),
    ("VBC_PROXY_SIMULATOR_ADDRESS", "127.0.0.1:0"),
    ("VBC_PROXY_SIMULATOR_CONTROL", "127.0.0.1:0"),
];

/// Ends the process when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `serve`. Returns its soft limit of core dumps, and the owner of its memory in /proc.
fn serving(directory: &Path, user: Option<u32>, core_dumps: bool) -> (String, u32) {
    let script = "ulimit -Sc $(ulimit -Hc) && exec \"$0\" serve --simulate";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_vbc-proxy")]).env_clear().env("PATH", PATH);
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.envs(FREE).env("VBC_PROXY_PROCESS_CORE_DUMPS", core_dumps.to_string());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut child = Ended(command.spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(
        lines.map_while(Result::ok).any(|line| line.contains("listening on")),
        "the proxy does not listen"
    );
    let process = Path::new("/proc").join(child.0.id().to_string());
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let soft = line.split_whitespace().next().unwrap().to_owned();
    (soft, fs::metadata(process.join("mem")).unwrap().uid())
}

#[test]
fn the_memory_of_a_proxy_is_in_no_core_dump_and_no_other_process_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o755);
    let us = fs::metadata("/proc/self").unwrap().uid();
    let user = is_root().then_some(STRANGER);
    // The files in /proc of an undumpable process belong to root (proc(5)).
    assert_eq!(serving(directory.path(), user, false), ("0".to_owned(), 0));
    let (limit, owner) = serving(directory.path(), user, true);
    assert_eq!(owner, user.unwrap_or(us));
    let hard = Command::new("/bin/sh").args(["-c", "ulimit -Hc"]).output().unwrap();
    assert_eq!(limit == "0", hard.stdout == b"0\n", "the proxy changed the limit: {limit}");
}

#[tokio::test]
async fn a_command_keeps_the_limit_of_core_dumps_that_its_user_has_set() {
    let directory = tempfile::tempdir().unwrap();
    let script =
        "ulimit -Sc $(ulimit -Hc) && ulimit -Sc && exec \"$0\" run --simulate -- /bin/sh -c 'ulimit -Sc'";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_vbc-proxy")]).env_clear().env("PATH", PATH);
    let output = command.current_dir(directory.path()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{stdout}");
}

#[test]
fn a_browser_inherits_no_secret() {
    let directory = laid_out();
    let text = fs::read_to_string(directory.path().join("proxy.toml")).unwrap();
    let text = text.replace("credentials.default.username = \"alice\"\n", "");
    let text = text.replace(
        "credentials.default.password_file = \"password\"",
        "credentials.default.grant = \"authorization_code\"\ncredentials.default.refresh_token_env = \"SEED\"",
    );
    fs::write(directory.path().join("proxy.toml"), text).unwrap();
    let browser = directory.path().join("browser");
    fs::write(&browser, "#!/bin/sh\nenv > environment.new && mv environment.new environment\n").unwrap();
    set_mode(&browser, 0o755);
    let mut login = program(directory.path(), None, &["login", "default"]);
    login.env("BROWSER", &browser).env("SEED", "hunter2").env("VBC_PASSWORD", "hunter2").env("KEPT", "kept");
    login.env("VBC_PROXY_LOG_LEVEL", "warn").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut login = Ended(login.spawn().unwrap());
    let seen = directory.path().join("environment");
    let end = std::time::Instant::now() + crate::harness::PATIENCE;
    while !seen.exists() && login.0.try_wait().unwrap().is_none() && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    let Ok(environment) = fs::read_to_string(&seen) else {
        let _ = login.0.kill();
        let stderr = std::io::read_to_string(login.0.stderr.take().unwrap());
        panic!("no browser: {stderr:?}");
    };
    assert!(environment.contains("KEPT=kept\n"), "{environment}");
    for name in ["SEED=", "VBC_"] {
        assert!(!environment.contains(name), "{environment}");
    }
}
