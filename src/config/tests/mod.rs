//! Reads whole configurations and checks what an operator gets.

mod credentials;
mod documents;
mod example;
mod files;
mod store;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::{Purpose, Source, read};
use super::variables::Variables;
use super::{Config, Finding, Findings, ListenAddress, Loaded, LogFormat, Store, UpstreamHttp};

/// A credential that needs no file and no variable.
const CREDENTIAL: &str = r#"
[credentials.default]
client_id = "id"
client_secret = "s3cret-inline"
username = "alice"
password = "pa55-inline"
"#;

fn environment(variables: &[(&str, &str)]) -> Variables {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let texts = variables.into_iter().map(|(name, text)| (name, text.into())).collect();
        Self { texts, ..Self::default() }
    }
}

impl Variables {
    /// Adds a variable whose value is not UTF-8.
    fn with_garbage(mut self, name: &str) -> Self {
        self.not_text.insert(name.to_owned());
        self
    }
}

fn source(text: &str, base: impl Into<PathBuf>) -> Source {
    Source { name: "proxy.toml".into(), text: text.to_owned().into(), base: base.into(), file: None }
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Findings> {
    read(Some(source(text, "")), &environment(variables), Purpose::Serve)
}

fn simulate(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Findings> {
    read(Some(source(text, "")), &environment(variables), Purpose::Simulate)
}

fn without_file(variables: &[(&str, &str)]) -> Result<Loaded, Findings> {
    read(None, &environment(variables), Purpose::Serve)
}

/// The findings about `text`, followed by a valid credential.
fn found(text: &str) -> Vec<String> {
    match load(&format!("{text}{CREDENTIAL}"), &[]) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.iter().map(ToString::to_string).collect(),
    }
}

fn shown(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn five_mistakes_are_found_at_once_each_with_its_line() {
    let text = r#"[listen]
adress = "127.0.0.1:80"
header_timeout = "10 parsecs"
[upstream]
url = "ftp://api.vonage.com"
[credentials.default]
grant = "magic"
client_id = "id"
client_secret_file = "/nowhere/secret"
"#;
    let findings = load(text, &[]).unwrap_err().to_string();
    let expected = r#"proxy.toml:2:1: listen.adress: unknown key; did you mean `address`?
proxy.toml:3:18: listen.header_timeout: "10 parsecs" is not a duration; write, for example, "10s", "250ms" or "1h30m"
proxy.toml:5:7: upstream.url: the scheme of "ftp://api.vonage.com" is neither https nor http; write, for example, "https://api.vonage.com"
proxy.toml:7:9: credentials.default.grant: unknown value "magic"; write "password" or "authorization_code"
proxy.toml:9:22: credentials.default.client_secret_file: cannot read /nowhere/secret: No such file or directory (os error 2); correct the path or the file's permissions"#;
    assert_eq!(findings, expected);
}

#[test]
fn defaults_hold_where_nothing_is_said() {
    let config = load(CREDENTIAL, &[]).unwrap().config;
    assert_eq!(config.listen.addresses, [ListenAddress::Tcp("127.0.0.1:8080".parse().unwrap())]);
    assert_eq!(config.listen.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.upstream.url.to_string(), "https://api.vonage.com");
    assert_eq!(config.oauth.token_url.as_str(), "https://api.vonage.com/token");
    assert_eq!(config.oauth.max_wait, Duration::from_secs(10));
    assert_eq!(config.retry.memory, 65_536);
    assert_eq!((config.retry.disk, config.retry.disk_total), (0, 1 << 30));
    assert_eq!(config.retry.disk_path, std::env::temp_dir());
    assert_eq!(config.retry.expect_timeout, Duration::from_secs(1));
    assert!(matches!(config.store, Store::File { path, key_file: None } if path.as_os_str() == "tokens"));
    assert_eq!(config.credentials[0].username.as_deref(), Some("alice@vbc.prod"));
}

#[test]
fn what_is_not_built_yet_is_refused_and_never_ignored() {
    let keys = [
        ("upstream", "proxy = \"http://egress:3128\""),
        ("oauth", "revoke_url = \"https://x\""),
        ("store", "kind = \"postgres\""),
        ("store", "url = \"postgres://x\""),
        ("store", "url_file = \"x\""),
        ("credentials.default", "pace = { per_minute = 10 }"),
        ("telemetry", "otlp_endpoint = \"http://x\""),
        ("[clients]", "name = \"crm\""),
    ];
    for (section, line) in keys {
        let text = match section {
            "credentials.default" => format!("{CREDENTIAL}{line}\n"),
            _ => format!("{CREDENTIAL}[{section}]\n{line}\n"),
        };
        let findings = shown(load(&text, &[]).unwrap_err().iter().as_slice());
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("is not available in this version"), "{findings:?}");
    }
    let variables = [("VBC_PROXY_UPSTREAM_PROXY", "x"), ("VBC_PROXY_TELEMETRY_OTLP_ENDPOINT", "x")];
    let findings = load(CREDENTIAL, &variables).unwrap_err().to_string();
    assert_eq!(
        findings,
        "VBC_PROXY_TELEMETRY_OTLP_ENDPOINT: telemetry: this section is not available in this version; remove it\n\
         VBC_PROXY_UPSTREAM_PROXY: upstream.proxy: this key is not available in this version; remove it"
    );
}

#[test]
fn unknown_sections_and_misplaced_keys_are_explained() {
    assert_eq!(found("[lisen]\n"), ["proxy.toml:1:2: lisen: unknown section; did you mean `listen`?"]);
    assert_eq!(
        found("token_url = \"https://x\"\n"),
        ["proxy.toml:1:1: token_url: unknown key outside of all sections; it belongs to [oauth]"]
    );
    assert_eq!(
        found("[upstream]\ntoken_url = \"https://x\"\n"),
        ["proxy.toml:2:1: upstream.token_url: unknown key; it belongs to [oauth]"]
    );
    assert_eq!(found("listen = 5\n"), ["proxy.toml:1:1: listen: expected a section; write it as [listen]"]);
    assert_eq!(found("[[log]]\n"), ["proxy.toml:1:3: log: expected a section; write it as [log]"]);
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for line in [
        "header_timeout = 10",
        "header_timeout = \"0s\"",
        "header_timeout = \"3d\"",
        "header_timeout = true",
        "first_byte_timeout = \"0s\"",
        "head_size = 65536",
        "head_size = \"1KiB\"",
        "head_size = \"2MiB\"",
        "head_lines = 5",
        "head_lines = 10000",
        "target_size = \"100B\"",
        "target_size = \"64KiB\"",
        "target_size = \"16KiB\"\nhead_size = \"8KiB\"",
        "max_connections = 0",
        "max_connections = \"many\"",
        "max_connections_per_peer = -1",
        "max_requests_in_flight = 0",
        "max_requests_per_connection = \"auto\"",
        "workers = -1",
        "workers = \"4\"",
        "workers = 1.5",
        "workers = 5000",
        "hosts = \"vbc.internal\"",
        "hosts = [1]",
        "hosts = [\"http://x\"]",
        "origins = [\"*\"]",
        "public_url = \"vbc.internal\"",
        "allow_anonymous = \"true\"",
        "address = 8080",
    ] {
        let findings = found(&format!("[listen]\n{line}\n"));
        assert_eq!(findings.len(), 1, "{line}: {findings:?}");
        assert!(findings[0].starts_with("proxy.toml:2:"), "{findings:?}");
    }
    assert!(found("[retry]\nmemory = 65536\n")[0].contains("a size needs a unit"));
    assert!(found("[retry]\nmemory = \"10GiB\"\n")[0].contains("at most 64MiB"));
    assert!(found("[log]\nlevel = \"inof\"\n")[0].contains("is not a log level"));
    assert!(found("[log]\nlevel = \"info,vbc_proxy::oauth=debug\"\n").is_empty());
    assert!(found("[upstream]\nca_file = \"/nowhere\"\n")[0].contains("cannot read /nowhere"));
    assert!(found("[upstream]\nurl = \"https://api.vonage.com/t\"\n")[0].contains("must have no path"));
}

#[test]
fn a_disk_for_replays_must_be_of_use_and_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let text = format!(
        "{CREDENTIAL}[retry]\ndisk = \"10MiB\"\ndisk_total = \"20MiB\"\ndisk_path = \"{path}\"\nexpect_timeout = \"0s\"\n"
    );
    let retry = load(&text, &[]).unwrap().config.retry;
    assert_eq!((retry.disk, retry.disk_total), (10 << 20, 20 << 20));
    assert_eq!((retry.disk_path.as_path(), retry.expect_timeout), (directory.path(), Duration::ZERO));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    let missing = found("[retry]\ndisk = \"1MiB\"\ndisk_path = \"/nowhere\"\n");
    assert!(
        missing[0].starts_with("proxy.toml:3:13: retry.disk_path: cannot create a file in /nowhere"),
        "{missing:?}"
    );
    assert!(found("[retry]\ndisk_path = \"/nowhere\"\n").is_empty());
    assert!(found("[retry]\ndisk = \"64KiB\"\n")[0].contains("not larger than retry.memory"));
    assert!(found("[retry]\ndisk = \"2GiB\"\n")[0].contains("larger than retry.disk_total"));
}

