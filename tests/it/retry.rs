//! Clients never see a 401 that a fresh token cures. Any other 401 is passed on, and costs few
//! token requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use futures_util::future::join_all;
use tokio::sync::Notify;
use vbc_base::secret::hex;
use vbc_proxy::Simulator;
use vbc_simulator::{Effect, Fault, Mode, OldAccess, RecordedRequest, SimulatorOptions};

use crate::harness::{Client, RawUpstream, Response, World, WorldBuilder, within};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";
const CALLS: &str = "/t/vbc.prod/telephony/v3/cc/accounts/self/calls";

/// The possible behaviours of the service at a second login and at a refresh. The proxy must work
/// with each.
const KINDS: [(Mode, OldAccess); 6] = [
    (Mode::Reuse, OldAccess::Dead),
    (Mode::Reuse, OldAccess::Alive),
    (Mode::RenewRevoke, OldAccess::Dead),
    (Mode::RenewRevoke, OldAccess::Alive),
    (Mode::RenewKeep, OldAccess::Dead),
    (Mode::RenewKeep, OldAccess::Alive),
];

async fn world_of((mode, old_access): (Mode, OldAccess)) -> World {
    let options = SimulatorOptions { mode, old_access, ..SimulatorOptions::default() };
    let world = World::builder().simulator(options).start().await;
    world.ready().await;
    world
}

/// A world whose token endpoint can be prepared before the proxy starts.
async fn world_after(builder: WorldBuilder, prepare: impl FnOnce(&Simulator)) -> World {
    let sim = Simulator::start().await.unwrap();
    prepare(&sim);
    World::with(builder.configuration(&sim), sim).await
}

