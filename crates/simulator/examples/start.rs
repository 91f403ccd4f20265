//! Starts a simulator and calls it over HTTP: `cargo run -p vbc-simulator --example start`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use vbc_simulator::Simulator;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Sends a request on a connection of its own.
async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), Error> {
    let stream = TokioIo::new(TcpStream::connect(to).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sim = Simulator::start().await?;
    println!("the service is at {}, the control plane at {}", sim.url(), sim.control_url());

    let login = "grant_type=password&scope=openid&username=alice@vbc.prod&password=sim-password\
                 &client_id=sim-client&client_secret=sim-secret";
    let request = Request::post("/token")
        .header("host", "sim.test")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from(login))?;
    let (status, body) = send(sim.address(), request).await?;
    assert_eq!(status, 200);
    let tokens: serde_json::Value = serde_json::from_slice(&body)?;
    let bearer = tokens["access_token"].as_str().ok_or("no access token")?;

    let request = Request::get("/t/vbc.prod/provisioning/api/accounts/self")
        .header("host", "sim.test")
        .header("authorization", format!("Bearer {bearer}"))
        .body(Full::default())?;
    let (status, body) = send(sim.address(), request).await?;
    assert_eq!(status, 200);
    println!("{}", String::from_utf8_lossy(&body));

    assert_eq!(sim.stats().logins.ok, 1);
    sim.stop().await;
    Ok(())
}