#[test]
fn strangers_are_kept_out_unless_they_were_asked_in() {
    let findings = found("[listen]\naddress = \"0.0.0.0:8080\"\n[admin]\naddress = \"0.0.0.0:8081\"\n");
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("listen.allow_anonymous = true"), "{findings:?}");

    let text = "[listen]\naddress = \"0.0.0.0:8080\"\nallow_anonymous = true\n";
    let loaded = load(&format!("{text}{CREDENTIAL}"), &[]).unwrap();
    assert!(shown(&loaded.warnings)[0].contains("strangers"), "{:?}", loaded.warnings);
}

#[test]
fn the_admin_listener_is_for_this_machine_alone_whatever_is_allowed() {
    for address in ["0.0.0.0:8081", "[::]:8081", "10.0.0.1:8081"] {
        let text = format!("[listen]\nallow_anonymous = true\n[admin]\naddress = \"{address}\"\n");
        let findings = found(&text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0]
                .starts_with("proxy.toml:4:11: admin.address: the admin listener must not be reachable")
        );
        let variables = [("VBC_PROXY_ADMIN_ADDRESS", address)];
        assert!(simulate(CREDENTIAL, &variables).is_err(), "{address}");
    }
    let address = |text: &str| {
        let text = format!("{CREDENTIAL}[admin]\naddress = \"{text}\"\n");
        let source = source(&text, "/etc/vbc-proxy");
        read(Some(source), &environment(&[]), Purpose::Serve).map(|loaded| loaded.config.admin.address)
    };
    assert_eq!(address("off").unwrap(), None);
    assert_eq!(address("[::1]:81").unwrap(), Some(ListenAddress::Tcp("[::1]:81".parse().unwrap())));
    assert_eq!(address("unix:/run/x.sock").unwrap(), Some(ListenAddress::Unix("/run/x.sock".into())));
    assert_eq!(address("unix:x.sock").unwrap(), Some(ListenAddress::Unix("/etc/vbc-proxy/x.sock".into())));
    for wrong in ["unix:", "unix:/run/", &format!("unix:/{}", "x".repeat(110)), "unix:.."] {
        assert!(address(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_urls_of_the_authorization_server_are_read() {
    let oauth = |lines: &str| load(&format!("{CREDENTIAL}[oauth]\n{lines}\n"), &[]).unwrap().config.oauth;
    let userinfo = |lines: &str| oauth(lines).userinfo_url.map(|url| url.to_string());
    assert_eq!(oauth("").authorize_url.as_str(), "https://api.vonage.com/authorize");
    assert_eq!(userinfo("").as_deref(), Some("https://api.vonage.com/userinfo"));
    let derived = userinfo("token_url = \"https://x.test/oauth2/token\"");
    assert_eq!(derived.as_deref(), Some("https://x.test/oauth2/userinfo"));
    assert_eq!(userinfo("token_url = \"https://x.test/oauth2/mytoken\""), None);
    assert_eq!(userinfo("userinfo_url = \"off\""), None);
    assert_eq!(userinfo("userinfo_url = \"https://y.test/me\"").as_deref(), Some("https://y.test/me"));
    let authorize = oauth("authorize_url = \"https://y.test/login?tenant=a\"").authorize_url;
    assert_eq!(authorize.as_str(), "https://y.test/login?tenant=a");
    assert!(found("[oauth]\nauthorize_url = \"y.test\"\n")[0].contains("is not a URL"));
    assert!(found("[oauth]\nuserinfo_url = \"none\"\n")[0].contains("is not a URL"));

    let simulated = simulate("[oauth]\nuserinfo_url = \"off\"\n", &[]).unwrap().config.oauth;
    assert_eq!(simulated.authorize_url.as_str(), "http://127.0.0.1:8090/authorize");
    assert_eq!(simulated.userinfo_url.unwrap().as_str(), "http://127.0.0.1:8090/userinfo");
}

#[test]
fn a_login_page_of_another_server_is_warned_of() {
    let warnings = |lines: &str| {
        let text = "[credentials.default]\ngrant = \"authorization_code\"\nclient_id = \"i\"\nclient_secret = \"s\"\n";
        shown(&load(&format!("{text}[oauth]\n{lines}\n"), &[]).unwrap().warnings)
    };
    let found = warnings("token_url = \"https://x.test/token\"");
    assert!(
        found.len() == 1 && found[0].starts_with("proxy.toml: oauth.authorize_url: users would log in at"),
        "{found:?}"
    );
    let both = "token_url = \"https://x.test/token\"\nauthorize_url = \"https://x.test/authorize\"";
    assert!(warnings(both).is_empty());
    assert!(warnings("").is_empty());
}

#[test]
fn two_listeners_need_two_addresses() {
    let findings = found("[admin]\naddress = \"localhost:8080\"\n");
    assert_eq!(
        findings,
        [
            "proxy.toml:2:11: admin.address: listen.address already uses 127.0.0.1:8080; give each listener its own port"
        ]
    );
    assert!(found("[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n").is_empty());
}

#[test]
fn a_list_of_addresses_is_read_in_its_order_and_by_the_rules_of_one() {
    let load = |lines: &str| load(&format!("[listen]\n{lines}\n{CREDENTIAL}"), &[]);
    let several = "address = [\"localhost:1\", \"unix:/run/x.sock\", \"[::1]:2\"]\nunix_mode = \"0660\"";
    let listen = load(several).unwrap().config.listen;
    let shown: Vec<String> = listen.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["127.0.0.1:1", "unix:/run/x.sock", "[::1]:2"]);
    assert_eq!(listen.unix_mode, 0o660);

    let findings = |lines: &str| shown_of(load(lines));
    assert_eq!(
        findings("address = [\"127.0.0.1:1\", \"localhost:1\"]"),
        [
            "proxy.toml:2:27: listen.address: listen.address already uses 127.0.0.1:1; give each listener its own port"
        ]
    );
    let twice = findings("address = [\"unix:/a\", \"unix:/a\", \"127.0.0.1:0\", \"127.0.0.1:0\"]");
    assert!(
        twice.len() == 1 && twice[0].ends_with("already uses unix:/a; give each listener its own path"),
        "{twice:?}"
    );
    assert!(findings("address = [\"127.0.0.1:1\", \"0.0.0.0:2\"]")[0].contains("anyone who can reach"));
    for wrong in ["address = []", "address = [1]", "address = 1", "address = [\"a\"]", "unix_mode = \"0400\""]
    {
        assert_eq!(findings(wrong).len(), 1, "{wrong}");
    }
    assert_eq!(findings("[admin]\naddress = [\"127.0.0.1:80\"]").len(), 1);

    let variables = [("VBC_PROXY_LISTEN_ADDRESS", "127.0.0.1:9000, unix:/run/y.sock")];
    let listen = self::load(CREDENTIAL, &variables).unwrap().config.listen;
    assert_eq!(listen.addresses.len(), 2);
}

fn shown_of(loaded: Result<Loaded, Findings>) -> Vec<String> {
    shown(loaded.unwrap_err().iter().as_slice())
}

#[test]
fn secrets_in_the_clear_are_warned_of() {
    let text = "[upstream]\nurl = \"http://api.test\"\n[oauth]\ntoken_url = \"http://api.test/token\"\n";
    let warnings = shown(&load(&format!("{text}{CREDENTIAL}"), &[]).unwrap().warnings);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let more = "authorize_url = \"http://api.test/authorize\"\nuserinfo_url = \"http://api.test/userinfo\"\n";
    let warnings = shown(&load(&format!("{text}{more}{CREDENTIAL}"), &[]).unwrap().warnings);
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    let text = text.replace("api.test", "localhost:9000");
    assert!(load(&format!("{text}{CREDENTIAL}"), &[]).unwrap().warnings.is_empty());
}

#[test]
fn syntax_errors_are_found_beside_the_rest() {
    let findings = found("[listen]\nheader_timeout = 10s\nworkers = -1\n");
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].starts_with("proxy.toml:2:18: this is not TOML: "), "{findings:?}");
    assert!(findings[1].starts_with("proxy.toml:3:11: listen.workers"), "{findings:?}");
    assert!(found("[listen]\nworkers = 1\nworkers = 2\n")[0].contains("duplicate key"));
}

