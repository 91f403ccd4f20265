use super::*;

#[tokio::test]
async fn lists_come_in_pages_with_links_that_work() {
    let base = "http://proxy.test:1".to_owned();
    let options = SimulatorOptions { public_base: base.clone(), ..SimulatorOptions::default() };
    let sim = Simulator::bind(options).await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let mut path = format!("{ACCOUNT}/users");
    let (mut seen, mut pages) = (std::collections::BTreeSet::new(), 0);
    loop {
        let page = sim.get(&path, &token).await.json();
        pages += 1;
        assert_eq!((&page["page"], &page["page_size"]), (&json!(pages), &json!(10)));
        for user in page["_embedded"]["data"].as_array().unwrap() {
            assert!(seen.insert(user["id"].as_u64().unwrap()));
        }
        assert_eq!(page["_links"].get("prev").is_some(), pages > 1);
        match page["_links"]["next"]["href"].as_str() {
            Some(next) => path = next.strip_prefix(&base).unwrap().to_owned(),
            None => {
                assert_eq!(page["total_items"], seen.len());
                assert_eq!(page["total_pages"], pages);
                break;
            }
        }
    }
    assert!(seen.len() >= 25 && pages >= 3);
}

#[tokio::test]
async fn links_start_with_the_public_base_and_keep_filters() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let path =
        "/t/vbc.prod/provisioning/v1/api/accounts/self/extensions?location_id=123450&page_size=2&x=%20";
    let page = sim.get(path, &token).await.json();
    let first = "https://api.vonage.com/t/vbc.prod/provisioning/v1/api/accounts/self/extensions\
                 ?location_id=123450&x=%20&page=1&page_size=2";
    assert_eq!(page["_links"]["first"]["href"], first);
    assert!(page["_embedded"]["data"].as_array().unwrap().iter().all(|e| e["location_id"] == 123_450));
    let all = sim.get(&format!("{ACCOUNT}/users?page_size=10000"), &token).await.json();
    assert_eq!(all["_embedded"]["data"].as_array().unwrap().len(), all["total_items"]);
    let alice = sim.get(&format!("{ACCOUNT}/users?login_name=ALICE"), &token).await.json();
    assert_eq!(alice["total_items"], 1);
    let beyond = sim.get(&format!("{ACCOUNT}/users?page=99"), &token).await.json();
    assert_eq!(beyond["_embedded"]["data"], json!([]));
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let response = sim.get(&format!("{ACCOUNT}/users?page=0&page_size=x"), &token).await;
    assert_eq!(response.status, 400);
    assert_eq!(
        response.json()["invalid_parameters"],
        json!([
            { "name": "page", "reason": "must be greater than or equal to 1" },
            { "name": "page_size", "reason": "must be a number" },
        ])
    );
    let response = sim.get(&format!("{ACCOUNT}/extensions?location_id=here"), &token).await;
    assert_eq!(
        (response.status.as_u16(), &response.json()["invalid_parameters"][0]["name"]),
        (400, &json!("location_id"))
    );
}

#[tokio::test]
async fn single_things_are_found_or_not() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let account = sim.get("/t/vbc.prod/provisioning/api/accounts/self", &token).await.json();
    assert_eq!(account["_embedded"]["data"]["id"], 12345);
    let extension = sim.get(&format!("{ACCOUNT}/extensions/1001"), &token).await.json();
    assert_eq!(extension["_embedded"]["extension"]["user"]["login_name"], "alice");
    let by_id = sim.get(&format!("{ACCOUNT}/extensions/123451001"), &token).await.json();
    assert_eq!(by_id["_embedded"], extension["_embedded"]);
    let user = sim.get(&format!("{ACCOUNT}/users/self"), &token).await.json();
    assert_eq!(user["_embedded"]["data"]["extensions"][0]["extension_number"], "1001");
    let locations = sim.get(&format!("{ACCOUNT}/locations"), &token).await.json();
    let id = &locations["_embedded"]["data"][0]["id"];
    assert_eq!(sim.get(&format!("{ACCOUNT}/locations/{id}"), &token).await.status, 200);
    for path in [
        "/t/vbc.prod/provisioning/api/accounts/23456".to_owned(),
        format!("{ACCOUNT}/users/1"),
        format!("{ACCOUNT}/locations/1"),
        format!("{ACCOUNT}/extensions/9999"),
    ] {
        let response = sim.get(&path, &token).await;
        assert_eq!((response.status.as_u16(), &response.json()["status"]), (404, &json!(404)), "{path}");
    }
}

async fn dial(sim: &Simulator, token: &str, body: &Value) -> TestResponse {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    sim.send("POST", CALLS, &headers, &body.to_string()).await
}

