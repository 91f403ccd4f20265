//! Rewriting of links in JSON and of `Location`.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use vbc_simulator::SimulatorOptions;

use crate::harness::{RawUpstream, Received, Response, World};

/// A response with these header lines and this body, with `Content-Length`.
fn whole(lines: &str, body: &[u8]) -> Vec<u8> {
    let lines = lines.replace('\n', "\r\n");
    let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A response with these header lines and this body, in chunks of this size.
fn chunked(lines: &str, body: &[u8], size: usize) -> Vec<u8> {
    let lines = lines.replace('\n', "\r\n");
    let mut out = format!("HTTP/1.1 200 OK\r\n{lines}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// An upstream whose response contains its own URL in place of `@`.
async fn upstream(response: impl Fn(&str) -> Vec<u8> + Send + Sync + Clone + 'static) -> RawUpstream {
    RawUpstream::scripted(move |mut connection| {
        let response = response.clone();
        async move {
            while let Some(request) = connection.request().await {
                connection.write(&response(&url_of(&request))).await;
            }
        }
    })
    .await
}

/// The upstream's URL, from the `Host` of a request.
fn url_of(request: &Received) -> String {
    format!("http://{}", request.header("host").unwrap())
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

async fn response(make: impl Fn(&str) -> Vec<u8> + Send + Sync + Clone + 'static) -> Response {
    let upstream = upstream(make).await;
    World::with_upstream(&upstream).await.get("/a").await
}

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn links_in_json_point_to_the_proxy_and_the_length_is_exact() {
    for content_type in [JSON, "Content-Type: application/hal+json; charset=utf-8"] {
        let response = response(move |url| {
            let escaped = url.replace('/', r"\/");
            let text = format!(r#"{{"a":"{url}/t?x=1","b":["{escaped}\/u"],"c":"see {url}/t"}}"#);
            whole(&format!("{content_type}\nETag: \"1\"\nDigest: a=b"), text.as_bytes())
        })
        .await;
        let json = response.json();
        assert_eq!(json["a"], "http://localhost/t?x=1");
        assert_eq!(json["b"][0], "http://localhost/u");
        assert!(response.text().contains(r"http:\/\/localhost\/u"), "{}", response.text());
        assert!(json["c"].as_str().unwrap().starts_with("see http://127.0.0.1"));
        assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
        assert_eq!((response.header("etag"), response.header("digest")), (Some("W/\"1\""), None));
    }
}

#[tokio::test]
async fn json_without_a_link_passes_byte_for_byte_in_its_coding_but_with_a_weak_etag() {
    let text = br#"{"a":"https://api.vonage.com.evil.com/","h":"http://127.0.0.1/"}"#;
    let encoded = gzip(text);
    let lines = format!("{JSON}\nContent-Encoding: gzip\nETag: \"1\"\nDigest: a=b");
    for (lines, body) in [(lines.clone(), encoded.clone()), (JSON.to_owned(), text.to_vec())] {
        let sent = body.clone();
        let given = response(move |_| whole(&lines, &sent)).await;
        assert_eq!(given.body, body);
        assert_eq!(given.header("content-length"), Some(body.len().to_string().as_str()));
    }
    let sent = encoded.clone();
    let given = response(move |_| chunked(&lines, &sent, 20)).await;
    assert_eq!(given.body, encoded);
    assert_eq!(given.header("transfer-encoding"), Some("chunked"));
    assert_eq!((given.header("content-encoding"), given.header("etag")), (Some("gzip"), Some("W/\"1\"")));
    assert_eq!(given.header("digest"), Some("a=b"));
}

#[tokio::test]
async fn a_compressed_response_with_a_link_is_sent_uncompressed_without_coding_and_strong_etag() {
    let kept = Some("W/\"1\"");
    for (coding, etag) in [("gzip", "\"1\""), ("deflate", "W/\"1\"")] {
        let response = response(move |url| {
            let text = format!(r#"{{"a":"{url}/t"}}"#);
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
            zlib.write_all(text.as_bytes()).unwrap();
            let body = if coding == "gzip" { gzip(text.as_bytes()) } else { zlib.finish().unwrap() };
            whole(&format!("{JSON}\nContent-Encoding: {coding}\nETag: {etag}"), &body)
        })
        .await;
        assert_eq!(response.text(), r#"{"a":"http://localhost/t"}"#);
        assert_eq!((response.header("content-encoding"), response.header("etag")), (None, kept));
        assert_eq!(response.header("content-length"), Some("26"));
    }
}

/// An upstream with one resource, which has validators. A client that knows its ETag gets 304.
async fn resource(kind: &'static str) -> RawUpstream {
    RawUpstream::scripted(move |mut connection| async move {
        while let Some(request) = connection.request().await {
            let body = format!(r#"{{"a":"{}/t"}}"#, url_of(&request));
            let lines = "ETag: \"v1\"\r\nAccept-Ranges: bytes\r\nDigest: a=b";
            let known = request.all("if-none-match").iter().any(|line| line.contains("\"v1\""));
            let (status, lines, body) = match (known, request.line.starts_with("HEAD")) {
                (true, _) => {
                    ("304 Not Modified", format!("{lines}\r\nContent-Length: {}", body.len()), String::new())
                }
                (false, head) => {
                    let lines = format!("{lines}\r\nContent-Type: {kind}\r\nContent-Length: {}", body.len());
                    ("200 OK", lines, if head { String::new() } else { body })
                }
            };
            connection.write(format!("HTTP/1.1 {status}\r\n{lines}\r\n\r\n{body}").as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn get_head_and_304_agree_for_a_body_that_may_be_rewritten() {
    let upstream = resource("application/json").await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    for (method, more, status) in [
        ("GET", "", 200),
        ("HEAD", "", 200),
        ("GET", "\nIf-None-Match: W/\"v1\"", 304),
        ("HEAD", "\nIf-None-Match: \"other\", W/\"v1\"", 304),
    ] {
        client.request(&format!("{method} / HTTP/1.1{more}"), b"").await;
        let response = client.response_to(method).await;
        assert_eq!(response.status, status, "{method} {more}");
        assert_eq!(response.header("etag"), Some("W/\"v1\""), "{method} {more}");
        assert_eq!(response.header("accept-ranges"), None, "{method} {more}");
        assert_eq!((response.header("digest"), response.header("content-encoding")), (None, None));
        if status == 304 {
            assert_eq!(response.header("content-length"), None, "it would be another length");
        } else {
            let length = response.body.len().to_string();
            let expected = (method == "GET").then_some(length.as_str());
            assert_eq!(response.header("content-length"), expected, "a HEAD must not have another length");
        }
    }
}

#[tokio::test]
async fn validators_and_length_of_bodies_that_are_never_rewritten_stay() {
    let refused = "no-transform";
    for (kind, config, more) in [
        ("text/plain", "upstream.rewrite_links = true", ""),
        ("application/json", "upstream.rewrite_links = false", ""),
        (refused, "upstream.rewrite_links = true", ""),
        ("application/json", "upstream.rewrite_links = true", "as a proxy"),
    ] {
        let kind = if kind == refused { "application/json\r\nCache-Control: no-transform" } else { kind };
        let upstream = resource(kind).await;
        let world = World::builder().config(config).upstream(upstream.url()).start().await;
        let mut client = world.connect().await;
        let target = if more.is_empty() { "/".to_owned() } else { format!("{}/", upstream.url()) };
        for (method, tag) in [("GET", ""), ("HEAD", ""), ("GET", "\nIf-None-Match: \"v1\"")] {
            client.request(&format!("{method} {target} HTTP/1.1{tag}"), b"").await;
            let response = client.response_to(method).await;
            assert_eq!(response.header("etag"), Some("\"v1\""), "{kind} {config} {method}");
            assert_eq!(response.header("accept-ranges"), Some("bytes"), "{kind} {config} {method}");
            assert!(response.header("content-length").is_some(), "{kind} {method} {tag}");
        }
        if !more.is_empty() || config.ends_with("false") {
            client.request(&format!("PUT {target} HTTP/1.1\nIf-Match: W/\"v1\""), b"{}").await;
            client.response().await;
            assert_eq!(upstream.requests().pop().unwrap().header("if-match"), Some("W/\"v1\""));
        }
    }
}

#[tokio::test]
async fn if_match_is_translated_to_the_upstreams_etag_and_other_conditions_are_not() {
    let upstream = RawUpstream::ok().await;
    let world = World::with_upstream(&upstream).await;
    let head = "PUT / HTTP/1.1\nIf-Match: W/\"v1\", \"v2\"\nIf-Match: W/\"W/x\"\nIf-Range: W/\"v1\"\nIf-None-Match: W/\"v1\"";
    world.send(head, b"{}").await;
    let received = upstream.only();
    assert_eq!(received.all("if-match"), ["\"v1\", \"v2\"", "\"W/x\""]);
    assert_eq!(
        (received.header("if-range"), received.header("if-none-match")),
        (Some("W/\"v1\""), Some("W/\"v1\""))
    );
}

#[tokio::test]
async fn a_body_in_an_unknown_or_wrong_coding_passes_untouched() {
    for coding in ["zstd", "gzip, br", "gzip", "br"] {
        let lines = format!("{JSON}\nContent-Encoding: {coding}");
        let given = response(move |url| whole(&lines, format!(r#"{{"a":"{url}/t"}}"#).as_bytes())).await;
        assert!(given.text().contains("http://127.0.0.1"), "{coding}: {given:?}");
        assert_eq!(given.header("content-encoding"), Some(coding));
        assert_eq!(given.header("content-length"), Some(given.body.len().to_string().as_str()));
    }
}

/// The `Accept-Encoding` that reaches the upstream for this head.
async fn asked_with(config: &str, head: &str) -> Vec<String> {
    let upstream = RawUpstream::ok().await;
    World::builder().upstream(upstream.url()).config(config).start().await.send(head, b"").await;
    upstream.only().all("accept-encoding").into_iter().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn with_link_rewriting_only_decodable_codings_are_requested() {
    for (lines, asked) in [
        ("Accept-Encoding: gzip, deflate, br, zstd", &["gzip, deflate"][..]),
        ("Accept-Encoding: br\nAccept-Encoding: gzip;q=0.5", &["gzip;q=0.5"]),
        ("Accept-Encoding: zstd", &["identity"]),
        ("Accept-Encoding: identity;q=0", &["identity;q=0"]),
        ("Accept-Encoding:  gzip ,deflate", &["gzip ,deflate"]),
        ("Accept: */*", &[]),
    ] {
        assert_eq!(asked_with("", &format!("GET / HTTP/1.1\n{lines}")).await, asked, "{lines}");
    }
}

#[tokio::test]
async fn without_link_rewriting_every_coding_may_be_requested() {
    let lines = "Accept-Encoding: gzip, br, *;q=0";
    let asked = asked_with("upstream.rewrite_links = false", &format!("GET / HTTP/1.1\n{lines}")).await;
    assert_eq!(asked, ["gzip, br, *;q=0"]);
}

#[tokio::test]
async fn a_large_response_is_streamed_whole_in_chunks_and_rewritten() {
    let filler = "x".repeat(1 << 20);
    for coding in [None, Some("gzip")] {
        let text = filler.clone();
        let response = response(move |url| {
            let text = format!(r#"{{"f":"{text}","a":"{url}/t"}}"#);
            match coding {
                None => whole(JSON, text.as_bytes()),
                Some(coding) => whole(&format!("{JSON}\nContent-Encoding: {coding}"), &gzip(text.as_bytes())),
            }
        })
        .await;
        assert_eq!(
            (response.header("transfer-encoding"), response.header("content-length")),
            (Some("chunked"), None)
        );
        assert!(response.complete && response.header("content-encoding").is_none());
        assert_eq!(response.text(), format!(r#"{{"f":"{filler}","a":"http://localhost/t"}}"#), "{coding:?}");
    }
}

#[tokio::test]
async fn chunked_json_stays_chunked_and_links_may_be_split_anywhere() {
    for size in [1, 3, 7, 1000] {
        let response =
            response(move |url| chunked(JSON, format!(r#"{{"a":"{url}/t"}}"#).as_bytes(), size)).await;
        assert_eq!(response.text(), r#"{"a":"http://localhost/t"}"#);
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    }
}

#[tokio::test]
async fn slow_json_is_passed_on_as_it_arrives() {
    let announced = "Content-Length: 20";
    for framing in ["Transfer-Encoding: chunked", announced] {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        let mut client = world.connect().await;
        client.request("GET /a HTTP/1.1", b"").await;
        let mut connection = upstream.accept().await;
        connection.request().await.unwrap();
        let (one, two) = match framing == announced {
            true => ("{\"a\":1,   ", "\"b\":22345}"),
            false => ("a\r\n{\"a\":1,   \r\n", "a\r\n\"b\":22345}\r\n0\r\n\r\n"),
        };
        connection.write(format!("HTTP/1.1 200 OK\r\n{JSON}\r\n{framing}\r\n\r\n{one}").as_bytes()).await;
        let head = client.head().await.to_ascii_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        client.expect(b"a\r\n{\"a\":1,   \r\n").await;
        connection.write(two.as_bytes()).await;
        client.expect(b"a\r\n\"b\":22345}\r\n0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn json_cut_short_by_the_upstream_is_never_passed_off_as_complete() {
    for lines in [JSON.to_owned(), format!("{JSON}\nContent-Encoding: gzip")] {
        let lines = lines.replace('\n', "\r\n");
        for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
            let body = if framing.starts_with('C') { "{\"a\":" } else { "5\r\n{\"a\":\r\n" };
            let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n{framing}\r\n\r\n{body}");
            let upstream = RawUpstream::scripted(move |mut connection| {
                let text = text.clone();
                async move {
                    connection.request().await;
                    connection.write(text.as_bytes()).await;
                }
            })
            .await;
            let world = World::with_upstream(&upstream).await;
            let response = world.get("/a").await;
            assert!(response.status == 200 && !response.complete, "{framing}: {response:?}");
        }
    }
}

#[tokio::test]
async fn other_types_and_partial_json_are_left_alone() {
    for lines in
        ["Content-Type: text/html", "Content-Type: application/json\nContent-Range: bytes 0-1/9", "X-A: b"]
    {
        let given = response(move |url| whole(lines, format!(r#"["{url}/t"]"#).as_bytes())).await;
        assert!(given.text().starts_with(r#"["http://127.0.0.1"#), "{lines}: {given:?}");
    }
}

#[tokio::test]
async fn no_transform_protects_the_body_but_not_the_location() {
    for coding in ["", "\nContent-Encoding: gzip"] {
        let given = response(move |url| {
            let text = format!(r#"["{url}/t"]"#);
            let body = if coding.is_empty() { text.into_bytes() } else { gzip(text.as_bytes()) };
            whole(&format!("{JSON}{coding}\nCache-Control: private, No-Transform\nLocation: {url}/b"), &body)
        })
        .await;
        assert_eq!(given.header("location"), Some("http://localhost/b"));
        assert_eq!(given.header("content-encoding").is_some(), !coding.is_empty());
        assert!(!coding.is_empty() || given.text().starts_with(r#"["http://127.0.0.1"#), "{given:?}");
    }
}

#[tokio::test]
async fn slow_readers_get_all_of_more_json_than_may_be_buffered() {
    const ITEMS: usize = 30_000;
    let upstream = upstream(|url| {
        let items = vec![format!(r#""{url}/t""#); ITEMS].join(",");
        whole(JSON, format!("[{items}]").as_bytes())
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let mut clients = Vec::new();
    // The responses together are much larger than the buffers of all threads.
    for _ in 0..90 {
        let mut client = world.connect().await;
        client.request("GET /a HTTP/1.1\nHost: localhost", b"").await;
        clients.push(client);
    }
    let whole = format!("[{}]", vec![r#""http://localhost/t""#; ITEMS].join(","));
    for mut client in clients {
        let response = client.response().await;
        assert!(response.complete && response.text() == whole, "{} bytes", response.body.len());
    }
}

#[tokio::test]
async fn streams_of_events_and_of_lines_are_passed_on_at_once_and_untouched() {
    for kind in ["text/event-stream", "application/x-ndjson", "application/json-seq"] {
        let upstream = RawUpstream::by_hand().await;
        let world = World::with_upstream(&upstream).await;
        let mut client = world.connect().await;
        client.request("GET /a HTTP/1.1", b"").await;
        let mut connection = upstream.accept().await;
        let request = connection.head().await.unwrap();
        let url = format!("http://{}", request.header("host").unwrap());
        let event = format!("{{\"a\":\"{url}/t\"}}\n");
        // The proxy would buffer plain JSON of a known length, but must not buffer these types.
        let lines = format!("Content-Type: {kind}\r\nContent-Length: {}", event.len() * 2);
        connection.write(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{event}").as_bytes()).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
        client.expect(event.as_bytes()).await;
        connection.write(event.as_bytes()).await;
        client.expect(event.as_bytes()).await;
    }
}

#[tokio::test]
async fn a_response_to_head_keeps_its_length_where_a_get_would_not_be_changed() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\n";
    let upstream = RawUpstream::responding(head).await;
    let world = World::with_upstream(&upstream).await;
    let mut client = world.connect().await;
    client.request("HEAD /a HTTP/1.1", b"").await;
    assert_eq!(client.response_to("HEAD").await.header("content-length"), Some("99"));
}

#[tokio::test]
async fn locations_on_the_upstream_point_to_the_proxy_and_are_not_followed() {
    let upstream = upstream(|url| {
        let text = format!(
            "HTTP/1.1 302 Found\r\nLocation: {url}/b\r\nLink: <{url}/c>; rel=next\r\nContent-Length: 0\r\n\r\n"
        );
        text.into_bytes()
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let response = world.send("GET /a HTTP/1.1\nHost: localhost:1234", b"").await;
    assert_eq!((response.status, response.header("location")), (302, Some("http://localhost:1234/b")));
    assert_eq!(response.header("link"), Some("<http://localhost:1234/c>; rel=next"));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn links_point_to_the_public_url_where_there_is_one() {
    let upstream = upstream(|url| whole(JSON, format!(r#"["{url}/t"]"#).as_bytes())).await;
    let builder = World::builder().upstream(upstream.url());
    let world = builder.config("listen.public_url = \"https://vbc.internal\"").start().await;
    assert_eq!(world.get("/a").await.text(), r#"["https://vbc.internal/t"]"#);
}

#[tokio::test]
async fn a_tool_that_uses_the_proxy_as_its_http_proxy_gets_the_upstreams_own_links() {
    let upstream = upstream(|url| whole(JSON, format!(r#"["{url}/t"]"#).as_bytes())).await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get(&format!("{}/a", upstream.url())).await;
    assert_eq!(response.text(), format!(r#"["{}/t"]"#, upstream.url()));
}

#[tokio::test]
async fn links_stay_unchanged_if_so_configured() {
    let upstream =
        upstream(|url| whole(&format!("{JSON}\nLocation: {url}/b"), format!(r#"["{url}/t"]"#).as_bytes()))
            .await;
    let builder = World::builder().upstream(upstream.url());
    let world = builder.config("upstream.rewrite_links = false").start().await;
    let response = world.get("/a").await;
    assert_eq!(response.text(), format!(r#"["{}/t"]"#, upstream.url()));
    assert_eq!(response.header("location"), Some(format!("{}/b", upstream.url()).as_str()));
}

#[tokio::test]
async fn the_json_of_a_401_is_rewritten_as_well() {
    let upstream = upstream(|url| {
        let body = format!(r#"{{"fault":"{url}/help"}}"#);
        let head = format!("HTTP/1.1 401 Unauthorized\r\n{JSON}\r\nContent-Length: {}\r\n\r\n", body.len());
        format!("{head}{body}").into_bytes()
    })
    .await;
    let world = World::with_upstream(&upstream).await;
    let response = world.get("/a/b").await;
    assert_eq!((response.status, response.text()), (401, r#"{"fault":"http://localhost/help"}"#));
}

const RECORDINGS: &str = "/t/vbc.prod/call_recording/api/accounts/self/company_call_recordings";

#[tokio::test]
async fn a_tool_that_follows_the_download_url_of_a_recording_gets_its_audio() {
    // An empty value means the simulator's own address.
    let options = SimulatorOptions { public_base: String::new(), ..SimulatorOptions::default() };
    let world = World::builder().simulator(options).start().await;
    let host = world.address.to_string();
    let head = |method: &str, target: &str| format!("{method} {target} HTTP/1.1\nHost: {host}");
    let list = world.send(&head("GET", &format!("{RECORDINGS}?page_size=100")), b"").await.json();
    let recordings = list["_embedded"]["recordings"].as_array().unwrap();
    assert!(recordings.len() > 2, "{list}");
    for recording in &recordings[..2] {
        let url = recording["download_url"].as_str().unwrap();
        let target = url.strip_prefix(&format!("http://{host}")).expect("a link to the proxy").to_owned();
        let audio = world.send(&head("GET", &target), b"").await;
        assert_eq!((audio.status, audio.header("content-type")), (200, Some("audio/mpeg")));
        let length = recording["file_size_in_bytes"].to_string();
        assert_eq!(audio.header("content-length"), Some(length.as_str()));
        assert_eq!(audio.body.len().to_string(), length);
        assert!(audio.body.windows(4).any(|bytes| bytes == [0xff, 0xfb, 0x54, 0xc0]), "no MP3");
        let tag = audio.header("etag").unwrap();
        let range = format!("{}\nRange: bytes=10-19\nIf-Range: {tag}", head("GET", &target));
        let part = world.send(&range, b"").await;
        assert_eq!((part.status, part.body.as_slice()), (206, &audio.body[10..20]));
        let beyond = format!("{}\nRange: bytes={length}-", head("GET", &target));
        let beyond = world.send(&beyond, b"").await;
        assert_eq!((beyond.status, beyond.body.len()), (416, 0));
        assert_eq!(beyond.header("content-range"), Some(format!("bytes */{length}").as_str()));
        let mut client = world.connect().await;
        client.request(&head("HEAD", &target), b"").await;
        assert_eq!(client.response_to("HEAD").await.header("content-length"), Some(length.as_str()));
        // The links of the pages are rewritten too.
        assert!(
            recording["_links"]["self"]["href"].as_str().unwrap().starts_with(&format!("http://{host}/t/"))
        );
    }
}
