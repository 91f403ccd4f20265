//! Consistency of the suites after random operations on random worlds.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::random::Random;

const VIS: &str = "/t/vbc.prod/vis/v1/self";
const CALLS: &str = "/t/vbc.prod/telephony/v3/cc/accounts/self/calls";
const PEOPLE: &str = "/t/vbc.prod/provisioning/api/accounts/self";
const RECORDINGS: &str = "/t/vbc.prod/call_recording/api/accounts/self";
const LOGS: &str = "/t/vbc.prod/reports/accounts/self/call-logs?page_size=10000\
                    &start:gte=2000-01-01%2000:00:00&start:lte=9999-12-31%2023:59:59";
const SEEDS: u64 = 8;
const OPERATIONS: u64 = 25;

/// A service with a small account, and a logged-in user of the account.
struct Play {
    service: Service,
    random: Random,
    bearer: String,
    /// The operations so far, printed on failure.
    done: Vec<String>,
}

impl Play {
    async fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let options = SimulatorOptions {
            seed,
            token_format: TokenFormat::Uuid,
            lag: [0.0, 0.1, 1.0][random.below(3) as usize],
            ringing: Duration::from_secs(random.below(2) * 10),
            ..SimulatorOptions::default()
        };
        let service = Service::new(options);
        let login = "grant_type=password&scope=openid&username=carol@vbc.prod&password=carol-password\
                     &client_id=sim-client&client_secret=sim-secret";
        let request = http::Request::post("/token").header(FORM.0, FORM.1).body(Bytes::from(login)).unwrap();
        let token: Value = serde_json::from_slice(service.respond(request).await.unwrap().body()).unwrap();
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        Self { service, random, bearer, done: Vec::new() }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = http::Request::builder().method(method).uri(path).header("authorization", &self.bearer);
        let response =
            self.service.respond(request.body(Bytes::from(body.to_owned())).unwrap()).await.unwrap();
        let shown = serde_json::from_slice(response.body());
        let text = || json!(String::from_utf8_lossy(response.body()));
        (response.status().as_u16(), shown.unwrap_or_else(|_| text()))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, shown) = self.ask("GET", path, "").await;
        assert_eq!(status, 200, "{path}: {shown} after {:?}", self.done);
        shown
    }

    /// The members of a list that fits one page.
    async fn list(&self, path: &str, name: &str) -> Vec<Value> {
        let page = self.get(path).await;
        let list = page["_embedded"][name].as_array().unwrap().clone();
        assert_eq!(page["total_items"], list.len(), "{path}");
        list
    }

    async fn calls(&self) -> Vec<Value> {
        let path = format!("{CALLS}?start_time=0&page_size=10000");
        self.get(&path).await["calls"].as_array().unwrap().clone()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.random.below(from.len() as u64) as usize)
    }

    fn number(&mut self) -> String {
        let known = ["1001", "1002", "1003", "1007", "14155550100", "12015550100"];
        (*self.pick(&known).unwrap()).to_owned()
    }

    /// Tries a random operation. The service may reject it.
    async fn operate(&mut self) {
        let under_way: Vec<Value> =
            self.calls().await.into_iter().filter(|call| call.get("end_time").is_none()).collect();
        let call = self.pick(&under_way).cloned().unwrap_or_default();
        let path = format!("{CALLS}/{}", call["call_id"].as_str().unwrap_or("none"));
        let legs = call["legs"].as_array().cloned().unwrap_or_default();
        let leg = self.pick(&legs).map_or("none", |leg| leg["leg_id"].as_str().unwrap()).to_owned();
        let leg = format!("{path}/legs/{leg}");
        let other = self.pick(&under_way).map_or(Value::Null, |call| call["legs"][0]["leg_id"].clone());
        let own = self.get(&format!("{VIS}/calls")).await;
        let own = self.pick(own.as_array().unwrap()).map_or_else(String::new, |own| own["id"].to_string());
        let own = format!("{VIS}/calls/{own}");
        let (from, to) = (self.number(), self.number());
        let end = |number: &str| {
            let kind = if number.len() == 4 { "extension" } else { "pstn" };
            json!({ "type": kind, "destination": number })
        };
        let contact = json!({ "to": end(&to) }).to_string();
        let (method, path, body) = match self.random.below(if under_way.is_empty() { 4 } else { 20 }) {
            0 => (
                "POST",
                CALLS.to_owned(),
                json!({ "type": "default", "from": end(&from), "to": end(&to) }).to_string(),
            ),
            1 => ("POST", format!("{VIS}/calls"), json!({ "phoneNumber": to }).to_string()),
            2 | 3 => {
                let done = self.service.receive_call(34567, "12025550100", &to).is_some();
                return self.done.push(format!("call {to} {done}"));
            }
            4 => ("PUT", leg, json!({ "state": "held" }).to_string()),
            5 | 6 => ("PUT", leg, json!({ "state": "active" }).to_string()),
            7 => ("PUT", leg, contact),
            8 => ("PUT", leg, json!({ "recording": "start", "service": "ccr" }).to_string()),
            9 => ("PUT", leg, json!({ "recording": "start", "service": "ocr" }).to_string()),
            10 => ("PUT", path, json!({ "state": "parked" }).to_string()),
            11 => ("DELETE", path, String::new()),
            12 => ("DELETE", leg, String::new()),
            13 => ("DELETE", own, String::new()),
            14 => ("PUT", format!("{own}/vmtransfer"), String::new()),
            15 => ("POST", format!("{own}/transfer"), json!({ "phoneNumber": to }).to_string()),
            16 => return self.delete_a_recording().await,
            17 => ("PUT", leg, json!({ "to": { "type": "leg", "destination": other } }).to_string()),
            18 => ("POST", format!("{RECORDINGS}/company_call_recordings/export"), "{}".to_owned()),
            _ => {
                let seconds = [1, 15, 70, 900][self.random.below(4) as usize];
                self.service.advance(Duration::from_secs(seconds));
                return self.done.push(format!("{seconds} s"));
            }
        };
        let (status, said) = self.ask(method, &path, &body).await;
        assert!(status < 500, "{method} {path}: {status} {said}");
        self.done.push(format!("{method} {path} {body} {status}"));
    }

    async fn delete_a_recording(&mut self) {
        let all =
            self.list(&format!("{RECORDINGS}/company_call_recordings?page_size=10000"), "recordings").await;
        let Some(one) = self.pick(&all) else { return self.done.push("nothing to delete".to_owned()) };
        let path = format!("{RECORDINGS}/company_call_recordings/{}", one["id"]);
        assert_eq!(self.ask("DELETE", &path, "").await.0, 204);
        self.done.push(format!("DELETE {path}"));
    }

    /// Compares all suites.
    async fn check(&self) {
        let people = self.check_people().await;
        let calls: BTreeMap<String, Value> =
            self.calls().await.into_iter().map(|call| (text(&call, "call_id"), call)).collect();
        self.check_telephony(&calls).await;
        let recordings = self.check_recordings(&calls, &people).await;
        self.check_reports(&calls, &people, &recordings).await;
        self.check_platform(&calls, &people).await;
        self.check_jobs().await;
    }

    /// Extensions by number. Checks that users and extensions refer to each other.
    async fn check_people(&self) -> BTreeMap<String, Value> {
        let users = self.list(&format!("{PEOPLE}/users?page_size=10000"), "data").await;
        let extensions = self.list(&format!("{PEOPLE}/extensions?page_size=10000"), "data").await;
        for user in &users {
            assert_eq!(&self.get(&format!("{PEOPLE}/users/{}", user["id"])).await["_embedded"]["data"], user);
            for own in user["extensions"].as_array().unwrap() {
                let one =
                    extensions.iter().find(|one| one["extension_number"] == own["extension_number"]).unwrap();
                assert_eq!(one["dids"], own["dids"]);
                for member in ["id", "email", "login_name", "first_name", "last_name"] {
                    assert_eq!(one["user"][member], user[member]);
                }
            }
        }
        let with_user = extensions.iter().filter(|one| one["user"].is_object()).count();
        let owned: usize = users.iter().map(|user| user["extensions"].as_array().unwrap().len()).sum();
        assert_eq!(with_user, owned);
        extensions.into_iter().map(|one| (text(&one, "extension_number"), one)).collect()
    }

    async fn check_telephony(&self, calls: &BTreeMap<String, Value>) {
        let active = self.get(&format!("{CALLS}?page_size=10000")).await["calls"].as_array().unwrap().clone();
        let today = self.service.clock().now().as_second().div_euclid(86_400) * 86_400;
        for call in calls.values() {
            let id = text(call, "call_id");
            if seconds(call, "start_time") < today {
                // No operation can change a call of the seeded past.
                continue;
            }
            assert_eq!(&self.get(&format!("{CALLS}/{id}")).await, call);
            assert_eq!(self.get(&format!("{CALLS}/{id}/legs")).await, call["legs"]);
            let over = call.get("end_time").is_some();
            let answered = call["status"] == "on-call";
            let listed = active.iter().any(|one| one["call_id"] == call["call_id"]);
            assert!(listed || over, "{call} after {:?}", self.done);
            assert!(!(listed && over && answered), "{call} is not active after {:?}", self.done);
            for leg in call["legs"].as_array().unwrap() {
                assert!(
                    leg["call_id"] == call["call_id"]
                        && leg["start_time"].as_str() >= call["start_time"].as_str()
                );
                assert!(!over || leg["end_time"].as_str() <= call["end_time"].as_str());
                assert!(
                    !over || leg.get("end_time").is_some(),
                    "{call}: the call has ended, but a leg has not"
                );
                assert!(leg["status"] != "on-call" || answered);
            }
        }
    }

    /// Recordings by the id of their call.
    async fn check_recordings(
        &self,
        calls: &BTreeMap<String, Value>,
        people: &BTreeMap<String, Value>,
    ) -> BTreeSet<String> {
        let company = format!("{RECORDINGS}/company_call_recordings?page_size=10000");
        let mut all = self.list(&company, "recordings").await;
        for user in people.values().filter_map(|extension| extension["user"]["id"].as_u64()) {
            let own = format!("{RECORDINGS}/users/{user}/call_recordings?page_size=10000");
            let own = self.list(&own, "recordings").await;
            for recording in &own {
                let extension = &people[recording["extensions"][0].as_str().unwrap()];
                assert_eq!(extension["user"]["id"], user, "{recording}");
            }
            all.extend(own);
        }
        let ids: BTreeSet<u64> = all.iter().map(|one| one["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), all.len());
        for recording in &all {
            let call = &calls[recording["call_id"].as_str().unwrap()];
            let reported = (&recording["caller_id"], &recording["dnis"]);
            assert_eq!(reported, (&call["from"], &call["to"]), "{recording} after {:?}", self.done);
            assert!(call["status"] == "on-call" && call["end_time"].is_string());
            let parties =
                [&call["from"], &call["to"]].map(|party| people.contains_key(party.as_str().unwrap()));
            let direction = match parties {
                [true, true] => "INTRA_PBX",
                [_, _] if call["direction"] == "inbound" => "INBOUND",
                _ => "OUTBOUND",
            };
            assert_eq!(recording["call_direction"], direction);
            assert!(people.contains_key(recording["extensions"][0].as_str().unwrap()));
            let (start, end) = (stamp(&recording["start"]), stamp(&recording["end"]));
            assert!(seconds(call, "start_time") <= start && start <= end && end <= seconds(call, "end_time"));
        }
        all.iter().map(|recording| text(recording, "call_id")).collect()
    }

    async fn check_reports(
        &self,
        calls: &BTreeMap<String, Value>,
        people: &BTreeMap<String, Value>,
        recordings: &BTreeSet<String>,
    ) {
        for log in self.list(LOGS, "call_logs").await {
            let call = &calls[log["id"].as_str().unwrap()];
            assert_eq!((&log["from"], &log["to"]), (&call["from"], &call["to"]), "after {:?}", self.done);
            assert_eq!(text(&log, "direction").to_lowercase(), text(call, "direction"));
            let stamps = [&log["start"], &log["end"]].map(stamp);
            assert_eq!(stamps, [seconds(call, "start_time"), seconds(call, "end_time")]);
            let answered = call["status"] == "on-call";
            assert!(
                log["result"] == "Voicemail" || (log["result"] == "Answered") == answered,
                "{log} {call}"
            );
            assert!(log["length"] == 0 || answered);
            assert_eq!(
                log["recorded"],
                recordings.contains(&text(&log, "id")),
                "{log} after {:?}",
                self.done
            );
            for (side, party) in [("source", "from"), ("destination", "to")] {
                let holder = people.get(call[party].as_str().unwrap());
                let reported = log[format!("{side}_extension")].as_u64().map(|number| number.to_string());
                let number = holder.map(|holder| text(holder, "extension_number"));
                assert_eq!(reported, number, "{log} after {:?}", self.done);
                let user = holder.map_or(&Value::Null, |holder| &holder["user"]["login_name"]);
                assert_eq!(&log[format!("{side}_user")], user, "{log}");
            }
        }
    }

    async fn check_platform(&self, calls: &BTreeMap<String, Value>, people: &BTreeMap<String, Value>) {
        let user = self.get(VIS).await;
        let known = self.get(&format!("{PEOPLE}/users/self")).await["_embedded"]["data"].clone();
        for (here, there) in
            [("id", "id"), ("firstName", "first_name"), ("lastName", "last_name"), ("emailAddress", "email")]
        {
            assert_eq!(user[here], known[there]);
        }
        assert_eq!(user["contactNumber"], known["contact_numbers"][0]["value"]);
        let events = self.get(&format!("{VIS}/events?size=100000")).await;
        let events = events.as_array().unwrap();
        assert_eq!(self.get(&format!("{VIS}/events/count")).await["count"], events.len());
        let mut own = BTreeSet::new();
        for event in events {
            let call = &calls[event["externalId"].as_str().unwrap()];
            own.insert(text(call, "call_id"));
            let (over, answered) = (event.get("endTime").is_some(), event.get("answerTime").is_some());
            let states: &[&str] = match (over, answered) {
                (true, true) => &["ANSWERED"],
                (true, false) => &["CANCELLED", "MISSED", "REJECTED"],
                (false, true) => &["ACTIVE", "HELD", "REMOTE_HELD"],
                (false, false) => &["RINGING"],
            };
            assert!(states.contains(&event["state"].as_str().unwrap()), "{event} after {:?}", self.done);
            assert!(over || call.get("end_time").is_none(), "{event} {call} after {:?}", self.done);
            assert!(!answered || call["status"] == "on-call", "{event} {call}");
            assert!(event["duration"] == 0 || event["state"] == "ANSWERED");
            let name = people.get(event["phoneNumber"].as_str().unwrap()).map(|own| &own["caller_id"]);
            assert!(name.is_none_or(|name| *name == event["callerId"]), "{event}");
        }
        let extensions: BTreeSet<String> =
            known["extensions"].as_array().unwrap().iter().map(|own| text(own, "extension_number")).collect();
        let touched = |call: &&Value| {
            let legs = call["legs"].as_array().unwrap();
            let party =
                |leg: &Value| if leg["direction"] == "inbound" { text(leg, "from") } else { text(leg, "to") };
            legs.iter().any(|leg| extensions.contains(&party(leg)))
        };
        let theirs: BTreeSet<String> =
            calls.values().filter(touched).map(|call| text(call, "call_id")).collect();
        assert_eq!(own, theirs, "after {:?}", self.done);
        let active = self.get(&format!("{VIS}/calls?size=1000")).await;
        let active: Vec<&Value> = active.as_array().unwrap().iter().collect();
        let under_way: Vec<&Value> =
            events.iter().rev().filter(|event| event.get("endTime").is_none()).collect();
        assert_eq!(active, under_way, "newest first");
    }

    async fn check_jobs(&self) {
        let jobs =
            self.list(&format!("{RECORDINGS}/users/self/call_recordings/jobs?page_size=10000"), "jobs").await;
        for job in jobs {
            assert!(job["files_completed"].as_u64() <= job["files_total"].as_u64(), "{job}");
            assert_eq!(job["status"] == "complete", job["download_url"].is_string(), "{job}");
        }
    }
}

fn text(of: &Value, member: &str) -> String {
    of[member].as_str().unwrap_or_else(|| panic!("no {member} in {of}")).to_owned()
}

fn seconds(of: &Value, member: &str) -> i64 {
    text(of, member).parse().unwrap()
}

/// A time of Reports or Call Recording, in seconds since 1970.
fn stamp(value: &Value) -> i64 {
    let text = value.as_str().unwrap().replace("+0000", "").replace(' ', "T");
    format!("{text}Z").parse::<vbc_base::clock::Timestamp>().unwrap().as_second()
}

#[tokio::test]
async fn suites_agree_after_every_operation_in_every_world() {
    for seed in 0..SEEDS {
        let mut play = Play::new(seed).await;
        play.check().await;
        for _ in 0..OPERATIONS {
            play.operate().await;
            play.check().await;
        }
        assert_eq!(play.done.len() as u64, OPERATIONS, "every operation is recorded once");
    }
}
