//! Tokens that the gateway does not know yet, and refreshes that 401s force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::harness::{RawUpstream, Received, World, within};
use crate::operate::post;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// A 401 that names the token as the reason.
const NAMED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n\
                     {\"code\":\"900901\"}";
/// A 401 that says nothing about the token.
const BARE: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";

fn bearer(request: &Received) -> String {
    request.header("authorization").unwrap().to_owned()
}

/// An upstream that responds as `decide` says; `None` means 200.
async fn gateway(decide: impl FnMut(&Received) -> Option<&'static str> + Send + 'static) -> RawUpstream {
    let decide = Arc::new(Mutex::new(decide));
    RawUpstream::scripted(move |mut connection| {
        let decide = Arc::clone(&decide);
        async move {
            while let Some(request) = connection.request().await {
                let response = (decide.lock())(&request).unwrap_or(OK);
                connection.write(response.as_bytes()).await;
            }
        }
    })
    .await
}

/// A gateway that refuses each request line the first time it sees it.
async fn refusing_first_sendings(refusal: &'static str) -> RawUpstream {
    let mut seen = BTreeSet::new();
    gateway(move |request| seen.insert(request.line.clone()).then_some(refusal)).await
}

#[tokio::test]
async fn an_upstream_that_refuses_every_first_sending_costs_ten_refreshes_a_minute_and_no_client_sees_a_401()
{
    for refusal in [NAMED, BARE] {
        let upstream = refusing_first_sendings(refusal).await;
        // A minute takes three seconds.
        let world = World::builder().upstream(upstream.url()).hurry(20).start().await;
        world.ready().await;
        let start = Instant::now();
        let world = &world;
        join_all((0..5).map(|client| async move {
            for n in 0..60 {
                let response = world.get(&format!("/t/vbc.prod/suite-{client}/{n}")).await;
                assert_eq!((response.status, response.text()), (200, "ok"));
            }
        }))
        .await;
        let minutes = start.elapsed().as_secs() / 3 + 1;
        let refreshes = world.sim.stats().refreshes.ok;
        assert!(refreshes <= 10 * minutes, "{refreshes} refreshes in {minutes} scaled minutes");
        let counted = world.admin("/metrics").await;
        let forced = counted.metric("vbc_proxy_forced_refreshes_total{credential=\"default\"}");
        assert_eq!(forced, Some(refreshes as f64));
    }
}

#[tokio::test]
async fn a_node_that_learns_tokens_late_forces_no_refresh_and_no_client_sees_a_401() {
    // One of two nodes refuses each new token by name until it has seen that token three times.
    let mut known: BTreeMap<String, u32> = BTreeMap::new();
    let upstream = gateway(move |request| {
        let first = known.is_empty();
        let seen = known.entry(bearer(request)).or_insert(if first { 3 } else { 0 });
        let late = request.connection % 2 == 1 && *seen < 3;
        *seen += u32::from(late);
        late.then_some(NAMED)
    })
    .await;
    let world = World::builder().upstream(upstream.url()).hurry(1).start().await;
    world.ready().await;
    assert_eq!(world.get("/first").await.status, 200);
    for round in 1..=2 {
        let refreshed = post(world.admin, "/credentials/default/refresh", "").await;
        assert_eq!(refreshed.status, 200, "{refreshed:?}");
        for response in join_all((0..20).map(|_| world.get("/t/vbc.prod/reports/a"))).await {
            assert_eq!(response.status, 200, "{response:?}");
        }
        let refreshes = world.sim.stats().refreshes.ok;
        assert!(refreshes <= 2 * round, "{refreshes} refreshes for {round} ordinary ones");
    }
    let refused = world.admin("/metrics").await;
    let refused = refused.metric("vbc_proxy_new_tokens_refused_total{credential=\"default\"}").unwrap();
    assert!(refused >= 6.0, "{refused}");
}

#[tokio::test]
async fn a_request_is_sent_three_times_at_most_and_forces_one_refresh() {
    let upstream = RawUpstream::responding(NAMED).await;
    let world = World::builder().upstream(upstream.url()).hurry(4).start().await;
    let response = world.send("POST /t/vbc.prod/reports/a HTTP/1.1", b"the body").await;
    assert_eq!(response.status, 401);
    let requests = upstream.requests();
    let bearers: Vec<String> = requests.iter().map(bearer).collect();
    assert_eq!(bearers.len(), 3, "{bearers:?}");
    // The token of a login is replaced immediately; the token of a refresh is sent again first.
    assert!(bearers[0] != bearers[1] && bearers[1] == bearers[2], "{bearers:?}");
    assert!(requests.iter().all(|request| request.body == b"the body"));
    assert_eq!(world.sim.stats().refreshes.ok, 1);
}

#[tokio::test]
async fn an_endless_supply_of_newer_tokens_does_not_keep_a_request_going() {
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let upstream = RawUpstream::scripted(move |mut connection| {
        let release = Arc::clone(&released);
        async move {
            while connection.request().await.is_some() {
                release.notified().await;
                connection.write(NAMED.as_bytes()).await;
            }
        }
    })
    .await;
    let world = World::builder().upstream(upstream.url()).hurry(20).start().await;
    world.ready().await;
    let mut client = world.connect().await;
    client.request("GET /t/vbc.prod/reports/a HTTP/1.1", b"").await;
    for sending in 1..=3 {
        upstream.arrived(sending).await;
        let refreshed = post(world.admin, "/credentials/default/refresh", "").await;
        assert_eq!(refreshed.status, 200, "{refreshed:?}");
        release.notify_one();
    }
    assert_eq!(client.response().await.status, 401);
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn a_token_that_is_not_known_after_two_seconds_is_replaced() {
    // The gateway never learns the second token.
    let mut tokens: Vec<String> = Vec::new();
    let upstream = gateway(move |request| {
        let bearer = bearer(request);
        if !tokens.contains(&bearer) {
            tokens.push(bearer.clone());
        }
        (tokens[0] == bearer && tokens.len() > 1 || tokens.get(1) == Some(&bearer)).then_some(NAMED)
    })
    .await;
    let world = World::builder().upstream(upstream.url()).hurry(20).start().await;
    world.ready().await;
    assert_eq!(world.get("/first").await.status, 200);
    assert_eq!(post(world.admin, "/credentials/default/refresh", "").await.status, 200);
    assert_eq!(world.get("/t/vbc.prod/reports/a").await.status, 200);
    let bearers: Vec<String> = upstream.requests()[1..].iter().map(bearer).collect();
    let [first, second, third] = &bearers[..] else { panic!("{bearers:?}") };
    assert!(first == second && second != third, "{bearers:?}");
    assert_eq!(world.sim.stats().refreshes.ok, 2);
}

#[tokio::test]
async fn while_refreshes_are_held_back_a_request_is_sent_once_more_with_the_same_bearer() {
    for refusal in [NAMED, BARE] {
        let upstream = refusing_first_sendings(refusal).await;
        // The pause between forced refreshes is longer than the test.
        let world = World::builder().upstream(upstream.url()).hurry(1).start().await;
        world.ready().await;
        assert_eq!(world.get("/t/vbc.prod/reports/1").await.status, 200);
        let start = Instant::now();
        assert_eq!(world.get("/t/vbc.prod/reports/2").await.status, 200);
        let bearers: Vec<String> = upstream.requests().iter().map(bearer).collect();
        assert_eq!(bearers.len(), 4);
        assert!(bearers[0] != bearers[1]);
        if start.elapsed() < Duration::from_secs(2) || refusal == NAMED {
            assert_eq!(bearers[1..], [&*bearers[1]; 3], "{refusal}");
            assert_eq!(world.sim.stats().refreshes.ok, 1);
        }
    }
}

#[tokio::test]
async fn a_path_that_is_always_refused_by_name_leaves_the_proxy_ready_while_others_are_served() {
    let upstream = gateway(|request| request.line.contains("/refused").then_some(NAMED)).await;
    let world = World::builder().upstream(upstream.url()).hurry(4).start().await;
    world.ready().await;
    let refused = async {
        for _ in 0..3 {
            assert_eq!(world.get("/t/vbc.prod/refused/a").await.status, 401);
        }
    };
    let served = async {
        // Runs until the refused requests are done.
        loop {
            assert_eq!(world.get("/t/vbc.prod/reports/a").await.status, 200);
            assert_eq!(world.admin("/ready").await.status, 200);
        }
    };
    tokio::select! {
        () = refused => {}
        () = served => {}
    }
    assert_eq!(world.get("/t/vbc.prod/reports/a").await.status, 200);
    assert_eq!(world.admin("/ready").await.status, 200);
}

#[tokio::test]
async fn a_401_that_names_nothing_during_a_neighbours_trial_is_sent_again() {
    // The upstream holds the retry of the first request until the neighbour has its response.
    let (held, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (seen, notes) = (Arc::new(Mutex::new(BTreeSet::new())), (Arc::clone(&held), Arc::clone(&release)));
    let upstream = RawUpstream::scripted(move |mut connection| {
        let (seen, (held, release)) = (Arc::clone(&seen), notes.clone());
        async move {
            while let Some(request) = connection.request().await {
                let first = seen.lock().insert(request.line.clone());
                if !first && request.line.contains("/first") {
                    held.notify_one();
                    release.notified().await;
                }
                connection.write(if first { BARE } else { OK }.as_bytes()).await;
            }
        }
    })
    .await;
    let world = World::builder().upstream(upstream.url()).hurry(1).start().await;
    world.ready().await;
    let neighbour = async {
        within(held.notified()).await;
        let response = world.get("/t/vbc.prod/reports/second").await;
        release.notify_one();
        response.status
    };
    let (first, second) = tokio::join!(world.get("/t/vbc.prod/reports/first"), neighbour);
    assert_eq!((first.status, second), (200, 200));
}
