//! The proxy's main job, once: a request gets a token and a response.

use crate::harness::{RawUpstream, World};

#[tokio::test]
async fn a_plain_request_gets_a_response_of_the_simulated_service() {
    let world = World::start().await;
    let response = world.get("/t/vbc.prod/provisioning/api/accounts/self/users").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["_embedded"]["data"].as_array().map(Vec::len), Some(10));
    assert_eq!(world.sim.stats().token_requests, 1);
}

#[tokio::test]
async fn exactly_one_authorization_reaches_the_upstream() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let head = "GET /a HTTP/1.1\nAuthorization: Bearer theirs\nAUTHORIZATION: Basic theirs\nX-Api-Key: k";
    assert_eq!(world.send(head, b"").await.status, 200);
    let received = upstream.only();
    assert!(received.header("authorization").unwrap().starts_with("Bearer eyJ4NXQiOi"), "{received:?}");
    assert_eq!(received.header("x-api-key"), None);
}
