//! `vbc-proxy login`, with and without a running proxy.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use vbc_proxy::Simulator;
use vbc_simulator::{Edit, Effect, Fault, Identity, SimulatorOptions};

use crate::harness::{Client, RawUpstream, Received, UpstreamConnection, reserve, within};
use crate::interactive::{ALICE, BOB, Browser, REDIRECT, assert_page, query, sent_back};
use crate::process::{Output, Process, get, lay_out};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const PASTE: [&str; 2] = ["login", "--no-browser"];

/// A directory with a proxy.toml for a credential with an interactive login. The admin listener is
/// on a unix socket, so that its address is known before the start.
fn directory(sim: &Simulator, lines: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let url = sim.url();
    let text = format!(
        r#"listen.address = "127.0.0.1:0"
admin.address = "unix:admin.sock"
upstream.url = "{url}"
oauth.token_url = "{url}/token"
oauth.authorize_url = "{url}/authorize"
credentials.default.grant = "authorization_code"
credentials.default.client_id = "sim-client"
credentials.default.client_secret = "sim-secret"
credentials.default.redirect_uri = "{REDIRECT}"
{lines}
"#
    );
    lay_out(directory.path(), &text, "");
    directory
}

/// Logs in with `--no-browser` as `user`. Pastes the text that `pasted` makes from the URL of the
/// final redirect.
async fn paste(directory: &Path, user: &str, more: &[&str], pasted: impl Fn(&str) -> String) -> Output {
    let arguments = [&PASTE[..], more].concat();
    let mut login = Process::start_to_write(directory, &arguments, &[]);
    let url = login.line().await;
    let back = sent_back(&url, user).await;
    login.write_line(&pasted(&back));
    let output = login.end().await;
    for secret in [query(&back, "code"), query(&back, "state")].into_iter().flatten() {
        let state_in_url = output.stdout.lines().skip(1).any(|line| line.contains(&secret));
        assert!(!state_in_url && !output.stderr.contains(&secret), "{output:?}");
    }
    output
}

fn whole(back: &str) -> String {
    back.to_owned()
}

#[track_caller]
fn assert_logged_in(output: &Output, user: &str) {
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains(&format!("credential default: logged in as {user}; ")), "{output:?}");
}

async fn serve(directory: &Path) -> (Process, SocketAddr) {
    let mut serve = Process::start(directory, &["serve"], &[]);
    let line = serve.line().await;
    let address = line.strip_prefix("vbc-proxy listening on http://").unwrap().split(' ').next().unwrap();
    let address = address.parse().unwrap();
    (serve, address)
}

#[tokio::test]
async fn a_pasted_response_logs_a_running_proxy_in() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "");
    let (serve, address) = serve(directory.path()).await;
    assert_eq!(get(address, USERS).await.status, 503);
    let output = paste(directory.path(), ALICE, &[], whole).await;
    assert_logged_in(&output, ALICE);
    assert!(output.stderr.contains("Then paste the browser's final address"), "{output:?}");
    assert_eq!(get(address, USERS).await.status, 200);
    // The bare code works too.
    let output = paste(directory.path(), ALICE, &[], |back| query(back, "code").unwrap()).await;
    assert_logged_in(&output, ALICE);
    let output = serve.terminate().await;
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[tokio::test]
async fn without_a_proxy_the_tokens_go_into_its_store() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "");
    let output = paste(directory.path(), ALICE, &[], whole).await;
    assert_logged_in(&output, ALICE);
    assert!(output.stderr.contains("No proxy is running"), "{output:?}");
    assert_eq!(sim.stats().token_requests, 1);
    let (serve, address) = serve(directory.path()).await;
    assert_eq!(get(address, USERS).await.status, 200);
    assert_eq!(sim.stats().token_requests, 1, "the proxy began with the stored tokens");
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn with_pkce_a_pasted_response_is_accepted_and_a_bare_code_is_refused() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "credentials.default.pkce = true");
    assert_logged_in(&paste(directory.path(), ALICE, &[], whole).await, ALICE);
    let mut login = Process::start_to_write(directory.path(), &["login", "--code", "-"], &[]);
    login.end_input();
    let output = login.end().await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("pkce = true"), "{output:?}");
}

#[tokio::test]
async fn a_code_is_read_from_standard_input() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "");
    let authorize = format!(
        "{}/authorize?response_type=code&client_id=sim-client&scope=openid&redirect_uri={REDIRECT}",
        sim.url()
    );
    let code = query(&sent_back(&authorize, ALICE).await, "code").unwrap();
    let mut login = Process::start_to_write(directory.path(), &["login", "default", "--code", "-"], &[]);
    login.write_line(&code);
    assert_logged_in(&login.end().await, ALICE);
    // A code works once.
    let mut login = Process::start_to_write(directory.path(), &["login", "--code", "-"], &[]);
    login.write_line(&code);
    let output = login.end().await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(!output.stderr.contains(&code), "{output:?}");
}

