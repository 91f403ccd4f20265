//! Vonage's documentation: its snippets and tutorials verbatim, and what clients generated from its
//! specifications can read.

use super::*;

const VIS: &str = "/t/vbc.prod/vis/v1/self";
const TELEPHONY: &str = "/t/vbc.prod/telephony/v3";
const RECORDINGS: &str = "/t/vbc.prod/call_recording";

/// A client with a token.
struct Reader {
    sim: Simulator,
    bearer: String,
}

impl Reader {
    async fn new() -> Self {
        let sim =
            Simulator::bind(SimulatorOptions { lag: 0.0, ..SimulatorOptions::default() }).await.unwrap();
        let bearer = format!("Bearer {}", sim.log_in().await.text("access_token"));
        Self { sim, bearer }
    }

    /// Sends a request as curl does, or with other headers.
    async fn send(&self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> TestResponse {
        let mut headers = vec![("authorization", self.bearer.as_str()), ("content-type", "application/json")];
        headers.extend(more);
        self.sim.send(method, path, &headers, body).await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> TestResponse {
        self.send(method, path, &[], body).await
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.ask("GET", path, "").await;
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        response.json()
    }

    async fn dial(&self, to: &str) -> String {
        let body = json!({
            "type": "click2dial", "from": { "type": "extension", "destination": "1001" },
            "to": { "type": "pstn", "destination": to },
        });
        self.ask("POST", CALLS, &body.to_string()).await.body
    }
}

/// The statuses in Telephony's specification.
const STATUSES: [&str; 5] = ["busy", "failed", "unanswered", "ringing", "on-call"];

/// Checks a call or a leg against the specification.
fn check(shown: &Value) {
    assert!(STATUSES.contains(&shown["status"].as_str().unwrap()), "{shown}");
    for time in ["start_time", "end_time"] {
        // Generated clients read a text of digits as seconds, and fail if there are more than ten
        // digits.
        let seconds = shown[time].as_str().is_none_or(|text| text.len() == 10 && text.parse::<u64>().is_ok());
        assert!(seconds, "{shown}");
    }
    shown["legs"].as_array().into_iter().flatten().for_each(check);
}

#[tokio::test]
async fn every_call_list_and_leg_has_a_status_and_times_that_generated_clients_can_read() {
    let reader = Reader::new().await;
    let missed = reader.sim.receive_call(12345, "14155550177", "1002").unwrap();
    let id = reader.dial("14155550100").await;
    let call = format!("{CALLS}/{id}");
    let legs = reader.get(&format!("{call}/legs")).await;
    let leg = format!("{call}/legs/{}", legs[1]["leg_id"].as_str().unwrap());
    let moved = json!({ "to": { "type": "extension", "destination": "1003" } }).to_string();
    for (method, path, body) in [
        ("PUT", &leg, r#"{"state":"held"}"#),
        ("PUT", &leg, r#"{"state":"active"}"#),
        ("PUT", &call, r#"{"state":"parked"}"#),
        ("PUT", &leg, moved.as_str()),
        ("DELETE", &call, ""),
    ] {
        assert!(reader.ask(method, path, body).await.status.is_success(), "{method} {path} {body}");
        check(&reader.get(&call).await);
        check(&reader.get(&leg).await);
        reader.get(&format!("{call}/legs")).await.as_array().unwrap().iter().for_each(check);
        reader.get(&format!("{CALLS}?start_time=1")).await["calls"]
            .as_array()
            .unwrap()
            .iter()
            .for_each(check);
    }
    reader.sim.advance(Duration::from_secs(31));
    let missed = reader.get(&format!("{CALLS}/{missed}")).await;
    assert_eq!((&missed["status"], missed["end_time"].is_string()), (&json!("unanswered"), true));
    let device =
        reader.get(&format!("{TELEPHONY}/registration/accounts/self/devices")).await["devices"][0].clone();
    assert_eq!(device["last_success"].as_str().unwrap().len(), 10, "seconds too");
}

#[tokio::test]
async fn who_may_call_whom_is_what_the_specification_says() {
    let reader = Reader::new().await;
    let end = |kind: &str, destination: &str| json!({ "type": kind, "destination": destination });
    let ours = end("extension", "1001");
    for (from, to, words) in [
        (ours.clone(), end("pstn", "home"), "to.destination must be a phone number"),
        (ours.clone(), end("pstn", "1415555010O"), "to.destination must be a phone number"),
        (ours.clone(), end("pstn", "12345678901234567"), "to.destination must be a phone number"),
        (ours.clone(), json!("sip:a@b.test"), "to.destination must be a phone number"),
        (ours.clone(), end("feature_code", "star"), "to.destination must be of 0-9 * #"),
        (
            ours.clone(),
            end("sms", "14155550100"),
            "to.type must be one of pstn, device, extension, feature_code",
        ),
        (
            end("pstn", "14155550100"),
            ours.clone(),
            "from.type must be one of extension, device, feature_code",
        ),
        (end("extension", "77"), ours.clone(), "from.destination is not an extension"),
    ] {
        let body = json!({ "type": "default", "from": from, "to": to });
        let refused = reader.ask("POST", CALLS, &body.to_string()).await;
        assert!(
            refused.status == 400 && refused.text("message").starts_with(words),
            "{body} {}",
            refused.body
        );
    }
    assert_eq!(reader.sim.stats().calls_placed, 0);
    for to in
        [end("pstn", "+14155550100"), end("pstn", "1002"), end("feature_code", "*67"), json!("14155550100")]
    {
        let body = json!({ "type": "default", "from": { "destination": "1001" }, "to": to });
        assert_eq!(reader.ask("POST", CALLS, &body.to_string()).await.status, 200, "{body}");
    }
    let call = format!("{CALLS}/{}", reader.dial("14155550100").await);
    for (to, words) in [
        (end("pstn", "home"), "to.destination must be a phone number"),
        (end("feature_code", "*67"), "to.type must be one of pstn, device, extension"),
    ] {
        let body = json!({ "from": ours, "to": to }).to_string();
        assert_eq!(reader.ask("PUT", &call, &body).await.text("message"), words);
        let leg = reader.get(&format!("{call}/legs")).await[1]["leg_id"].as_str().unwrap().to_owned();
        let body = json!({ "to": to }).to_string();
        assert_eq!(reader.ask("PUT", &format!("{call}/legs/{leg}"), &body).await.text("message"), words);
    }
}

#[tokio::test]
async fn a_call_is_recorded_where_somebody_asks_for_it() {
    let reader = Reader::new().await;
    let call = reader.dial("14155550100").await;
    let legs = reader.get(&format!("{CALLS}/{call}/legs")).await;
    let [own, other] = [0, 1].map(|n| format!("{CALLS}/{call}/legs/{}", legs[n]["leg_id"].as_str().unwrap()));
    let body = |what: &str, service: &str| json!({ "recording": what, "service": service }).to_string();
    for (leg, what, service, status) in [
        (&own, "stop", "ocr", 409),
        (&own, "start", "ocr", 200),
        (&own, "start", "ocr", 409),
        (&other, "start", "ocr", 409),
        (&own, "pause", "ocr", 400),
        (&own, "start", "mp3", 400),
    ] {
        assert_eq!(reader.ask("PUT", leg, &body(what, service)).await.status, status, "{what} {service}");
    }
    reader.sim.advance(Duration::from_secs(20));
    assert_eq!(reader.ask("PUT", &own, &body("stop", "ocr")).await.status, 200);
    assert_eq!(reader.ask("PUT", &own, &body("start", "ccr")).await.status, 200);
    reader.sim.advance(Duration::from_secs(10));
    assert_eq!(reader.ask("DELETE", &format!("{CALLS}/{call}"), "").await.status, 200);
    let of = async |path: &str| {
        let page = reader.get(&format!("{RECORDINGS}/api/accounts/self/{path}?call_id={call}")).await;
        page["_embedded"]["recordings"].as_array().unwrap().clone()
    };
    let on_demand = of("users/self/call_recordings").await;
    assert_eq!(on_demand.len(), 1);
    assert_eq!((&on_demand[0]["extensions"], &on_demand[0]["rule_ids"]), (&json!(["1001"]), &json!([])));
    assert!((20_000..25_000).contains(&on_demand[0]["duration"].as_u64().unwrap()), "{}", on_demand[0]);
    let company = of("company_call_recordings").await;
    assert!(company.iter().any(|one| (10_000..15_000).contains(&one["duration"].as_u64().unwrap())));
    let ids: std::collections::BTreeSet<u64> =
        on_demand.iter().chain(&company).map(|one| one["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 1 + company.len());
    let download = format!("{RECORDINGS}/v1/api/audio/recording/{}", on_demand[0]["id"]);
    let audio = reader.ask("HEAD", &download, "").await;
    assert_eq!(audio.header("content-length"), Some(&*on_demand[0]["file_size_in_bytes"].to_string()));
}

#[tokio::test]
async fn the_webhook_tutorial_works_with_its_slashes() {
    let reader = Reader::new().await;
    let body = r#"{"url":"http://127.0.0.1:9/webhook","events":["CALL"],"signingAlgo":"HMAC_SHA256","signingKey":"string","metadataPolicy":"NONE"}"#;
    let hook = reader.ask("POST", &format!("{VIS}/webhooks/"), body).await;
    assert_eq!(hook.status, 201);
    let id = hook.text("id");
    assert_eq!(reader.get(&format!("{VIS}/webhooks/")).await[0]["id"], id);
    assert_eq!(reader.ask("DELETE", &format!("{VIS}/webhooks/{id}"), "").await.status, 204);
    assert_eq!(reader.get(&format!("{VIS}/webhooks/")).await, json!([]));
    // The snippet has a single event, the specification a list.
    let snippet = r#"{"url":"http://127.0.0.1:9/webhook","events":"CALL"}"#;
    assert_eq!(
        reader.ask("POST", &format!("{VIS}/webhooks"), snippet).await.json()["events"],
        json!(["CALL"])
    );
}

#[tokio::test]
async fn the_snippet_that_plays_a_file_sends_its_truth_as_a_text() {
    let reader = Reader::new().await;
    let call = format!("{CALLS}/{}", reader.dial("14155550100").await);
    let leg = reader.get(&format!("{call}/legs")).await[0]["leg_id"].as_str().unwrap().to_owned();
    let leg = format!("{call}/legs/{leg}");
    for (body, status) in [
        (r#"{"stream":"true","stream_url":"https://example.com/recorded_message.wav"}"#, 200),
        (r#"{"stream":"true"}"#, 400),
        (r#"{"stream":"false"}"#, 200),
        (r#"{"stream":"on"}"#, 400),
    ] {
        assert_eq!(reader.ask("PUT", &leg, body).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn recordings_are_ordered_as_the_tutorials_and_the_specification_have_it() {
    let reader = Reader::new().await;
    let starts = async |order: &str| {
        let path = format!("{RECORDINGS}/v1/api/accounts/self/company_call_recordings?order={order}");
        let page =
            reader.get(&format!("{path}&page_size=1000&page=1&start:gte=2000-01-01T00:00:00%2B0000")).await;
        let all = page["_embedded"]["recordings"].as_array().unwrap().clone();
        all.iter().map(|one| one["start"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let oldest = starts("asc").await;
    assert!(oldest.len() > 5 && oldest.is_sorted());
    let newest: Vec<String> = oldest.iter().rev().cloned().collect();
    for (order, expected) in [
        ("ASC", &oldest),
        ("start%3AASC", &oldest),
        ("start:asc", &oldest),
        ("desc", &newest),
        ("Start:Desc", &newest),
        ("", &newest),
    ] {
        assert_eq!(&starts(order).await, expected, "{order}");
    }
}

#[tokio::test]
async fn reports_counts_its_pages_under_both_names_and_knows_the_use_cases_order() {
    let reader = Reader::new().await;
    let logs = |more: &str| {
        format!(
            "/t/vbc.prod/reports/v1/accounts/12345/call-logs?start:gte=2000-01-01%2000:00:00\
             &start:lte=9999-12-31%2023:59:59&page_size=7{more}"
        )
    };
    let page = reader.get(&logs("&order=asc")).await;
    assert!(page["total_pages"].as_u64().unwrap() > 2 && page["total_pages"] == page["total_page"]);
    let last = reader.get(&logs(&format!("&order=asc&page={}", page["total_pages"]))).await;
    let newest = reader.get(&logs("&order=desc")).await;
    let rows = |page: &Value| page["_embedded"]["call_logs"].as_array().unwrap().clone();
    assert_eq!(rows(&newest).first(), rows(&last).last());
}

#[tokio::test]
async fn page_zero_is_the_same_in_every_list_of_a_suite() {
    let reader = Reader::new().await;
    let always = "start:gte=2000-01-01%2000:00:00&start:lte=2100-01-01%2000:00:00";
    let provisioning = ["users", "extensions", "locations"].map(|list| format!("{ACCOUNT}/{list}?x=1"));
    for path in provisioning {
        assert_eq!(reader.ask("GET", &format!("{path}&page=0"), "").await.status, 400, "{path}");
    }
    let own = format!("{RECORDINGS}/api/accounts/self");
    reader.ask("POST", &format!("{own}/company_call_recordings/export"), "{}").await;
    for path in [
        format!("{own}/company_call_recordings?x=1"),
        format!("{own}/users/self/call_recordings?x=1"),
        format!("{own}/users/self/call_recordings/jobs?x=1"),
        format!("/t/vbc.prod/reports/accounts/self/call-logs?{always}"),
    ] {
        let [zero, one] =
            [reader.get(&format!("{path}&page=0")).await, reader.get(&format!("{path}&page=1")).await];
        assert_eq!((&zero["page"], &zero["_embedded"]), (&json!(1), &one["_embedded"]), "{path}");
    }
    for path in
        [format!("{CALLS}?start_time=1"), format!("{TELEPHONY}/registration/accounts/self/devices?x=1")]
    {
        let [zero, one] =
            [reader.get(&format!("{path}&page=0")).await, reader.get(&format!("{path}&page=1")).await];
        assert_eq!(zero, one, "{path}");
    }
}

#[tokio::test]
async fn an_unknown_event_is_no_call() {
    let reader = Reader::new().await;
    for id in ["0", "999999", "abc", "3fa85f64-5717-4562-b3fc-2c963f66afa6"] {
        for (path, words) in
            [("events", "Event not found"), ("calls", "Call not found"), ("webhooks", "Webhook not found")]
        {
            let response = reader.ask("GET", &format!("{VIS}/{path}/{id}"), "").await;
            assert_eq!((response.status.as_u16(), response.text("errorMessage").as_str()), (400, words));
        }
    }
}

#[tokio::test]
async fn calls_name_the_remote_party_where_the_service_can_know_it() {
    let reader = Reader::new().await;
    let call = async |number: &str| {
        let body = json!({ "phoneNumber": number }).to_string();
        reader.ask("POST", &format!("{VIS}/calls"), &body).await.json()[0].clone()
    };
    let colleague = reader.get(&format!("{ACCOUNT}/extensions/1002")).await["_embedded"]["extension"].clone();
    assert_eq!(call("1002").await["callerId"], colleague["caller_id"]);
    assert_eq!(call("14155550100").await.get("callerId"), None, "nobody says");
    reader.sim.receive_call(12345, "14155550177", "1001").unwrap();
    let listed = reader.get(&format!("{VIS}/calls")).await;
    assert_eq!((&listed[0]["state"], &listed[0]["callerId"]), (&json!("RINGING"), &json!("WIRELESS CALLER")));
}

#[tokio::test]
async fn people_and_extensions_have_the_members_of_the_specification() {
    let reader = Reader::new().await;
    let extension = reader.get(&format!("{ACCOUNT}/extensions/1001")).await["_embedded"]["extension"].clone();
    let user = reader.get(&format!("{ACCOUNT}/users/self")).await["_embedded"]["data"].clone();
    assert_eq!((&extension["user"]["id"], &extension["service_type_name"]), (&user["id"], &json!("UX")));
    let all = reader.get(&format!("{ACCOUNT}/extensions?page_size=100")).await;
    let all = all["_embedded"]["data"].as_array().unwrap();
    let did = all.iter().find_map(|one| one["dids"][0]["phone_number"].as_str()).unwrap();
    for spelt in [did.to_owned(), format!("%2B{did}")] {
        let found = reader.get(&format!("{ACCOUNT}/extensions?phone_number={spelt}")).await;
        assert_eq!(
            (&found["total_items"], &found["_embedded"]["data"][0]["dids"][0]["phone_number"]),
            (&json!(1), &json!(did))
        );
    }
}

#[tokio::test]
async fn somebody_outside_can_call_a_direct_number() {
    let reader = Reader::new().await;
    let all = reader.get(&format!("{ACCOUNT}/extensions?page_size=100")).await;
    let holder =
        all["_embedded"]["data"].as_array().unwrap().iter().find(|one| one["dids"][0].is_object()).unwrap();
    let did = holder["dids"][0]["phone_number"].as_str().unwrap();
    for to in [did.to_owned(), format!("+{did}")] {
        let id = reader.sim.receive_call(12345, "14155550177", &to).unwrap();
        assert_eq!(reader.get(&format!("{CALLS}/{id}")).await["to"], holder["extension_number"], "{to}");
        let body = json!({ "to": to }).to_string();
        assert_eq!(reader.sim.control("POST", "/__sim/calls", &body).await.status, 201);
    }
    for nobody in ["+1001", "19995550100", "", "+", "VH1000000"] {
        assert!(reader.sim.receive_call(12345, "14155550177", nobody).is_none(), "{nobody}");
    }
}
