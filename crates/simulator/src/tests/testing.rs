//! Tools for testers: expectations, the page, the OpenAPI document, scenarios and shorthands.

use std::collections::BTreeSet;

use super::*;

const SCENARIO: &str = r#"
seed = 7
start = "2026-03-01T09:00:00Z"
token_format = "uuid"
public_base = "http://sim.test"

[[users]]
name = "dora"
password = "dora-password"
without = ["reports"]

[[faults]]
fault = "status"
status = 500
probability = 0.4
endpoint = "provisioning"

[[timeline]]
at = "30s"
fault = "revoke_all_access"

[[timeline]]
at = "60s"
fault = "status"
status = 503
path = "/token"
lasts = "20s"
"#;

/// The journal after a fixed series of requests, without times.
async fn journal_of_a_day(scenario: &str) -> String {
    let scenario = Scenario::parse("day.toml", scenario).unwrap();
    let sim = Simulator::builder().scenario(scenario).unwrap().start().await.unwrap();
    let mut pair = sim.log_in().await;
    for step in 0..10 {
        let token = pair.text("access_token");
        sim.get(&format!("{ACCOUNT}/users?page={step}"), &token).await;
        let call = r#"{"type":"click2dial","from":{"type":"extension","destination":"1001"},
                       "to":{"type":"pstn","destination":"15551234567"}}"#;
        let placed = sim.send("POST", CALLS, &[("authorization", &format!("Bearer {token}"))], call).await;
        // The id of the call is part of the next target.
        let id = if placed.status == 200 { &placed.body } else { "none" };
        sim.get(&format!("{CALLS}/{id}"), &token).await;
        let response = sim.refresh(&pair.text("refresh_token")).await;
        if response.status == 200 {
            pair = response;
        }
        sim.control("POST", "/__sim/clock", r#"{"advance":"10s"}"#).await;
    }
    // With reports from the field, this request gets another response, the same one in each run.
    let own = sim.token("grant_type=client_credentials").await;
    sim.get(CALLS, own.json()["access_token"].as_str().unwrap_or("none")).await;
    sim.send("POST", "/revoke", &[FORM], &format!("token={}&{CLIENT}", pair.text("access_token"))).await;
    let mut requests = sim.control("GET", "/__sim/requests", "").await.json();
    for request in requests.as_array_mut().unwrap() {
        assert!(request.as_object_mut().unwrap().remove("time").is_some());
    }
    requests.to_string()
}

#[tokio::test]
async fn the_same_scenario_and_seed_give_the_same_journal() {
    let first = journal_of_a_day(SCENARIO).await;
    assert_eq!(first, journal_of_a_day(SCENARIO).await);
    assert_ne!(first, journal_of_a_day(&SCENARIO.replace("seed = 7", "seed = 8")).await);
    let field = format!("field = true\n{SCENARIO}");
    let reported = journal_of_a_day(&field).await;
    assert_eq!(reported, journal_of_a_day(&field).await);
    assert_ne!(first, reported);
    let statuses: Value = serde_json::from_str(&first).unwrap();
    let of = |status: u64| statuses.as_array().unwrap().iter().filter(|r| r["status"] == status).count();
    assert_eq!(of(503), 2, "the fault lasts 20 seconds, and each step takes 10");
    assert!(of(500) > 0 && of(200) > 0 && of(401) > 0, "{first}");
}

#[tokio::test]
async fn what_a_call_is_called_does_not_depend_on_what_else_was_asked() {
    let mut calls = Vec::new();
    for questions in [0, 3] {
        let sim = Simulator::builder().seed(7).start().await.unwrap();
        let bearer = format!("Bearer {}", sim.log_in().await.text("access_token"));
        let headers = [("authorization", bearer.as_str())];
        for _ in 0..questions {
            sim.send("GET", &format!("{ACCOUNT}/users?page=0"), &headers, "").await;
        }
        let call = r#"{"type":"click2dial","from":{"type":"extension","destination":"1001"},
                       "to":{"type":"pstn","destination":"15551234567"}}"#;
        calls.push(sim.send("POST", CALLS, &headers, call).await.body);
    }
    assert_eq!((calls[0].len(), &calls[0]), (36, &calls[1]));
}

