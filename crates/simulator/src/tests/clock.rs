//! The simulator's clock: exact, and always within its range.

use proptest::prelude::*;

use super::service::ask;
use super::*;
use jiff::SignedDuration;
use vbc_base::clock::Timestamp;

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn the_first_request_after_the_clock_was_set_to_the_next_minute_is_within_the_quota() {
    let service = Service::new(SimulatorOptions { quota: Some(1), ..SimulatorOptions::default() });
    // The start is years ahead, so that a truncated shift would be too short.
    let start = 4_070_908_800;
    service.set_clock(Timestamp::from_second(start).unwrap());
    let mut authorization = bearer(&service.log_in().await.text("access_token"));
    for minute in 1..=10_000 {
        service.set_clock(Timestamp::from_second(start + minute * 60).unwrap());
        let get = || request("GET", ACCOUNT, &[("authorization", &authorization)], "");
        let mut first = ask(&service, get()).await;
        if first.status == 401 {
            // The token lives for a day, so it has expired.
            authorization = bearer(&service.log_in().await.text("access_token"));
            first = ask(&service, request("GET", ACCOUNT, &[("authorization", &authorization)], "")).await;
        }
        assert_eq!(first.status, 200, "minute {minute}: {}", first.body);
        if minute % 1_000 == 0 {
            let second = request("GET", ACCOUNT, &[("authorization", &authorization)], "");
            assert_eq!(ask(&service, second).await.status, 429, "minute {minute}");
        }
    }
}

#[tokio::test]
async fn the_clock_moves_by_exactly_what_was_said_in_both_directions() {
    let clock = Clock::system();
    let sim = Simulator::builder().clock(clock.clone()).start().await.unwrap();
    let real = Clock::system();
    for (body, nanos) in [
        (json!({ "advance": "1m30s" }), 90_000_000_000_i64),
        (json!({ "advance": "-90s" }), -90_000_000_000),
        (json!({ "advance": 0.000_000_001 }), 1),
        (json!({ "advance": 86_400.1 }), 86_400_100_000_000),
        (json!({ "advance": -86_400.1 }), -86_400_100_000_000),
        (json!({ "advance": "0s" }), 0),
    ] {
        let before = sim.service.engine.state().advanced;
        let response = sim.control("POST", "/__sim/clock", &body.to_string()).await;
        assert_eq!(response.status, 200, "{body}: {}", response.body);
        let moved = sim.service.engine.state().advanced - before;
        assert_eq!(moved, SignedDuration::from_nanos(nanos), "{body}");
    }
    for time in ["2026-03-01T09:00:00.000000001Z", "1970-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
        let response = sim.control("POST", "/__sim/clock", &json!({ "set": time }).to_string()).await;
        let (now, to): (Timestamp, Timestamp) =
            (response.text("now").parse().unwrap(), time.parse().unwrap());
        assert!(now >= to && vbc_base::clock::until(to, now) < Duration::from_secs(30), "{time}: {now}");
    }
    sim.reset();
    let apart = clock.now().duration_since(real.now()).abs();
    assert!(apart < SignedDuration::from_secs(30), "a reset moves it back: {apart:?}");
}

#[tokio::test]
async fn a_time_that_cannot_be_is_refused_and_the_clock_stays() {
    let sim = Simulator::builder().start_at("2026-03-01T09:00:00Z".parse().unwrap()).start().await.unwrap();
    for body in [
        r#"{"advance": 9e18}"#,
        r#"{"advance": 9e18}"#,
        r#"{"advance": 9223372036854775807}"#,
        r#"{"advance": -9223372036854775808}"#,
        r#"{"advance": 1e300}"#,
        r#"{"advance": -1e300}"#,
        r#"{"advance": 1e999}"#,
        r#"{"advance": NaN}"#,
        r#"{"advance": "NaN"}"#,
        r#"{"advance": "inf"}"#,
        r#"{"advance": "106751991167d"}"#,
        r#"{"advance": "-30000d"}"#,
        r#"{"advance": "soon"}"#,
        r#"{"advance": null}"#,
        r#"{"advance": true}"#,
        r#"{"advance": []}"#,
        r#"{"set": "noon"}"#,
        r#"{"set": 5}"#,
        r#"{"set": "1969-12-31T23:59:59Z"}"#,
        r#"{"set": "-000001-01-01T00:00:00Z"}"#,
        r#"{"set": "9999-12-31T00:00:00Z"}"#,
        r#"{"set": "+10000-01-01T00:00:00Z"}"#,
        r#"{"set": "2026-03-01T09:00:00Z", "advance": 1}"#,
        r#"{}"#,
        r#"[]"#,
        r#"5"#,
    ] {
        let response = sim.control("POST", "/__sim/clock", body).await;
        assert_eq!(response.status, 400, "{body}: {}", response.body);
        assert!(response.text("error").len() > 10, "{body}: {}", response.body);
    }
    for fault in [
        json!({ "fault": "clock_advance", "seconds": i64::MAX }),
        json!({ "fault": "clock_advance", "seconds": i64::MIN }),
        json!({ "fault": "clock_advance", "seconds": 9e18 }),
        json!({ "fault": "clock_advance", "seconds": "1" }),
        json!({ "fault": "clock_set", "time": "9999-12-31T00:00:00Z" }),
    ] {
        let response = sim.control("POST", "/__sim/faults", &fault.to_string()).await;
        assert_eq!(response.status, 400, "{fault}: {}", response.body);
    }
    let refused = sim.inject(Action::ClockAdvance(SignedDuration::MAX)).unwrap_err();
    assert_eq!(refused, FaultError::ClockOutOfRange);
    sim.advance_clock(Duration::MAX);
    sim.set_clock(Timestamp::MAX);
    sim.set_clock(Timestamp::MIN);
    assert_eq!(sim.control("GET", "/__sim/clock", "").await.text("now")[..17], *"2026-03-01T09:00:");
    assert_eq!(sim.control("GET", "/__sim/faults", "").await.json(), json!([]));
}

