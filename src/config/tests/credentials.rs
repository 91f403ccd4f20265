//! Credentials and secrets. Secrets must never be shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::GrantKind;
use crate::credential::RefreshAt;
use crate::oauth::ClientAuth;
use vbc_base::trusted::{Checks, Flaw};

pub(super) const FOUR: [(&str, &str); 4] = [
    ("VBC_CLIENT_ID", "id"),
    ("VBC_CLIENT_SECRET", "s3cret-env"),
    ("VBC_USERNAME", "bob@org.com"),
    ("VBC_PASSWORD", "pa55-env"),
];

/// A credential that consists of these lines.
fn credential(lines: &str) -> String {
    format!("[credentials.default]\n{lines}\n")
}

fn findings(text: &str) -> Vec<String> {
    load(text, &[]).map_or_else(|findings| shown(findings.iter().as_slice()), |_| Vec::new())
}

#[test]
fn four_variables_make_a_credential_without_a_file() {
    let loaded = without_file(&FOUR).unwrap();
    let credential = &loaded.config.credentials[0];
    assert_eq!(credential.name, "default");
    assert_eq!(credential.grant, GrantKind::Password);
    assert_eq!(credential.username.as_deref(), Some("bob@org.com@vbc.prod"));
    assert_eq!(credential.password.as_ref().unwrap().expose(), "pa55-env");
    assert_eq!(loaded.origin, "VBC_CLIENT_ID, VBC_CLIENT_SECRET, VBC_USERNAME and VBC_PASSWORD");
}

#[test]
fn missing_variables_are_named() {
    let found = shown(without_file(&FOUR[..2]).unwrap_err().iter().as_slice());
    assert_eq!(
        found,
        [
            "environment: credentials.default.password_env: the variable VBC_PASSWORD is not set; \
             export VBC_PASSWORD=…",
            "environment: credentials.default.username_env: the variable VBC_USERNAME is not set; \
             export VBC_USERNAME=…",
        ]
    );
}

#[test]
fn with_nothing_at_all_one_finding_shows_the_ways_on() {
    let found = shown(without_file(&[("VBC_PROXY_LISTEN_WORKERS", "1")]).unwrap_err().iter().as_slice());
    assert_eq!(found.len(), 1);
    for way in ["vbc-proxy init", "VBC_CLIENT_ID", "serve --simulate", "run --simulate -- CMD"] {
        assert!(found[0].contains(way), "{found:?}");
    }
}

#[test]
fn variables_alone_can_make_any_credential() {
    let variables = [
        ("VBC_PROXY_CREDENTIALS_DEFAULT_GRANT", "authorization_code"),
        ("VBC_PROXY_CREDENTIALS_DEFAULT_REFRESH_TOKEN_ENV", "SEED"),
        ("SEED", "first"),
        FOUR[0],
        FOUR[1],
    ];
    let config = without_file(&variables).unwrap().config;
    assert_eq!(config.credentials[0].grant, GrantKind::AuthorizationCode);
    assert_eq!(config.credentials[0].seed.as_ref().unwrap().expose(), "first");
    let sales = [
        ("VBC_PROXY_CREDENTIALS_SALES_GRANT", "authorization_code"),
        ("VBC_PROXY_CREDENTIALS_SALES_CLIENT_ID", "id"),
        ("VBC_PROXY_CREDENTIALS_SALES_CLIENT_SECRET", "secret"),
    ];
    assert_eq!(without_file(&sales).unwrap().config.credentials[0].name, "sales");
}

#[test]
fn secrets_come_from_files_relative_to_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text, mode) in
        [("id", "the-id\n", 0o600), ("secret", "\u{feff}a b\r\n", 0o600), ("pass", " p \n\n", 0o600)]
    {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(directory.path().join("empty"), "\n").unwrap();
    let text = credential(
        "client_id_file = \"id\"\nclient_secret_file = \"secret\"\nusername = \"a\"\npassword_file = \"pass\"",
    );
    let loaded = read(Some(source(&text, directory.path())), &environment(&[]), Purpose::Serve).unwrap();
    let credential = &loaded.config.credentials[0];
    assert_eq!(credential.client_id, "the-id");
    assert_eq!(credential.client_secret.expose(), "a b");
    assert_eq!(credential.password.as_ref().unwrap().expose(), " p ");
    assert!(
        matches!(&loaded.config.store, Store::File { path, .. } if *path == directory.path().join("tokens"))
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);

    for (name, why) in [("empty", "is empty"), ("missing", "No such file"), ("", "Is a directory")] {
        let text = text.replace("\"secret\"", &format!("{name:?}"));
        let found = read(Some(source(&text, directory.path())), &environment(&[]), Purpose::Serve)
            .unwrap_err()
            .to_string();
        assert!(found.contains(why) && found.starts_with("proxy.toml:3:22: "), "{found}");
    }
}

