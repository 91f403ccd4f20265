//! Reports, Call Recording and the Integration Platform.

use super::*;

const LOGS: &str = "/t/vbc.prod/reports/accounts/12345/call-logs";
const ALL: &str = "start:gte=2000-01-01%2000:00:00&start:lte=2100-01-01+00:00:00";
const RECORDINGS: &str = "/t/vbc.prod/call_recording/api/accounts/12345/company_call_recordings";
const ON_DEMAND: &str = "/t/vbc.prod/call_recording/v1/api/accounts/self/users";
const VIS: &str = "/t/vbc.prod/vis/v1/self";

async fn world() -> (Simulator, String) {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    (sim, token)
}

fn listed<'a>(page: &'a Value, name: &str) -> &'a Vec<Value> {
    page["_embedded"][name].as_array().unwrap_or_else(|| panic!("{page}"))
}

#[tokio::test]
async fn call_logs_come_in_pages_for_a_time() {
    let (sim, token) = world().await;
    let page = sim.get(&format!("{LOGS}?{ALL}&page_size=5&page=2"), &token).await.json();
    assert_eq!(
        (&page["page"], &page["page_size"], listed(&page, "call_logs").len()),
        (&json!(2), &json!(5), 5)
    );
    assert_eq!(page["total_page"], page["total_items"].as_u64().unwrap().div_ceil(5));
    let next = format!("https://api.vonage.com{LOGS}?{ALL}&page=3&page_size=5");
    assert_eq!(page["_links"]["next"]["href"], next);
    let log = &listed(&page, "call_logs")[0];
    let start = log["start"].as_str().unwrap().replace(' ', "%20");
    let path = format!("/t/vbc.prod/reports/v1/accounts/self/call-logs?start:gte={start}&start:lte={start}");
    assert_eq!(&listed(&sim.get(&path, &token).await.json(), "call_logs")[0], log);
    for direction in ["Inbound", "Outbound"] {
        let path = format!("{LOGS}?{ALL}&page=0&page_size=1000&direction={direction}");
        let page = sim.get(&path, &token).await.json();
        let (ours, others) =
            if direction == "Inbound" { ("destination", "source") } else { ("source", "destination") };
        for log in listed(&page, "call_logs") {
            assert_eq!(log["direction"], direction);
            assert!(
                log[format!("{ours}_extension")].is_u64() && log[format!("{others}_extension")].is_null()
            );
        }
        assert!(page["total_items"].as_u64().unwrap() > 5);
    }
    let none = format!("{LOGS}?start:gte=2001-01-01%2000:00:00&start:lte=2001-01-02%2000:00:00");
    assert_eq!(sim.get(&none, &token).await.json()["total_items"], 0);
    assert_eq!(sim.get(&LOGS.replace("12345", "23456"), &token).await.status, 400, "parameters come first");
    let other = format!("{}?{ALL}", LOGS.replace("12345", "23456"));
    assert_eq!(sim.get(&other, &token).await.json(), json!({ "msg": "Account not found", "status": 404 }));
}

#[tokio::test]
async fn call_logs_say_which_parameters_are_wrong() {
    let (sim, token) = world().await;
    let query = "start:lte=2026-01-01T00:00:00Z&end:gte=yesterday&page_size=0&direction=up";
    let response = sim.get(&format!("{LOGS}?{query}"), &token).await;
    let body = response.json();
    assert_eq!((response.status.as_u16(), &body["status"]), (400, &json!(400)));
    assert!(body["title"].is_string() && uuid::Uuid::parse_str(&response.text("instance")).is_ok());
    let format = "must match the format YYYY-MM-DD HH:mm:ss";
    let wrong = json!([
        { "name": "start:gte", "reason": "is required" },
        { "name": "start:lte", "reason": format },
        { "name": "end:gte", "reason": format },
        { "name": "page_size", "reason": "must be greater than or equal to 1" },
        { "name": "direction", "reason": "must be one of [Inbound, Outbound]" },
    ]);
    assert_eq!(body["invalid_parameters"], wrong);
}

#[tokio::test]
async fn reports_wants_the_scope_openid_without_saying_so() {
    let sim = Simulator::start().await.unwrap();
    let login = "grant_type=password&username=alice@vbc.prod&password=sim-password";
    let token = sim.token(login).await.text("access_token");
    let response = sim.get(&format!("{LOGS}?{ALL}"), &token).await;
    assert_eq!((response.status.as_u16(), response.body.as_str()), (401, ""));
    assert_eq!(sim.get(VIS, &token).await.status, 200);
    assert_eq!(sim.get(RECORDINGS, &token).await.status, 200);
}

