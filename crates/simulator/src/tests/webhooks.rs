//! Webhooks, delivered over real sockets.

use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

const VIS: &str = "/t/vbc.prod/vis/v1/self";

/// A received delivery.
struct Delivery {
    /// The head, with header names in lower case.
    head: String,
    body: String,
}

impl Delivery {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    fn event(&self) -> Value {
        serde_json::from_str::<Value>(&self.body).unwrap()["event"].clone()
    }
}

/// Receives deliveries, and gives the scripted responses, such as `500 Oh|content`. After the last
/// one it always responds with 200.
struct Receiver {
    url: String,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
}

impl Receiver {
    async fn new(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, deliveries) = mpsc::unbounded_channel();
        let mut answers: VecDeque<&'static str> = answers.iter().copied().collect();
        tokio::spawn(async move {
            // Keeps the connections that get no response open.
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                let head = loop {
                    let mut buffer = [0; 4096];
                    let n = stream.read(&mut buffer).await.unwrap();
                    bytes.extend_from_slice(&buffer[..n]);
                    if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                        break end;
                    }
                };
                let mut body = bytes.split_off(head + 4);
                let text = String::from_utf8(bytes).unwrap();
                let (first, rest) = text.split_once("\r\n").unwrap();
                let head = format!("{first}\n{}", rest.replace("\r\n", "\n"));
                let lower: String = head
                    .lines()
                    .map(|line| match line.split_once(": ") {
                        Some((name, value)) => format!("{}: {value}\n", name.to_lowercase()),
                        None => format!("{line}\n"),
                    })
                    .collect();
                let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                while body.len() < length {
                    let mut buffer = [0; 4096];
                    let n = stream.read(&mut buffer).await.unwrap();
                    body.extend_from_slice(&buffer[..n]);
                }
                let response = answers.pop_front().unwrap_or("200 OK");
                let (response, content) = response.split_once('|').unwrap_or((response, ""));
                let _ = sender.send(Delivery { head: lower, body: String::from_utf8(body).unwrap() });
                if response == "silence" {
                    silent.push(stream);
                } else {
                    let length = content.len();
                    let response = format!(
                        "HTTP/1.1 {response}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{content}"
                    );
                    stream.write_all(response.as_bytes()).await.unwrap();
                }
            }
        });
        Self { url, deliveries }
    }

    async fn next(&mut self) -> Delivery {
        tokio::time::timeout(Duration::from_secs(20), self.deliveries.recv())
            .await
            .expect("a delivery")
            .unwrap()
    }
}

/// Alice's simulator, in which deliveries have no pauses, and her token.
struct Alice {
    sim: Simulator,
    token: String,
}

