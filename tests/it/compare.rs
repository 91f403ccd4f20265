//! The same bytes are sent through this proxy, nginx, HAProxy, Caddy and a plain proxy on hyper.
//! Each has its own upstream, which counts requests. `target/compare` has the tables of outcomes.
//!
//! This proxy must have the expected outcome in every case. Where another server passes a case that
//! we refuse, or refuses one that we pass, the case says why.

mod case;
mod framing;
mod headers;
#[path = "../../benches/compare/src/hyper_proxy.rs"]
mod hyper_proxy;
mod peers;
mod responses;
mod table;
mod target;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::World;
use case::{Becomes, Case, Expected, Response};
use peers::Peer;
use table::Row;
use wire::{ReceivedRequest, ReceivedResponse, Upstream, talk, values};

/// The names of the other servers, in the order of the columns.
const PEERS: [&str; 4] = ["nginx", "HAProxy", "Caddy", "hyper"];

/// The number of cases that run at a server at the same time.
const AT_ONCE: usize = 8;

/// The outcome of one case at one server.
#[derive(Clone, Debug, Default)]
struct Outcome {
    got: Vec<ReceivedResponse>,
    /// Whether the server ended the connection.
    ended: bool,
    seen: Vec<ReceivedRequest>,
}

impl Outcome {
    fn statuses(&self) -> Vec<u16> {
        self.got.iter().map(|response| response.status).collect()
    }

    /// Whether this is the expected outcome.
    fn is(&self, expected: Expected) -> bool {
        let statuses = self.statuses();
        self.ended
            && match expected {
                Expected::Passes(count) => statuses == vec![200; count] && self.seen.len() == count,
                Expected::Refused { after, status } => {
                    statuses.split_last() == Some((&status, &vec![200; after][..]))
                        && self.seen.len() == after
                }
                // A server may still send a 400.
                Expected::Silence => statuses.iter().all(|status| *status == 400) && self.seen.is_empty(),
            }
    }

    /// Whether more requests passed than expected.
    fn passes_more_than(&self, expected: Expected) -> bool {
        match expected {
            Expected::Passes(_) => false,
            Expected::Refused { after, .. } => {
                self.statuses().iter().filter(|status| **status < 400).count() > after
            }
            Expected::Silence => !self.seen.is_empty(),
        }
    }

    /// Whether a request was refused that should pass.
    fn refuses_some_of(&self, expected: Expected) -> bool {
        matches!(expected, Expected::Passes(_)) && self.statuses().contains(&400)
    }
}

/// The names of the peers that this holds for.
fn named(holds: [bool; 4]) -> Vec<&'static str> {
    PEERS.into_iter().zip(holds).filter(|(_, holds)| *holds).map(|(name, _)| name).collect()
}

/// Sends every case to one server.
async fn send_all(cases: Arc<Vec<Case>>, address: SocketAddr, upstream: &Upstream) -> Vec<Outcome> {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut sending = JoinSet::new();
    for index in 0..cases.len() {
        let (cases, slots) = (Arc::clone(&cases), Arc::clone(&slots));
        sending.spawn(async move {
            let _slot = slots.acquire().await.unwrap();
            let (case, bytes) = (&cases[index], cases[index].numbered(index));
            let method = if bytes.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
            (index, talk(address, &bytes, case.then_ends, method).await)
        });
    }
    let mut outcomes = vec![Outcome::default(); cases.len()];
    while let Some(sent) = sending.join_next().await {
        let (index, (got, ended)) = sent.unwrap();
        outcomes[index] = Outcome { got, ended, seen: Vec::new() };
    }
    for seen in upstream.seen() {
        // Caddy turns some bytes into a request of its own, without the number of the case.
        if let Some(case) = seen.case {
            outcomes[case].seen.push(seen);
        }
    }
    outcomes
}

