//! What the journal keeps of requests and responses, and what it redacts.

use super::*;

#[tokio::test]
async fn header_values_that_look_like_secrets_are_not_in_the_journal() {
    let sim = Simulator::start().await.unwrap();
    let pair = sim.log_in().await;
    let (access, refresh) = (pair.text("access_token"), pair.text("refresh_token"));
    let secrets = [
        ("authorization", "Bearer s3cr3t-bearer"),
        ("proxy-authorization", "Basic c2VjcmV0OnNlY3JldA=="),
        ("x-api-key", "s3cr3t-key"),
        ("api-key", "s3cr3t-api"),
        ("x-auth-token", "s3cr3t-auth"),
        ("x-vonage-secret", "s3cr3t-vonage"),
        ("cookie", "a=s3cr3t-cookie"),
        ("x-amz-security-token", "s3cr3t-amz"),
        ("x-signature", "s3cr3t-signature"),
        ("x-session", "s3cr3t-session"),
        ("x-password", "s3cr3t-password"),
        ("ocp-apim-subscription-key", "s3cr3t-subscription"),
        ("x-note", "Bearer s3cr3t-note"),
        ("forwarded", "for=192.0.2.1;secret=s3cr3t-forwarded"),
        ("x-original-uri", "/a?access_token=s3cr3t-original"),
        ("x-context", r#"{"user":"a","password": "s3cr3t-context"}"#),
        ("origin", "http://user:s3cr3t-origin@sim.test"),
        ("x-other", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("x-more", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        ("x-refresh", refresh.as_str()),
        ("user-agent", access.as_str()),
        ("accept", "text/plain; q=sim-password"),
        ("referer", "http://sim.test/?sid=s3cr3t-sid&page=2"),
    ];
    let plain = [
        ("x-request-id", "3f0c2d1e-5a6b-4c7d-8e9f-001122334455"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("idempotency-key", "order-17"),
        ("if-none-match", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
        ("x-caller", "crm of the sales team"),
        ("x-link", "https://sim.test:8090/a?page=2&time=09:00"),
    ];
    sim.send("GET", "/nothing", &[&secrets[..], &plain[..]].concat(), "").await;
    let entry = sim.requests().pop().unwrap();
    let shown = format!("{entry:?} {}", sim.control("GET", "/__sim/requests", "").await.body);
    for (name, value) in secrets {
        assert!(entry.headers.iter().any(|(known, _)| known == name), "{name} is named");
        let secret = value.rsplit(['=', ' ', '?', '&']).find(|part| part.len() > 7).unwrap();
        assert!(!shown.contains(secret), "{name}: {secret}");
    }
    assert!(!shown.contains("s3cr3t"), "{shown}");
    for (name, value) in plain {
        assert!(entry.headers.contains(&(name.to_owned(), value.to_owned())), "{name}: {:?}", entry.headers);
        assert!(entry.head.contains(value), "{name}");
    }
}

#[tokio::test]
async fn responses_are_shown_with_type_and_beginning_and_without_secrets() {
    let sim = Simulator::start().await.unwrap();
    let pair = sim.log_in().await;
    let token = pair.text("access_token");
    let bearer = format!("Bearer {token}");
    sim.get(ACCOUNT, &token).await;
    let hook = json!({ "url": "http://127.0.0.1:9/", "events": ["CALL"], "signingAlgo": "HMAC_SHA256",
        "signingKey": "s3cret-key", "metadataPolicy": "HEADER" });
    let hooks = "/t/vbc.prod/vis/v1/self/webhooks";
    sim.send("POST", hooks, &[("authorization", &bearer)], &hook.to_string()).await;
    sim.fault(json!({ "fault": "truncated_json", "count": 1 })).await;
    sim.refresh(&pair.text("refresh_token")).await;
    sim.fault(json!({ "fault": "html_body", "count": 1 })).await;
    sim.get(ACCOUNT, "").await;
    sim.fault(json!({ "fault": "reset_before_headers" })).await;
    assert!(send(sim.address(), request("GET", "/x", &[], "")).await.is_none());
    let asked = sim.control("GET", "/__sim/requests?responses=true", "").await;
    let responses: Vec<Value> =
        asked.json().as_array().unwrap().iter().map(|request| request["response"].clone()).collect();
    let beginning = |n: usize| responses[n]["beginning"].as_str().unwrap_or("none");
    assert!(beginning(0).contains(r#""access_token":"[redacted]""#), "{}", beginning(0));
    assert!(beginning(0).contains(r#""token_type":"Bearer""#), "{}", beginning(0));
    assert_eq!(responses[0]["content_type"], "application/json");
    assert!(
        beginning(1).contains("12345") && responses[1]["length"].as_u64() > Some(100),
        "{}",
        responses[1]
    );
    assert!(beginning(2).contains(r#""signingKey":"[redacted]""#), "{}", beginning(2));
    assert_eq!((beginning(3), responses[3]["length"].as_u64() > Some(10)), ("none", true), "half of a token");
    assert_eq!(responses[4]["content_type"], "text/html");
    assert!(beginning(4).starts_with("<!DOCTYPE html>"));
    assert_eq!(responses[5], Value::Null);
    for secret in [&token, &pair.text("refresh_token"), "s3cret-key"] {
        assert!(!asked.body.contains(secret), "{secret}");
    }
    // The comparable form has no times; bodies contain some.
    assert!(sim.control("GET", "/__sim/requests", "").await.json()[0].get("response").is_none());
}

#[tokio::test]
async fn sixty_thousand_names_are_read_in_one_pass() {
    let sim = Service::new(SimulatorOptions::default());
    let names =
        |between: &str, one: &dyn Fn(usize) -> String| (0..60_000).map(one).collect::<Vec<_>>().join(between);
    let form = names("&", &|n| format!("n{n}=v"));
    let json = format!("{{{}}}", names(",", &|n| format!("\"n{n}\":\"v\"")));
    let json_type = ("content-type", "application/json");
    for (kind, path, body) in [
        (FORM, "/token", format!("grant_type=password&{form}")),
        (FORM, "/token", form.clone()),
        (FORM, "/revoke", form.clone()),
        (FORM, "/authorize", form),
        (json_type, "/token", json),
    ] {
        let began = std::time::Instant::now();
        let response = super::service::ask(&sim, request("POST", path, &[kind], &body)).await;
        assert!(!response.status.is_server_error(), "{path}: {}", response.status);
        // Comparing every pair of names takes minutes in a debug build.
        assert!(began.elapsed() < Duration::from_secs(5), "{path}: {:?}", began.elapsed());
    }
    let repeated = "n=1&".repeat(60_000) + "grant_type=password&grant_type=password";
    let response = super::service::ask(&sim, request("POST", "/token", &[FORM], &repeated)).await;
    assert!(response.body.contains("repeated parameters"), "{}", response.body);
}