#[test]
fn a_secret_is_given_once() {
    let text = format!("{CREDENTIAL}password_env = \"VBC_PASSWORD\"\n");
    let found = findings(&text);
    let expected = "proxy.toml:7:1: credentials.default.password_env: password is also given; \
                    keep one of password, password_file and password_env";
    assert_eq!(found, [expected]);
}

#[test]
fn each_grant_has_its_own_needs() {
    let found = findings(&credential("client_id = \"id\""));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|finding| finding.contains("it is missing")), "{found:?}");

    let code = "grant = \"authorization_code\"\nclient_id = \"id\"\nclient_secret = \"s\"\n";
    let config = load(&credential(code), &[]).unwrap().config;
    assert_eq!(config.credentials[0].username, None);
    let found = findings(&credential(&format!("{code}password = \"p\"")));
    assert!(found[0].starts_with("proxy.toml:5:1: credentials.default.password: grant = "), "{found:?}");
}

#[test]
fn names_of_users_and_credentials_are_checked() {
    let named = |username| CREDENTIAL.replace("alice", username);
    assert!(findings(&named("acme.api"))[0].contains("use the name and password of a VBC user"));
    assert!(findings(&named("a@vbc.prod@vbc.prod"))[0].contains("twice"));
    assert!(
        findings(&CREDENTIAL.replace("default", "\"a b\""))[0].contains("not a valid name for a credential")
    );
    let two = |a, b| format!("{}{}", CREDENTIAL.replace("default", a), CREDENTIAL.replace("default", b));
    assert!(findings(&two("a", "b"))[0].contains("none is called `default`"));
    assert!(findings(&two("default", "Default"))[0].contains("too similar"));
    let warnings = load(&two("default", "other"), &[]).unwrap().warnings;
    let warnings = shown(&warnings);
    assert!(warnings.iter().any(|one| one.contains("the same application, user and scope")), "{warnings:?}");
}

#[test]
fn a_name_ending_in_api_passes_only_where_it_was_allowed() {
    let text = CREDENTIAL.replace("alice", "acme.api");
    assert!(findings(&text)[0].ends_with("set allow_api_user = true"), "{:?}", findings(&text));
    let loaded = load(&format!("{text}allow_api_user = true\n"), &[]).unwrap();
    assert_eq!(loaded.config.credentials[0].username.as_deref(), Some("acme.api@vbc.prod"));
    assert!(loaded.config.redacted().contains("allow_api_user = true"));
    let usual = load(CREDENTIAL, &[]).unwrap().config.redacted();
    assert!(!usual.contains("allow_api_user"), "{usual}");
}

#[test]
fn several_credentials_are_a_warning_while_nothing_chooses_among_them() {
    let other = CREDENTIAL.replace("default", "other").replace("alice", "bob");
    let warnings = shown(&load(&format!("{CREDENTIAL}{other}"), &[]).unwrap().warnings);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("all requests use credentials.default"), "{warnings:?}");
    assert!(load(CREDENTIAL, &[]).unwrap().warnings.is_empty());
}

#[test]
fn refresh_and_client_auth_are_read() {
    let read = |lines: &str| load(&format!("{CREDENTIAL}{lines}\n"), &[]).unwrap();
    assert_eq!(read("").config.credentials[0].refresh, RefreshAt::Share(0.5));
    let before = RefreshAt::Before(Duration::from_secs(600));
    assert_eq!(read("refresh_before = \"10m\"").config.credentials[0].refresh, before);
    assert_eq!(findings(&format!("{CREDENTIAL}refresh_at = 0.5\nrefresh_before = \"10m\"\n")).len(), 1);
    assert_eq!(findings(&format!("{CREDENTIAL}refresh_at = 1\n")).len(), 1);
    assert!(shown(&read("scope = \"default\"").warnings)[0].contains("openid"));

    let basic = read("client_auth = \"basic\"");
    assert_eq!(basic.config.credentials[0].client_auth, Some(ClientAuth::Basic));
    assert!(basic.warnings.is_empty());
    let text = CREDENTIAL.replace("s3cret-inline", "s3cret+inline");
    let warnings = shown(&load(&format!("{text}client_auth = \"basic\"\n"), &[]).unwrap().warnings);
    assert!(
        warnings[0].contains("form-encodes client_secret") && !warnings[0].contains("s3cret"),
        "{warnings:?}"
    );
}