/// The fault of a request that this proxy sent, if any.
fn fault(seen: &ReceivedRequest, authority: SocketAddr) -> Option<String> {
    let authorizations = values(&seen.head, "authorization");
    let dropped = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "http2-settings",
        "expect",
        "forwarded",
        "x-forwarded-for",
        "x-real-ip",
        "x-api-key",
        "apikey",
        "internal-key",
    ];
    if values(&seen.head, "host") != [authority.to_string()] {
        return Some(format!("its Host is not the upstream's: {:?}", values(&seen.head, "host")));
    }
    if authorizations.len() != 1 || !authorizations[0].starts_with("Bearer eyJ") {
        return Some(format!("{} times Authorization", authorizations.len()));
    }
    if !seen.line().ends_with(" HTTP/1.1") {
        return Some(seen.line());
    }
    let found = dropped.iter().find(|name| !values(&seen.head, name).is_empty());
    found.map(|name| format!("{name} was passed on"))
}

/// The faults of this proxy's outcome of a case.
fn faults(case: &Case, index: usize, outcome: &Outcome, authority: SocketAddr) -> Vec<String> {
    let mut faults: Vec<String> = outcome.seen.iter().filter_map(|seen| fault(seen, authority)).collect();
    if !outcome.is(case.expected) {
        faults.push(format!("not as expected: {:?}", case.expected));
    }
    if let Some(first) = outcome.seen.first() {
        let bytes = case.numbered(index);
        let sent = bytes.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let arrived = first.head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if sent.first() == Some(&b'/') && arrived != sent {
            faults.push(format!("the target became {}", arrived.escape_ascii()));
        }
        if let Some(body) = case.body
            && !outcome.seen.iter().any(|seen| seen.body == body)
        {
            faults.push(format!("the body became {}", first.body.escape_ascii()));
        }
    }
    for response in outcome.got.iter().filter(|response| response.status >= 400) {
        let problem = values(&response.head, "content-type") == ["application/problem+json"];
        if !problem || values(&response.head, "proxy-status").len() != 1 {
            faults.push(format!("the {} is not a problem response of this proxy", response.status));
        }
    }
    faults
}

#[tokio::test]
async fn requests_have_the_expected_outcome_and_nothing_fails_that_others_pass() {
    let cases: Arc<Vec<Case>> =
        Arc::new([target::cases(), framing::cases(), headers::cases()].into_iter().flatten().collect());
    let upstream = Upstream::ok().await;
    let world = World::builder().upstream(format!("http://{}", upstream.address)).start().await;
    world.ready().await;
    let nginx = Peer::nginx(Upstream::ok().await).await;
    let haproxy = Peer::haproxy(Upstream::ok().await).await;
    let caddy = Peer::caddy(Upstream::ok().await).await;
    let hyper = Peer::hyper(Upstream::ok().await).await;
    let (ours, by_nginx, by_haproxy, by_caddy, by_hyper) = tokio::join!(
        send_all(Arc::clone(&cases), world.address, &upstream),
        send_all(Arc::clone(&cases), nginx.address, &nginx.upstream),
        send_all(Arc::clone(&cases), haproxy.address, &haproxy.upstream),
        send_all(Arc::clone(&cases), caddy.address, &caddy.upstream),
        send_all(Arc::clone(&cases), hyper.address, &hyper.upstream),
    );

    for seen in upstream.seen() {
        assert!(seen.case.is_some(), "whose is {seen:?}?");
    }

    let mut rows = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let others = [&by_nginx[index], &by_haproxy[index], &by_caddy[index], &by_hyper[index]];
        let mut faults = faults(case, index, &ours[index], upstream.address);
        let differs =
            |other: &Outcome| other.passes_more_than(case.expected) || other.refuses_some_of(case.expected);
        let differing = named(others.map(differs));
        faults.extend(case.why.fault(&differing));
        rows.push(Row {
            name: case.name,
            expected: table::expected(case.expected),
            servers: [&ours[index], others[0], others[1], others[2], others[3]].map(table::outcome),
            why: if differing.is_empty() { "" } else { case.why.reason },
            faults,
        });
    }
    table::conclude("requests", &rows, 120);
}