#[test]
fn variables_override_the_file() {
    let variables = [
        ("VBC_PROXY_LISTEN_ADDRESS", "127.0.0.1:9000"),
        ("VBC_PROXY_LISTEN_WORKERS", "3"),
        ("VBC_PROXY_LISTEN_HOSTS", "one.test, Two.test"),
        ("VBC_PROXY_LISTEN_ALLOW_ANONYMOUS", "true"),
        ("VBC_PROXY_LOG_FORMAT", "json"),
        ("VBC_PROXY_LOG_LEVEL", ""),
        ("VBC_PROXY_CREDENTIALS_DEFAULT_REFRESH_AT", "0.8"),
        ("VBC_PROXY_CREDENTIALS_DEFAULT_CLIENT_SECRET_ENV", "OTHER_SECRET"),
        ("OTHER_SECRET", "other"),
    ];
    let text = format!("[listen]\naddress = \"bad\"\nworkers = 1\n{CREDENTIAL}refresh_before = \"10m\"\n");
    let loaded = load(&text, &variables).unwrap();
    let config = loaded.config;
    assert_eq!(config.listen.addresses, [ListenAddress::Tcp("127.0.0.1:9000".parse().unwrap())]);
    assert_eq!(config.listen.workers, 3);
    assert_eq!(config.listen.hosts.iter().collect::<Vec<_>>(), ["one.test", "two.test"]);
    assert!(config.listen.allow_anonymous);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.credentials[0].refresh, crate::credential::RefreshAt::Share(0.8));
    assert_eq!(config.credentials[0].client_secret.expose(), "other");
    assert!(loaded.origin.starts_with("proxy.toml, VBC_PROXY_CREDENTIALS_DEFAULT"), "{}", loaded.origin);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_bad_variable_is_found_under_its_own_name() {
    let variables = [("VBC_PROXY_LISTEN_HEADER_TIMEOUT", "10"), ("VBC_PROXY_LISTEN_ALLOW_ANONYMOUS", "yes")];
    let findings = shown(load(CREDENTIAL, &variables).unwrap_err().iter().as_slice());
    assert!(
        findings[0].starts_with("VBC_PROXY_LISTEN_ALLOW_ANONYMOUS: listen.allow_anonymous: "),
        "{findings:?}"
    );
    assert!(
        findings[1].starts_with("VBC_PROXY_LISTEN_HEADER_TIMEOUT: listen.header_timeout: "),
        "{findings:?}"
    );
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let warnings = shown(&load(CREDENTIAL, &[("VBC_PROXY_LISTEN_ADRESS", "x")]).unwrap().warnings);
    let expected = "VBC_PROXY_LISTEN_ADRESS: this variable names no key of the configuration, so it is ignored; \
                    did you mean VBC_PROXY_LISTEN_ADDRESS?";
    assert_eq!(warnings, [expected]);
}

