//! What the data plane makes of any bytes: header lines, the heads of answers, bodies of 401s.

#![allow(clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::links;
use super::upstream::testing::{self, ReadResponse, ScriptedUpstream};
use super::verdict::{self, Verdict};
use crate::headers;

/// Header lines of a request, one a line, stripped as they are on their way to the upstream.
///
/// # Panics
/// When something hop-by-hop or a credential is left, or something goes that nobody may take away.
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
        assert!(!map.contains_key(name), "{name} is left");
    }
    let te: Vec<_> = map.get_all(header::TE).iter().collect();
    assert!(te.is_empty() || te == ["trailers"], "{te:?}");
    // Framing and routing are not the client's to take away.
    for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
        assert!(before.get_all(&name).iter().eq(map.get_all(&name).iter()), "{name} was touched");
    }
    for name in before.keys() {
        let kept = map.get_all(name).iter().eq(before.get_all(name).iter());
        let gone = !map.contains_key(name);
        assert!(kept || gone || name == header::TE, "{name} was changed");
        let listed = named.iter().any(|listed| listed == name.as_str());
        let ours =
            name.as_str().starts_with("x-") || ["te", "apikey", "internal-key"].contains(&name.as_str());
        let protected = [header::HOST, header::CONTENT_LENGTH, header::EXPECT].contains(name);
        assert!(kept || listed || ours || always.contains(&name.as_str()), "{name} was taken away");
        assert!(gone || !listed || protected || name == header::TE, "{name} was named and is left");
    }
}

/// The names on all `Connection` lines, read in another way than `headers` does.
fn named_by_connection(map: &HeaderMap) -> Vec<String> {
    let lines = map.get_all(header::CONNECTION).iter();
    let text: Vec<String> =
        lines.map(|line| line.as_bytes().iter().map(|byte| *byte as char).collect()).collect();
    let names = text.iter().flat_map(|line| line.split(','));
    names.map(|name| name.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
}

/// Two bytes of status and challenge, then the body of a 401.
///
/// # Panics
/// When the verdict contradicts what is plainly in it.
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

/// One byte says in which pieces the rest, a JSON response, comes.
///
/// # Panics
/// When the pieces make a difference, or in valid JSON anything else is changed than values that are URLs of the upstream.
pub fn links(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let step = usize::from(*step).max(1);
    let rewritten = links::rewrite_pieces(UPSTREAM, BASE, bytes.chunks(step));
    // Whether a string of more than 2 KiB is a key is not waited for. Escapes hooks, strings end at quotes.
    let short = !bytes.contains(&b'\\') && bytes.split(|byte| *byte == b'"').all(|part| part.len() < 1000);
    if short || bytes.len() <= 2048 {
        assert_eq!(rewritten, links::rewrite_pieces(UPSTREAM, BASE, [bytes]), "the pieces make a difference");
    }
    // A link whose very first letter is escaped is left alone: nobody writes so, and every string would have to be read.
    let lower = bytes.to_ascii_lowercase();
    if [&br"\u0068"[..], br"\u0048"].iter().any(|escape| lower.windows(6).any(|window| window == *escape)) {
        return;
    }
    let Ok(mut expected) = serde_json::from_slice::<Value>(bytes) else { return };
    point_at_base(&mut expected);
    let found: Value = serde_json::from_slice(&rewritten).expect("it was JSON");
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
                // Zeros in front change nothing (RFC 3986 §3.2.3 has any digits).
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

/// One byte says in which pieces the rest, a response, comes.
///
/// # Panics
/// When the size of the pieces makes a difference, or hyper reads something else in what is taken.
pub fn answer_head(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async {
        let read = read(bytes, usize::from(*step)).await;
        assert_eq!(read, self::read(bytes, usize::MAX).await, "the pieces make a difference");
        // Switched, or not HTTP to us: hyper may think what it likes.
        let (Ok((status, headers)), None) = (&read.head, read.error) else { return };
        if *status == 101 {
            return;
        }
        let theirs = hypers(bytes).await.expect("hyper is the lenient one");
        assert_eq!((theirs.0, &theirs.1), (*status, headers));
        assert_eq!(theirs.2, read.data);
    });
}

async fn read(bytes: &[u8], step: usize) -> ReadResponse {
    testing::read_response(bytes, step, &testing::request(Method::GET, false)).await.without_kept()
}

/// What hyper makes of it.
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
