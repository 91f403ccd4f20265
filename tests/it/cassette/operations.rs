//! A session of every operation of the API, recorded and replayed.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};
use vbc_proxy::Simulator;
use vbc_simulator::SimulatorOptions;

use crate::harness::{Client, Response};
use crate::process::{Process, configuration, lay_out};

const COUNT: usize = 49;

/// Members with harmless values, which a replay returns unchanged.
const HARMLESS: [&str; 42] = [
    "account_id",
    "answerTime",
    "call_direction",
    "call_id",
    "calls_count",
    "count",
    "current_page",
    "direction",
    "download_url",
    "duration",
    "end",
    "endTime",
    "end_time",
    "extension",
    "extension_number",
    "file_size_in_bytes",
    "first_page_uri",
    "href",
    "id",
    "in_network",
    "international",
    "job_id",
    "job_ids",
    "leg_id",
    "length",
    "location_id",
    "next_page",
    "next_page_uri",
    "order",
    "page",
    "page_size",
    "pages",
    "previous_page_uri",
    "result",
    "start",
    "startTime",
    "start_time",
    "state",
    "status",
    "total_items",
    "total_page",
    "total_pages",
];

/// Sends requests, and records the responses.
struct Walk<'r> {
    address: SocketAddr,
    /// Places a call from outside, except during a replay.
    ring: &'r dyn Fn(),
    steps: Vec<Step>,
}

struct Step {
    operation: String,
    request: String,
    response: Response,
}