#[test]
fn a_file_that_is_not_there_is_found_only_when_it_was_named() {
    let path = Some(Path::new("/nowhere/proxy.toml"));
    let findings = super::load::load(path, Purpose::Serve, &environment(&[])).unwrap_err().to_string();
    assert!(findings.starts_with("/nowhere/proxy.toml: cannot read the file: No such file"), "{findings}");
}

#[test]
fn a_library_user_needs_only_a_text() {
    assert_eq!(Config::from_toml(CREDENTIAL).unwrap().config.credentials.len(), 1);
    assert_eq!(Config::from_toml("").unwrap_err().iter().count(), 1);
}

#[test]
fn a_websocket_may_be_silent_for_an_hour_unless_it_is_said_otherwise() {
    let timeout =
        |text: &str| load(&format!("{text}{CREDENTIAL}"), &[]).unwrap().config.upstream.tunnel_timeout;
    assert_eq!(timeout("").as_secs(), 3600);
    assert_eq!(timeout("[upstream]\ntunnel_timeout = \"5m\"\n").as_secs(), 300);
    let bad = found("[upstream]\ntunnel_timeout = \"0s\"\n");
    assert!(bad.len() == 1 && bad[0].contains("proxy.toml:2:18: upstream.tunnel_timeout"), "{bad:?}");
}

#[test]
fn the_upstreams_http_is_auto_unless_it_is_pinned() {
    let http = |text: &str| load(&format!("{text}{CREDENTIAL}"), &[]).unwrap().config.upstream.http;
    assert_eq!(http(""), UpstreamHttp::Auto);
    assert_eq!(http("[upstream]\nhttp = \"h1\"\n"), UpstreamHttp::H1);
    assert_eq!(http("[upstream]\nhttp = \"h2\"\n"), UpstreamHttp::H2);
    assert_eq!(
        found("[upstream]\nhttp = \"h3\"\n"),
        ["proxy.toml:2:8: upstream.http: unknown value \"h3\"; write \"auto\" or \"h1\" or \"h2\""]
    );
}
