//! Tests a client of VBC with expectations: `cargo run -p vbc-simulator --example client`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use bytes::Bytes;
use http::Request;
use vbc_simulator::{Expectation, Fault, Service, Simulator, User};

const ACCOUNT: &str = "/t/vbc.prod/provisioning/api/accounts/self";
const LOGIN: &str = "grant_type=password&scope=openid&username=dora@vbc.prod&password=dora-password\
                     &client_id=sim-client&client_secret=sim-secret";

/// The client under test. It logs in and sends a request; after a 401 it sends the request again
/// with a new token. Your client would get `sim.url()`; this one calls the service without a
/// socket.
async fn account(service: &Service, token: &mut Option<String>) -> Result<u16, &'static str> {
    for _ in 0..2 {
        let bearer = match token {
            Some(bearer) => bearer.clone(),
            None => {
                let request = Request::post("/token").body(Bytes::from_static(LOGIN.as_bytes()));
                let response = service.respond(request.map_err(|_| "no request")?).await.ok_or("a reset")?;
                let members: serde_json::Value =
                    serde_json::from_slice(response.body()).map_err(|_| "not JSON")?;
                members["access_token"].as_str().ok_or("no token")?.to_owned()
            }
        };
        let request = Request::get(ACCOUNT).header("authorization", format!("Bearer {bearer}"));
        let response = service.respond(request.body(Bytes::new()).map_err(|_| "no request")?).await;
        let status = response.ok_or("a reset")?.status().as_u16();
        *token = (status != 401).then_some(bearer);
        if status != 401 {
            return Ok(status);
        }
    }
    Ok(401)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sim = Simulator::builder().seed(7).user(User::new("dora", "dora-password")).start().await?;
    println!("the service is at {}, the control plane at {}", sim.url(), sim.control_url());
    let (service, mut token) = (sim.service(), None);

    assert_eq!(account(&service, &mut token).await?, 200);

    // A revoked token is replaced with a single login.
    sim.expect([
        Expectation::new("POST", "/token").grant("password").times(1),
        Expectation::new("GET", "/t/**").status(200).times(1),
    ]);
    sim.revoke_access_tokens();
    assert_eq!(account(&service, &mut token).await?, 200);
    assert!(sim.verdict().met, "{}", sim.verdict());

    // A suite that rejects dora's token must not cause repeated logins.
    sim.forget_expectations();
    sim.expect([Expectation::new("POST", "/token").at_most(1)]);
    sim.inject(Fault::backend_401("/t/vbc.prod/provisioning"))?;
    assert_eq!(account(&service, &mut token).await?, 401);
    println!("{}", sim.verdict());

    for request in sim.requests() {
        println!("{:>3} {} {} → {:?}", request.sequence, request.method, request.target, request.status);
    }
    Ok(())
}
