//! Files and variables: the accepted owners, permissions and content.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::credentials::FOUR;
use super::*;

/// Writes a file with these permissions.
fn write(path: &Path, text: impl AsRef<[u8]>, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes every file that a configuration can name, each writable by everyone. Returns the
/// configuration.
fn open_to_all(directory: &Path) -> String {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    for name in ["cert.pem", "client_ca.pem", "ca.pem", "oauth_ca.pem"] {
        write(&directory.join(name), &cert, 0o646);
    }
    write(&directory.join("key.pem"), key, 0o646);
    write(&directory.join("store.key"), "0123456789abcdef".repeat(4), 0o646);
    for name in ["id", "secret", "user", "password", "refresh"] {
        write(&directory.join(name), name, 0o646);
    }
    "[listen]\ntls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"client_ca.pem\" }\n\
     [upstream]\nca_file = \"ca.pem\"\n[oauth]\nca_file = \"oauth_ca.pem\"\n\
     [store]\nkey_file = \"store.key\"\n[credentials.default]\nclient_id_file = \"id\"\n\
     client_secret_file = \"secret\"\nusername_file = \"user\"\npassword_file = \"password\"\n\
     refresh_token_file = \"refresh\"\n"
        .to_owned()
}

#[test]
fn every_trusted_file_that_others_can_write_to_is_found_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.toml");
    write(&path, open_to_all(directory.path()), 0o646);
    let load = |purpose| super::super::load::load(Some(&path), purpose, &environment(&[]));
    // Another user could have written proxy.toml, so no file that it names is opened.
    let found = shown(load(Purpose::Serve).unwrap_err().iter().as_slice());
    assert!(found.len() == 1 && found[0].contains("proxy.toml; chmod o-w"), "{found:?}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let found = shown(load(Purpose::Serve).unwrap_err().iter().as_slice());
    let shared: Vec<_> =
        found.iter().filter(|line| line.contains("everyone on this machine can write to")).collect();
    assert_eq!(shared.len(), found.len(), "{found:?}");
    for name in [
        "cert.pem",
        "key.pem",
        "client_ca.pem",
        "/ca.pem",
        "oauth_ca.pem",
        "store.key",
        "id",
        "secret",
        "user",
        "password",
        "refresh",
    ] {
        assert!(found.iter().any(|line| line.contains(&format!("{name}; chmod o-w "))), "{name}: {found:?}");
    }
    assert_eq!(found.len(), 11, "{found:?}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();

    // To find a running proxy, the file must be trusted: it decides where secrets are sent. With
    // --simulate there are no secrets.
    let found = shown(load(Purpose::Find).unwrap_err().iter().as_slice());
    assert!(found.len() == 1 && found[0].contains("proxy.toml; chmod o-w"), "{found:?}");
    let warnings = shown(&load(Purpose::Simulate).unwrap().warnings);
    assert!(warnings.iter().any(|line| line.contains("proxy.toml; chmod o-w")), "{warnings:?}");

    for entry in fs::read_dir(directory.path()).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let warnings = load(Purpose::Serve).unwrap().warnings;
    assert!(
        warnings
            .iter()
            .all(|line| line.to_string().contains("no certificate") || line.key.contains("key_file")),
        "{warnings:?}"
    );
}

#[test]
fn a_file_in_a_directory_that_everyone_can_change_is_warned_of_unless_it_is_sticky() {
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("open");
    fs::create_dir(&open).unwrap();
    let path = open.join("proxy.toml");
    write(&path, CREDENTIAL, 0o600);
    let warnings = |mode| {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        shown(&super::super::load::load(Some(&path), Purpose::Serve, &environment(&[])).unwrap().warnings)
    };
    let found = warnings(0o777);
    assert!(found.len() == 1 && found[0].contains("can replace"), "{found:?}");
    assert!(
        found[0].ends_with(&format!("chmod o-w {}", fs::canonicalize(&open).unwrap().display())),
        "{found:?}"
    );
    assert!(warnings(0o1777).is_empty());
    assert!(warnings(0o755).is_empty());
}

#[test]
fn every_open_directory_that_links_lead_through_is_warned_of_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["open", "open_too"] {
        fs::create_dir(at(name)).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    write(&at("id"), "id", 0o600);
    write(&at("open_too/secret"), "secret", 0o600);
    write(&at("open_too/user"), "user", 0o600);
    std::os::unix::fs::symlink(at("open_too/secret"), at("open/secret")).unwrap();
    std::os::unix::fs::symlink("open/secret", at("secret")).unwrap();
    std::os::unix::fs::symlink("open_too/user", at("user")).unwrap();
    let text = "[credentials.default]\nclient_id_file = \"id\"\nclient_secret_file = \"secret\"\n\
                username_file = \"user\"\npassword = \"pa55-inline\"\n";
    let loaded = read(Some(source(text, directory.path())), &environment(&[]), Purpose::Serve).unwrap();
    let found = shown(&loaded.warnings);
    let real = fs::canonicalize(directory.path()).unwrap();
    for name in ["open", "open_too"] {
        let end = format!("chmod o-w {}", real.join(name).display());
        assert_eq!(found.iter().filter(|line| line.ends_with(&end)).count(), 1, "{name}: {found:?}");
    }
}

#[test]
fn a_secret_in_another_encoding_is_named_as_that_and_never_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    let utf_16: Vec<u8> = "\u{feff}hunter2\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: [(&[u8], &str); 4] = [
        (&utf_16, " is UTF-16, not UTF-8; save it as UTF-8; PowerShell writes UTF-16"),
        (&utf_16[2..], " is UTF-16, not UTF-8; save it as UTF-8; PowerShell writes UTF-16"),
        (b"hunter2\xe9\n", " is not UTF-8; it may be Latin-1 (Windows-1252); save it as UTF-8"),
        (b"hunter2\x00\xff", " is not a text file; save it as UTF-8"),
    ];
    let text = CREDENTIAL.replace("password = \"pa55-inline\"", "password_file = \"password\"");
    for (content, expected) in cases {
        write(&path, content, 0o600);
        let found =
            read(Some(source(&text, directory.path())), &environment(&[]), Purpose::Serve).unwrap_err();
        let found = shown(found.iter().as_slice());
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
        assert!(!found[0].contains("hunter2") && !found[0].contains("line "), "{found:?}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let found = read(Some(source(&text, directory.path())), &environment(&[]), Purpose::Serve).unwrap_err();
    assert!(found.to_string().ends_with("; name a file in this directory"), "{found}");
}

#[test]
fn variables_are_trimmed_as_files_are() {
    for end in ["\n", "\r", "\r\n", "\n\n"] {
        let values: Vec<_> =
            FOUR.iter().map(|(name, value)| (*name, format!("\u{feff}{value}{end}"))).collect();
        let mut values: Vec<_> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let address = format!("127.0.0.1:9000{end}");
        values.push(("VBC_PROXY_LISTEN_ADDRESS", &address));
        let config = without_file(&values).unwrap().config;
        let credential = &config.credentials[0];
        assert_eq!(credential.client_id, "id", "{end:?}");
        assert_eq!(credential.client_secret.expose(), "s3cret-env");
        assert_eq!(credential.username.as_deref(), Some("bob@org.com@vbc.prod"));
        assert_eq!(credential.password.as_ref().unwrap().expose(), "pa55-env");
        assert_eq!(config.listen.addresses, [ListenAddress::Tcp("127.0.0.1:9000".parse().unwrap())]);
    }
    let found = without_file(&[FOUR[0], FOUR[1], FOUR[2], ("VBC_PASSWORD", "\r\n")]).unwrap_err().to_string();
    assert!(found.contains("the variable VBC_PASSWORD is empty"), "{found}");
}

#[test]
fn a_secret_given_in_an_override_is_trimmed_and_checked_too() {
    let name = "VBC_PROXY_CREDENTIALS_DEFAULT_PASSWORD";
    let loaded = load(CREDENTIAL, &[(name, "pa55-env\r\n")]).unwrap();
    assert_eq!(loaded.config.credentials[0].password.as_ref().unwrap().expose(), "pa55-env");
    let found = load(CREDENTIAL, &[(name, "pa55\nenv")]).unwrap_err().to_string();
    assert!(found.contains("character 5 (U+000A, a line feed)") && !found.contains("pa55"), "{found}");
}

#[test]
fn what_the_token_endpoint_would_not_take_is_found_wherever_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("value"), "hunter2\n2retnuh\n", 0o600);
    let credential = |line: &str| {
        let key = line.split([' ', '_']).next().unwrap();
        let rest = CREDENTIAL.lines().filter(|other| !other.starts_with(key) || other.starts_with("client"));
        let rest =
            rest.filter(|other| !line.starts_with(other.split(" =").next().unwrap()) || other.is_empty());
        format!("{}\n{line}\n", rest.collect::<Vec<_>>().join("\n"))
    };
    for (line, place) in [
        ("password_file = \"value\"", "character 8 (U+000A, a line feed)"),
        ("client_secret_file = \"value\"", "character 8 (U+000A, a line feed)"),
        (
            "password_env = \"SPLIT\"",
            "the variable SPLIT has a character that RFC 6749 does not allow here: character 8 (U+000D, a carriage return)",
        ),
        ("password = \"hunter2\\u0000\"", "character 8 (U+0000, a zero byte)"),
        ("client_secret = \"hunter2\\u00e9\"", "character 8 (U+00E9)"),
        ("client_id = \"hunter2\\u200b\"", "character 8 (U+200B, which is invisible)"),
        ("username = \"hunter2\\n\"", "character 8 (U+000A, a line feed)"),
        ("refresh_token_env = \"SPLIT\"", "character 8 (U+000D, a carriage return)"),
    ] {
        let source = source(&credential(line), directory.path());
        let found = read(Some(source), &environment(&[("SPLIT", "hunter2\rx")]), Purpose::Serve).unwrap_err();
        let found = shown(found.iter().as_slice());
        assert!(found.len() == 1 && found[0].contains(place), "{line}: {found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
    // A password may contain any letter; a client secret may contain only ASCII.
    let config = load(&CREDENTIAL.replace("pa55-inline", "p\u{e4}ss\u{1f511}\\t"), &[]).unwrap().config;
    assert_eq!(config.credentials[0].password.as_ref().unwrap().expose(), "p\u{e4}ss\u{1f511}\t");
}

#[test]
fn a_variable_that_is_not_utf8_is_found_and_never_called_unset() {
    let text = CREDENTIAL.replace("password = \"pa55-inline\"", "password_env = \"SECRET\"");
    let garbage = |name| environment(&FOUR[..3]).with_garbage(name);
    let found = |source, variables: &Variables| match read(source, variables, Purpose::Serve) {
        Ok(_) => String::new(),
        Err(findings) => findings.to_string(),
    };
    let by_name = found(Some(source(&text, "")), &garbage("SECRET"));
    assert!(by_name.contains("password_env: the value of the variable SECRET is not UTF-8"), "{by_name}");
    let without_file = found(None, &garbage("VBC_PASSWORD"));
    assert!(without_file.contains("the variable VBC_PASSWORD is not UTF-8"), "{without_file}");
    let override_of = found(Some(source(CREDENTIAL, "")), &garbage("VBC_PROXY_LISTEN_ADDRESS"));
    assert_eq!(
        override_of,
        "VBC_PROXY_LISTEN_ADDRESS: the value of the variable VBC_PROXY_LISTEN_ADDRESS is not UTF-8; \
         set VBC_PROXY_LISTEN_ADDRESS to a UTF-8 value"
    );
    let alone = found(None, &environment(&[]).with_garbage("VBC_PROXY_LOG_LEVEL"));
    assert!(
        alone.contains("VBC_PROXY_LOG_LEVEL is not UTF-8") && alone.contains("vbc-proxy init"),
        "{alone}"
    );
}

#[test]
fn the_variables_that_secrets_come_from_are_known_also_under_simulate() {
    let text = "[credentials.default]\nclient_id_env = \"MY_ID\"\nclient_secret_env = \"MY_SECRET\"\n\
                username_env = \"MY_USER\"\npassword_env = \"MY_PASSWORD\"\nrefresh_token_env = \"VBC_REFRESH_TOKEN\"\n";
    let names = ["MY_ID", "MY_PASSWORD", "MY_SECRET", "MY_USER", "VBC_REFRESH_TOKEN"];
    let variables: Vec<_> = names.iter().map(|name| (*name, "x")).chain([("OTHER", "x")]).collect();
    assert_eq!(load(text, &variables).unwrap().secret_variables, names);
    assert_eq!(simulate(text, &variables).unwrap().secret_variables, names);
    // A name that is not set may be a secret in the wrong place, so it is not kept.
    let loaded = simulate(text, &[]).unwrap();
    assert!(loaded.secret_variables.is_empty());
}