#[tokio::test]
async fn every_suite_refuses_users_without_its_role_in_its_own_words() {
    // Provisioning and Reports send these errors only as users report: their documents differ.
    let options = SimulatorOptions {
        field: Field::ALL.with(FieldReport::ApplicationToken, false),
        ..SimulatorOptions::default()
    };
    let sim = Simulator::bind(options).await.unwrap();
    let telephony =
        json!({ "code": 401, "message": "User is not permitted to make a request against this account" });
    let vis = json!({ "errorCode": "UNAUTHORIZED", "errorMessage": "Failed to get claims for token", "errors": [] });
    let logs = format!("{LOGS}?{ALL}");
    let suites = [
        ("erin", ACCOUNT, 401, json!({ "msg": "missing user data", "status": 401 })),
        ("rita", &logs, 401, json!({ "title": "Problem with provided token" })),
        ("vic", VIS, 401, vis),
        ("tel", CALLS, 401, telephony),
        ("rec", RECORDINGS, 403, json!("User is not authorized to search CCR recordings for this account")),
    ];
    for (name, ..) in &suites {
        let token =
            sim.password(&format!("{name}@vbc.prod"), &format!("{name}-password")).await.text("access_token");
        for (lacks_it, path, status, body) in &suites {
            let response = sim.get(path, &token).await;
            if lacks_it == name {
                let shown = serde_json::from_str(&response.body).unwrap_or_else(|_| json!(response.body));
                assert_eq!((response.status.as_u16(), &shown), (*status, body), "{name}");
                assert!(response.header("www-authenticate").is_none());
            } else {
                assert_eq!(response.status, 200, "{name} {path}");
            }
        }
    }
    let own = sim.token("grant_type=client_credentials&scope=openid").await.text("access_token");
    for (_, path, status, _) in &suites {
        assert_eq!(
            sim.get(path, &own).await.status.as_u16(),
            *status,
            "an application's own token has no user"
        );
    }
    let token = sim.log_in().await.text("access_token");
    sim.inject(Fault::backend_401("/t/vbc.prod")).unwrap();
    for (_, path, ..) in &suites {
        assert_eq!(sim.get(path, &token).await.status, 401);
    }
}

#[tokio::test]
async fn recordings_can_be_filtered_ordered_and_followed() {
    let (sim, token) = world().await;
    let all = sim.get(&format!("{RECORDINGS}?page=0&page_size=1000"), &token).await.json();
    let recordings = listed(&all, "recordings");
    assert!(recordings.len() >= 5);
    assert!(
        recordings.is_sorted_by(|one, two| one["start"].as_str() >= two["start"].as_str()),
        "newest first"
    );
    let first = &recordings[0];
    let [link, id] = [first["_links"]["self"]["href"].as_str().unwrap(), &first["id"].to_string()];
    assert_eq!(link, format!("https://api.vonage.com{RECORDINGS}/{id}"));
    assert_eq!(&sim.get(link.strip_prefix("https://api.vonage.com").unwrap(), &token).await.json(), first);
    let audio = format!("https://api.vonage.com/t/vbc.prod/call_recording/api/audio/recording/{id}");
    assert_eq!(first["download_url"], audio);
    let [start, caller, call] = ["start", "caller_id", "call_id"].map(|name| first[name].as_str().unwrap());
    assert!(start.ends_with("+0000"));
    let duration = &first["duration"];
    let extension = first["extensions"][0].as_str().unwrap();
    for filter in [
        format!("call_id={call}"),
        format!("caller_id={caller}&extension={extension}"),
        format!("start:gte={start}&start:lte={}", start.replace('+', "%2B")),
        format!("duration:gte={duration}&duration:lte={duration}"),
        format!("call_direction={}", first["call_direction"].as_str().unwrap()),
    ] {
        let page = sim.get(&format!("{RECORDINGS}?{filter}&page_size=1000"), &token).await.json();
        assert!(listed(&page, "recordings").contains(first), "{filter}");
        assert!(page["total_items"].as_u64() < all["total_items"].as_u64(), "{filter}");
    }
    let oldest = sim.get(&format!("{RECORDINGS}?order=start:ASC&page_size=1000"), &token).await.json();
    assert_eq!(listed(&oldest, "recordings").last(), Some(first));
    let wrong = sim.get(&format!("{RECORDINGS}?order=size&duration:gte=x&start:gte=now"), &token).await;
    let names: Vec<_> =
        wrong.json()["invalid_parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert_eq!(
        (wrong.status.as_u16(), names),
        (400, vec![json!("duration:gte"), json!("start:gte"), json!("order")])
    );
    assert_eq!(sim.get(&RECORDINGS.replace("12345", "23456"), &token).await.status, 403);
}

