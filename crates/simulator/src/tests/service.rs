//! The service without sockets.

use super::*;

/// Calls the service, which must respond.
pub(super) async fn ask(service: &Service, request: Request<String>) -> TestResponse {
    service.ask(request).await.expect("an answer")
}

impl Service {
    async fn ask(&self, request: Request<String>) -> Option<TestResponse> {
        let (head, body) = self.respond(request.map(Bytes::from)).await?.into_parts();
        let body = String::from_utf8_lossy(&body).into_owned();
        Some(TestResponse { status: head.status, headers: head.headers, body })
    }

    pub(super) async fn token(&self, form: &str) -> Option<TestResponse> {
        self.ask(request("POST", "/token", &[FORM], &format!("{form}&{CLIENT}"))).await
    }

    pub(super) async fn log_in(&self) -> TestResponse {
        self.token("grant_type=password&scope=openid&username=alice@vbc.prod&password=sim-password")
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_request_without_a_socket_goes_the_same_way() {
    let sim = Simulator::start().await.unwrap();
    let service = sim.service();
    let over_a_socket = sim.log_in().await;
    let direct = service.log_in().await;
    assert_eq!(direct.text("access_token"), over_a_socket.text("access_token"), "one world");
    let bearer = format!("Bearer {}", direct.text("access_token"));
    let ask = || request("GET", ACCOUNT, &[("authorization", &bearer)], "");
    let (one, two) = (service.ask(ask()).await.unwrap(), send(sim.address(), ask()).await.unwrap());
    assert_eq!((one.status, &one.body), (two.status, &two.body));
    assert!(one.header("activityid").is_some());
    sim.inject(Fault::status(503).times(1)).unwrap();
    assert_eq!(service.ask(ask()).await.unwrap().status, 503);
    let stats = sim.stats();
    assert_eq!((stats.logins.ok, stats.api_requests, stats.token_requests), (2, 3, 2));
    assert_eq!(sim.requests()[1].connection, 0);
    drop(sim);
    assert_eq!(service.ask(ask()).await.unwrap().status, 200, "the service outlives its sockets");
}

#[tokio::test]
async fn a_lost_connection_is_no_answer() {
    let service = Service::new(SimulatorOptions::default());
    let token = service.log_in().await.text("refresh_token");
    let form = format!("grant_type=refresh_token&refresh_token={token}");
    service.inject(Fault::reset_before_headers()).unwrap();
    assert!(service.token(&form).await.is_none());
    assert_eq!(service.stats().refreshes, Outcomes::default());
    service.inject(Fault::lose_response_after_commit()).unwrap();
    assert!(service.token(&form).await.is_none());
    assert_eq!(service.stats().refreshes, Outcomes { ok: 1, failed: 0 });
    assert_eq!(service.token(&form).await.unwrap().status, 400);
    assert_eq!(service.stats().refresh_reuse, 1);
    service.reset();
    assert_eq!(service.stats().token_requests, 0);
}

#[tokio::test]
async fn token_requests_at_once_are_counted_by_identity() {
    let users = ["ann", "ben"].map(Identity::demo_user);
    let sim = Service::new(SimulatorOptions { identities: users.into(), ..SimulatorOptions::default() });
    let login = |user: &str| format!("grant_type=password&username={user}@vbc.prod&password=sim-password");
    let pair = sim.token(&login("ann")).await.unwrap();
    let refresh = format!("grant_type=refresh_token&refresh_token={}", pair.text("refresh_token"));
    let hang = sim.inject(Fault::hang()).unwrap();
    let mut asking = tokio::task::JoinSet::new();
    let mut ask = |form: &str| {
        let (sim, form) = (sim.clone(), form.to_owned());
        asking.spawn(async move { sim.token(&form).await.is_some() });
    };
    ask(&login("ANN"));
    ask(&login("ben"));
    while sim.stats().token_requests < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sim.stats().token_concurrency_max_by_identity, 1);
    ask(&refresh);
    ask("grant_type=refresh_token&refresh_token=unknown");
    while sim.stats().token_requests < 5 {
        tokio::task::yield_now().await;
    }
    sim.remove_fault(hang);
    assert!(asking.join_all().await.into_iter().all(|answered| answered));
    let stats = sim.stats();
    assert_eq!((stats.token_concurrency_max, stats.token_concurrency_max_by_identity), (4, 2));
}

#[tokio::test]
async fn logins_while_locked_are_counted() {
    let sim = Service::new(SimulatorOptions::default());
    let login = |password: &str| format!("grant_type=password&username=alice@vbc.prod&password={password}");
    for _ in 0..5 {
        sim.token(&login("wrong")).await;
    }
    assert_eq!(
        sim.stats().logins_while_locked,
        0,
        "the fifth failure locked the login, so it does not count here"
    );
    sim.token(&login("sim-password")).await;
    sim.inject(Action::LockUser { user: "bob@vbc.prod".into(), keep_tokens: false }).unwrap();
    sim.token("grant_type=password&username=bob@vbc.prod&password=bob-password").await;
    assert_eq!(sim.stats().logins_while_locked, 2);
    sim.advance(Duration::from_secs(1800));
    sim.token(&login("sim-password")).await;
    assert_eq!(sim.stats().logins_while_locked, 2, "the lock had ended");
}

#[tokio::test]
async fn ten_thousand_people_share_an_application() {
    let identities = (0..10_000).map(|n| Identity::demo_user(&format!("user{n}"))).collect();
    let sim = Service::new(SimulatorOptions { identities, ..SimulatorOptions::default() });
    let (mut tokens, mut people) = (Vec::new(), std::collections::HashSet::new());
    for n in [0, 5_000, 9_999] {
        let form = format!("grant_type=password&username=user{n}@vbc.prod&password=sim-password");
        tokens.push(sim.token(&form).await.unwrap().text("access_token"));
    }
    for token in &tokens {
        let bearer = format!("Bearer {token}");
        let path = "/t/vbc.prod/provisioning/api/accounts/12345/users/self";
        let user = sim.ask(request("GET", path, &[("authorization", &bearer)], "")).await.unwrap().json();
        people.insert(user["_embedded"]["data"]["login_name"].as_str().unwrap().to_owned());
    }
    assert_eq!(people, ["user0", "user5000", "user9999"].map(str::to_owned).into());
}

#[tokio::test(start_paused = true)]
async fn delays_pass_in_paused_time() {
    let options = SimulatorOptions { clock: Clock::tokio(), ..SimulatorOptions::default() };
    let service = Service::new(options);
    let start = tokio::time::Instant::now();
    service.inject(Fault::delay(Duration::from_secs(3600)).times(1)).unwrap();
    let pair = service.log_in().await;
    assert_eq!(start.elapsed(), Duration::from_secs(3600));
    let hang = service.inject(Fault::hang().times(1)).unwrap();
    let asked = service.clone();
    let hanging = tokio::spawn(async move { asked.log_in().await });
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(!hanging.is_finished());
    assert!(service.remove_fault(hang));
    let again = hanging.await.unwrap();
    assert_eq!(again.text("access_token"), pair.text("access_token"));
    assert_eq!(again.json()["expires_in"], 86_340);
}

#[test]
fn without_faults_no_runtime_is_needed() {
    use std::future::Future;
    let service = Service::new(SimulatorOptions::default());
    let mut asking = std::pin::pin!(service.log_in());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(response) = asking.as_mut().poll(&mut context) else { panic!("it waits") };
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn every_answer_is_dated_by_the_services_clock() {
    let sim = Simulator::start().await.unwrap();
    sim.inject(Action::ClockAdvance(jiff::SignedDuration::from_hours(24 * 365 * 10))).unwrap();
    let year = sim.service.clock().now().strftime("%Y").to_string();
    let token = sim.log_in().await.text("access_token");
    sim.inject(Fault::status(502).on("/revoke")).unwrap();
    for response in [
        sim.log_in().await,
        sim.get(ACCOUNT, &token).await,
        sim.send("GET", "/nothing", &[], "").await,
        sim.send("GET", AUTHORIZE, &[], "").await,
        sim.send("POST", "/revoke", &[], "").await,
        sim.send("GET", &format!("/{}", "x".repeat(20_000)), &[], "").await,
    ] {
        let dates: Vec<_> = response.headers.get_all("date").iter().collect();
        assert_eq!(dates.len(), 1);
        assert!(dates[0].to_str().unwrap().contains(&format!(" {year} ")), "{dates:?} {year}");
    }
}