#[tokio::test]
async fn without_a_subject_only_dead_tokens_are_replaced_without_a_terminal() {
    let sim = Simulator::start().await.unwrap();
    sim.inject(Fault::from(Effect::Edit(Edit::Missing("id_token".into()))).on("/token")).unwrap();
    let directory = directory(&sim, "oauth.userinfo_url = \"off\"");
    let authorize = format!(
        "{}/authorize?response_type=code&client_id=sim-client&scope=openid&redirect_uri={REDIRECT}",
        sim.url()
    );
    let log_in = async || {
        let code = query(&sent_back(&authorize, ALICE).await, "code").unwrap();
        let mut login = Process::start_to_write(directory.path(), &["login", "default", "--code", "-"], &[]);
        login.write_line(&code);
        login.end().await
    };
    let output = log_in().await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = log_in().await;
    assert_eq!((output.code, output.stderr.contains("nothing was changed")), (Some(1), true), "{output:?}");
    for running in [true, false] {
        sim.revoke_all_access();
        sim.revoke_all_refresh();
        let (serve, address) = serve(directory.path()).await;
        let response = get(address, USERS).await;
        assert!(response.text().contains("login needed"), "{response:?}");
        if running {
            let output = log_in().await;
            assert_eq!(output.code, Some(0), "{output:?}");
            assert_eq!(get(address, USERS).await.status, 200);
        }
        assert_eq!(serve.terminate().await.code, Some(0));
        if !running {
            let output = log_in().await;
            assert_eq!(output.code, Some(0), "{output:?}");
        }
    }
}

#[tokio::test]
async fn another_user_has_to_be_named() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "");
    assert_logged_in(&paste(directory.path(), ALICE, &[], whole).await, ALICE);
    for running in [false, true] {
        let proxy = if running { Some(serve(directory.path()).await) } else { None };
        let output = paste(directory.path(), BOB, &[], whole).await;
        assert_eq!(output.code, Some(1), "{output:?}");
        for words in ["logged in as bob@vbc.prod", "belongs to alice@vbc.prod", "--replace-user bob@vbc.prod"]
        {
            assert!(output.stderr.contains(words), "{words}: {output:?}");
        }
        let output = paste(directory.path(), BOB, &["--replace-user", "rob"], whole).await;
        assert_eq!(output.code, Some(1), "{output:?}");
        assert_logged_in(&paste(directory.path(), ALICE, &[], whole).await, ALICE);
        if let Some((process, _)) = proxy {
            assert_eq!(process.terminate().await.code, Some(0));
        }
    }
    // Names with and without the tenant mean the same user, ignoring case.
    let output = paste(directory.path(), BOB, &["--replace-user", "Bob"], whole).await;
    assert_logged_in(&output, BOB);
    assert_eq!(paste(directory.path(), ALICE, &[], whole).await.code, Some(1));
}

#[tokio::test]
async fn anything_but_the_response_to_this_login_is_refused() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "");
    for (pasted, words) in [
        (format!("{REDIRECT}?code=c&state=another"), "belongs to another login"),
        ("no idea".to_owned(), "contains no code"),
        (REDIRECT.to_owned(), "contains no code"),
        ("made-up-code".to_owned(), "invalid_grant"),
    ] {
        let output = paste(directory.path(), ALICE, &[], |_| pasted.clone()).await;
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains(words), "{words}: {output:?}");
    }
    let output = paste(directory.path(), "nobody@vbc.prod", &[], whole).await;
    assert_eq!((output.code, output.stderr.contains("access_denied")), (Some(1), true), "{output:?}");
    assert!(output.stderr.contains("single sign-on"), "{output:?}");
    let mut login = Process::start_to_write(directory.path(), &PASTE, &[]);
    login.line().await;
    login.end_input();
    assert_eq!(login.end().await.code, Some(1));
}

#[tokio::test]
async fn wrong_usage_of_login_lists_the_possible_credentials() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "");
    let output = Process::run(directory.path(), &["login", "nobody"], &[]).await;
    assert_eq!(output.code, Some(64), "{output:?}");
    assert!(output.stderr.contains("the credentials are: default"), "{output:?}");
    let wrong: [&[&str]; 4] = [
        &["login", "--code", "secret-code"],
        &["login", "--no-browser", "--code", "-"],
        &["login", "--replace-user", "bob"],
        &["login", "--code"],
    ];
    for arguments in wrong {
        assert_eq!(Process::run(directory.path(), arguments, &[]).await.code, Some(64), "{arguments:?}");
    }
    // A browser cannot reach a unix socket.
    let output = Process::run(directory.path(), &["login"], &[]).await;
    assert_eq!((output.code, output.stderr.contains("--no-browser")), (Some(1), true), "{output:?}");
}

