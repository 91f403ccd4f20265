use bytes::Bytes;
use http::Method;
use http_body::Body;

use super::slots::Open;
use super::testing::{ScriptedUpstream, request, stale_connection};
use super::*;
use crate::proxy::request_body::Disk;
use vbc_http::Incoming;

fn upstream() -> Upstream {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let config = config::Upstream::default();
    Upstream::new(&config, Duration::from_secs(3600), &Arc::new(tls), Gauge::default(), &Descriptors::new(9))
}

/// A body of five bytes, one more than is kept in memory.
fn large_body() -> RequestBody {
    let disk = Disk::new(&config::Retry::default(), Gauge::default(), &Descriptors::new(9));
    RequestBody::new(Incoming::received(Bytes::from_static(b"hello")), 4, &Rc::new(disk))
}

#[test]
fn a_sending_without_a_gate_is_not_held_by_an_earlier_one() {
    let body = large_body();
    let mut attempt = body.attempt().unwrap();
    let mut poll = || Pin::new(&mut attempt).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
    body.hold_back(Some(ContinueGate::default()));
    assert!(poll().is_pending());
    body.hold_back(None);
    assert!(poll().is_ready() && body.is_sent());
    body.hold_back(None);
    assert!(body.is_sent());
}

#[tokio::test]
async fn a_body_that_a_stale_connection_held_is_sent_on_the_next_without_an_expectation() {
    let test = async {
        let (upstream, body, timer) = (upstream(), large_body(), Rc::default());
        let head = request(Method::POST, false);
        let attempt = body.attempt().unwrap();
        let failed = upstream.ask_h1(stale_connection(), &head, attempt, &body, &timer, Instant::now()).await;
        let Err(FailedAttempt::Uncounted(attempt)) = failed else { panic!("nothing was written") };
        // Another request has found meanwhile that the upstream ignores expectations.
        upstream.expectations_paused.set(Some(Instant::now() + EXPECTATION_PAUSE));
        let responds = ScriptedUpstream::new(b"HTTP/1.1 204 No Content\r\n\r\n", usize::MAX);
        let connection = h1::Connection::new(responds, Open::counted(&Gauge::default()));
        let response = upstream.ask_h1(connection, &head, attempt, &body, &timer, Instant::now()).await;
        assert_eq!(response.ok().unwrap().status(), 204);
        assert!(body.is_sent());
    };
    tokio::task::LocalSet::new().run_until(test).await;
}