#[tokio::test]
async fn a_call_is_placed_once_and_can_be_followed_to_its_end() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let body = json!({
        "type": "click2dial",
        "from": { "type": "extension", "destination": "1001" },
        "to": { "type": "pstn", "destination": "14155550100" },
    });
    let response = dial(&sim, &token, &body).await;
    assert_eq!((response.status.as_u16(), response.header("content-type")), (200, Some("text/plain")));
    let id = uuid::Uuid::parse_str(&response.body).unwrap().to_string();
    assert_eq!(sim.stats().calls_placed, 1);
    let newest = sim.get(&format!("{CALLS}?page_size=1"), &token).await.json();
    assert_eq!(newest["calls"][0]["call_id"], id);
    let call = sim.get(&format!("{CALLS}/{id}"), &token).await.json();
    assert_eq!((&call["status"], &call["to"]), (&json!("on-call"), &json!("14155550100")));
    let legs = sim.get(&format!("{CALLS}/{id}/legs"), &token).await.json();
    let leg = format!("{CALLS}/{id}/legs/{}", legs[1]["leg_id"].as_str().unwrap());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let held = sim.send("PUT", &leg, &headers, r#"{"state":"held"}"#).await.json();
    assert_eq!((&held["call_state"], &held["leg_id"]), (&json!("held"), &legs[1]["leg_id"]));
    assert_eq!(sim.send("PUT", &leg, &headers, "{}").await.status, 400);
    let path = format!("{CALLS}/{id}");
    let moved = json!({ "from": { "type": "pstn", "destination": "14155550100" }, "to": "14155550101" });
    let moved = sim.send("PUT", &path, &headers, &moved.to_string()).await.json();
    assert_eq!((&moved["destination"], &moved["call_state"]), (&json!("14155550101"), &json!("active")));
    assert_eq!(sim.send("PUT", &leg, &headers, r#"{"state":"held"}"#).await.status, 409);
    assert_eq!(sim.send("DELETE", &leg, &headers, "").await.status, 409);
    assert_eq!(
        sim.send("PUT", &path, &headers, r#"{"state":"parked"}"#).await.json()["call_state"],
        "parked"
    );
    assert_eq!(
        sim.send("PUT", &path, &headers, r#"{"state":"active"}"#).await.json()["call_state"],
        "active"
    );
    assert_eq!(sim.send("DELETE", &path, &headers, "").await.json()["call_state"], "ended");
    let gone = sim.send("DELETE", &path, &headers, "").await;
    assert_eq!(
        (gone.status.as_u16(), gone.json()),
        (404, json!({ "code": "404", "message": "Call not found" }))
    );
    assert_eq!(sim.stats().calls_placed, 1);
}

#[tokio::test]
async fn a_refused_call_is_not_placed() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let end = |number: &str| json!({ "type": "extension", "destination": number });
    for body in [
        json!([]),
        json!({ "type": "fax", "from": end("1001"), "to": end("1002") }),
        json!({ "type": "click2dial", "from": end("1001") }),
        json!({ "type": "click2dial", "from": end("7"), "to": end("1002") }),
    ] {
        assert_eq!(dial(&sim, &token, &body).await.json()["code"], "400");
    }
    let bob = sim.password("bob@vbc.prod", "bob-password").await.text("access_token");
    let body = json!({ "type": "click2dial", "from": end("1001"), "to": end("1002") });
    assert_eq!(dial(&sim, &bob, &body).await.status, 401);
    assert_eq!(dial(&sim, "nonsense", &body).await.status, 401);
    assert_eq!(sim.stats().calls_placed, 0);
}

#[tokio::test]
async fn telephony_lists_write_numbers_as_strings() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let list = sim
        .get(&format!("{CALLS}?extension=1001&order=start:ASC&page_size=2&start_time=1"), &token)
        .await
        .json();
    assert_eq!((&list["current_page"], &list["page_size"]), (&json!("1"), &json!("2")));
    let uri = "/cc/accounts/12345/calls?extension=1001&order=start:ASC&start_time=1&page=1&page_size=2";
    assert_eq!(list["first_page_uri"], uri);
    assert_eq!(list["previous_page_uri"], Value::Null);
    let calls = list["calls"].as_array().unwrap();
    assert!(!calls.is_empty() && calls.iter().all(|c| c["from"] == "1001" || c["to"] == "1001"));
    let current = sim.get(CALLS, &token).await.json();
    assert_eq!((&current["calls"], &current["page_size"]), (&json!([]), &json!("100")), "nobody talks");
    let none = sim.get(&format!("{CALLS}?start_time=99999999999"), &token).await.json();
    assert_eq!(none["calls"], json!([]));
    let devices = "/t/vbc.prod/telephony/v3/registration/accounts/12345/devices";
    let list = sim.get(devices, &token).await.json();
    let mac = list["devices"][0]["mac_address"].as_str().unwrap();
    assert_eq!(sim.get(&format!("{devices}/{mac}"), &token).await.json(), list["devices"][0]);
    assert_eq!(sim.get(&format!("{devices}/000000000000"), &token).await.status, 404);
}