#[tokio::test]
async fn connections_are_numbered_by_their_first_request_and_anew_after_a_reset() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sim = Simulator::start().await.unwrap();
    let ask = async |stream: &mut TcpStream| {
        stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: sim.test\r\n\r\n").await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"0\r\n\r\n") {
            stream.read_buf(&mut read).await.unwrap();
        }
    };
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(TcpStream::connect(sim.address()).await.unwrap());
    }
    // The first connection sends nothing; the third sends before the second.
    for stream in [2, 1, 2] {
        ask(&mut streams[stream]).await;
    }
    let numbers = || sim.requests().iter().map(|request| request.connection).collect::<Vec<_>>();
    assert_eq!(numbers(), [1, 2, 1]);
    sim.reset();
    for stream in [1, 0, 2, 1] {
        ask(&mut streams[stream]).await;
    }
    assert_eq!(numbers(), [1, 2, 3, 1]);
}

#[tokio::test]
async fn what_can_be_compared_has_no_times_and_not_our_address() {
    let sim = Simulator::start().await.unwrap();
    let own = sim.address().to_string();
    send(sim.address(), Request::get("/x").header("host", &own).body(String::new()).unwrap()).await.unwrap();
    let compared = sim.control("GET", "/__sim/requests?comparable=true", "").await;
    assert!(!compared.body.contains(&own), "{}", compared.body);
    let request = &compared.json()[0];
    assert_eq!(
        (&request["head"], request.get("time")),
        (&json!("GET /x HTTP/1.1\r\nhost: simulator\r\n\r\n"), None)
    );
    assert_eq!(request["headers"], json!([["host", "simulator"]]));
    let plain = sim.control("GET", "/__sim/requests?comparable=false", "").await;
    assert!(plain.body.contains(&own) && plain.json()[0]["time"].is_string(), "{}", plain.body);
}

#[tokio::test]
async fn a_timeline_follows_the_simulators_clock_and_begins_again_with_a_reset() {
    let sim = Simulator::builder()
        .at(Duration::from_secs(60), Fault::status(503).on("/token").lasts(Duration::from_secs(20)))
        .at(Duration::from_secs(30), Action::RevokeAllAccess)
        .start()
        .await
        .unwrap();
    for _ in 0..2 {
        let pair = sim.log_in().await;
        let token = pair.text("access_token");
        assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
        sim.advance_clock(Duration::from_secs(31));
        assert_eq!(sim.get(ACCOUNT, &token).await.status, 401);
        sim.advance_clock(Duration::from_secs(30));
        assert_eq!(sim.refresh(&pair.text("refresh_token")).await.status, 503);
        sim.advance_clock(Duration::from_secs(20));
        assert_eq!(sim.refresh(&pair.text("refresh_token")).await.status, 200);
        sim.reset();
    }
    // A fault has no effect if the clock skips the time in which it lasts.
    sim.advance_clock(Duration::from_secs(100));
    sim.log_in().await;
}

#[tokio::test]
async fn a_scenario_can_be_given_to_a_running_simulator() {
    let sim = Simulator::start().await.unwrap();
    let wrong = sim.control("POST", "/__sim/scenario", "[[timeline]]\nat = 1\nfault = \"flood\"\n").await;
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.text("error").starts_with("scenario:3:1: timeline.0.fault: unknown fault `flood`; "),
        "{}",
        wrong.body
    );
    assert_eq!(sim.control("POST", "/__sim/scenario", SCENARIO).await.status, 200);
    assert_eq!(sim.control("GET", "/__sim/clock", "").await.text("now")[..17], *"2026-03-01T09:00:");
    let dora = sim.password("dora@vbc.prod", "dora-password").await.text("access_token");
    let logs = "/t/vbc.prod/reports/accounts/self/call-logs";
    assert_eq!(sim.get(logs, &dora).await.status, 401);
    assert_eq!(sim.control("POST", "/__sim/reset", "").await.status, 200);
    assert_eq!(
        sim.password("dora@vbc.prod", "dora-password").await.status,
        200,
        "a reset keeps the scenario"
    );
}