#[test]
fn a_code_is_redeemed_with_basic_by_default_and_a_secret_that_this_changes_is_warned_of() {
    let code = "grant = \"authorization_code\"\nclient_id = \"id\"\nclient_secret = \"s3cret/\"\n";
    let warnings = |lines: &str| shown(&load(&credential(lines), &[]).unwrap().warnings);
    let found = warnings(code);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("proxy.toml:1:14: credentials.default.client_auth: \"basic\" (the default"),
        "{found:?}"
    );
    assert!(
        found[0].contains("the default for redeeming a code") && !found[0].contains("s3cret"),
        "{found:?}"
    );
    assert!(warnings(&format!("{code}client_auth = \"body\"")).is_empty());
    assert!(warnings(&code.replace('/', "")).is_empty());
}

#[test]
fn what_a_login_by_code_needs_is_read() {
    let code = "grant = \"authorization_code\"\nclient_id = \"id\"\nclient_secret = \"s\"\n";
    let read = |lines: &str| load(&credential(&format!("{code}{lines}")), &[]);
    let plain = read("").unwrap().config.credentials.remove(0);
    assert_eq!((plain.redirect_uri, plain.pkce, plain.username), (None, false, None));
    assert_eq!(plain.refresh_token_lifetime, Duration::from_secs(7 * 86_400));

    let lines = "redirect_uri = \"HTTP://LocalHost:8081/callback?a=%7e\"\npkce = true\nusername = \"alice\"\n\
                 refresh_token_lifetime = \"30d\"";
    let loaded = read(lines).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let credential = &loaded.config.credentials[0];
    // The redirect URI is unchanged, because the server compares it with the registered one.
    assert_eq!(credential.redirect_uri.as_deref(), Some("HTTP://LocalHost:8081/callback?a=%7e"));
    assert!(credential.pkce);
    assert_eq!(credential.username.as_deref(), Some("alice@vbc.prod"));
    assert_eq!(credential.refresh_token_lifetime, Duration::from_secs(30 * 86_400));

    for line in [
        "redirect_uri = \"localhost/callback\"",
        "redirect_uri = \" http://localhost/callback\"",
        "redirect_uri = \"http://localhost/callback#here\"",
        "pkce = \"yes\"",
        "refresh_token_lifetime = \"59m\"",
        "refresh_token_lifetime = \"366d\"",
    ] {
        let found = shown(read(line).unwrap_err().iter().as_slice());
        assert!(found.len() == 1 && found[0].starts_with("proxy.toml:5:"), "{line}: {found:?}");
    }
    let two = format!("[credentials.default]\n{code}[credentials.second]\n{code}");
    let warnings = shown(&load(&two, &[]).unwrap().warnings);
    let others = warnings.iter().filter(|one| !one.contains("there are several credentials")).count();
    assert_eq!(others, 0, "two persons may log in to one application: {warnings:?}");
    let warnings = shown(&read("redirect_uri = \"http://app.example/callback\"").unwrap().warnings);
    assert!(warnings[0].contains("sent unencrypted"), "{warnings:?}");
}

