//! Legs, transfers and devices.

use super::*;

struct Line {
    sim: Simulator,
    bearer: String,
}

impl Line {
    async fn new() -> Self {
        let sim = Simulator::start().await.unwrap();
        let bearer = format!("Bearer {}", sim.log_in().await.text("access_token"));
        Self { sim, bearer }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> TestResponse {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.sim.send(method, path, &[("authorization", &self.bearer)], &body).await
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.ask("GET", path, &Value::Null).await;
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        response.json()
    }

    /// Places a call; returns the paths of the call and its legs.
    async fn dial(&self, from: &str, to: &str) -> (String, Vec<String>) {
        let end = |number: &str| json!({ "type": "extension", "destination": number });
        let body = json!({ "type": "click2dial", "from": end(from), "to": end(to) });
        let call = format!("{CALLS}/{}", self.ask("POST", CALLS, &body).await.body);
        let legs = self.legs(&call).await;
        (call, legs)
    }

    async fn legs(&self, call: &str) -> Vec<String> {
        let legs = self.get(&format!("{call}/legs")).await;
        let ids = legs.as_array().unwrap().iter().map(|leg| leg["leg_id"].as_str().unwrap());
        ids.map(|id| format!("{call}/legs/{id}")).collect()
    }
}

#[tokio::test]
async fn a_leg_is_dialled_into_and_played_to() {
    let line = Line::new().await;
    let (_, legs) = line.dial("1001", "1002").await;
    for (body, status) in [
        (json!({ "dtmf": "*123#" }), 200),
        (json!({ "dtmf": "hello" }), 400),
        (json!({ "dtmf": 5 }), 400),
        (json!({ "stream": true, "stream_url": "http://media.test/a.wav" }), 200),
        (json!({ "stream": true }), 400),
        (json!({ "stream": "yes" }), 400),
        (json!({ "stream": false }), 200),
        (json!({ "state": "parked" }), 400),
        (json!({ "state": "held" }), 200),
        (json!({ "state": "held", "to": { "type": "extension", "destination": "1003" } }), 400),
        (json!({ "to": { "type": "extension", "destination": "77" } }), 400),
        (json!([]), 400),
    ] {
        assert_eq!(line.ask("PUT", &legs[0], &body).await.status, status, "{body}");
    }
    let held = line.get(&legs[0]).await;
    assert_eq!((&held["status"], &held["direction"]), (&json!("on-call"), &json!("inbound")));
    assert_eq!(line.ask("PUT", &legs[0], &json!({ "state": "active" })).await.json()["call_state"], "active");
    assert_eq!(line.ask("GET", &format!("{}x", legs[0]), &Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_blind_transfer_puts_somebody_else_in_place_of_a_leg() {
    let line = Line::new().await;
    let (call, legs) = line.dial("1001", "1002").await;
    let to = json!({ "state": "active", "to": { "type": "extension", "destination": "1003" } });
    let moved = line.ask("PUT", &legs[1], &to).await.json();
    assert_eq!((&moved["destination"], &moved["call_state"]), (&json!("1003"), &json!("ended")));
    let now = line.get(&call).await;
    assert_eq!((&now["status"], &now["to"]), (&json!("on-call"), &json!("1003")));
    let of = |member: &str| {
        now["legs"].as_array().unwrap().iter().map(|leg| leg[member].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("status"), ["on-call"; 3]);
    let ends: Vec<bool> = of("end_time").iter().map(Value::is_string).collect();
    assert_eq!(ends, [false, true, false], "only the leg that left has an end");
    assert_eq!(of("to"), ["1003", "1002", "1003"], "the leg that left keeps its party");
    assert_eq!(line.get(&format!("{CALLS}?extension=1003")).await["calls"][0]["call_id"], now["call_id"]);
    // The destination is the same whichever end leaves.
    let to = json!({ "to": { "type": "extension", "destination": "1004" } });
    assert_eq!(line.ask("PUT", &legs[0], &to).await.json()["destination"], "1004");
    let both =
        json!({ "from": { "type": "extension", "destination": "1004" }, "to": { "destination": "1005" } });
    assert_eq!(line.ask("PUT", &call, &both).await.json()["destination"], "1005");
}

#[tokio::test]
async fn an_attended_transfer_joins_the_other_end_of_another_call() {
    let line = Line::new().await;
    let (first, legs) = line.dial("1001", "1002").await;
    let (_, others) = line.dial("1001", "1004").await;
    let id = others[0].rsplit('/').next().unwrap();
    let to = json!({ "state": "active", "to": { "type": "leg", "destination": id } });
    assert_eq!(line.ask("PUT", &legs[0], &to).await.status, 200);
    let joined = line.get(&first).await;
    assert_eq!((&joined["from"], &joined["to"]), (&json!("1004"), &json!("1002")));
    let nowhere = json!({ "to": { "type": "leg", "destination": "nobody" } });
    assert_eq!(line.ask("PUT", &others[0], &nowhere).await.status, 404);
}

#[tokio::test]
async fn a_device_can_call_and_bad_contacts_are_named() {
    let line = Line::new().await;
    let devices = "/t/vbc.prod/telephony/v3/registration/accounts/12345/devices";
    let mac = line.get(devices).await["devices"][0]["mac_address"].clone();
    let body = |kind: &str, destination: &Value| {
        let from = json!({ "type": kind, "destination": destination });
        json!({ "type": "click2dialme", "from": from, "to": { "type": "pstn", "destination": "14155550100" } })
    };
    assert_eq!(line.ask("POST", CALLS, &body("device", &mac)).await.status, 200);
    for (kind, words) in
        [("device", "not a device"), ("fax", "must be one of"), ("extension", "not an extension")]
    {
        let refused = line.ask("POST", CALLS, &body(kind, &json!("00"))).await;
        assert!(refused.status == 400 && refused.body.contains(words), "{}", refused.body);
    }
    assert_eq!(line.sim.stats().calls_placed, 1);
    let old = line.get(&format!("{devices}?end_time=1000")).await;
    assert_eq!(old["devices"], json!([]));
    let first = line.get(&format!("{devices}?order=asc&page_size=1")).await;
    assert_eq!(first["next_page_uri"], "/registration/accounts/12345/devices?order=asc&page=2&page_size=1");
    let spelt = mac.as_str().unwrap().to_lowercase();
    let spelt = format!("{}:{}", &spelt[..6], &spelt[6..]);
    assert_eq!(line.get(&format!("{devices}/{spelt}")).await["mac_address"], mac);
}

#[tokio::test]
async fn who_takes_plain_text_only_gets_json_that_is_said_to_be_that() {
    let line = Line::new().await;
    for (accept, content_type) in
        [("text/plain", "text/plain"), ("application/json", "application/json"), ("*/*", "application/json")]
    {
        let headers = [("authorization", line.bearer.as_str()), ("accept", accept)];
        let response = line.sim.send("GET", CALLS, &headers, "").await;
        assert_eq!(response.header("content-type"), Some(content_type));
        assert!(response.json()["calls"].is_array());
    }
}

#[tokio::test]
async fn a_call_that_rings_can_be_answered_but_not_held() {
    let sim = Simulator::start().await.unwrap();
    let bearer = format!("Bearer {}", sim.log_in().await.text("access_token"));
    let line = Line { sim, bearer };
    let call = line.sim.receive_call(12345, "14155550100", "1001").unwrap();
    assert!(line.sim.receive_call(12345, "14155550100", "77").is_none());
    let call = format!("{CALLS}/{call}");
    let legs = line.legs(&call).await;
    assert_eq!(line.get(&call).await["status"], "ringing");
    assert_eq!(line.ask("PUT", &legs[1], &json!({ "state": "held" })).await.status, 409);
    assert_eq!(line.ask("PUT", &legs[1], &json!({ "state": "active" })).await.status, 200);
    assert_eq!(line.get(&call).await["status"], "on-call");
    assert_eq!(line.ask("DELETE", &legs[1], &Value::Null).await.status, 204);
    let ended = line.get(&call).await;
    assert!(ended["status"] == "on-call" && ended["end_time"].is_string(), "{ended}");
    assert_eq!(line.get(CALLS).await["calls"], json!([]), "an answered call that has ended is not active");
    let missed = line.sim.receive_call(12345, "14155550100", "1001").unwrap();
    line.sim.advance(Duration::from_secs(31));
    let listed = line.get(CALLS).await["calls"][0].clone();
    assert_eq!((&listed["call_id"], &listed["status"]), (&json!(missed), &json!("unanswered")));
    line.sim.advance(Duration::from_secs(60));
    assert_eq!(line.get(CALLS).await["calls"], json!([]), "an unanswered call is listed for a minute only");
}
