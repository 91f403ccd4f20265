//! Each report from the field. Without its switch, the simulator follows the documents.

use super::*;

const LOGS: &str = "/t/vbc.prod/reports/accounts/12345/call-logs?start:gte=2000-01-01%2000:00:00\
                    &start:lte=2100-01-01%2000:00:00";

/// Two simulators. One follows the documents; the other one also follows this report.
async fn both(report: FieldReport) -> [Simulator; 2] {
    let documents = Simulator::start().await.unwrap();
    let field = SimulatorOptions { field: report.into(), ..SimulatorOptions::default() };
    [documents, Simulator::bind(field).await.unwrap()]
}

async fn token_of(sim: &Simulator, name: &str) -> String {
    sim.password(&format!("{name}@vbc.prod"), &format!("{name}-password")).await.text("access_token")
}

#[tokio::test]
async fn reports_does_not_know_itself() {
    let own = LOGS.replace("12345", "self");
    let [documents, field] = both(FieldReport::ReportsSelf).await;
    for (sim, status) in [(&documents, 200), (&field, 404)] {
        let token = sim.log_in().await.text("access_token");
        assert_eq!(sim.get(&own, &token).await.status, status);
        assert_eq!(sim.get(LOGS, &token).await.status, 200, "the account's number is accepted");
        assert_eq!(sim.get(&ACCOUNT.replace("12345", "self"), &token).await.status, 200, "another suite");
    }
}

#[tokio::test]
async fn extensions_come_under_their_own_name() {
    let [documents, field] = both(FieldReport::ExtensionsArray).await;
    for (sim, name, other) in [(&documents, "data", "extensions"), (&field, "extensions", "data")] {
        let token = sim.log_in().await.text("access_token");
        let list = sim.get(&format!("{ACCOUNT}/extensions?page_size=3"), &token).await.json();
        assert_eq!(list["_embedded"][name].as_array().map(Vec::len), Some(3), "{list}");
        assert_eq!(list["_embedded"].get(other), None);
        let users = sim.get(&format!("{ACCOUNT}/users?page_size=3"), &token).await.json();
        assert_eq!(users["_embedded"]["data"].as_array().map(Vec::len), Some(3), "another list");
    }
}

#[tokio::test]
async fn the_legs_of_one_call_may_be_on_two_pages() {
    let [documents, field] = both(FieldReport::LegsOverPages).await;
    for (sim, pages) in [(&documents, 2), (&field, 4)] {
        let token = sim.log_in().await.text("access_token");
        let bearer = format!("Bearer {token}");
        for from in ["1001", "1002"] {
            let body = json!({
                "type": "click2dial", "from": { "type": "extension", "destination": from },
                "to": { "type": "pstn", "destination": "14155550100" },
            });
            assert_eq!(
                sim.send("POST", CALLS, &[("authorization", &bearer)], &body.to_string()).await.status,
                200
            );
        }
        let mut legs = Vec::new();
        for number in 1..=pages {
            let page = sim.get(&format!("{CALLS}?page={number}&page_size=1"), &token).await.json();
            assert_eq!(page["pages"], pages.to_string());
            let calls = page["calls"].as_array().unwrap();
            assert_eq!(calls.len(), 1, "{page}");
            let shown = calls[0]["legs"].as_array().unwrap();
            assert_eq!(shown.len(), 4 / pages, "{page}");
            legs.extend(shown.iter().map(|leg| (calls[0]["call_id"].clone(), leg["leg_id"].clone())));
        }
        // Each leg occurs once, and legs of one call follow each other.
        let ids: std::collections::BTreeSet<_> = legs.iter().map(|(_, leg)| leg.to_string()).collect();
        assert_eq!((legs.len(), ids.len()), (4, 4));
        assert!(legs[0].0 == legs[1].0 && legs[2].0 == legs[3].0 && legs[1].0 != legs[2].0);
        let whole = sim.get(CALLS, &token).await.json();
        assert_eq!(whole["calls"].as_array().map(Vec::len), Some(2), "one page is enough for whole calls");
        assert!(
            whole["calls"].as_array().unwrap().iter().all(|call| call["legs"].as_array().unwrap().len() == 2)
        );
    }
}

