use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::response_body::MAX_BODY;
use super::*;
use vbc_base::secret::Secret;

const TIMEOUT: Duration = Duration::from_secs(20);
const ISSUED: &str = r#"{"access_token":"at","refresh_token":"rt","token_type":"Bearer","expires_in":86400}"#;

fn tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn endpoint(url: &str, auth: ClientAuth) -> Endpoint {
    let client = ClientIdentity {
        client_id: "app:1".into(),
        client_secret: Secret::new("s3cr&t +"),
        auth: Some(auth),
    };
    let server = server(url).unwrap();
    Endpoint::new(Arc::new(server), Arc::new(client), Some("alice@vbc.prod".into()))
}

fn server(url: &str) -> Result<AuthorizationServer, EndpointError> {
    let http = HttpClient::new(tls(), TIMEOUT).unwrap();
    AuthorizationServer::new(http, &Url::parse(url).unwrap(), None, Clock::system())
}

fn password() -> Grant {
    Grant::Password {
        username: "alice@vbc.prod".to_owned(),
        password: Secret::new("hunter 2&"),
        scope: "openid device_a".to_owned(),
    }
}

fn refresh() -> Grant {
    Grant::RefreshToken { refresh_token: Secret::new("old/refresh=") }
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Reads one request: its head in lower case up to the header values, and its body.
async fn read_request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return (head.to_owned(), body.to_owned());
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the request ends early: {text}");
    }
}

/// Serves `response` to one request, and returns the request. No second connection is accepted.
async fn serve_once(response: String) -> (String, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token?tenant=precious", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(response.as_bytes()).await.unwrap();
        request
    });
    (url, server)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[tokio::test]