/// Waits until the simulator reaches the wanted state.
async fn until(world: &World, wanted: impl Fn(&Simulator) -> bool) {
    within(async {
        while !wanted(&world.sim) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The requests outside the token endpoint that arrived at a target.
fn arrivals(sim: &Simulator, target: &str) -> Vec<RecordedRequest> {
    sim.requests().into_iter().filter(|request| request.target == target).collect()
}

fn place_call(padding: usize) -> Vec<u8> {
    let head =
        r#"{"type":"click2dial","from":{"destination":"1001"},"to":{"destination":"15550100"},"note":""#;
    let mut body = head.as_bytes().to_vec();
    body.extend((0..padding).map(|at| b'a' + (at % 26) as u8));
    body.extend_from_slice(b"\"}");
    body
}

/// A body of exactly this many bytes. `seed` distinguishes bodies of one size.
fn call_of(bytes: usize, seed: usize) -> Vec<u8> {
    let empty = place_call(0).len();
    let mut body = place_call(bytes - empty);
    let at = body.len() - 12;
    body[at..at + 6].copy_from_slice(format!("{seed:06}").as_bytes());
    assert_eq!(body.len(), bytes);
    body
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in body.chunks(size) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Asserts that the response is the upstream's 401, and that `Proxy-Status` says why no token
/// cured it.
#[track_caller]
fn assert_passed_on(response: &Response) {
    assert_eq!(response.status, 401, "{response:?}");
    let said = response.header("proxy-status").expect("Proxy-Status");
    let details = said.strip_prefix("vbc-proxy; received-status=401; details=\"").expect(said);
    assert!(details.len() > 10 && details.ends_with('"'), "{said}");
}

#[tokio::test]
async fn two_hundred_requests_with_a_revoked_token_share_one_refresh() {
    for kind in KINDS {
        let world = world_of(kind).await;
        assert_eq!(world.get(USERS).await.status, 200);
        world.sim.revoke_all_access();
        let targets: Vec<String> = (0..200).map(|n| format!("{USERS}?n={n}")).collect();
        let responses = join_all(targets.iter().map(|target| world.get(target))).await;
        for response in responses {
            assert_eq!(response.status, 200, "{kind:?}: {response:?}");
            assert_eq!(response.header("proxy-status"), None);
        }
        let stats = world.sim.stats();
        assert_eq!((stats.logins.ok, stats.refreshes.ok, stats.token_requests), (1, 1, 2), "{kind:?}");
        for target in targets {
            let statuses: Vec<_> = arrivals(&world.sim, &target).iter().map(|seen| seen.status).collect();
            let cured = [Some(401), Some(200)];
            assert!(statuses == cured || statuses == cured[1..], "{kind:?}: {target}: {statuses:?}");
        }
    }
}

#[tokio::test]
async fn a_replayed_body_is_the_same_to_the_byte() {
    for kind in KINDS {
        let world = world_of(kind).await;
        world.sim.revoke_all_access();
        let requests = (0..60).map(|n| {
            let world = &world;
            async move {
                // Bodies just under and exactly at `retry.memory`.
                let body = call_of(65_536 - n % 2, n);
                let head = format!("POST {CALLS}?n={n} HTTP/1.1\nContent-Type: application/json");
                let response = match n % 3 {
                    0 => {
                        let head = format!("{head}\nTransfer-Encoding: chunked");
                        world.send(&head, &chunked(&body, 1 + 977 * (n + 1))).await
                    }
                    _ => world.send(&head, &body).await,
                };
                (n, response, sha256(&body))
            }
        });
        for (n, response, expected) in join_all(requests).await {
            assert_eq!(response.status, 200, "{kind:?}: {n}: {response:?}");
            let seen = arrivals(&world.sim, &format!("{CALLS}?n={n}"));
            assert!((1..=2).contains(&seen.len()), "{kind:?}: {n} arrived {} times", seen.len());
            for request in seen {
                assert_eq!(request.body_sha256, expected, "{kind:?}: {n}: {request:?}");
            }
        }
        let stats = world.sim.stats();
        assert_eq!(stats.calls_placed, 60, "{kind:?}");
        assert_eq!((stats.logins.ok, stats.refreshes.ok), (1, 1), "{kind:?}");
        assert!(stats.by_status[&401] > 0, "nothing was replayed");
    }
}

#[tokio::test]
async fn two_hundred_first_requests_make_one_login() {
    let hold = |sim: &Simulator| assert!(sim.inject(Fault::hang().on("/token")).is_ok());
    let world = world_after(World::builder(), hold).await;
    let mut clients: Vec<Client> = join_all((0..200).map(|_| world.connect())).await;
    for client in &mut clients {
        client.request(&format!("GET {USERS} HTTP/1.1"), b"").await;
    }
    until(&world, |sim| sim.stats().token_requests > 0).await;
    world.sim.clear_faults();
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
    let stats = world.sim.stats();
    assert_eq!((stats.token_requests, stats.token_concurrency_max, stats.logins.ok), (1, 1, 1));
    assert_eq!(stats.api_requests, 200);
}

#[tokio::test]
async fn a_token_revoked_over_and_over_is_cured_every_time() {
    for kind in KINDS {
        let world = world_of(kind).await;
        for round in 0..20 {
            world.sim.revoke_all_access();
            for response in join_all((0..5).map(|_| world.get(USERS))).await {
                assert_eq!(response.status, 200, "{kind:?}, round {round}: {response:?}");
            }
            assert_eq!(world.get(CALLS).await.status, 200);
        }
        let stats = world.sim.stats();
        assert_eq!((stats.logins.ok, stats.refreshes.ok, stats.token_requests), (1, 20, 21), "{kind:?}");
    }
}

/// A 401 with this body and these headers.
fn refusal(body: &str, headers: &str) -> String {
    format!("HTTP/1.1 401 Unauthorized\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

const GATEWAY: (&str, &str) = (
    r#"{"code":"900901","message":"Invalid Credentials","description":"Invalid JWT token."}"#,
    "Content-Type: application/json\r\nWWW-Authenticate: OAuth2 realm=\"WSO2 API Manager\", \
     error=\"invalid_token\"\r\nactivityid: 1-2-3\r\n",
);
const BACKEND: (&str, &str) = ("missing user data", "Content-Type: text/plain\r\nX-Own: a\r\nX-Own: b\r\n");
const EMPTY: (&str, &str) = ("", "Server: something\r\n");

#[tokio::test]
async fn a_401_that_no_token_cures_is_passed_on_unchanged() {
    for (body, headers) in [GATEWAY, BACKEND, EMPTY] {
        let upstream = RawUpstream::responding(refusal(body, headers)).await;
        let world = World::builder().upstream(upstream.url()).hurry(4).start().await;
        // The first 401 forces a refresh and the second does not. Both are passed on.
        for _ in 0..2 {
            let response = world.get("/t/vbc.prod/reports/a").await;
            assert_passed_on(&response);
            assert_eq!(response.text(), body);
            let ours = ["proxy-status", "x-request-id"];
            let theirs = response.headers.iter().filter(|(name, _)| !ours.contains(&name.as_str()));
            let shown: String = theirs
                .map(|(name, value)| format!("{name}: {}\r\n", String::from_utf8_lossy(value)))
                .collect();
            let sent = format!("{headers}Content-Length: {}\r\n", body.len());
            let lower = |line: &str| line.split_once(':').map(|(n, v)| (n.to_lowercase(), v.to_owned()));
            let sorted = |text: &str| {
                let mut lines: Vec<_> = text.lines().map(|line| lower(line).unwrap()).collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(&shown), sorted(&sent));
        }
        // If the gateway names the token, a new token is sent again before it counts as refused. So
        // each request has one more sending.
        let sendings = if body == GATEWAY.0 { 5 } else { 3 };
        assert_eq!(upstream.requests().len(), sendings);
        assert_eq!(world.sim.stats().token_requests, 2);
    }
}

/// Sends `count` requests over `clients` concurrent connections. `path` makes a path from the
/// request's number.
async fn hammer(world: &World, clients: usize, count: usize, path: impl Fn(usize) -> String) {
    let path = &path;
    let tasks = (0..clients).map(|first| async move {
        let mut client = world.connect().await;
        for n in (first..count).step_by(clients) {
            client.request(&format!("GET {} HTTP/1.1", path(n)), b"").await;
            assert_passed_on(&client.response().await);
        }
    });
    join_all(tasks).await;
}

#[tokio::test]
async fn a_thousand_incurable_401s_make_at_most_three_token_requests() {
    type Path = fn(usize) -> String;
    let one: Path = |_| "/t/vbc.prod/reports/a".to_owned();
    let many: Path = |n| format!("/t/vbc.prod/suite-{}/a", n % 37);
    for (body, headers) in [GATEWAY, BACKEND, EMPTY] {
        for (path, clients) in [(one, 1), (one, 50), (many, 1), (many, 50)] {
            let upstream = RawUpstream::responding(refusal(body, headers)).await;
            let world = World::with_upstream(&upstream).await;
            world.ready().await;
            let start = Instant::now();
            hammer(&world, clients, 1000, path).await;
            let requests = world.sim.stats().token_requests;
            // On a busy machine the requests take seconds, and every two seconds one more refresh
            // may be forced.
            let most = 3 + start.elapsed().as_secs() / 2;
            assert!(requests <= most, "{requests} token requests: {body:?}, {}, {clients} clients", path(1));
        }
    }
}

#[tokio::test]
async fn a_401_that_is_not_about_the_token_is_not_retried() {
    for code in ["900902", "900905", "900907", "900909", "900911"] {
        let body = format!(r#"{{"code":"{code}","message":"m","description":"d"}}"#);
        let upstream = RawUpstream::responding(refusal(&body, "Content-Type: application/json\r\n")).await;
        let world = World::with_upstream(&upstream).await;
        let response = world.get("/t/vbc.prod/reports/a").await;
        assert_passed_on(&response);
        assert!(response.header("proxy-status").unwrap().contains(code), "{response:?}");
        assert_eq!(response.text(), body);
        upstream.only();
        assert_eq!(world.sim.stats().token_requests, 1, "{code}");
    }
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_not_replayed_but_the_next_request_has_a_fresh_token() {
    for framing in ["Content-Length", "chunked"] {
        let world = World::builder()
            .config(r#"retry.memory = "4KiB""#)
            .config(r#"retry.expect_timeout = "0s""#)
            .start()
            .await;
        world.ready().await;
        world.sim.revoke_all_access();
        let body = call_of(4097, 1);
        let head = format!("POST {CALLS} HTTP/1.1\nContent-Type: application/json");
        let response = match framing {
            "chunked" => {
                world.send(&format!("{head}\nTransfer-Encoding: chunked"), &chunked(&body, 1000)).await
            }
            _ => world.send(&head, &body).await,
        };
        assert_passed_on(&response);
        assert!(response.header("proxy-status").unwrap().contains("retry.memory"), "{response:?}");
        assert_eq!(arrivals(&world.sim, CALLS).len(), 1, "{framing}");
        until(&world, |sim| sim.stats().refreshes.ok == 1).await;
        // The new bearer is published shortly after the response. Until then the next request may
        // get another 401 and is replayed.
        assert_eq!(world.send(&head, &call_of(300, 2)).await.status, 200);
        assert_eq!(world.send(&head, &body).await.status, 200);
        let stats = world.sim.stats();
        assert_eq!((stats.calls_placed, stats.token_requests), (2, 2), "{framing}");
    }
}

/// An upstream that refuses the first bearer it sees and accepts every other. Requests for `/…late`
/// are held until `release`.
async fn refusing_the_first(release: Arc<Notify>) -> RawUpstream {
    let first: Arc<parking_lot::Mutex<Option<String>>> = Arc::default();
    RawUpstream::scripted(move |mut connection| {
        let (first, release) = (Arc::clone(&first), Arc::clone(&release));
        async move {
            while let Some(request) = connection.request().await {
                let bearer = request.header("authorization").unwrap().to_owned();
                let refused = *first.lock().get_or_insert_with(|| bearer.clone()) == bearer;
                if refused && request.line.contains("late") {
                    release.notified().await;
                }
                let response = match refused {
                    true => refusal(GATEWAY.0, GATEWAY.1),
                    false => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
                };
                connection.write(response.as_bytes()).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_late_401_gets_the_newer_bearer_without_a_refresh() {
    for late in ["/t/vbc.prod/reports/late", "/t/vbc.prod/recording/late"] {
        let release = Arc::new(Notify::new());
        let upstream = refusing_the_first(Arc::clone(&release)).await;
        let world = World::with_upstream(&upstream).await;
        let mut waiting = world.connect().await;
        waiting.request(&format!("GET {late} HTTP/1.1"), b"").await;
        upstream.arrived(1).await;
        assert_eq!(world.get("/t/vbc.prod/reports/a").await.status, 200);
        assert_eq!(world.sim.stats().token_requests, 2);
        release.notify_one();
        let response = waiting.response().await;
        assert_eq!((response.status, response.text()), (200, "ok"), "{late}");
        assert_eq!(world.sim.stats().token_requests, 2, "{late}");
        assert_eq!(upstream.requests().len(), 4, "{late}");
    }
}

#[tokio::test]
async fn the_client_gets_the_second_401() {
    let upstream = RawUpstream::scripted(|mut connection| async move {
        let mut count = 0;
        while connection.request().await.is_some() {
            count += 1;
            connection.write(refusal(&format!("number {count}"), "").as_bytes()).await;
        }
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get("/t/vbc.prod/reports/a").await;
    assert_passed_on(&response);
    assert_eq!(response.text(), "number 2");
    let bearers: Vec<String> =
        upstream.requests().iter().map(|seen| seen.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(bearers.len(), 2);
    assert_ne!(bearers[0], bearers[1], "the second had a fresh token");
}

#[tokio::test]
async fn only_a_401_is_replayed() {
    let call = call_of(2000, 1);
    let head = format!("POST {CALLS} HTTP/1.1\nContent-Type: application/json");
    let lost = || Fault::lose_response_after_commit().on(CALLS);
    let reset = || Fault::reset_before_headers().on(CALLS);
    let slow = || Fault::delay(Duration::from_millis(600)).on(CALLS).times(1);
    for warm in [false, true] {
        for (fault, status, placed) in [
            (Fault::status(500).on(CALLS).times(1), 500, 0),
            (Fault::status(502).on(CALLS).times(1), 502, 0),
            (Fault::status(503).on(CALLS).times(1), 503, 0),
            (Fault::status(429).on(CALLS).times(1), 429, 0),
            (reset(), 502, 0),
            (lost(), 502, 1),
            (slow(), 504, 1),
        ] {
            let world = World::builder().config(r#"upstream.response_timeout = "200ms""#).start().await;
            world.ready().await;
            if warm {
                // This makes the next request use an idle connection.
                assert_eq!(world.get(USERS).await.status, 200);
            }
            world.sim.inject(fault.clone()).unwrap();
            let response = world.send(&head, &call).await;
            assert_eq!(response.status, status, "{fault:?}");
            assert_eq!(arrivals(&world.sim, CALLS).len(), 1, "{fault:?}, warm: {warm}");
            until(&world, |sim| sim.stats().calls_placed == placed).await;
            assert_eq!(world.send(&head, &call).await.status, 200, "{fault:?}");
            let stats = world.sim.stats();
            assert_eq!(stats.calls_placed, placed + 1, "{fault:?}, warm: {warm}");
            assert_eq!(arrivals(&world.sim, CALLS).len(), 2, "{fault:?}, warm: {warm}");
            assert_eq!(stats.token_requests, 1, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_replay_that_fails_is_not_replayed_again() {
    let world = World::start().await;
    world.ready().await;
    world.sim.revoke_all_access();
    // The request gets a 401 first. Then the replay is executed, and its response is lost.
    let lost = Fault::from(Effect::LoseResponse).on(CALLS).method("POST").times(2);
    let first = world.sim.inject(Fault::hang().on("/token")).unwrap();
    let head = format!("POST {CALLS} HTTP/1.1\nContent-Type: application/json");
    let mut client = world.connect().await;
    client.request(&head, &call_of(500, 1)).await;
    until(&world, |sim| sim.stats().token_requests == 2).await;
    world.sim.inject(lost).unwrap();
    world.sim.remove_fault(first);
    client.response().await.assert_problem(502, "connection_terminated");
    assert_eq!(arrivals(&world.sim, CALLS).len(), 2);
    assert_eq!(world.sim.stats().calls_placed, 1);
}

#[tokio::test]
async fn a_suite_that_always_returns_401_does_not_keep_others_from_being_cured() {
    for kind in KINDS {
        let world = world_of(kind).await;
        world.sim.inject(Fault::backend_401("/t/vbc.prod/provisioning")).unwrap();
        for round in 0..8 {
            world.sim.revoke_all_access();
            // The refused suite gets the first request. Its first 401 comes from the gateway, the
            // others from its backend.
            assert_passed_on(&world.get(USERS).await);
            assert_eq!(world.get(CALLS).await.status, 200, "{kind:?}, round {round}");
            for _ in 0..5 {
                assert_passed_on(&world.get(USERS).await);
            }
        }
        let stats = world.sim.stats();
        assert_eq!(stats.logins.ok, 1, "{kind:?}");
        // One refresh for each revocation, and at most two to learn about the suite.
        assert!((8..=10).contains(&stats.refreshes.ok), "{kind:?}: {}", stats.refreshes.ok);
    }
}

#[tokio::test]
async fn retries_are_counted_by_verdict_and_outcome() {
    let world = World::start().await;
    world.ready().await;
    world.sim.revoke_all_access();
    assert_eq!(world.get(USERS).await.status, 200);
    world.sim.inject(Fault::backend_401("/t/vbc.prod/telephony")).unwrap();
    for _ in 0..3 {
        assert_passed_on(&world.get(CALLS).await);
    }
    let metrics = world.admin("/metrics").await;
    let counted: BTreeMap<&str, &str> = metrics
        .text()
        .lines()
        .filter(|line| line.starts_with("vbc_proxy_retries_total"))
        .filter_map(|line| line.rsplit_once(' '))
        .collect();
    let expected = BTreeMap::from([
        (r#"vbc_proxy_retries_total{verdict="token_refused",outcome="cured"}"#, "1"),
        (r#"vbc_proxy_retries_total{verdict="unclear",outcome="refused_again"}"#, "1"),
        (r#"vbc_proxy_retries_total{verdict="unclear",outcome="passed_on"}"#, "2"),
    ]);
    assert_eq!(counted, expected);
}
