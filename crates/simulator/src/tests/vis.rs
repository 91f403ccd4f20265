//! The Integration Platform's calls and events.

use super::*;

const VIS: &str = "/t/vbc.prod/vis/v1/self";

struct Person<'a> {
    sim: &'a Simulator,
    bearer: String,
}

impl<'a> Person<'a> {
    async fn new(sim: &'a Simulator, name: &str) -> Self {
        let password = if name == "alice" { "sim-password".to_owned() } else { format!("{name}-password") };
        let token = sim.password(&format!("{name}@vbc.prod"), &password).await.text("access_token");
        Self { sim, bearer: format!("Bearer {token}") }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> TestResponse {
        self.sim.send(method, &format!("{VIS}{path}"), &[("authorization", &self.bearer)], body).await
    }

    async fn ok(&self, method: &str, path: &str, body: &str) -> Value {
        let response = self.ask(method, path, body).await;
        assert!(response.status.is_success(), "{method} {path}: {} {}", response.status, response.body);
        response.json()
    }

    async fn place(&self, number: &str) -> Value {
        let response = self.ask("POST", "/calls", &json!({ "phoneNumber": number }).to_string()).await;
        assert_eq!(response.status, 201, "{}", response.body);
        response.json()[0].clone()
    }
}

#[tokio::test]
async fn a_call_is_placed_held_and_ended() {
    let sim = Simulator::start().await.unwrap();
    let alice = Person::new(&sim, "alice").await;
    let call = alice.place("+14155550100").await;
    assert_eq!((&call["state"], &call["direction"]), (&json!("ACTIVE"), &json!("OUTBOUND")));
    assert_eq!((&call["phoneNumber"], &call["duration"]), (&json!("14155550100"), &json!(0)));
    assert!(call.get("endTime").is_none() && call["answerTime"].is_string());
    assert_eq!(sim.stats().calls_placed, 1);
    let path = format!("/calls/{}", call["id"]);
    assert_eq!(alice.ok("GET", &path, "").await, json!([call]));
    assert_eq!(alice.ok("PUT", &format!("{path}/hold"), "").await["state"], "HELD");
    assert_eq!(alice.ask("PUT", &format!("{path}/hold"), "").await.status, 400);
    assert_eq!(alice.ok("GET", "/calls", "").await[0]["state"], "HELD", "a held call is active");
    assert_eq!(alice.ok("GET", "/calls/count?states=HELD", "").await["count"], 1);
    assert_eq!(
        alice.ok("GET", "/calls/count", "").await["count"],
        0,
        "without `states`, only the state ACTIVE counts"
    );
    assert_eq!(alice.ok("DELETE", &format!("{path}/hold"), "").await["state"], "ACTIVE");
    sim.advance(Duration::from_secs(65));
    let ended = alice.ok("DELETE", &path, "").await;
    assert_eq!(ended[0]["state"], "ANSWERED");
    assert!(ended[0]["duration"].as_u64().unwrap() >= 65_000 && ended[0]["endTime"].is_string());
    let gone = alice.ask("DELETE", &path, "").await;
    assert_eq!((gone.status.as_u16(), gone.text("errorMessage").as_str()), (400, "Call not found"));
    assert_eq!(alice.ok("GET", &format!("/events/{}", call["id"]), "").await, ended);
}

#[tokio::test]
async fn a_call_from_outside_rings_until_somebody_does_something() {
    let sim = Simulator::start().await.unwrap();
    let alice = Person::new(&sim, "alice").await;
    let ring = async || {
        sim.receive_call(12345, "14155550177", "1001").unwrap();
        let ringing = alice.ok("GET", "/calls?states=RINGING", "").await;
        assert_eq!((&ringing[0]["direction"], ringing.as_array().unwrap().len()), (&json!("INBOUND"), 1));
        format!("/calls/{}", ringing[0]["id"])
    };
    let called = sim.control("POST", "/__sim/calls", r#"{"to":"1002"}"#).await;
    assert!(called.status == 201 && uuid::Uuid::parse_str(&called.text("call_id")).is_ok());
    for bad in ["{}", r#"{"to":"77"}"#, r#"{"to":"1001","account":1}"#, "?"] {
        assert_eq!(sim.control("POST", "/__sim/calls", bad).await.status, 400, "{bad}");
    }
    let answered = ring().await;
    assert_eq!(alice.ok("PUT", &format!("{answered}/answer"), "").await["state"], "ACTIVE");
    assert_eq!(alice.ask("PUT", &format!("{answered}/answer"), "").await.status, 400);
    alice.ok("DELETE", &answered, "").await;
    let rejected = ring().await;
    assert_eq!(alice.ok("PUT", &format!("{rejected}/vmtransfer"), "").await["state"], "REJECTED");
    let missed = ring().await;
    sim.advance(Duration::from_secs(29));
    assert_eq!(alice.ok("GET", &missed, "").await[0]["state"], "RINGING");
    sim.advance(Duration::from_secs(2));
    assert_eq!(alice.ask("GET", &missed, "").await.status, 400, "the call has ended");
    for (state, count) in [("ANSWERED,REJECTED,MISSED", 3), ("MISSED", 1), ("CANCELLED", 0)] {
        let path = format!("/events/count?states={state}&fromDate={}", midnight(&sim));
        assert_eq!(alice.ok("GET", &path, "").await["count"], count, "{state}");
    }
}

fn midnight(sim: &Simulator) -> i64 {
    let now = sim.service().clock().now().as_second();
    // Returns ten minutes before midnight. All calls of the seeded past start earlier.
    (now.div_euclid(86_400) * 86_400 - 600) * 1_000
}

#[tokio::test]
async fn a_colleague_takes_over_a_call() {
    let sim = Simulator::start().await.unwrap();
    let (alice, erin) = (Person::new(&sim, "alice").await, Person::new(&sim, "erin").await);
    let call = alice.place("14155550100").await;
    let path = format!("/calls/{}", call["id"]);
    let erins = erin.ok("GET", "", "").await["id"].clone();
    let token = erin.bearer.strip_prefix("Bearer ").unwrap();
    let _ = sim.get(ACCOUNT, token).await;
    let users =
        sim.get(&format!("{ACCOUNT}/users/{erins}"), alice.bearer.strip_prefix("Bearer ").unwrap()).await;
    let extension = users.json()["_embedded"]["data"]["extensions"][0]["extension_number"].clone();
    for bad in ["{}", "[]", r#"{"phoneNumber":"home"}"#] {
        let refused = alice.ask("POST", &format!("{path}/transfer"), bad).await;
        assert!(matches!(refused.status.as_u16(), 400 | 422), "{bad}");
    }
    let body = json!({ "phoneNumber": extension }).to_string();
    assert_eq!(alice.ok("POST", &format!("{path}/transfer"), &body).await["state"], "ANSWERED");
    let taken = erin.ok("GET", "/calls", "").await;
    assert_eq!(
        (&taken[0]["phoneNumber"], &taken[0]["externalId"]),
        (&json!("14155550100"), &call["externalId"])
    );
    assert_eq!(alice.ok("GET", "/calls", "").await, json!([]));
    assert_eq!(alice.ask("PUT", &format!("{path}/hold"), "").await.status, 400, "the call is no longer hers");
}

#[tokio::test]
async fn both_ends_of_a_call_inside_have_their_own_view() {
    let sim = Simulator::start().await.unwrap();
    let (alice, erin) = (Person::new(&sim, "alice").await, Person::new(&sim, "erin").await);
    let mine = alice.place("1002").await;
    let theirs = erin.ok("GET", "/calls", "").await[0].clone();
    assert_eq!((&theirs["direction"], &theirs["phoneNumber"]), (&json!("INBOUND"), &json!("1001")));
    assert_eq!(theirs["externalId"], mine["externalId"]);
    erin.ok("PUT", &format!("/calls/{}/hold", theirs["id"]), "").await;
    assert_eq!(alice.ok("GET", &format!("/calls/{}", mine["id"]), "").await[0]["state"], "REMOTE_HELD");
}

#[tokio::test]
async fn events_are_filtered_sorted_and_paged() {
    let sim = Simulator::start().await.unwrap();
    let alice = Person::new(&sim, "alice").await;
    let count = alice.ok("GET", "/events/count", "").await["count"].as_u64().unwrap();
    let all = alice.ok("GET", "/events?size=1000", "").await;
    let all = all.as_array().unwrap();
    assert!(count >= 2 && all.len() as u64 == count);
    assert!(all.is_sorted_by(|one, two| one["startTime"].as_str() <= two["startTime"].as_str()));
    let longest = alice.ok("GET", "/events?sort=duration&order=DESC&size=1", "").await;
    let duration = |event: &Value| event["duration"].as_u64().unwrap();
    assert_eq!(Some(duration(&longest[0])), all.iter().map(duration).max());
    let second = alice.ok("GET", "/events?size=1&offset=1", "").await;
    assert_eq!(second[0], all[1]);
    for (query, field) in
        [("states=TALKING", "states"), ("types=SMS", "types"), ("sort=size", "sort"), ("toDate=x", "toDate")]
    {
        let refused = alice.ask("GET", &format!("/events?{query}"), "").await;
        assert_eq!((refused.status.as_u16(), &refused.json()["errors"][0]["field"]), (400, &json!(field)));
    }
    let active = alice.ask("GET", "/calls?states=MISSED", "").await;
    assert_eq!(active.status, 400, "MISSED is no state of an active call");
    assert_eq!(alice.ask("GET", "/events/0", "").await.status, 400);
}

#[tokio::test]
async fn a_call_may_ring_before_somebody_picks_up() {
    let options = SimulatorOptions { ringing: Duration::from_secs(8), ..SimulatorOptions::default() };
    let sim = Simulator::bind(options).await.unwrap();
    let alice = Person::new(&sim, "alice").await;
    let call = alice.place("14155550100").await;
    assert_eq!(call["state"], "RINGING");
    let path = format!("/calls/{}", call["id"]);
    assert_eq!(alice.ask("PUT", &format!("{path}/answer"), "").await.status, 400, "the caller cannot answer");
    sim.advance(Duration::from_secs(8));
    assert_eq!(alice.ok("GET", &path, "").await[0]["state"], "ACTIVE");
    let other = alice.place("14155550101").await;
    let cancelled = alice.ok("DELETE", &format!("/calls/{}", other["id"]), "").await;
    assert_eq!((&cancelled[0]["state"], &cancelled[0]["duration"]), (&json!("CANCELLED"), &json!(0)));
}