#[tokio::test]
async fn expectations_are_judged_and_waited_for() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let expected = json!({ "in_order": true, "expectations": [
        { "method": "GET", "path": "/t/*/provisioning/**", "times": 2 },
        { "method": "POST", "path": "/**/calls", "status": 401 },
    ] });
    let declared = sim.control("POST", "/__sim/expect", &expected.to_string()).await;
    assert_eq!(declared.json()["ids"], json!([1, 2]));
    sim.get(ACCOUNT, &token).await;
    let verdict = sim.control("GET", "/__sim/expect", "").await;
    assert_eq!((verdict.status.as_u16(), &verdict.json()["met"]), (200, &json!(false)));
    assert_eq!(sim.control("GET", "/__sim/expect?fail=true", "").await.status, 409);
    let waiting = tokio::spawn(send(
        sim.control_address(),
        control_request("GET", "/__sim/expect?fail=true&wait=30", ""),
    ));
    sim.get(ACCOUNT, &token).await;
    assert!(!waiting.is_finished());
    sim.send("POST", CALLS, &[], "{}").await;
    let verdict = waiting.await.unwrap().unwrap();
    assert_eq!(verdict.status, 200, "{}", verdict.body);
    assert_eq!(verdict.json()["expectations"][1]["matched"], json!([4]));
    assert_eq!(sim.control("DELETE", "/__sim/expect", "").await.status, 204);
    assert_eq!(sim.control("GET", "/__sim/expect", "").await.json()["summary"], "expectations met: 0 of 0");
    assert_eq!(
        sim.control("POST", "/__sim/expect", r#"{"path":1}"#).await.text("error"),
        "`path` must be a text"
    );
    assert_eq!(sim.control("GET", "/__sim/expect?wait=soon", "").await.status, 400);
}

#[tokio::test]
async fn verbs_say_what_a_test_means() {
    let sim =
        Simulator::builder().user(User::new("dora", "dora-password").without("vis")).start().await.unwrap();
    sim.expect([
        Expectation::new("POST", "/token").grant("password").times(2),
        Expectation::new("GET", "/t/**").status(200),
    ]);
    let token = sim.log_in().await.text("access_token");
    sim.revoke_access_tokens();
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 401);
    assert!(sim.lock_user("nobody@vbc.prod").is_err());
    sim.lock_user("alice@vbc.prod").unwrap();
    assert_eq!(sim.password("alice@vbc.prod", "sim-password").await.status, 400);
    sim.unlock_user("alice@vbc.prod").unwrap();
    sim.change_password("alice@vbc.prod", "another").unwrap();
    sim.fail_next("/t/**", 502);
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 502);
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 401);
    let verdict = sim.verdict_within(Duration::ZERO).await;
    assert!(!verdict.met && verdict.findings[0].met && !verdict.findings[1].met, "{verdict}");
    assert_eq!(sim.requests_to("/t/**").len(), 3);
    let none = Simulator::builder().user(User::new("x", "y").without("nothing")).start().await;
    assert_eq!(none.unwrap_err().to_string(), "no suite `nothing`");
}