impl Walk<'_> {
    /// Sends a request for an operation. The parameters replace `{}` in its path.
    async fn ask(&mut self, operation: &str, parameters: &[&str], query: &str, body: Option<Value>) -> Value {
        let (method, path) = operation.split_once(' ').unwrap();
        let mut parameters = parameters.iter();
        let filled = path.split("{}").collect::<Vec<_>>();
        let mut target = format!("/t/vbc.prod/{}", filled[0]);
        for part in &filled[1..] {
            target += &format!("{}{part}", parameters.next().unwrap());
        }
        let head = format!("{method} {target}{query} HTTP/1.1");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "\r\nContent-Type: application/json" };
        let mut client = Client::connect(self.address).await;
        client.request(&format!("{head}{kind}"), body.as_bytes()).await;
        let response = client.response_to(method).await;
        assert!((200..300).contains(&response.status), "{head} {body}: {response:?}");
        let value = serde_json::from_slice(&response.body);
        let value = value.unwrap_or_else(|_| json!(String::from_utf8_lossy(&response.body)));
        self.steps.push(Step {
            operation: operation.to_owned(),
            request: format!("{head} {body}"),
            response,
        });
        value
    }

    async fn get(&mut self, path: &str, parameters: &[&str], query: &str) -> Value {
        self.ask(&format!("GET {path}"), parameters, query, None).await
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the id of the account and the id of a user.
async fn provisioning(walk: &mut Walk<'_>) -> (String, String) {
    const BASE: &str = "provisioning/api/accounts/{}";
    let path = |rest: &str| format!("{BASE}{rest}");
    let own = walk.get(BASE, &["self"], "").await;
    let account = text(&own["_embedded"]["data"]["id"]);
    let locations = walk.get(&path("/locations"), &[&account], "").await;
    let location = text(&locations["_embedded"]["data"][0]["id"]);
    walk.get(&path("/locations/{}"), &[&account, &location], "").await;
    walk.get(&path("/extensions"), &[&account], "?page_size=50").await;
    walk.get(&path("/extensions/{}"), &[&account, "1001"], "").await;
    walk.get(&path("/users"), &[&account], "?page=2&page_size=5").await;
    let found = walk.get(&path("/users"), &[&account], "?login_name=alice").await;
    let alice = &found["_embedded"]["data"][0];
    // Uses the value from the response, which is a pseudonym during a replay.
    let email = text(&alice["email"]);
    let same = walk.get(&path("/users"), &[&account], &format!("?email={email}")).await;
    assert_eq!(same["_embedded"]["data"][0], *alice);
    let user = text(&alice["id"]);
    walk.get(&path("/users/{}"), &[&account, &user], "").await;
    (account, user)
}

async fn reports(walk: &mut Walk<'_>, account: &str) {
    let query = "?start:gte=2000-01-01%2000:00:00&start:lte=2100-01-01%2000:00:00&page=1&page_size=50";
    let page = walk.get("reports/accounts/{}/call-logs", &[account], query).await;
    assert_eq!(page["_embedded"]["call_logs"].as_array().unwrap().len(), 50);
}

async fn recording(walk: &mut Walk<'_>, account: &str, user: &str) {
    const COMPANY: &str = "call_recording/api/accounts/{}/company_call_recordings";
    const OWN: &str = "call_recording/api/accounts/{}/users/{}/call_recordings";
    let own = |rest: &str| format!("{OWN}{rest}");
    let all = walk.get(COMPANY, &[account], "?order=start:ASC").await;
    let recordings = all["_embedded"]["recordings"].as_array().unwrap().clone();
    let (first, last) = (&recordings[0], text(&recordings[recordings.len() - 1]["id"]));
    walk.get(&format!("{COMPANY}/{{}}"), &[account, &text(&first["id"])], "").await;
    let users = walk.get("provisioning/api/accounts/{}/users", &[account], "?page_size=100").await;
    let mut theirs = None;
    for one in users["_embedded"]["data"].as_array().unwrap() {
        let id = text(&one["id"]);
        let list = walk.get(OWN, &[account, &id], "").await;
        if let Some(one) = list["_embedded"]["recordings"].get(0) {
            theirs = Some((id, text(&one["id"])));
            break;
        }
    }
    let (other, theirs) = theirs.expect("another user who records on demand");
    walk.get(&own("/{}"), &[account, &other, &theirs], "").await;
    let filter = json!({ "call_id": first["call_id"] });
    let jobs = walk.ask(&format!("POST {COMPANY}/export"), &[account], "", Some(filter)).await;
    walk.ask(&format!("POST {}", own("/export")), &[account, "self"], "", Some(json!({}))).await;
    walk.get(&own("/jobs"), &[account, user], "").await;
    walk.get(&own("/jobs/{}"), &[account, "self", &text(&jobs["job_ids"][0])], "").await;
    walk.ask(&format!("DELETE {COMPANY}/{{}}"), &[account, &last], "", None).await;
    walk.ask(&format!("DELETE {}", own("/{}")), &[account, &other, &theirs], "", None).await;
}

async fn telephony(walk: &mut Walk<'_>, account: &str) {
    const CALLS: &str = "telephony/v3/cc/accounts/{}/calls";
    const CALL: &str = "telephony/v3/cc/accounts/{}/calls/{}";
    const LEG: &str = "telephony/v3/cc/accounts/{}/calls/{}/legs/{}";
    const DEVICES: &str = "telephony/v3/registration/accounts/{}/devices";
    let at = |number: &str| json!({ "type": "extension", "destination": number });
    let to = |to: Value| json!({ "type": "click2dial", "from": at("1001"), "to": to });
    let outside = json!({ "type": "pstn", "destination": "14155550100" });
    let place = format!("POST {CALLS}");
    let call = text(&walk.ask(&place, &[account], "", Some(to(outside))).await);
    walk.get(CALLS, &[account], "?extension=1001").await;
    let legs = walk.get(&format!("{CALL}/legs"), &[account, &call], "").await;
    let leg = first_leg(&legs);
    walk.get(LEG, &[account, &call, &leg], "").await;
    for body in [json!({ "dtmf": "*123#" }), json!({ "state": "held" }), json!({ "state": "active" })] {
        walk.ask(&format!("PUT {LEG}"), &[account, &call, &leg], "", Some(body)).await;
    }
    let body = json!({ "from": at("1001"), "to": at("1002") });
    walk.ask(&format!("PUT {CALL}"), &[account, &call], "", Some(body)).await;
    walk.get(CALL, &[account, &call], "").await;
    walk.ask(&format!("DELETE {CALL}"), &[account, &call], "", None).await;
    let other = text(&walk.ask(&place, &[account], "", Some(to(at("1002")))).await);
    let legs = walk.get(&format!("{CALL}/legs"), &[account, &other], "").await;
    walk.ask(&format!("DELETE {LEG}"), &[account, &other, &first_leg(&legs)], "", None).await;
    let devices = walk.get(DEVICES, &[account], "").await;
    let device = text(&devices["devices"][0]["mac_address"]);
    walk.get(&format!("{DEVICES}/{{}}"), &[account, &device], "").await;
}

fn first_leg(legs: &Value) -> String {
    text(&legs.get("legs").unwrap_or(legs)[0]["leg_id"])
}

async fn platform(walk: &mut Walk<'_>) {
    const SELF: &str = "vis/v1/self";
    let path = |rest: &str| format!("{SELF}{rest}");
    walk.get(SELF, &[], "").await;
    walk.get(&path("/account"), &[], "").await;
    let hook = json!({
        "url": "http://127.0.0.1:9/hook", "events": ["CALL"], "signingAlgo": "HMAC_SHA256",
        "signingKey": "a-signing-key", "metadataPolicy": "HEADER",
    });
    let hook = text(&walk.ask("POST vis/v1/self/webhooks", &[], "", Some(hook)).await["id"]);
    walk.get(&path("/webhooks"), &[], "").await;
    walk.get(&path("/webhooks/{}"), &[&hook], "").await;
    walk.ask("PUT vis/v1/self/webhooks/{}/renew", &[&hook], "", None).await;
    walk.ask("DELETE vis/v1/self/webhooks/{}", &[&hook], "", None).await;
    let number = |number: &str| Some(json!({ "phoneNumber": number }));
    let call = walk.ask("POST vis/v1/self/calls", &[], "", number("14155550100")).await;
    let call = text(&call[0]["id"]);
    walk.get(&path("/calls"), &[], "?direction=OUTBOUND&states=ACTIVE&size=5").await;
    walk.get(&path("/calls/count"), &[], "").await;
    walk.get(&path("/calls/{}"), &[&call], "").await;
    walk.ask("PUT vis/v1/self/calls/{}/hold", &[&call], "", None).await;
    walk.ask("DELETE vis/v1/self/calls/{}/hold", &[&call], "", None).await;
    walk.ask("POST vis/v1/self/calls/{}/transfer", &[&call], "", number("1002")).await;
    for verb in ["answer", "vmtransfer"] {
        (walk.ring)();
        let ringing = walk.get(&path("/calls"), &[], "?states=RINGING").await;
        let id = text(&ringing[0]["id"]);
        walk.ask(&format!("PUT vis/v1/self/calls/{{}}/{verb}"), &[&id], "", None).await;
    }
    let last = walk.ask("POST vis/v1/self/calls", &[], "", number("1003")).await;
    let last = text(&last[0]["id"]);
    walk.ask("DELETE vis/v1/self/calls/{}", &[&last], "", None).await;
    walk.get(&path("/events"), &[], "?order=DESC&size=3").await;
    walk.get(&path("/events/count"), &[], "").await;
    walk.get(&path("/events/{}"), &[&last], "").await;
}

async fn everything(address: SocketAddr, ring: &dyn Fn()) -> Vec<Step> {
    let mut walk = Walk { address, ring, steps: Vec::new() };
    let (account, user) = provisioning(&mut walk).await;
    reports(&mut walk, &account).await;
    recording(&mut walk, &account, &user).await;
    telephony(&mut walk, &account).await;
    platform(&mut walk).await;
    walk.steps
}

/// A text without the origin of links to the API, and without personal data in its query.
fn without_origin(text: &str, address: SocketAddr) -> String {
    let text = text.replace(&format!("http://{address}"), "").replace("http://localhost", "");
    let Some((path, query)) = text.split_once('?') else { return text };
    let is_person = |part: &&str| ["login_name=", "email="].iter().any(|name| part.starts_with(name));
    let left = query.split('&').filter(|part| !is_person(part));
    format!("{path}?{}", left.collect::<Vec<_>>().join("&"))
}

struct Compared {
    live: SocketAddr,
    played: SocketAddr,
    /// The number of values that must be equal.
    equal: usize,
    all: usize,
}

impl Compared {
    /// Asserts that both values have the same shape, and that harmless values are equal.
    fn compare(&mut self, place: &str, member: &str, live: &Value, played: &Value) {
        match (live, played) {
            (Value::Object(one), Value::Object(other)) => {
                assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{place}");
                for (name, value) in one {
                    self.compare(&format!("{place}.{name}"), name, value, &other[name]);
                }
            }
            (Value::Array(one), Value::Array(other)) => {
                assert_eq!(one.len(), other.len(), "{place}");
                for (index, (one, other)) in one.iter().zip(other).enumerate() {
                    self.compare(&format!("{place}[{index}]"), member, one, other);
                }
            }
            _ => {
                let kind = std::mem::discriminant::<Value>;
                assert_eq!(kind(live), kind(played), "{place}: {live} and {played}");
                self.all += 1;
                // The `state` of an address is personal.
                let is_harmless = HARMLESS.contains(&member) && !place.contains(".address.");
                if is_harmless || live.is_boolean() {
                    let (live, played) = (text(live), text(played));
                    let (live, played) =
                        (without_origin(&live, self.live), without_origin(&played, self.played));
                    assert_eq!(live, played, "{place}");
                    self.equal += 1;
                }
            }
        }
    }
}

#[tokio::test]
async fn every_operation_replays_with_its_status_type_and_shape() {
    let options = SimulatorOptions { lag: 0.0, ..SimulatorOptions::default() };
    let simulator = Simulator::bind(options).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token_url = format!("{}/token", simulator.url());
    lay_out(directory.path(), &configuration(&simulator.url(), &token_url, ""), "sim-password");
    let mut serve = Process::start(directory.path(), &["serve", "--record", "session.cassette"], &[]);
    let (address, _) = serve.listening().await;
    let ring = || drop(simulator.receive_call(12345, "14155550177", "1001").expect("an extension"));
    let live = everything(address, &ring).await;
    assert_eq!(serve.terminate().await.code, Some(0));
    let operations: BTreeSet<&str> = live.iter().map(|step| step.operation.as_str()).collect();
    assert_eq!(operations.len(), COUNT, "{operations:#?}");

    let mut replay =
        Process::start(directory.path(), &["replay", "session.cassette", "--listen", "127.0.0.1:0"], &[]);
    let line = replay.line().await;
    let listening = line.strip_prefix("vbc-proxy replay on http://").and_then(|rest| rest.split(' ').next());
    let played_at = listening.unwrap().parse().unwrap();
    let played = everything(played_at, &|| ()).await;
    let ended = replay.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(played.len(), live.len());
    let mut compared = Compared { live: address, played: played_at, equal: 0, all: 0 };
    for (live, played) in live.iter().zip(&played) {
        let request = &live.request;
        assert_eq!(live.response.status, played.response.status, "{request}");
        assert_eq!(live.response.header("content-type"), played.response.header("content-type"), "{request}");
        let json = |step: &Step| serde_json::from_slice::<Value>(&step.response.body);
        match (json(live), json(played)) {
            (Ok(one), Ok(other)) => compared.compare(request, "", &one, &other),
            _ => assert_eq!(live.response.body, played.response.body, "{request}"),
        }
    }
    // Many values of the service are harmless.
    assert!(
        compared.equal > 1000 && compared.equal * 3 > compared.all,
        "{} of {}",
        compared.equal,
        compared.all
    );
}