/// The outcome of one response at a client, and of the next request.
struct Passed {
    got: Vec<ReceivedResponse>,
    ended: bool,
    /// The responses of another client, whose request may have used the same upstream connection.
    after: Vec<ReceivedResponse>,
}

impl Passed {
    fn is(&self, becomes: Becomes) -> bool {
        let [response] = &self.got[..] else { return false };
        let as_wanted = match becomes {
            Becomes::Whole { status, body } => {
                response.status == status && response.body == body.as_bytes() && response.whole
            }
            Becomes::BadGateway => response.status == 502,
            Becomes::Cut => response.status == 502 || !response.whole,
        };
        self.ended && as_wanted
    }

    /// Whether the next client got its own response.
    fn leaves_the_next_alone(&self) -> bool {
        matches!(&self.after[..], [response] if response.body == b"after" && response.whole)
    }
}

/// Requests each response through one server, and sends another request after each.
async fn ask_all(cases: &[Response], address: SocketAddr) -> Vec<Passed> {
    let mut outcomes = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let (method, version) = case.request;
        let request = format!(
            "{method} /case-{index:03} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let (got, ended) = talk(address, request.as_bytes(), false, method).await;
        let after = b"GET /after HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let (after, _) = talk(address, after, false, "GET").await;
        outcomes.push(Passed { got, ended, after });
    }
    outcomes
}

/// An upstream that sends the response of each case.
async fn saying(cases: &Arc<Vec<Response>>) -> Upstream {
    let cases = Arc::clone(cases);
    Upstream::start(move |request| match request.case {
        Some(index) => (cases[index].bytes.clone(), cases[index].then_ends),
        None => (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter".to_vec(), false),
    })
    .await
}

#[tokio::test]
async fn responses_have_the_expected_outcome_and_nothing_fails_that_others_pass() {
    let cases = Arc::new(responses::cases());
    let upstream = saying(&cases).await;
    let world = World::builder().upstream(format!("http://{}", upstream.address)).start().await;
    world.ready().await;
    let nginx = Peer::nginx(saying(&cases).await).await;
    let haproxy = Peer::haproxy(saying(&cases).await).await;
    let caddy = Peer::caddy(saying(&cases).await).await;
    let hyper = Peer::hyper(saying(&cases).await).await;
    let (ours, by_nginx, by_haproxy, by_caddy, by_hyper) = tokio::join!(
        ask_all(&cases, world.address),
        ask_all(&cases, nginx.address),
        ask_all(&cases, haproxy.address),
        ask_all(&cases, caddy.address),
        ask_all(&cases, hyper.address),
    );

    let mut rows = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let others = [&by_nginx[index], &by_haproxy[index], &by_caddy[index], &by_hyper[index]];
        let mut faults = Vec::new();
        if !ours[index].is(case.becomes) {
            faults.push(format!("not as expected: {:?}", case.becomes));
        }
        if !ours[index].leaves_the_next_alone() {
            faults.push("the next client did not get its own response".into());
        }
        let asked = upstream.seen().iter().filter(|seen| seen.case == Some(index)).count();
        // An idempotent request may be sent again if a reused connection ended before a byte of the
        // response.
        if asked != 1 && !(asked == 2 && case.bytes.is_empty()) {
            faults.push(format!("the upstream got the request {asked} times"));
        }
        let passed = |other: &Passed| {
            let passed = other
                .got
                .first()
                .is_some_and(|got| !matches!(got.status, 502 | 504) && got.whole || got.status == 9);
            case.becomes == Becomes::BadGateway && passed
        };
        let differing = named(others.map(passed));
        faults.extend(case.why.fault(&differing));
        rows.push(Row {
            name: case.name,
            expected: table::becomes(case.becomes),
            servers: [&ours[index], others[0], others[1], others[2], others[3]].map(table::passed),
            why: if differing.is_empty() { "" } else { case.why.reason },
            faults,
        });
    }
    table::conclude("responses", &rows, 40);
}