#[tokio::test]
async fn heads_are_kept_to_the_byte_but_for_secrets() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let head = |token: &str, secret: &str| {
        format!(
            "GET {ACCOUNT}?b=%7e&code={secret} HTTP/1.1\r\nHOST: Sim.Test\r\nx-Twice: 1\r\nauthorization:  bearer {token}\r\n\
                 X-TWICE:2\r\nCookie: {secret}\r\nConnection: close\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(sim.address()).await.unwrap();
    // Sends two requests in one write; the first has a body.
    let first = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(format!("{first}abc{}", head(&token, "s3cret")).as_bytes()).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    let heads: Vec<String> = sim.requests().into_iter().skip(1).map(|request| request.head).collect();
    assert_eq!(heads, [first.to_owned(), head("access-1", "[redacted]")]);
}

#[tokio::test]
async fn the_description_lists_every_route_and_every_route_answers() {
    let sim = Simulator::start().await.unwrap();
    let document = sim.control("GET", "/__sim/openapi.json", "").await.json();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.insert(format!("{} {path}", method.to_uppercase()));
            let response = sim.control(&method.to_uppercase(), &path.replace("{id}", "77"), "{}").await;
            let found = response.status != 405 && (response.status != 404 || path.contains("{id}"));
            assert!(found, "{method} {path}: {}", response.body);
            assert!(operation["summary"].is_string() && operation["responses"]["default"].is_object());
        }
    }
    // The routes are written out here, so that the description cannot lose a route unnoticed.
    let known = [
        "DELETE /__sim/expect",
        "DELETE /__sim/faults",
        "DELETE /__sim/faults/{id}",
        "GET /",
        "GET /__sim/",
        "GET /__sim/clock",
        "GET /__sim/expect",
        "GET /__sim/faults",
        "GET /__sim/health",
        "GET /__sim/openapi.json",
        "GET /__sim/page.css",
        "GET /__sim/page.js",
        "GET /__sim/requests",
        "GET /__sim/start",
        "GET /__sim/stats",
        "POST /__sim/calls",
        "POST /__sim/clock",
        "POST /__sim/expect",
        "POST /__sim/faults",
        "POST /__sim/reset",
        "POST /__sim/scenario",
    ];
    assert_eq!(described, known.into_iter().map(str::to_owned).collect());
    let routes = sim.control("GET", "/nothing", "").await.json();
    let paths: BTreeSet<&str> =
        routes["known"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    assert_eq!(paths, document["paths"].as_object().unwrap().keys().map(String::as_str).collect());
    // Every reference must resolve.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_foreign_pages_change_nothing() {
    let sim = Simulator::start().await.unwrap();
    for path in ["/", "/__sim/", "/__sim/page.js", "/__sim/page.css"] {
        let response = sim.control("GET", path, "").await;
        let policy = response.header("content-security-policy").unwrap();
        assert!(
            policy
                .starts_with("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
        );
        assert!(!policy.contains("inline") && !policy.contains("eval"), "{policy}");
        assert!(!response.body.contains("http://") && !response.body.contains("https://"), "{path}");
        // The content security policy would block inline handlers and styles.
        assert!(
            !response.body.contains("onclick=")
                && !response.body.contains("style=")
                && !response.body.contains("<style")
        );
    }
    let html = sim.control("GET", "/", "").await.body;
    // Every button must hold a valid fault.
    let faults: Vec<&str> =
        html.split("data-fault='").skip(1).map(|rest| rest.split('\'').next().unwrap()).collect();
    assert!(faults.len() >= 10);
    for fault in faults {
        sim.fault(serde_json::from_str(fault).unwrap()).await;
    }
    sim.control("POST", "/__sim/reset", "").await;
    let post = |headers: &[(&str, &str)]| {
        let mut request = Request::builder().method("POST").uri("/__sim/reset");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(sim.control_address(), request.body(String::new()).unwrap())
    };
    let host = ("host", "127.0.0.1:1");
    assert_eq!(post(&[host, ("origin", "http://evil.example")]).await.unwrap().status, 403);
    assert_eq!(post(&[("host", "evil.example")]).await.unwrap().status, 421);
    assert_eq!(post(&[host, ("origin", "http://127.0.0.1:1")]).await.unwrap().status, 200);
}
