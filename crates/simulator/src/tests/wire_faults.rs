//! Faults of the connection, checked byte by byte, and faults that depend on time.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Sends bytes and reads until the connection ends; also returns how it ended.
async fn raw(sim: &Simulator, bytes: &[u8]) -> (String, std::io::Result<usize>) {
    let mut stream = TcpStream::connect(sim.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut read = Vec::new();
    let ended = stream.read_to_end(&mut read).await;
    (String::from_utf8_lossy(&read).into_owned(), ended)
}

fn get(path: &str, token: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: sim.test\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_body_can_drip() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    sim.fault(json!({ "fault": "drip", "bytes_per_second": 1000, "endpoint": "provisioning" })).await;
    let started = std::time::Instant::now();
    let (response, ended) = raw(&sim, &get(ACCOUNT, &token)).await;
    ended.unwrap();
    // A hundred bytes every tenth of a second, each in its own chunk.
    let chunks = response.matches("\r\n64\r\n").count();
    assert!(chunks >= 3, "{response}");
    assert!(started.elapsed() >= Duration::from_millis(90) * u32::try_from(chunks).unwrap());
    assert!(response.ends_with("\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_connection_can_be_reset_in_the_middle_of_an_answer() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let whole = sim.get(ACCOUNT, &token).await.body;
    sim.fault(json!({ "fault": "reset_mid_body", "bytes": 40 })).await;
    let (response, ended) = raw(&sim, &get(ACCOUNT, &token)).await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains(&whole[..40]) && !response.contains(&whole[..41]), "{response}");
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200, "once");
    assert!(sim.service().respond(request("GET", ACCOUNT, &[], "").map(Bytes::from)).await.is_some());
    sim.inject(Fault::reset_mid_body()).unwrap();
    assert!(sim.service().respond(request("GET", ACCOUNT, &[], "").map(Bytes::from)).await.is_none());
}

const POST: &str = "POST /t/vbc.prod/telephony/v3/cc/accounts/12345/calls HTTP/1.1\r\nHost: sim.test\r\n\
                    Content-Length: 100000\r\n";

#[tokio::test]
async fn an_announced_body_can_be_refused() {
    let sim = Simulator::start().await.unwrap();
    let announced = format!("{POST}Expect: 100-continue\r\n\r\n");
    sim.fault(json!({ "fault": "refuse_continue", "count": 1 })).await;
    let (response, ended) = raw(&sim, announced.as_bytes()).await;
    ended.unwrap();
    assert!(response.starts_with("HTTP/1.1 417 Expectation Failed\r\n"), "{response}");
    assert!(
        response.contains("\r\nconnection: close\r\n"),
        "the response must announce the end of the connection: {response}"
    );
    assert_eq!(sim.requests()[0].body_length, 0);
    // Without the fault, the simulator sends `100 Continue`.
    let mut stream = TcpStream::connect(sim.address()).await.unwrap();
    stream.write_all(announced.as_bytes()).await.unwrap();
    let mut room = [0; 25];
    stream.read_exact(&mut room).await.unwrap();
    assert_eq!(&room, b"HTTP/1.1 100 Continue\r\n\r\n");
    // A request without `Expect` is unaffected.
    sim.fault(json!({ "fault": "refuse_continue" })).await;
    assert_eq!(sim.send("POST", CALLS, &[], "{}").await.status, 401);
}

#[tokio::test]
async fn an_answer_can_come_before_the_body() {
    let sim = Simulator::start().await.unwrap();
    let fault = json!({ "fault": "early_response", "status": 503, "retry_after": 9, "path": "/**/calls" });
    sim.fault(fault).await;
    let (response, ended) = raw(&sim, format!("{POST}\r\nabc").as_bytes()).await;
    ended.unwrap();
    assert!(
        response.starts_with("HTTP/1.1 503 ") && response.contains("\r\nretry-after: 9\r\n"),
        "{response}"
    );
    assert_eq!((sim.requests()[0].body_length, sim.requests()[0].status), (0, Some(503)));
    sim.clear_faults();
    sim.fault(json!({ "fault": "early_response", "bytes": 3 })).await;
    let (response, _) = raw(&sim, format!("{POST}\r\nabc").as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    assert_eq!(sim.requests()[1].body_length, 3);
}

#[tokio::test]
async fn a_connection_can_be_closed_after_some_requests() {
    let sim = Simulator::start().await.unwrap();
    sim.fault(json!({ "fault": "close_after_n_requests", "requests": 2 })).await;
    let (answers, ended) = raw(&sim, &b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3)).await;
    ended.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 404 ").count(), 2, "{answers}");
    assert_eq!(answers.matches("connection: close").count(), 1);
    assert_eq!(sim.requests().len(), 2);
}

#[tokio::test]
async fn errors_can_be_written_as_older_gateways_do() {
    let sim = Simulator::start().await.unwrap();
    sim.fault(json!({ "fault": "xml_fault", "count": 1 })).await;
    let response = sim.get(ACCOUNT, "nonsense").await;
    assert_eq!(response.status, 401);
    assert_eq!(response.header("content-type"), Some("application/xml; charset=UTF-8"));
    assert_eq!(
        response.body,
        "<ams:fault xmlns:ams=\"http://wso2.org/apimanager/security\"><ams:code>900901</ams:code>\
         <ams:message>Invalid Credentials</ams:message><ams:description>Invalid Credentials. Make sure you have \
         provided the correct security credentials</ams:description></ams:fault>"
    );
    sim.fault(json!({ "fault": "fault_wrapped_json" })).await;
    let fault = sim.get(ACCOUNT, "nonsense").await.json();
    assert_eq!(fault["fault"]["code"], 900901);
    assert_eq!(fault["fault"]["message"], "Invalid Credentials");
    let token = sim.log_in().await.text("access_token");
    assert_eq!(sim.get(ACCOUNT, &token).await.json()["page"], 1, "a successful response is unchanged");
    sim.fault(json!({ "fault": "status", "status": 429, "count": 1 })).await;
    assert_eq!(
        sim.get(ACCOUNT, &token).await.json()["fault"]["code"],
        900803,
        "an injected error is wrapped too"
    );
}

#[tokio::test]
async fn a_fault_can_last_for_a_time_and_begin_after_some_requests() {
    let sim = Simulator::start().await.unwrap();
    sim.fault(json!({ "fault": "status", "status": 503, "lasts": "20s", "after": 2 })).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(sim.send("GET", "/x", &[], "").await.status.as_u16());
    }
    assert_eq!(statuses, [404, 404, 503, 503]);
    sim.advance(Duration::from_secs(21));
    assert_eq!(sim.send("GET", "/x", &[], "").await.status, 404);
    let in_force = sim.control("GET", "/__sim/faults", "").await.json();
    assert_eq!(
        (in_force[0]["fault"].as_str(), in_force.as_array().unwrap().len()),
        (Some("clock_advance"), 1)
    );
    sim.fault(json!({ "fault": "hang", "lasts": 0.05 })).await;
    assert_eq!(sim.send("GET", "/x", &[], "").await.status, 404, "the request was held, then executed");
}

