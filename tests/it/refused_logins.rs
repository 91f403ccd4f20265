//! Token endpoints that refuse a password in unusual wordings, over sockets and across restarts.

use crate::harness::RawUpstream;
use crate::process::{Process, configuration, get, lay_out};

const USERS: &str = "/t/vbc.prod/provisioning/api/accounts/self/users";

/// A response with its `Content-Length`.
fn response(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// Runs the proxy twice against a token endpoint that gives every login this response. Returns the
/// number of logins and the text of the proxy's last response.
async fn logins(response: Vec<u8>) -> (usize, String) {
    let endpoint = RawUpstream::responding(response).await;
    let directory = tempfile::tempdir().unwrap();
    let token_url = format!("{}/token", endpoint.url());
    lay_out(directory.path(), &configuration(&endpoint.url(), &token_url, ""), "never-again");
    let mut message = String::new();
    for start in 1..=2 {
        let mut serve = Process::start(directory.path(), &["serve"], &[]);
        let (address, _) = serve.listening().await;
        for _ in 0..5 {
            let response = get(address, USERS).await;
            response.assert_problem(503, "proxy_internal_error");
            response.text().clone_into(&mut message);
        }
        // The first run is killed, so that nothing is written late. The second one writes its log.
        let output = if start == 1 { serve.kill() } else { serve.terminate().await };
        assert!(!output.stderr.contains("never-again"), "{}", output.stderr);
        // After a restart no exchange fails, but the log still says why there is no token.
        let is_explained = output.stderr.contains("no login is tried");
        assert_eq!(is_explained, start == 2, "{}", output.stderr);
    }
    for request in endpoint.requests() {
        assert_eq!(request.line, "POST /token HTTP/1.1");
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
    (endpoint.requests().len(), message)
}

#[tokio::test]
async fn a_password_refused_in_any_wording_is_sent_once_across_restarts() {
    let page = response("401 Unauthorized\r\nContent-Type: text/html", b"<html>401</html>");
    let latin = response(
        "400 Bad Request\r\nContent-Type: application/json;charset=ISO-8859-1",
        b"{\"error\":\"invalid_grant\",\"error_description\":\"senha inv\xe1lida\"}",
    );
    let authlib =
        br#"{"error":"invalid_request","error_description":"Invalid 'username' or 'password' in request."}"#;
    let cut = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 25\r\n\r\n{\"Error\":\"invalid_grant\"}".to_vec();
    for (response, words) in [
        (page, "without a readable reason"),
        (latin, "VBC rejected the user name or password"),
        (response("400 Bad Request", authlib), "VBC rejected the user name or password"),
        (cut, "VBC rejected the user name or password"),
    ] {
        let (logins, message) = logins(response).await;
        assert_eq!(logins, 1, "{message}");
        assert!(message.contains(words) && message.contains("vbc-proxy unlock default"), "{message}");
    }
}

#[tokio::test]
async fn a_refused_application_is_not_presented_again_after_a_restart() {
    for response in
        [response("401 Unauthorized", br#"{"error":"invalid_client"}"#), response("404 Not Found", b"<html>")]
    {
        let (logins, message) = logins(response).await;
        assert_eq!(logins, 1, "{message}");
        assert!(
            message.contains("the proxy tries again at") && message.contains("vbc-proxy unlock default"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_client_that_logs_in_by_itself_is_reported_once_a_minute() {
    let upstream =
        RawUpstream::responding(response("400 Bad Request", br#"{"error":"invalid_grant"}"#)).await;
    let directory = tempfile::tempdir().unwrap();
    let token_url = format!("{}/token", upstream.url());
    lay_out(directory.path(), &configuration(&upstream.url(), &token_url, ""), "never-again");
    let mut serve = Process::start(directory.path(), &["serve"], &[("VBC_PROXY_LISTEN_WORKERS", "1")]);
    let (address, _) = serve.listening().await;
    for path in ["/token", "/t/vbc.prod/oauth2/token", "/t/vbc.prod/reports/token"] {
        crate::operate::post(address, path, "grant_type=password&username=alice&password=old").await;
    }
    let output = serve.terminate().await;
    let reports = output.stderr.matches("a client logs in through the proxy").count();
    assert_eq!(reports, 1, "{}", output.stderr);
}
