//! Runs a scenario without waiting, by moving the simulator's clock:
//! `cargo run -p vbc-simulator --example scenario`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use vbc_simulator::{Scenario, Service, Simulator};

const SCENARIO: &str = r#"
seed = 7
start = "2026-03-01T09:00:00Z"

[[timeline]]
at = "30s"
fault = "status"
status = 503
endpoint = "token"
lasts = "20s"
"#;

async fn log_in(service: &Service) -> Result<u16, &'static str> {
    let login = "grant_type=password&username=alice@vbc.prod&password=sim-password\
                 &client_id=sim-client&client_secret=sim-secret";
    let request = Request::post("/token").body(Bytes::from_static(login.as_bytes()));
    let response = service.respond(request.map_err(|_| "no request")?).await;
    Ok(response.ok_or("a reset")?.status().as_u16())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scenario = Scenario::parse("scenario.toml", SCENARIO)?;
    let sim = Simulator::builder().scenario(scenario)?.start().await?;
    let service = sim.service();
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(log_in(&service).await?);
        println!("{} {:?}", service.clock().now(), statuses.last());
        sim.advance_clock(Duration::from_secs(10));
    }
    assert_eq!(statuses, [200, 200, 200, 503, 503, 200, 200]);

    // A mistake in a scenario is reported with its line.
    let wrong = Scenario::parse("scenario.toml", "[[timeline]]\nat = \"30s\"\nfault = \"stauts\"\n");
    println!("{}", wrong.err().ok_or("nothing wrong?")?);
    Ok(())
}