#[test]
fn ages_are_read_with_the_longest_prefix_first() {
    let ages = |text: &str, variables: &[(&str, &str)]| {
        let ages = load(text, variables).unwrap().config.credentials.remove(0).max_age;
        ages.into_iter().map(|(prefix, age)| format!("{prefix} {}", age.as_secs())).collect::<Vec<_>>()
    };
    let text = format!(
        "{CREDENTIAL}max_age = {{ \"/t/b\" = \"4m\", \"/t/a/long\" = \"10s\", \"/t/a\" = \"1h\" }}\n"
    );
    assert_eq!(ages(&text, &[]), ["/t/a/long 10", "/t/a 3600", "/t/b 240"]);
    assert_eq!(ages(CREDENTIAL, &[]), [""; 0]);
    let name = "VBC_PROXY_CREDENTIALS_DEFAULT_MAX_AGE";
    assert_eq!(ages(&text, &[(name, "/t/a=b = 4m, /t/ccccc=5m,")]), ["/t/ccccc 300", "/t/a=b 240"]);
    assert!(load(&text, &[(name, "/t/a")]).unwrap_err().to_string().contains("write, for example, max_age"));

    for (lines, why) in [
        ("max_age = { \"t/a\" = \"4m\" }", "not a path prefix"),
        ("max_age = { \"/t?a\" = \"4m\" }", "not a path prefix"),
        ("max_age = { \"/t\" = \"9s\" }", "at least 10s"),
        ("max_age = { \"/t\" = 240 }", "needs a unit"),
        ("max_age = { \"/t\" = true }", "expected a table of strings"),
        ("max_age = \"4m\"", "expected a table of strings"),
    ] {
        let found = findings(&format!("{CREDENTIAL}{lines}\n"));
        assert!(found.len() == 1 && found[0].contains(why), "{lines}: {found:?}");
        assert!(found[0].starts_with("proxy.toml:7:"), "{found:?}");
    }
}

#[test]
fn one_user_with_two_passwords_is_warned_of() {
    let other = |line: &str| {
        let other = CREDENTIAL.replace("default", "other").replace("\"id\"", "\"other\"");
        let text = format!("{CREDENTIAL}{}", other.replace("password = \"pa55-inline\"", line));
        let mut warnings = shown(&load(&text, &[]).unwrap().warnings);
        warnings.retain(|one| !one.contains("there are several credentials"));
        warnings
    };
    let found = other("password = \"pa55-other\"");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("proxy.toml:8:14: credentials.other: the password of alice@vbc.prod"),
        "{found:?}"
    );
    assert!(!found[0].contains("pa55"), "{found:?}");
    assert!(other("password = \"pa55-inline\"").is_empty());
}

#[test]
fn under_simulate_no_secret_is_read() {
    let text = format!(
        "[upstream]\nca_file = \"/nowhere\"\n{}[credentials.sales]\npassword_file = \"/nowhere\"\nscope = \"openid x\"\n",
        credential(
            "client_secret_file = \"/nowhere\"\nclient_id_env = \"UNSET\"\ngrant = \"authorization_code\""
        )
    );
    let config = simulate(&text, &FOUR).unwrap().config;
    assert_eq!(config.credentials.len(), 2);
    for (credential, user) in config.credentials.iter().zip(["alice@vbc.prod", "sales@vbc.prod"]) {
        assert_eq!(credential.client_id, "sim-client");
        assert_eq!(credential.client_secret.expose(), "sim-secret");
        assert_eq!(credential.username.as_deref(), Some(user));
        assert_eq!(credential.password.as_ref().unwrap().expose(), "sim-password");
        assert_eq!(credential.grant, GrantKind::Password);
    }
    assert_eq!(&*config.credentials[1].scope, "openid x");
    assert!(matches!(config.store, Store::Memory));
    assert_eq!(config.upstream.ca_file, None);
    assert_eq!(config.upstream.url.to_string(), "http://127.0.0.1:8090");

    assert_eq!(
        read(None, &environment(&FOUR), Purpose::Simulate).unwrap().config.credentials[0].client_id,
        "sim-client"
    );
    let inline = simulate(CREDENTIAL, &[("VBC_PROXY_CREDENTIALS_DEFAULT_PASSWORD", "pa55-env")]).unwrap();
    assert_eq!(inline.config.credentials[0].password.as_ref().unwrap().expose(), "sim-password");
}

#[test]
fn under_simulate_the_rest_of_the_file_is_still_checked() {
    let found =
        simulate("[listen]\nworkers = -1\n[credentials.default]\ngrant = \"x\"\npasword = \"x\"\n", &[]);
    assert_eq!(found.unwrap_err().iter().count(), 3);
}