#[tokio::test]
async fn a_recording_is_deleted_once() {
    let (sim, token) = world().await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let page = sim.get(RECORDINGS, &token).await.json();
    let path = format!("{RECORDINGS}/{}", listed(&page, "recordings")[0]["id"]);
    let gone = sim.send("DELETE", &path, &headers, "").await;
    assert_eq!((gone.status.as_u16(), gone.body.as_str()), (204, ""));
    assert_eq!(sim.send("DELETE", &path, &headers, "").await.status, 404);
    assert_eq!(sim.get(&path, &token).await.status, 404);
    let left = sim.get(RECORDINGS, &token).await.json();
    assert_eq!(left["total_items"].as_u64().unwrap() + 1, page["total_items"].as_u64().unwrap());
}

#[tokio::test]
async fn recordings_on_demand_belong_to_users() {
    let (sim, token) = world().await;
    let bearer = format!("Bearer {token}");
    let users = sim.get(&format!("{ACCOUNT}/users?page_size=100"), &token).await.json();
    let mut seen = 0;
    for user in listed(&users, "data") {
        let path = format!("{ON_DEMAND}/{}/call_recordings", user["id"]);
        let page = sim.get(&path, &token).await.json();
        for recording in listed(&page, "recordings") {
            seen += 1;
            let link = recording["_links"]["self"]["href"].as_str().unwrap();
            let one = link.strip_prefix("https://api.vonage.com").unwrap();
            assert_eq!(&sim.get(one, &token).await.json(), recording);
            let company = format!("{RECORDINGS}/{}", recording["id"]);
            assert_eq!(
                sim.get(&company, &token).await.status,
                404,
                "the company does not have a user's recording"
            );
            assert_eq!(sim.send("DELETE", one, &[("authorization", &bearer)], "").await.status, 204);
        }
    }
    assert!(seen > 0);
    assert_eq!(sim.get(&format!("{ON_DEMAND}/self/call_recordings"), &token).await.json()["total_items"], 0);
    assert_eq!(sim.get(&format!("{ON_DEMAND}/1/call_recordings"), &token).await.status, 404);
}

#[tokio::test]
async fn the_integration_platform_knows_the_user_and_the_calls_under_way() {
    let (sim, token) = world().await;
    let user = sim.get(VIS, &token).await.json();
    assert_eq!((&user["accountId"], &user["firstName"]), (&json!(12345), &json!("Alice")));
    let account = sim.get(&format!("{VIS}/account"), &token).await.json();
    assert_eq!((&account["id"], &account["name"]), (&json!(12345), &user["acountLabel"]));
    let calls = format!("{VIS}/calls");
    assert_eq!(sim.get(&calls, &token).await.json(), json!([]));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    for from in ["1001", "1002", "1001"] {
        let end = |number: &str| json!({ "type": "extension", "destination": number });
        let body = json!({ "type": "click2dial", "from": end(from), "to": end("1005") }).to_string();
        assert_eq!(sim.send("POST", CALLS, &headers, &body).await.status, 200);
    }
    let active = sim.get(&calls, &token).await.json();
    assert_eq!(
        (active.as_array().unwrap().len(), &active[0]["phoneNumber"]),
        (2, &json!("1005")),
        "one's own"
    );
    assert!(active[0]["id"].as_u64() > active[1]["id"].as_u64(), "newest first");
    let oldest = sim.get(&format!("{calls}?order=ASC&size=1"), &token).await.json();
    assert_eq!((oldest.as_array().unwrap().len(), &oldest[0]["id"]), (1, &active[1]["id"]));
    let id = active[1]["externalId"].as_str().unwrap();
    let legs = sim.get(&format!("{CALLS}/{id}/legs"), &token).await.json();
    let own = legs[0]["leg_id"].as_str().unwrap();
    sim.send("PUT", &format!("{CALLS}/{id}/legs/{own}"), &headers, r#"{"state":"held"}"#).await;
    for (query, count) in [("", 1), ("?states=ACTIVE,held", 2), ("?direction=INBOUND", 0), ("?toDate=1", 0)] {
        let counted = sim.get(&format!("{calls}/count{query}"), &token).await;
        assert_eq!(counted.json(), json!({ "count": count }), "{query}");
    }
    let wrong = sim.get(&format!("{calls}?size=x&direction=UP"), &token).await;
    assert_eq!((wrong.status.as_u16(), wrong.text("errorCode").as_str()), (400, "VALIDATION_ERROR"));
    let fields: Vec<_> =
        wrong.json()["errors"].as_array().unwrap().iter().map(|e| e["field"].clone()).collect();
    assert_eq!(fields, ["direction", "size"]);
}