#[tokio::test]
async fn telephony_ignores_the_token_of_an_application() {
    let [documents, field] = both(FieldReport::ApplicationToken).await;
    for (sim, status) in [(&documents, 401), (&field, 202)] {
        let token = sim.token("grant_type=client_credentials&scope=openid").await.text("access_token");
        let bearer = format!("Bearer {token}");
        for method in ["GET", "POST"] {
            let body = json!({ "type": "click2dial", "from": "1001", "to": "14155550100" }).to_string();
            let response = sim.send(method, CALLS, &[("authorization", &bearer)], &body).await;
            assert_eq!(response.status, status, "{method}");
            assert_eq!(response.body.is_empty(), status == 202, "{}", response.body);
        }
        assert_eq!(sim.stats().calls_placed, 0);
        assert_eq!(sim.get(CALLS, &sim.log_in().await.text("access_token")).await.status, 200);
    }
}

#[tokio::test]
async fn users_of_the_developer_portal_get_tokens() {
    let [documents, field] = both(FieldReport::ApiUsers).await;
    let authorize = format!("{AUTHORIZE}&sim_user=dev.api");
    let refused = error("invalid_grant", "Authentication failed for dev.api@vbc.prod");
    for _ in 0..6 {
        assert_eq!(documents.password("dev.api@vbc.prod", "dev-password").await.body, refused);
    }
    assert_eq!(documents.stats().lock_events, 0, "an unknown user is not locked");
    assert_eq!(field.password("dev.api@vbc.prod", "dev-password").await.status, 200);
    for (sim, outcome) in [(&documents, "error=access_denied"), (&field, "code=")] {
        let response = sim.send("GET", &authorize, &[], "").await;
        assert!(response.header("location").unwrap().contains(outcome));
    }
    let wrong = field.password("Dev.API@vbc.prod", "wrong").await;
    assert_eq!(wrong.body, error("invalid_grant", "Authentication failed for Dev.API@vbc.prod"));
}

#[tokio::test]
async fn reports_has_a_problem_with_old_tokens_and_users_without_the_role() {
    let [documents, field] = both(FieldReport::ReportsToken).await;
    let problem = json!({ "title": "Problem with provided token" });
    let unauthorized = json!({ "msg": "Unauthorized", "status": 401 });
    for (sim, words, old) in [(&documents, unauthorized, 200), (&field, problem.clone(), 401)] {
        let rita = sim.get(LOGS, &token_of(sim, "rita").await).await;
        assert_eq!((rita.status.as_u16(), rita.json()), (401, words));
        let token = sim.log_in().await.text("access_token");
        sim.advance(Duration::from_secs(290));
        let logs = sim.get(LOGS, &token).await;
        assert_eq!(logs.status, 200, "five minutes are not too old: {}", logs.body);
        sim.advance(Duration::from_secs(60));
        let logs = sim.get(LOGS, &token).await;
        assert_eq!(logs.status, old);
        assert_eq!(logs.json() == problem, old == 401);
        assert_eq!(sim.get(CALLS, &token).await.status, 200, "another suite accepts the token");
    }
}

#[tokio::test]
async fn provisioning_misses_the_data_of_users_without_the_role() {
    let [documents, field] = both(FieldReport::MissingUserData).await;
    for (sim, words) in [(&documents, "Unauthorized"), (&field, "missing user data")] {
        let erin = sim.get(ACCOUNT, &token_of(sim, "erin").await).await;
        assert_eq!((erin.status.as_u16(), erin.json()), (401, json!({ "msg": words, "status": 401 })));
    }
}

#[tokio::test]
async fn a_scenario_has_a_key_for_each_report() {
    let of = |text: &str| {
        let mut options =
            SimulatorOptions { field: FieldReport::ApiUsers.into(), ..SimulatorOptions::default() };
        Scenario::parse("s.toml", text).unwrap().apply(&mut options).unwrap();
        options.field
    };
    assert_eq!(of("field = true"), Field::ALL);
    assert_eq!(of("field = false"), Field::default());
    for report in FieldReport::ALL {
        let both = Field::from(FieldReport::ApiUsers).with(report, true);
        assert_eq!(of(&format!("field.{} = true", report.name())), both);
        assert_eq!(of(&format!("[field]\n{} = false", report.name())), both.with(report, false));
    }
}

#[tokio::test]
async fn a_mistaken_report_in_a_scenario_is_told_what_was_meant() {
    for (text, line) in [
        (
            "[field]\nreport_self = true",
            "s.toml:2:1: field.report_self: unknown key; did you mean `reports_self`?",
        ),
        ("field.api_users = 1", "s.toml:1:7: field.api_users: invalid value; write true or false"),
        ("field = \"all\"", "s.toml:1:1: field: this is not a table; start it with [field]"),
    ] {
        let error = Scenario::parse("s.toml", text).unwrap_err();
        assert_eq!(error.to_string(), line);
    }
}