#[tokio::test]
async fn a_scenario_cannot_move_the_clock_to_where_it_cannot_be() {
    for (text, place) in [
        ("start = \"9999-12-31T00:00:00Z\"", "scenario:1:1: start: "),
        ("[[faults]]\nfault = \"clock_advance\"\nseconds = 9000000000000000000", "scenario:1:1: faults.0: "),
        (
            "start = \"9999-12-29T23:59:00Z\"\n[[timeline]]\nat = \"1s\"\nfault = \"clock_advance\"\nseconds = 60",
            "scenario:2:1: timeline.0: ",
        ),
        (
            "[[timeline]]\nat = \"1s\"\nfault = \"clock_set\"\ntime = \"1969-01-01T00:00:00Z\"",
            "timeline.0.time: ",
        ),
    ] {
        let sim = Simulator::start().await.unwrap();
        let response = sim.control("POST", "/__sim/scenario", text).await;
        assert_eq!(response.status, 400, "{text}: {}", response.body);
        assert!(response.text("error").contains(place), "{text}: {}", response.body);
    }
}

/// A token request, API requests and everything else that depends on the time.
async fn touch_everything(service: &Service) {
    let login = service.log_in().await;
    let authorization = bearer(&login.text("access_token"));
    let headers = [("authorization", authorization.as_str())];
    let call = r#"{"type":"click2dial","from":{"type":"extension","destination":"1001"},
                   "to":{"type":"pstn","destination":"15551234567"}}"#;
    let logs = "/t/vbc.prod/reports/accounts/self/call-logs\
                ?start:gte=2000-01-01%2000:00:00&start:lte=2100-01-01%2000:00:00";
    let recordings = "/t/vbc.prod/call_recording/api/accounts/self/company_call_recordings";
    let jobs = "/t/vbc.prod/call_recording/api/accounts/self/users/self/call_recordings/jobs";
    let vis = "/t/vbc.prod/vis/v1/self";
    for (method, path, body) in [
        ("POST", CALLS.to_owned(), call),
        ("GET", CALLS.to_owned(), ""),
        ("GET", logs.to_owned(), ""),
        ("GET", recordings.to_owned(), ""),
        ("POST", format!("{recordings}/export"), "{}"),
        ("GET", jobs.to_owned(), ""),
        ("GET", format!("{vis}/events"), ""),
        ("GET", format!("{vis}/calls/count"), ""),
    ] {
        let response = ask(service, request(method, &path, &headers, body)).await;
        assert!(response.status.as_u16() < 500, "{method} {path}: {} {}", response.status, response.body);
        assert!(response.header("date").is_some());
    }
    let refresh = format!("grant_type=refresh_token&refresh_token={}", login.text("refresh_token"));
    assert!(service.token(&refresh).await.unwrap().status.as_u16() < 500);
    let passing = json!({ "fault": "status", "status": 500, "path": "/none", "lasts": "7d" });
    service.inject(Fault::from_json(&passing).unwrap()).unwrap();
    for status in [401, 429, 503] {
        let fault = json!({ "fault": "status", "status": status, "retry_after": "date", "count": 1 });
        service.inject(Fault::from_json(&fault).unwrap()).unwrap();
        assert_eq!(ask(service, request("GET", ACCOUNT, &headers, "")).await.status, status as u16);
    }
}

/// Valid and invalid moves of the clock.
fn moves() -> impl Strategy<Value = Vec<Action>> {
    let times = prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        Just(Timestamp::UNIX_EPOCH),
        Just("9999-12-30T00:00:00Z".parse().unwrap()),
        (-377_705_023_201_i64..=253_402_207_200).prop_map(|second| Timestamp::from_second(second).unwrap()),
    ];
    let spans = prop_oneof![
        Just(SignedDuration::MIN),
        Just(SignedDuration::MAX),
        any::<i64>().prop_map(SignedDuration::from_nanos),
        any::<i64>().prop_map(SignedDuration::from_secs),
        (-300_000_000_i64..300_000_000).prop_map(SignedDuration::from_secs),
    ];
    let one = prop_oneof![times.prop_map(Action::ClockSet), spans.prop_map(Action::ClockAdvance)];
    prop::collection::vec(one, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Tokens, quota windows, `Retry-After`, lags and dates work for every possible time. The test
    /// also shifts its own clock, which has no range.
    #[test]
    fn no_time_on_the_clock_makes_anything_panic(moves in moves(), unbounded in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let clock = Clock::system();
            let options = SimulatorOptions {
                clock: clock.clone(), quota: Some(1_000), ringing: Duration::from_secs(1), ..Default::default()
            };
            let service = Service::new(options);
            for action in moves {
                match (&action, unbounded) {
                    (Action::ClockSet(to), true) => { clock.set(*to); }
                    (Action::ClockAdvance(by), true) => clock.shift(*by),
                    _ => {
                        let (before, moved) = (clock.now(), service.inject(action).is_ok());
                        let apart = clock.now().duration_since(before).abs();
                        prop_assert!(moved || apart < SignedDuration::from_secs(60), "{apart:?}");
                    }
                }
                touch_everything(&service).await;
            }
            service.reset();
            touch_everything(&service).await;
            Ok(())
        })?;
    }
}