async fn a_login_travels_in_the_form_with_the_client() {
    let (url, server) = serve_once(response("200 OK", "", ISSUED)).await;
    let issued = endpoint(&url, ClientAuth::Body).redeem(&password()).await.unwrap();
    assert_eq!(issued.access_token.expose(), "at");
    assert_eq!(issued.refresh_token.unwrap().expose(), "rt");
    let (head, body) = server.await.unwrap();
    assert_eq!(
        body,
        "grant_type=password&username=alice%40vbc.prod&password=hunter+2%26&scope=openid+device_a\
         &client_id=app%3A1&client_secret=s3cr%26t+%2B"
    );
    assert!(head.starts_with("POST /token?tenant=precious HTTP/1.1"), "{head}");
    assert_eq!(header(&head, "content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(header(&head, "accept"), Some("application/json"));
    assert_eq!(header(&head, "accept-encoding"), Some("identity"));
    for absent in ["authorization", "cookie", "referer", "transfer-encoding"] {
        assert_eq!(header(&head, absent), None, "{head}");
    }
}

#[tokio::test]
async fn a_refresh_travels_with_basic_and_nothing_of_the_client_in_the_form() {
    let (url, server) = serve_once(response("200 OK", "", ISSUED)).await;
    endpoint(&url, ClientAuth::Basic).redeem(&refresh()).await.unwrap();
    let (head, body) = server.await.unwrap();
    assert_eq!(body, "grant_type=refresh_token&refresh_token=old%2Frefresh%3D");
    let basic = base64::prelude::BASE64_STANDARD.encode("app%3A1:s3cr%26t+%2B");
    assert_eq!(header(&head, "authorization"), Some(format!("Basic {basic}").as_str()));
}

#[test]
fn the_basic_header_is_marked_sensitive() {
    let endpoint = endpoint("http://localhost/token", ClientAuth::Basic);
    let (headers, _) = request(&endpoint.client, &refresh()).unwrap();
    assert!(headers[AUTHORIZATION].is_sensitive());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("Location: http://{}/token?sid=precious\r\n", target.local_addr().unwrap());
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let (url, _server) = serve_once(response(status, &location, "")).await;
        let error = endpoint(&url, ClientAuth::Body).redeem(&password()).await.unwrap_err();
        assert_eq!(error.class, Class::NotJudged, "{error}");
        assert!(error.message.contains("redirects are not followed"), "{error}");
        assert!(!error.message.contains("precious"), "{error}");
    }
    // A client that followed redirects would have connected before the response was read.
    let nobody = futures_util::FutureExt::now_or_never(target.accept());
    assert!(nobody.is_none());
}

#[tokio::test]
async fn a_lost_response_is_ambiguous() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"access_token\":\"at\"";
    for lost in ["", "HTTP/1.1 200", cut, "SSH-2.0-OpenSSH\r\n"] {
        let (url, server) = serve_once(lost.to_owned()).await;
        let error = endpoint(&url, ClientAuth::Body).redeem(&refresh()).await.unwrap_err();
        assert_eq!(error.class, Class::Ambiguous, "{lost}: {error}");
        assert!(error.message.starts_with("token endpoint http://127.0.0.1:"), "{error}");
        assert!(error.message.contains("/token: sent, but the response was lost: "), "{error}");
        assert!(!error.message.contains("precious"), "{error}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_that_is_cut_off_is_a_refusal() {
    for (beginning, class) in [
        ("400 Bad Request\r\nContent-Length: 500\r\n\r\n{\"error\":\"invalid_grant\",", Class::Refused),
        ("401 Unauthorized\r\nContent-Length: 500\r\n\r\n", Class::Unexplained),
        ("503 Service Unavailable\r\nContent-Length: 500\r\n\r\n<", Class::NotJudged),
        ("500 Internal Server Error\r\nContent-Length: 500\r\n\r\n{", Class::Ambiguous),
        ("200 OK\r\nContent-Length: 500\r\n\r\n{", Class::Ambiguous),
    ] {
        let (url, server) = serve_once(format!("HTTP/1.1 {beginning}")).await;
        let error = endpoint(&url, ClientAuth::Body).redeem(&password()).await.unwrap_err();
        assert_eq!(error.class, class, "{beginning}: {error}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_response_that_does_not_come_is_ambiguous() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let redeem = tokio::spawn(async move { endpoint(&url, ClientAuth::Body).redeem(&refresh()).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    read_request(&mut stream).await;
    tokio::time::pause();
    tokio::time::advance(TIMEOUT).await;
    let error = redeem.await.unwrap().unwrap_err();
    assert_eq!(error.class, Class::Ambiguous, "{error}");
    assert!(error.message.ends_with("/token: sent, but no response within 20s"), "{error}");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_not_judged() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/token", listener.local_addr().unwrap());
    let redeem = tokio::spawn(async move { endpoint(&url, ClientAuth::Body).redeem(&refresh()).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_u8().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(TIMEOUT / 2).await;
    let error = redeem.await.unwrap().unwrap_err();
    assert_eq!(error.class, Class::NotJudged, "{error}");
    assert!(error.message.ends_with("/token: no connection within 10s"), "{error}");
}

#[tokio::test]
async fn a_refused_connection_is_not_judged_and_named() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error =
        endpoint(&format!("http://{address}/token?x=precious"), ClientAuth::Body).redeem(&refresh()).await;
    let error = error.unwrap_err();
    assert_eq!(error.class, Class::NotJudged, "{error}");
    assert!(error.message.contains("refused") && !error.message.contains("precious"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_not_judged_and_named() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.is_err()
    });
    let url = format!("https://localhost:{port}/token");
    let error = endpoint(&url, ClientAuth::Body).redeem(&refresh()).await.unwrap_err();
    assert_eq!(error.class, Class::NotJudged, "{error}");
    assert!(error.message.contains("certificate"), "{error}");
    assert!(server.await.unwrap());
}

#[tokio::test]
async fn an_endless_response_is_cut() {
    let body = "x".repeat(3 * MAX_BODY);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        // The client disconnects before the end.
        let _ = stream.write_all(response("200 OK", "", &body).as_bytes()).await;
    });
    let error = endpoint(&url, ClientAuth::Body).redeem(&refresh()).await.unwrap_err();
    assert_eq!(error.class, Class::Ambiguous);
    assert!(error.message.ends_with("status 200, not an OAuth response: more than 1 MiB"), "{error}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_refusal_names_the_endpoint_and_not_the_user() {
    let body = r#"{"error_description":"Authentication failed for alice@vbc.prod","error":"invalid_grant"}"#;
    let (url, _server) = serve_once(response("400 Bad Request", "", body)).await;
    let error = endpoint(&url, ClientAuth::Body).redeem(&password()).await.unwrap_err();
    assert_eq!(error.class, Class::Refused);
    let shown = url.split('?').next().unwrap();
    let expected =
        format!("token endpoint {shown}: status 400, invalid_grant: Authentication failed for [user]");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn debug_shows_no_secret() {
    let endpoint = endpoint("http://localhost/token?precious", ClientAuth::Basic);
    let text = format!("{endpoint:?} {:?} {:?} {:?}", endpoint.server.http, endpoint.client, refresh());
    for hidden in ["s3cr", "precious", "old/refresh", &endpoint.client.basic_credentials()] {
        assert!(!text.contains(hidden), "{text}");
    }
}

#[test]
fn an_endpoint_is_small_beside_the_server_it_shares() {
    assert!(size_of::<Endpoint>() <= 4 * size_of::<usize>(), "{}", size_of::<Endpoint>());
}

#[test]
fn a_url_that_cannot_be_used_is_refused() {
    let refusal = |url: &str| server(url).err().unwrap();
    assert!(matches!(refusal("ftp://localhost/token"), EndpointError::NotHttp));
    assert!(matches!(refusal("https://user:pass@localhost/token"), EndpointError::UserInfo));
    assert!(!refusal("https://user:pass@localhost/token").to_string().contains("pass@"));
}
