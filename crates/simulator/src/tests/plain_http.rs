//! HTTP in every suite: methods, preconditions, ranges and negotiation.

use super::*;

const AUDIO: &str = "/t/vbc.prod/call_recording/v1/api/audio/recording";
const RECORDINGS: &str = "/t/vbc.prod/call_recording/api/accounts/self";

/// A file and the headers that describe it.
struct File {
    sim: Simulator,
    bearer: String,
    path: String,
    whole: Bytes,
    tag: String,
    modified: String,
}

impl File {
    /// The audio of a recording.
    async fn audio() -> Self {
        let sim = Simulator::start().await.unwrap();
        let token = sim.log_in().await.text("access_token");
        let page = sim.get(&format!("{RECORDINGS}/company_call_recordings"), &token).await.json();
        let path = format!("{AUDIO}/{}", page["_embedded"]["recordings"][0]["id"]);
        Self::of(sim, token, path).await
    }

    /// The zip file of an export.
    async fn zip() -> Self {
        let sim = Simulator::start().await.unwrap();
        let token = sim.log_in().await.text("access_token");
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let path = format!("{RECORDINGS}/company_call_recordings/export");
        let job = sim.send("POST", &path, &headers, r#"{"duration:lte":100000}"#).await.json();
        sim.advance(Duration::from_secs(600));
        let job = job["job_ids"][0].as_str().unwrap();
        let path = format!("/t/vbc.prod/call_recording/v1/api/bulkDownload/retrieve?job_id={job}");
        Self::of(sim, token, path).await
    }

    async fn of(sim: Simulator, token: String, path: String) -> Self {
        let mut file = Self {
            sim,
            bearer: format!("Bearer {token}"),
            path,
            whole: Bytes::new(),
            tag: String::new(),
            modified: String::new(),
        };
        let (status, headers, whole) = file.get("GET", &[]).await;
        assert_eq!(status, 200);
        let of = |name: &str| headers[name].to_str().unwrap().to_owned();
        (file.tag, file.modified) = (of("etag"), of("last-modified"));
        file.whole = whole;
        assert!(file.whole.len() > 1_000);
        file
    }

    async fn get(&self, method: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Bytes) {
        let mut request = http::Request::builder().method(method).uri(&self.path);
        request = request.header("authorization", &self.bearer);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.sim.service().respond(request.body(Bytes::new()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status.as_u16(), head.headers, body)
    }
}

#[tokio::test]
async fn audio_and_zip_files_heed_every_precondition() {
    for file in [File::audio().await, File::zip().await] {
        let (tag, modified) = (file.tag.as_str(), file.modified.as_str());
        let weak = format!("W/{tag}");
        let list = format!("\"a,b\", {weak}");
        let old = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (headers, status) in [
            (vec![("if-match", tag)], 200),
            (vec![("if-match", "*")], 200),
            (vec![("if-match", "\"other\"")], 412),
            (vec![("if-match", weak.as_str())], 412),
            (vec![("if-none-match", tag)], 304),
            (vec![("if-none-match", list.as_str())], 304),
            (vec![("if-none-match", "\"other\"")], 200),
            (vec![("if-modified-since", modified)], 304),
            (vec![("if-modified-since", old)], 200),
            (vec![("if-modified-since", "then")], 200),
            (vec![("if-none-match", "\"other\""), ("if-modified-since", modified)], 200),
            (vec![("if-unmodified-since", old)], 412),
            (vec![("if-unmodified-since", modified)], 200),
            (vec![("if-match", tag), ("if-unmodified-since", old)], 200),
        ] {
            for method in ["GET", "HEAD"] {
                let (given, head, body) = file.get(method, &headers).await;
                assert_eq!(given, status, "{method} {headers:?}");
                assert_eq!(head["etag"], tag);
                assert!(given == 200 || body.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn audio_and_zip_files_have_parts() {
    for file in [File::audio().await, File::zip().await] {
        let length = file.whole.len();
        let (tail, beyond) = (format!("bytes={}-", length - 7), format!("bytes={length}-"));
        for (range, part) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=10-599", Some(10..600)),
            (tail.as_str(), Some(length - 7..length)),
            ("bytes=-7", Some(length - 7..length)),
            ("bytes=0-99999999999999999999", Some(0..length)),
            (beyond.as_str(), None),
            ("bytes=-0", None),
        ] {
            let (status, headers, body) = file.get("GET", &[("range", range)]).await;
            let Some(part) = part else {
                assert_eq!(
                    (status, headers["content-range"].to_str().unwrap()),
                    (416, &*format!("bytes */{length}"))
                );
                continue;
            };
            let expected = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            assert_eq!((status, headers["content-range"].to_str().unwrap()), (206, &*expected), "{range}");
            assert_eq!(body, file.whole.slice(part), "{range}");
        }
        let other = [("range", "bytes=0-1"), ("if-range", "\"other\"")];
        for headers in
            [&other[..], &[("range", "bytes=0-1,5-6")], &[("range", "bytes=9-1")], &[("range", "x=0-1")]]
        {
            let (status, _, body) = file.get("GET", headers).await;
            assert!(status == 200 && body == file.whole, "{headers:?}");
        }
        let same = [("range", "bytes=0-1"), ("if-range", file.modified.as_str())];
        assert_eq!(file.get("GET", &same).await.0, 206);
        assert_eq!(file.get("HEAD", &[("range", "bytes=0-1")]).await.0, 200, "HEAD has no ranges");
    }
}

#[tokio::test]
async fn the_head_of_a_file_has_its_length_and_no_body() {
    for file in [File::audio().await, File::zip().await] {
        let response = file.sim.send("HEAD", &file.path, &[("authorization", &file.bearer)], "").await;
        assert_eq!((response.status.as_u16(), response.body.as_str()), (200, ""));
        assert_eq!(response.header("content-length"), Some(&*file.whole.len().to_string()));
        assert_eq!(
            (response.header("accept-ranges"), response.header("etag")),
            (Some("bytes"), Some(&*file.tag))
        );
    }
}

#[tokio::test]
async fn every_405_has_the_methods_that_are_allowed() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let vis = "/t/vbc.prod/vis/v1/self";
    for (method, path, allowed) in [
        ("DELETE", CALLS.to_owned(), "GET, POST, OPTIONS"),
        ("HEAD", CALLS.to_owned(), "GET, POST, OPTIONS"),
        ("POST", ACCOUNT.to_owned(), "GET, OPTIONS"),
        ("PATCH", format!("{CALLS}/x/legs/y"), "GET, PUT, DELETE, OPTIONS"),
        ("PUT", format!("{AUDIO}/1"), "GET, HEAD, OPTIONS"),
        ("PUT", format!("{vis}/webhooks/"), "POST, GET, OPTIONS"),
        ("GET", format!("{vis}/calls/1/answer"), "PUT, OPTIONS"),
        ("GET", "/token".to_owned(), "POST"),
        ("GET", "/revoke".to_owned(), "POST"),
    ] {
        let response = sim.send(method, &path, &headers, "").await;
        assert_eq!(
            (response.status.as_u16(), response.header("allow")),
            (405, Some(allowed)),
            "{method} {path}"
        );
    }
    for path in ["/authorize", "/userinfo", "/t/vbc.prod/oauth2/token"] {
        let response = sim.send("DELETE", path, &headers, "").await;
        assert!(response.status == 405 && response.header("allow").is_some(), "{path} {}", response.status);
    }
}

#[tokio::test]
async fn what_a_client_refuses_is_not_sent() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let bearer = format!("Bearer {token}");
    let ask = async |method: &str, path: &str, name: &str, value: &str, body: &str| {
        let response = sim.send(method, path, &[("authorization", &bearer), (name, value)], body).await;
        (response.status.as_u16(), response.header("content-type").unwrap_or_default().to_owned())
    };
    for (path, name, value, status, content_type) in [
        (CALLS, "accept", "application/json;q=0, text/plain", 200, "text/plain"),
        (CALLS, "accept", "text/plain;q=0, application/json", 200, "application/json"),
        (CALLS, "accept", "application/json;q=0.2, text/plain;q=0.9", 200, "text/plain"),
        (CALLS, "accept", "text/plain, */*", 200, "application/json"),
        (ACCOUNT, "accept", "application/json;q=0", 406, ""),
        (ACCOUNT, "accept", "*/*;q=0", 406, ""),
        (ACCOUNT, "accept", "application/*;q=0, application/json", 200, "application/json"),
        (ACCOUNT, "accept", "audio/mpeg", 200, "application/json"),
        (ACCOUNT, "accept-encoding", "identity;q=0", 406, ""),
        (ACCOUNT, "accept-encoding", "*;q=0", 406, ""),
        (ACCOUNT, "accept-encoding", "gzip, identity;q=0.5, *;q=0", 200, "application/json"),
        (ACCOUNT, "accept-encoding", "gzip;q=0", 200, "application/json"),
    ] {
        assert_eq!(
            ask("GET", path, name, value, "").await,
            (status, content_type.to_owned()),
            "{name}: {value}"
        );
    }
    let body = r#"{"type":"default","from":{"type":"extension","destination":"1001"},"to":"14155550100"}"#;
    for (accept, content_type) in [
        ("text/plain;q=0, application/json", "application/json"),
        ("application/json", "text/plain"),
        ("text/plain", "text/plain"),
    ] {
        assert_eq!(
            ask("POST", CALLS, "accept", accept, body).await,
            (200, content_type.to_owned()),
            "{accept}"
        );
    }
    assert_eq!(sim.stats().calls_placed, 3);
}

#[tokio::test]
async fn times_may_be_as_late_as_the_year_9999() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let logs = "/t/vbc.prod/reports/accounts/self/call-logs?start:gte=2000-01-01%2000:00:00&start:lte=";
    let recordings = format!("{RECORDINGS}/company_call_recordings?start:lte=");
    let events = "/t/vbc.prod/vis/v1/self/events/count?toDate=";
    for (path, total) in [
        (format!("{logs}9999-12-31%2023:59:59&end:lte=9999-12-31%2023:59:59"), "total_items"),
        (format!("{recordings}9999-12-31T23:59:59%2B0000"), "total_items"),
        (format!("{recordings}9999-12-31T23:59:59Z"), "total_items"),
        (format!("{events}253402300799000"), "count"),
        (format!("{events}{}", u64::MAX), "count"),
    ] {
        let response = sim.get(&path, &token).await;
        assert!(
            response.status == 200 && response.json()[total].as_u64() > Some(0),
            "{path} {}",
            response.body
        );
    }
    for (path, total) in [
        (format!("{recordings}2100-01-01T00:00:00Z&start:gte=9999-12-31T23:59:59Z"), "total_items"),
        (format!("{events}{0}&fromDate={0}", u64::MAX), "count"),
    ] {
        assert_eq!(sim.get(&path, &token).await.json()[total], 0, "{path}");
    }
    for (query, found) in [
        ("end_time=253402300799&start_time=1", true),
        ("start_time=253402300799", false),
        ("start_time=9223372036854775807", false),
        ("end_time=-9223372036854775808", false),
    ] {
        let calls = sim.get(&format!("{CALLS}?{query}"), &token).await.json()["calls"].clone();
        assert_eq!(!calls.as_array().unwrap().is_empty(), found, "{query}");
    }
    for text in ["10000-01-01%2000:00:00", "9999-13-01%2000:00:00", "9999-12-32%2000:00:00"] {
        assert_eq!(sim.get(&format!("{logs}{text}"), &token).await.status, 400, "{text}");
    }
}