#[test]
fn findings_never_show_a_secret() {
    let id = "grant = \"password\"\nusername = \"alice\"\nclient_id = \"id\"\n";
    for lines in [
        "client_secret = \"hunter2\"\nclient_secret_env = \"hunter2\"\npassword_env = \"hunter2\"",
        "client_secret = hunter2\npassword = 'hunter2",
        "client_secret = \"hunter2\n2retnuh\"\npassword = \"\"\"hunter2",
        "client_secret hunter2\npassword: hunter2",
        "client_secret = [\"hunter2\"]\npassword = { hunter2 = 1 }",
        "client_secret = hunter2 = x\npassword = \"hunter2\" hunter2",
        "client_secret = \"hunter2\"x\npassword = \"hun\"hunter2 = \"",
        "clientsecret = \"hunter2\"\npasword = \"hunter2\"",
        "client_secret = 2\npassword_env = \"HUNTER2hunter2\"",
        "client_secret = \"\nhunter2password = 1",
        "client_secret = \"\\hunter2\"\npassword = \"a\nhunter2 = 5 5\"",
    ] {
        let found = load(&credential(&format!("{id}{lines}")), &[]).unwrap_err();
        assert!(!found.to_string().to_lowercase().contains("hunter2"), "{lines}\n{found}");
        assert!(!format!("{found:?}").contains("hunter2"), "{lines}\n{found:?}");
    }
    let variables = [("VBC_PROXY_CREDENTIALS_DEFAULT_PASWORD", "hunter2")];
    let loaded = load(CREDENTIAL, &variables).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn the_redacted_configuration_shows_no_secret_and_reads_back() {
    let text = format!(
        "{CREDENTIAL}refresh_token_env = \"SEED\"\nclient_auth = \"body\"\npkce = true\n\
         max_age = {{ \"/t/'a\\\"\" = \"4m\" }}\nredirect_uri = \"https://x.test/%7e\"\n\
         [listen]\nhosts = [\"x.test\"]\n[admin]\naddress = \"unix:/run/admin.sock\"\n\
         [oauth]\nuserinfo_url = \"off\"\n"
    );
    let loaded = load(&text, &[("SEED", "seed-value")]).unwrap();
    let page = loaded.config.redacted();
    for secret in ["s3cret-inline", "pa55-inline", "seed-value"] {
        assert!(!page.contains(secret), "{page}");
        assert!(!format!("{loaded:?}").contains(secret));
    }
    assert!(
        page.contains("password = \"[redacted]\"") && page.contains("client_secret = \"[redacted]\""),
        "{page}"
    );
    assert!(
        page.contains("address = \"unix:/run/admin.sock\"") && page.contains("userinfo_url = \"off\""),
        "{page}"
    );
    let again = Config::from_toml(&page).unwrap().config.redacted();
    assert_eq!(again, page.replace("# a first refresh token is given: [redacted]\n", ""));
}

#[test]
fn an_open_file_with_a_secret_in_it_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    let warnings = |text: &str, exposed: bool| {
        let flaw = || Flaw { message: "everyone can read it".into(), remedy: "chmod 600 it".into() };
        let checks = Checks { exposed: exposed.then(flaw), ..Checks::default() };
        let source = Source { file: Some((path.clone(), checks)), ..source(text, "") };
        shown(&read(Some(source), &environment(&FOUR), Purpose::Serve).unwrap().warnings)
    };
    let expected = "proxy.toml: the file contains a secret, and everyone can read it; chmod 600 it";
    assert_eq!(warnings(CREDENTIAL, true), [expected]);
    assert!(warnings(CREDENTIAL, false).is_empty());
    let by_name = "client_id_env = \"VBC_CLIENT_ID\"\nclient_secret_env = \"VBC_CLIENT_SECRET\"\n\
                   username_env = \"VBC_USERNAME\"\npassword_env = \"VBC_PASSWORD\"";
    assert!(warnings(&credential(by_name), true).is_empty());
}

proptest::proptest! {
    /// Makes typing errors around a secret: inserts characters that have a meaning in TOML, or
    /// removes a character.
    #[test]
    fn no_slip_of_the_hand_makes_a_finding_show_a_secret(
        slips in proptest::collection::vec((0_usize..60, "[\"'=#\\[\\]{}\n,. \\\\]?"), 1..4),
    ) {
        let line = "client_secret = \"zq7zq7zq\"\npassword = '''zq7zq7zq'''\n";
        let mut text: Vec<char> = line.chars().collect();
        for (at, slip) in slips {
            let at = at.min(text.len() - 1);
            match slip.chars().next() {
                Some(slip) => text.insert(at, slip),
                None => drop(text.remove(at)),
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(findings) = load(&credential(&format!("client_id = \"id\"\nusername = \"a\"\n{text}")), &[]) {
            let shown = findings.to_string();
            proptest::prop_assert!(!shown.contains("zq"), "{}\n{}", text, shown);
        }
    }
}
