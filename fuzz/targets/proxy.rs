//! Gives the data plane any bytes: header lines, response heads, bodies of 401s and bodies with
//! links.

#![allow(clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::links;
use super::upstream::testing::{self, ReadResponse, ScriptedUpstream};
use super::verdict::{self, Verdict};
use vbc_http::headers;

/// The input is header lines, which are stripped like the header lines of a request.
///
/// # Panics
///
/// When a hop-by-hop field or a credential remains, or a field is removed that must stay.
pub fn connection_header(data: &[u8]) {
    let mut map = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            map.append(name, value);
        }
    }
    let before = map.clone();
    headers::strip_request(&mut map);
    let named = named_by_connection(&before);
    let always = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "transfer-encoding",
        "upgrade",
        "authorization",
        "x-api-key",
        "forwarded",
    ];
    for name in always {
        assert!(!map.contains_key(name), "{name} was not removed");
    }
    let te: Vec<_> = map.get_all(header::TE).iter().collect();
    assert!(te.is_empty() || te == ["trailers"], "{te:?}");
    // `Connection` must not remove the fields for framing and routing.
    for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
        assert!(
            before.get_all(&name).iter().eq(map.get_all(&name).iter()),
            "{name} was changed by Connection"
        );
    }
    for name in before.keys() {
        let kept = map.get_all(name).iter().eq(before.get_all(name).iter());
        let gone = !map.contains_key(name);
        assert!(kept || gone || name == header::TE, "{name} was changed");
        let listed = named.iter().any(|listed| listed == name.as_str());
        let ours =
            name.as_str().starts_with("x-") || ["te", "apikey", "internal-key"].contains(&name.as_str());
        let protected = [header::HOST, header::CONTENT_LENGTH, header::EXPECT].contains(name);
        assert!(kept || listed || ours || always.contains(&name.as_str()), "{name} was removed");
        assert!(
            gone || !listed || protected || name == header::TE,
            "{name} is named by Connection and was not removed"
        );
    }
}

/// The names on all `Connection` lines, read independently of `headers`.
fn named_by_connection(map: &HeaderMap) -> Vec<String> {
    let lines = map.get_all(header::CONNECTION).iter();
    let text: Vec<String> =
        lines.map(|line| line.as_bytes().iter().map(|byte| *byte as char).collect()).collect();
    let names = text.iter().flat_map(|line| line.split(','));
    names.map(|name| name.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
}

/// The input is a line with the challenge, then the body of a 401.
///
/// # Panics
///
/// When the verdict contradicts the error code in the body.
pub fn verdict(data: &[u8]) {
    let (challenge, body) = data.split_at(data.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(challenge.trim_ascii()) {
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
    let verdict = verdict::judge(&headers, body);
    assert!(!verdict.label().is_empty());
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let code = json.as_ref().and_then(|json| json.get("code")).and_then(Value::as_str);
    if matches!(code, Some("900901" | "900903" | "900904")) {
        assert!(matches!(verdict, Verdict::Curable(_)), "{verdict:?}");
    }
    if matches!(code, Some("900902" | "900905" | "900907" | "900909" | "900911")) {
        assert!(matches!(verdict, Verdict::Incurable(_)), "{verdict:?}");
    }
}

const UPSTREAM: &str = "https://api.vonage.com";
const BASE: &str = "http://127.0.0.1:8080";

/// The first byte is the length of the pieces in which the rest, a JSON body, arrives.
///
/// # Panics
///
/// When the result depends on the pieces, or when anything but URLs of the upstream
/// changes in valid JSON.
pub fn links(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let step = usize::from(*step).max(1);
    let rewritten = links::rewrite_pieces(UPSTREAM, BASE, bytes.chunks(step));
    // The rewriter does not wait for the end of a string over 2 KiB to decide whether it is a key.
    let short = !bytes.contains(&b'\\') && bytes.split(|byte| *byte == b'"').all(|part| part.len() < 1000);
    if short || bytes.len() <= 2048 {
        assert_eq!(
            rewritten,
            links::rewrite_pieces(UPSTREAM, BASE, [bytes]),
            "the result depends on the pieces"
        );
    }
    // A link whose first letter is escaped is left unchanged: finding it would need decoding of
    // every string.
    let lower = bytes.to_ascii_lowercase();
    if [&br"\u0068"[..], br"\u0048"].iter().any(|escape| lower.windows(6).any(|window| window == *escape)) {
        return;
    }
    let Ok(mut expected) = serde_json::from_slice::<Value>(bytes) else { return };
    point_at_base(&mut expected);
    let found: Value = serde_json::from_slice(&rewritten).expect("the rewritten body is JSON");
    assert_eq!(found, expected);
}

fn point_at_base(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(point_at_base),
        Value::Object(values) => values.values_mut().for_each(point_at_base),
        Value::String(text) => {
            let Some((scheme, rest)) = text.split_once("://") else { return };
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.to_ascii_lowercase();
            let Some(port) = host.strip_prefix("api.vonage.com") else { return };
            let port = match port.strip_prefix(':') {
                None if port.is_empty() => None,
                Some("") => None,
                // Leading zeros are allowed (RFC 3986 §3.2.3).
                Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    digits.parse::<u16>().ok().or(Some(0))
                }
                _ => return,
            };
            let ours = match scheme.to_ascii_lowercase().as_str() {
                "https" => matches!(port, None | Some(443)),
                "http" => matches!(port, None | Some(80 | 443)),
                _ => false,
            };
            if ours {
                *text = format!("{BASE}{path}");
            }
        }
        _ => {}
    }
}

/// The first byte is the length of the pieces in which the rest, a response, arrives.
///
/// # Panics
///
/// When the result depends on the pieces, or when hyper reads an accepted response
/// differently.
pub fn response_head(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async {
        let read = read(bytes, usize::from(*step)).await;
        assert_eq!(read, self::read(bytes, usize::MAX).await, "the result depends on the pieces");
        // Hyper may differ about a 101 and about rejected responses.
        let (Ok((status, headers)), None) = (&read.head, read.error) else { return };
        if *status == 101 {
            return;
        }
        let theirs = hypers(bytes).await.expect("hyper accepts what the proxy accepts");
        assert_eq!((theirs.0, &theirs.1), (*status, headers));
        assert_eq!(theirs.2, read.data);
    });
}

async fn read(bytes: &[u8], step: usize) -> ReadResponse {
    testing::read_response(bytes, step, &testing::request(Method::GET, false)).await.without_kept()
}

/// Reads the response with hyper.
async fn hypers(bytes: &[u8]) -> Result<(u16, HeaderMap, Vec<u8>), hyper::Error> {
    let stream = ScriptedUpstream::new(bytes, usize::MAX);
    let mut builder = hyper::client::conn::http1::Builder::new();
    let (mut sender, connection) = builder.max_headers(200).handshake(TokioIo::new(stream)).await?;
    let driving = tokio::task::spawn_local(connection);
    let response = sender.send_request(Request::new(Empty::<Bytes>::new())).await?;
    let (head, body) = response.into_parts();
    let data = body.collect().await?.to_bytes().to_vec();
    driving.abort();
    Ok((head.status.as_u16(), head.headers, data))
}