impl Alice {
    async fn new() -> Self {
        let sim =
            Simulator::bind(SimulatorOptions { lag: 0.0, ..SimulatorOptions::default() }).await.unwrap();
        let token = sim.log_in().await.text("access_token");
        Self { sim, token }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> TestResponse {
        let bearer = format!("Bearer {}", self.token);
        self.sim.send(method, &format!("{VIS}{path}"), &[("authorization", &bearer)], body).await
    }

    async fn subscribe(&self, url: &str, metadata: &str) -> Value {
        let body = json!({
            "url": url, "events": ["CALL"], "signingAlgo": "HMAC_SHA256", "signingKey": "s3cret",
            "metadataPolicy": metadata,
        });
        let response = self.ask("POST", "/webhooks", &body.to_string()).await;
        assert_eq!(response.status, 201, "{}", response.body);
        response.json()
    }

    async fn place(&self) -> Value {
        self.ask("POST", "/calls", r#"{"phoneNumber":"14155550100"}"#).await.json()[0].clone()
    }

    /// The webhook, once it has made this many attempts.
    async fn after(&self, id: &Value, attempts: u64) -> Value {
        loop {
            let webhook = self.ask("GET", &format!("/webhooks/{}", id.as_str().unwrap()), "").await.json();
            if webhook["statistics"]["totalAttempts"] == attempts {
                return webhook;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// HMAC-SHA256 in hexadecimal, as receivers compute it.
fn hmac(key: &str, text: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.as_bytes());
    vbc_base::secret::hex(aws_lc_rs::hmac::sign(&key, text.as_bytes()).as_ref())
}

#[tokio::test]
async fn every_state_of_a_users_call_is_delivered_and_signed_in_headers() {
    let mut receiver = Receiver::new(&[]).await;
    let alice = Alice::new().await;
    let webhook = alice.subscribe(&receiver.url, "HEADER").await;
    let call = alice.place().await;
    let path = format!("/calls/{}", call["id"]);
    alice.ask("PUT", &format!("{path}/hold"), "").await;
    alice.ask("DELETE", &path, "").await;
    // Nobody is notified of other users' calls.
    alice.sim.receive_call(12345, "14155550177", "1003").unwrap();
    let mut deliveries = std::collections::BTreeSet::new();
    for state in ["RINGING", "ACTIVE", "HELD", "ANSWERED"] {
        let delivery = receiver.next().await;
        assert!(delivery.head.starts_with("POST /hook HTTP/1.1\n"), "{}", delivery.head);
        assert_eq!(delivery.header("content-type"), Some("application/json"));
        let event = delivery.event();
        assert_eq!((&event["state"], &event["externalId"]), (&json!(state), &call["externalId"]));
        assert_eq!((&event["id"], &event["accountId"]), (&json!(call["id"].to_string()), &json!("12345")));
        assert!(event["startTime"].as_str().unwrap().ends_with("+0000"));
        assert_eq!(event.get("endTime").is_some(), state == "ANSWERED");
        // Sorted and compact: the received text is the signed one.
        assert_eq!(delivery.body, format!("{{\"event\":{event}}}"));
        assert_eq!(delivery.header("x-von-signature"), Some(&*hmac("s3cret", &event.to_string())));
        assert_eq!(delivery.header("x-von-webhook-id"), webhook["id"].as_str());
        assert_eq!(delivery.header("x-von-attempt"), Some("1"));
        deliveries.insert(delivery.header("x-von-delivery-id").unwrap().to_owned());
    }
    assert_eq!(deliveries.len(), 4);
    let statistics = alice.after(&webhook["id"], 4).await["statistics"].clone();
    assert_eq!((&statistics["totalSuccesses"], &statistics["failed"]), (&json!(4), &json!(false)));
}

#[tokio::test]
async fn what_is_told_of_a_delivery_may_be_in_the_body_or_nowhere() {
    let (mut body, mut nowhere) = (Receiver::new(&[]).await, Receiver::new(&[]).await);
    let alice = Alice::new().await;
    let webhook = alice.subscribe(&body.url, "BODY").await;
    let plain = json!({ "url": nowhere.url }).to_string();
    assert_eq!(alice.ask("POST", "/webhooks/", &plain).await.status, 201);
    alice.place().await;
    let delivery = body.next().await;
    let sent: Value = serde_json::from_str(&delivery.body).unwrap();
    let metadata = &sent["metadata"];
    assert_eq!(metadata["signature"], hmac("s3cret", &sent["event"].to_string()));
    assert_eq!((&metadata["webhookId"], &metadata["attempt"]), (&webhook["id"], &json!(1)));
    assert!(metadata["deliveryId"].is_string() && !delivery.head.contains("x-von-"));
    let delivery = nowhere.next().await;
    assert!(!delivery.head.contains("x-von-") && !delivery.body.contains("metadata"));
}

#[tokio::test]
async fn a_delivery_is_tried_six_times_before_the_webhook_has_failed() {
    let mut receiver =
        Receiver::new(&["500 Oh", "404 No", "201 Created", "301 Moved", "503 Later", "500 Oh"]).await;
    let alice = Alice::new().await;
    let id = alice.subscribe(&receiver.url, "HEADER").await["id"].clone();
    let call = alice.place().await;
    let mut delivery_id = None;
    for attempt in 1..=6 {
        let delivery = receiver.next().await;
        assert_eq!(delivery.header("x-von-attempt"), Some(&*attempt.to_string()));
        let id = delivery.header("x-von-delivery-id").map(str::to_owned);
        assert_eq!(delivery_id.get_or_insert(id.clone()), &id, "the same delivery");
    }
    let webhook = alice.after(&id, 1).await;
    let statistics = &webhook["statistics"];
    assert_eq!((&statistics["totalFailures"], &statistics["failed"]), (&json!(1), &json!(true)));
    assert_eq!(
        (&webhook["status"], &statistics["lastFailureMessage"]),
        (&json!("ACTIVE"), &json!("the receiver responded with 500")),
        "the documentation shows a failed webhook as active"
    );
    assert_eq!(
        (&statistics["lastHttpErrorCode"], &statistics["lastErrorMessage"]),
        (&json!("500 INTERNAL_SERVER_ERROR"), &json!("500 Oh: [no body]"))
    );
    // Nothing more is delivered until the webhook is renewed.
    alice.ask("DELETE", &format!("/calls/{}", call["id"]), "").await;
    let renewed = alice.ask("PUT", &format!("/webhooks/{}/renew", id.as_str().unwrap()), "").await.json();
    assert_eq!((&renewed["status"], &renewed["statistics"]["failed"]), (&json!("ACTIVE"), &json!(false)));
    assert!(renewed["renewedAt"].is_string() && renewed["renewedBy"] == renewed["renewedAt"]);
    assert_eq!(
        renewed["statistics"]["lastErrorMessage"], "500 Oh: [no body]",
        "the earlier error is still shown"
    );
    alice.place().await;
    let delivery = receiver.next().await;
    assert_eq!(
        (&delivery.event()["state"], delivery.header("x-von-attempt")),
        (&json!("RINGING"), Some("1"))
    );
}

#[tokio::test]
async fn another_try_comes_when_the_simulators_clock_is_there() {
    let mut receiver = Receiver::new(&["503 Later", "503 Later"]).await;
    // At VBC's pace, ten seconds pass between two attempts.
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let alice = Alice { sim, token };
    alice.subscribe(&receiver.url, "HEADER").await;
    let start = std::time::Instant::now();
    alice.place().await;
    for attempt in ["1", "2", "3"] {
        let delivery = loop {
            tokio::select! {
                biased;
                delivery = receiver.next() => break delivery,
                () = tokio::task::yield_now() => alice.sim.advance_clock(Duration::from_secs(10)),
            }
        };
        assert_eq!(delivery.header("x-von-attempt"), Some(attempt));
    }
    assert!(start.elapsed() < Duration::from_secs(9), "the pauses took real time: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_receiver_has_two_seconds_to_answer() {
    let mut receiver = Receiver::new(&["silence"]).await;
    let alice = Alice::new().await;
    let id = alice.subscribe(&receiver.url, "HEADER").await["id"].clone();
    let start = std::time::Instant::now();
    alice.place().await;
    receiver.next().await;
    assert_eq!(receiver.next().await.header("x-von-attempt"), Some("2"));
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(alice.after(&id, 2).await["statistics"]["totalSuccesses"], 2);
}

#[tokio::test]
async fn redirects_are_followed_and_nobody_else_is_called() {
    let mut receiver =
        Receiver::new(&["307 Again\r\nLocation: /there?a=b", "302 Look\r\nLocation: /seen"]).await;
    let alice = Alice::new().await;
    let id = alice.subscribe(&receiver.url, "NONE").await["id"].clone();
    alice.sim.receive_call(12345, "14155550177", "1001").unwrap();
    assert!(receiver.next().await.head.starts_with("POST /hook "));
    let again = receiver.next().await;
    assert!(again.head.starts_with("POST /there?a=b ") && again.body.contains("RINGING"));
    let look = receiver.next().await;
    assert!(look.head.starts_with("GET /seen ") && look.body.is_empty());
    assert_eq!(alice.after(&id, 1).await["statistics"]["totalSuccesses"], 1);
    // A host that is not this machine is never called, not even by a redirect.
    let lured = Receiver::new(&["307 Away\r\nLocation: http://192.0.2.1:9/hook"]).await;
    let lured = alice.subscribe(&lured.url, "NONE").await["id"].clone();
    alice.place().await;
    let reason = alice.after(&lured, 1).await["statistics"]["lastFailureMessage"].to_string();
    assert!(reason.contains("192.0.2.1 is not this machine"), "{reason}");
    // Registering a forbidden target is no error.
    let away = alice.subscribe("http://192.0.2.1:9/hook", "NONE").await["id"].clone();
    alice.place().await;
    let webhook = alice.after(&away, 1).await;
    let reason = webhook["statistics"]["lastFailureMessage"].as_str().unwrap();
    assert!(reason.starts_with("192.0.2.1 is not this machine"), "{reason}");
    // The control port is on this machine and trusts local requests.
    let port = alice.sim.control_address().port();
    let control =
        alice.subscribe(&format!("http://localhost:{port}/__sim/reset"), "NONE").await["id"].clone();
    alice.place().await;
    let reason = alice.after(&control, 1).await["statistics"]["lastFailureMessage"].to_string();
    assert!(reason.contains("this simulator's own control port"), "{reason}");
}

#[tokio::test]
async fn webhooks_are_listed_removed_and_expire_after_ten_days() {
    let mut receiver = Receiver::new(&[]).await;
    let alice = Alice::new().await;
    let webhook = alice.subscribe(&receiver.url, "NONE").await;
    assert_eq!((&webhook["signingKey"], &webhook["signingAlgo"]), (&json!("s3cret"), &json!("HMAC_SHA256")));
    let path = format!("/webhooks/{}", webhook["id"].as_str().unwrap());
    assert_eq!(alice.ask("GET", "/webhooks", "").await.json(), json!([webhook]));
    let erin = alice.sim.password("erin@vbc.prod", "erin-password").await.text("access_token");
    let erin = Alice { token: erin, sim: alice.sim };
    assert_eq!(erin.ask("GET", "/webhooks", "").await.json(), json!([]), "her own");
    assert_eq!(erin.ask("DELETE", &path, "").await.status, 400);
    let mut alice = Alice { sim: erin.sim, ..alice };
    for (body, field) in [
        (json!({}), "url"),
        (json!({ "url": "ftp://a.test" }), "url"),
        (json!({ "url": "http://a.test", "events": ["SMS"] }), "events"),
        (json!({ "url": "http://a.test", "metadataPolicy": "ALL" }), "metadataPolicy"),
        (json!({ "url": "http://a.test", "signingAlgo": "MD5" }), "signingAlgo"),
    ] {
        let refused = alice.ask("POST", "/webhooks", &body.to_string()).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["errors"][0]["field"]), (422, &json!(field)));
    }
    let call = alice.place().await;
    assert_eq!(receiver.next().await.event()["state"], "RINGING");
    assert_eq!(receiver.next().await.event()["state"], "ACTIVE");
    alice.sim.advance(Duration::from_secs(10 * 86_400));
    alice.token = alice.sim.log_in().await.text("access_token");
    let expired = alice.ask("GET", &path, "").await.json();
    assert_eq!(expired["status"], "PAUSED");
    alice.ask("PUT", &format!("/calls/{}/hold", call["id"]), "").await;
    assert_eq!(alice.ask("PUT", &format!("{path}/renew"), "").await.json()["status"], "ACTIVE");
    alice.ask("DELETE", &format!("/calls/{}", call["id"]), "").await;
    assert_eq!(
        receiver.next().await.event()["state"],
        "ANSWERED",
        "HELD was not delivered, because the webhook had expired"
    );
    assert_eq!(alice.ask("DELETE", &path, "").await.status, 204);
    assert_eq!(alice.ask("GET", &path, "").await.status, 400);
}

#[tokio::test]
async fn what_time_ends_is_delivered_when_it_ends() {
    let mut receiver = Receiver::new(&[]).await;
    let options = SimulatorOptions { ringing: Duration::from_millis(20), ..SimulatorOptions::default() };
    let sim = Simulator::bind(options).await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let alice = Alice { sim, token };
    alice.subscribe(&receiver.url, "NONE").await;
    alice.place().await;
    assert_eq!(receiver.next().await.event()["state"], "RINGING");
    assert_eq!(receiver.next().await.event()["state"], "ACTIVE", "the change is delivered without a request");
    alice.sim.receive_call(12345, "14155550177", "1001").unwrap();
    assert_eq!(receiver.next().await.event()["state"], "RINGING");
    let advance = json!({ "fault": "clock_advance", "seconds": 30 });
    alice.sim.fault(advance).await;
    assert_eq!(receiver.next().await.event()["state"], "MISSED");
}

#[tokio::test]
async fn the_pause_before_another_try_passes_by_the_simulators_clock() {
    let mut receiver = Receiver::new(&["503 Later", "503 Later"]).await;
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let alice = Alice { sim, token };
    alice.subscribe(&receiver.url, "HEADER").await;
    alice.sim.receive_call(12345, "14155550177", "1001").unwrap();
    let start = std::time::Instant::now();
    assert_eq!(receiver.next().await.header("x-von-attempt"), Some("1"));
    // Moves the clock with the simulator, then with a clone of its clock. Attempt 1 may still be in
    // progress, so the clock moves until the next attempt arrives.
    let next = async |receiver: &mut Receiver, advance: &dyn Fn()| {
        loop {
            advance();
            if let Ok(delivery) = receiver.deliveries.try_recv() {
                return delivery;
            }
            // Any request starts the deliveries that are due.
            alice.ask("GET", "/webhooks", "").await;
        }
    };
    let second = next(&mut receiver, &|| alice.sim.advance(Duration::from_secs(10))).await;
    assert_eq!(second.header("x-von-attempt"), Some("2"));
    let clock = alice.sim.service().clock().clone();
    let third = next(&mut receiver, &|| clock.shift(jiff::SignedDuration::from_secs(10))).await;
    assert_eq!(third.header("x-von-attempt"), Some("3"));
    assert!(start.elapsed() < Duration::from_secs(10), "the pauses took no real time");
}

#[tokio::test]
async fn the_statistics_have_the_status_and_the_beginning_of_the_answer() {
    let long: &'static str = format!("500 INTERNAL SERVER ERROR|{}", "<p>wrong</p>".repeat(50)).leak();
    let receiver = Receiver::new(&[long; 6]).await;
    let alice = Alice::new().await;
    let id = alice.subscribe(&receiver.url, "NONE").await["id"].clone();
    alice.place().await;
    let statistics = alice.after(&id, 1).await["statistics"].clone();
    assert_eq!(statistics["lastHttpErrorCode"], "500 INTERNAL_SERVER_ERROR");
    let message = statistics["lastErrorMessage"].as_str().unwrap();
    let beginning = &"<p>wrong</p>".repeat(50)[..200];
    assert_eq!(message, format!("500 INTERNAL SERVER ERROR: [{beginning}... (600 bytes)]"));
    // An unreachable receiver has no status.
    let nobody = alice.subscribe("http://192.0.2.1:9/hook", "NONE").await["id"].clone();
    alice.place().await;
    let statistics = alice.after(&nobody, 1).await["statistics"].clone();
    assert!(statistics["lastErrorMessage"].as_str().unwrap().contains("not this machine"));
    assert!(statistics.get("lastHttpErrorCode").is_none());
}