#[tokio::test]
async fn quotas_and_subscriptions_can_be_one_applications_own() {
    let options = SimulatorOptions {
        start: Some("2026-03-01T09:00:10Z".parse().unwrap()),
        quota: Some(10),
        ..SimulatorOptions::default()
    };
    let sim = Simulator::bind(options).await.unwrap();
    let token = sim.log_in().await.text("access_token");
    for _ in 0..10 {
        assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    }
    let response = sim.get(ACCOUNT, &token).await;
    assert_eq!((response.status.as_u16(), response.text("code").as_str()), (429, "900803"));
    assert_eq!(response.header("retry-after"), Some("Sun, 01 Mar 2026 09:01:00 GMT"));
    assert_eq!(response.text("nextAccessTime"), "2026-Mar-01 09:01:00+0000 UTC");
    sim.advance(Duration::from_secs(50));
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200, "the next minute");
    sim.fault(json!({ "fault": "quota", "per_minute": 0, "client_id": "sim-client" })).await;
    for _ in 0..15 {
        assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    }
    let unsubscribe = json!({ "fault": "unsubscribe", "suite": "provisioning", "client_id": "sim-client" });
    sim.fault(unsubscribe).await;
    assert_eq!(sim.get(ACCOUNT, &token).await.text("code"), "900908");
    assert_eq!(sim.get(CALLS, &token).await.status, 200);
    sim.fault(json!({ "fault": "resubscribe", "suite": "provisioning", "client_id": "sim-client" })).await;
    assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    sim.fault(json!({ "fault": "clock_set", "time": "2030-01-01T00:00:00Z" })).await;
    assert_eq!(sim.get(ACCOUNT, &token).await.text("code"), "900901", "the token has expired");
}

#[tokio::test]
async fn a_new_signing_key_is_named_by_new_tokens_and_single_sign_on_refuses_passwords() {
    let sim = Simulator::of(Mode::RenewKeep).await;
    let first = sim.log_in().await.text("access_token");
    sim.fault(json!({ "fault": "rotate_signing_kid" })).await;
    let second = sim.log_in().await.text("access_token");
    assert_ne!(first.split('.').next(), second.split('.').next());
    for token in [first, second] {
        assert_eq!(sim.get(ACCOUNT, &token).await.status, 200);
    }
    sim.fault(json!({ "fault": "single_sign_on", "user": "alice@vbc.prod" })).await;
    assert_eq!(sim.password("alice@vbc.prod", "sim-password").await.text("error"), "invalid_grant");
}
