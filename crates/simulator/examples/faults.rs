//! Injects faults and reads the journal: `cargo run -p vbc-simulator --example faults`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use bytes::Bytes;
use http::Request;
use vbc_simulator::{Action, Fault, Service, Simulator};

type Error = Box<dyn std::error::Error>;

const LOGIN: &str = "grant_type=password&username=alice@vbc.prod&password=sim-password\
                     &client_id=sim-client&client_secret=sim-secret";

/// Logs in. `None` means that the connection ended without a response.
async fn log_in(service: &Service) -> Result<Option<u16>, Error> {
    let request = Request::post("/token").body(Bytes::from_static(LOGIN.as_bytes()))?;
    Ok(service.respond(request).await.map(|response| response.status().as_u16()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sim = Simulator::start().await?;
    let service = sim.service();

    // This fault strikes two requests to `/token`.
    sim.inject(Fault::status(503).on("/token").times(2))?;
    for expected in [503, 503, 200] {
        assert_eq!(log_in(&service).await?, Some(expected));
    }

    // The login succeeds, but its response is lost.
    sim.inject(Fault::lose_response_after_commit().at("token"))?;
    assert_eq!(log_in(&service).await?, None);
    assert_eq!(sim.stats().logins.ok, 2);

    // An action changes the world once.
    sim.inject(Action::LockUser { user: "alice@vbc.prod".to_owned(), keep_tokens: false })?;
    assert_eq!(log_in(&service).await?, Some(400));

    for request in sim.requests() {
        println!("{} {} {:?}", request.sequence, request.target, request.status);
    }
    let statuses: Vec<_> = sim.requests_to("/token").into_iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(200), None, Some(400)]);
    Ok(())
}