#[tokio::test]
async fn a_store_that_a_proxy_uses_is_left_to_it() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "");
    let (serve, _) = serve(directory.path()).await;
    // The command does not find the running proxy, as if it read another proxy.toml.
    let variables = [("VBC_PROXY_ADMIN_ADDRESS", "off")];
    let output = Process::run(directory.path(), &PASTE, &variables).await;
    assert_eq!(output.code, Some(69), "{output:?}");
    assert!(output.stderr.contains("in use by another process"), "{output:?}");
    assert!(output.stderr.contains("admin.address"), "{output:?}");
    assert_eq!(serve.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_login_whose_tokens_would_be_lost_is_not_started() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "store.kind = \"memory\"");
    let output = Process::run(directory.path(), &PASTE, &[]).await;
    assert_eq!((output.code, output.stderr.contains("memory")), (Some(1), true), "{output:?}");
}

/// Waits for the address that `$BROWSER` is called with.
async fn opened(directory: &Path) -> String {
    within(async {
        loop {
            match std::fs::read_to_string(directory.join("opened")) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

/// A program that records the address to open.
fn browser_program(directory: &Path) -> String {
    let path = directory.join("browser");
    let text = format!("#!/bin/sh\necho \"$1\" > '{}'\n", directory.join("opened").display());
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A simulator, and a directory with a proxy.toml. The credential redirects to the proxy's own
/// admin listener, which is the usual setup. The socket reserves the listener's port.
async fn at_a_known_port() -> (Simulator, tempfile::TempDir, SocketAddr, socket2::Socket) {
    let (admin, socket) = reserve();
    let callback = format!("http://localhost:{}/callback", admin.port());
    let identities = vec![Identity { callback, ..Identity::demo() }];
    let sim = Simulator::bind(SimulatorOptions { identities, ..SimulatorOptions::default() }).await.unwrap();
    let directory = directory(&sim, "");
    let text = std::fs::read_to_string(directory.path().join("proxy.toml")).unwrap();
    let text =
        text.replace("credentials.default.redirect_uri", "#").replace("unix:admin.sock", &admin.to_string());
    lay_out(directory.path(), &text, "");
    (sim, directory, admin, socket)
}

/// Starts `vbc-proxy login` and follows its address up to the authorization response. Returns the
/// process, the browser, and that response.
async fn to_the_response(directory: &Path, admin: SocketAddr, user: &str) -> (Process, Browser, String) {
    let _ = std::fs::remove_file(directory.join("opened"));
    let program = browser_program(directory);
    let mut login = Process::start(directory, &["login"], &[("BROWSER", &program)]);
    let url = login.line().await;
    assert_eq!(url, format!("http://localhost:{}/login/default", admin.port()));
    assert_eq!(opened(directory).await, url);
    let mut browser = Browser::new();
    let response = begin(&mut browser, admin, user).await;
    (login, browser, response)
}

/// Starts a login in the browser. Returns the request with the authorization response.
async fn begin(browser: &mut Browser, admin: SocketAddr, user: &str) -> String {
    let head = format!("GET /login/default HTTP/1.1\nHost: localhost:{}", admin.port());
    let started = browser.send(admin, &head, b"").await;
    assert_eq!(started.status, 302, "{started:?}");
    let back = sent_back(started.header("location").unwrap(), user).await;
    let target = back.strip_prefix(&format!("http://localhost:{}", admin.port())).unwrap();
    format!("GET {target} HTTP/1.1\nHost: localhost:{}", admin.port())
}

#[tokio::test]
async fn login_opens_a_browser_and_waits_for_the_outcome() {
    let (sim, directory, admin, _reserved) = at_a_known_port().await;
    for running in [false, true] {
        let proxy = if running { Some(serve(directory.path()).await) } else { None };
        let (login, mut browser, response) = to_the_response(directory.path(), admin, ALICE).await;
        let page = browser.send(admin, &response, b"").await;
        assert_page(&page, 200, "logged_in", ALICE);
        assert_logged_in(&login.end().await, ALICE);
        let (mut login, mut browser, response) =
            to_the_response(directory.path(), admin, "nobody@vbc.prod").await;
        assert_page(&browser.send(admin, &response, b"").await, 400, "refused", "Log in to default again");
        login.logged("the login failed: the authorization server refused").await;
        if running {
            assert_eq!(login.end().await.code, Some(1));
        } else {
            // The link on that page leads to this process, which still runs.
            let response = begin(&mut browser, admin, ALICE).await;
            assert_page(&browser.send(admin, &response, b"").await, 200, "logged_in", ALICE);
            assert_logged_in(&login.end().await, ALICE);
        }
        if let Some((process, address)) = proxy {
            assert_eq!(get(address, USERS).await.status, 200);
            assert_eq!(process.terminate().await.code, Some(0));
        }
    }
    drop(sim);
}

#[tokio::test]
async fn an_interrupted_login_ends_cleanly() {
    let (sim, directory, _, _reserved) = at_a_known_port().await;
    for arguments in [&["login"][..], &PASTE] {
        let mut login = Process::start_to_write(directory.path(), arguments, &[]);
        login.line().await;
        login.signal("INT");
        let output = login.end().await;
        assert_eq!((output.code, output.stderr.contains("interrupted")), (Some(1), true), "{output:?}");
    }
    assert_eq!(sim.stats().token_requests, 0);
}

/// Passes a held request on to the simulator, and sends its response.
async fn response_by(sim: &Simulator, connection: &mut UpstreamConnection, request: &Received) {
    let mut client = Client::connect(sim.address()).await;
    client.write(&request.head).await;
    client.write(b"\r\nConnection: close\r\n\r\n").await;
    client.write(&request.body).await;
    connection.write(&client.read_to_end().await).await;
}

#[tokio::test]
async fn a_login_interrupted_while_its_code_is_redeemed_is_finished() {
    for signals in [1, 2] {
        let sim = Simulator::start().await.unwrap();
        let held = RawUpstream::by_hand().await;
        let directory = directory(&sim, "");
        let text = std::fs::read_to_string(directory.path().join("proxy.toml")).unwrap();
        let text = text.replace(&format!("{}/token", sim.url()), &format!("{}/token", held.url()));
        lay_out(directory.path(), &text, "");
        let mut login = Process::start_to_write(directory.path(), &PASTE, &[]);
        let back = sent_back(&login.line().await, ALICE).await;
        login.write_line(&back);
        let mut connection = held.accept().await;
        let request = within(connection.request()).await.unwrap();
        login.signal("INT");
        login.logged("interrupted").await;
        if signals == 1 {
            response_by(&sim, &mut connection, &request).await;
        }
        let output = match signals {
            1 => login.end().await,
            _ => login.signal_to_the_end("INT").await,
        };
        assert_eq!(output.code, Some(1), "{output:?}");
        assert_eq!(output.stderr.contains("had succeeded; its tokens are stored"), signals == 1);
    }
}

/// Replaces the store's directory with a file, so that not even root can write there.
fn block_store(directory: &Path) {
    std::fs::rename(directory.join("store"), directory.join("away")).unwrap();
    std::fs::write(directory.join("store"), "").unwrap();
}

#[tokio::test]
async fn a_code_whose_tokens_could_not_be_stored_is_not_spent() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "store.path = \"store\"");
    let mut login = Process::start_to_write(directory.path(), &PASTE, &[]);
    let back = sent_back(&login.line().await, ALICE).await;
    block_store(directory.path());
    login.write_line(&back);
    let output = login.end().await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("no new tokens are requested"), "{output:?}");
    assert!(output.stderr.contains("not a directory") && output.stderr.contains("store.path"), "{output:?}");
    assert!(!output.stderr.contains("log of the proxy"), "{output:?}");
    assert_eq!(sim.stats().token_requests, 0);
}

#[tokio::test]
async fn a_login_that_could_not_be_stored_fails() {
    let sim = Simulator::start().await.unwrap();
    let held = RawUpstream::by_hand().await;
    let directory = directory(&sim, "store.path = \"store\"");
    let text = std::fs::read_to_string(directory.path().join("proxy.toml")).unwrap();
    let text = text.replace(&format!("{}/token", sim.url()), &format!("{}/token", held.url()));
    lay_out(directory.path(), &text, "");
    let mut login = Process::start_to_write(directory.path(), &PASTE, &[]);
    let back = sent_back(&login.line().await, ALICE).await;
    login.write_line(&back);
    let mut connection = held.accept().await;
    let request = within(connection.request()).await.unwrap();
    block_store(directory.path());
    response_by(&sim, &mut connection, &request).await;
    let output = login.end().await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("so they are lost when this command ends"), "{output:?}");
    assert!(!output.stderr.contains("log of the proxy"), "{output:?}");
}

#[tokio::test]
async fn another_program_on_the_admin_address_is_not_taken_for_the_proxy() {
    let sim = Simulator::start().await.unwrap();
    let directory = directory(&sim, "");
    for response in
        ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"]
    {
        let stranger = RawUpstream::responding(response).await;
        let variables = [("VBC_PROXY_ADMIN_ADDRESS", stranger.address().to_string())];
        let variables = [(variables[0].0, variables[0].1.as_str())];
        let output = Process::run(directory.path(), &PASTE, &variables).await;
        assert_eq!(output.code, Some(69), "{output:?}");
        assert!(output.stderr.contains("another program listens on "), "{output:?}");
    }
}
