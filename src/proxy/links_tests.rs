//! Links in headers, and the address that rewritten links point to.

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use super::*;

type TestBody = UnsyncBoxBody<Bytes, BoxError>;

fn body(bytes: impl Into<Bytes>) -> TestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn links(lines: &str) -> Links {
    let loaded = Config::from_toml(&format!(
        "{lines}\n[credentials.default]\nclient_id = \"i\"\nclient_secret = \"s\"\nusername = \"u\"\npassword = \"p\"\n"
    ));
    let listen = crate::config::ListenAddress::Tcp("127.0.0.1:8080".parse().unwrap());
    Links::new(&loaded.unwrap().config, &[listen], 1).unwrap()
}

fn base(links: &Links, target: &str, host: Option<&str>) -> Option<String> {
    let host = host.map(|host| HeaderValue::try_from(host).unwrap());
    links.base(&target.parse().unwrap(), host.as_ref(), "http").map(|base| base.text())
}

#[test]
fn links_point_to_where_the_client_found_us() {
    let links = links("");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(base(&links, "/a", Some("vbc.internal:81")), text("http://vbc.internal:81"));
    assert_eq!(base(&links, "/a", None), text("http://127.0.0.1:8080"));
    assert_eq!(base(&links, "http://localhost:8080/a", Some("x")), text("http://localhost:8080"));
    // The client reaches the proxy by the upstream's name.
    assert_eq!(base(&links, "/a", Some("api.vonage.com")), text("http://api.vonage.com"));
    for proxied in ["http://api.vonage.com/a", "https://api.vonage.com:443/a", "http://API.vonage.com:80/"] {
        assert_eq!(base(&links, proxied, Some("api.vonage.com")), None, "{proxied}");
    }
}

#[test]
fn a_public_url_is_where_links_point_to_path_and_all() {
    let links = links("listen.public_url = \"https://vbc.internal/api/\"");
    assert_eq!(base(&links, "/a", Some("localhost")).as_deref(), Some("https://vbc.internal/api"));
    assert_eq!(base(&links, "http://api.vonage.com/a", None), None);
}

#[test]
fn locations_and_links_in_the_head_are_rewritten_and_nothing_else_is() {
    let links = links("");
    let base = Base::Public("http://localhost:8080".into());
    let ours = "http://localhost:8080/a";
    for (name, before, after) in [
        ("location", "https://api.vonage.com/a", ours),
        ("location", "//api.vonage.com/a", ours),
        ("location", "https://api.vonage.com", "http://localhost:8080"),
        ("content-location", "http://api.vonage.com:80/a", ours),
        ("location", "/a", "/a"),
        ("location", "https://api.vonage.com.evil.com/a", "https://api.vonage.com.evil.com/a"),
        ("location", "https://api.vonage.com@evil.com/a", "https://api.vonage.com@evil.com/a"),
        ("refresh", "0;url=https://api.vonage.com/a", "0;url=https://api.vonage.com/a"),
        (
            "link",
            r#"<https://api.vonage.com/a>; rel="next"; title="<https://api.vonage.com/a>", <https://x.test/>, <https://api.vonage.com>"#,
            r#"<http://localhost:8080/a>; rel="next"; title="<https://api.vonage.com/a>", <https://x.test/>, <http://localhost:8080>"#,
        ),
        ("link", "</a>; rel=next", "</a>; rel=next"),
        ("link", "<https://api.vonage.com", "<http://localhost:8080"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(before));
        links.rewrite_lines(&base, &mut headers);
        assert_eq!(headers[name], after, "{name}: {before}");
    }
}

#[test]
fn only_whole_json_that_may_be_changed_is_looked_into() {
    let is = |lines: &[(&'static str, &'static str)]| {
        let lines = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers = lines.collect();
        ResponseSurvey::of(&headers).json && may_change(&headers)
    };
    for json in
        ["application/json", "application/hal+json; charset=utf-8", "Application/JSON ;a=b", "a/b+JSON"]
    {
        assert!(is(&[("content-type", json)]), "{json}");
    }
    for other in [
        "text/html",
        "text/json",
        "application/jsonx",
        "application/x-ndjson",
        "text/event-stream",
        "",
        "+jso",
    ] {
        assert!(!is(&[("content-type", other)]), "{other}");
    }
    assert!(!is(&[("content-type", "application/json"), ("content-range", "bytes 0-1/2")]));
    assert!(!is(&[]));
    let json = ("content-type", "application/json");
    for (cache, may) in [
        ("no-store, No-Transform", false),
        ("no-transform", false),
        ("max-age=1", true),
        ("no-transformer, x=no-transform", true),
    ] {
        assert_eq!(is(&[json, ("cache-control", cache)]), may, "{cache}");
    }
    assert!(!is(&[json, ("cache-control", "private"), ("cache-control", "no-transform")]));
}

async fn rewritten(
    links: &Links,
    base: &Base,
    mut response: Response<TestBody>,
) -> Response<RewrittenBody<TestBody>> {
    let survey = ResponseSurvey::of(response.headers());
    let rewrite = Rewrite::new(links, base.clone(), &mut Request::new(()), Survey::default());
    let coding = rewrite.head(survey, &mut response).unwrap();
    rewrite.body(coding, response).await
}

#[tokio::test]
async fn json_that_finds_no_room_to_be_collected_is_streamed_and_gives_its_room_back() {
    let mut links = links("");
    // The pool has room for one block of kept bytes, but not for two.
    links.collected = Pool::new(1_500);
    let base = Base::Public("http://localhost:8080".into());
    let json = || {
        let body = body(r#"["https://api.vonage.com/a"]"#);
        Response::builder().header("content-type", "application/json").body(body).unwrap()
    };
    let first = rewritten(&links, &base, json()).await;
    let second = rewritten(&links, &base, json()).await;
    assert!(first.headers().contains_key(header::CONTENT_LENGTH));
    assert!(!second.headers().contains_key(header::CONTENT_LENGTH));
    for response in [first, second] {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"["http://localhost:8080/a"]"#);
    }
    let third = rewritten(&links, &base, json()).await;
    assert!(third.headers().contains_key(header::CONTENT_LENGTH));
}

#[tokio::test]
async fn a_body_that_is_all_framing_lets_others_have_their_turn() {
    // The body is many empty gzip members: a large input without any output.
    let empty = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()).finish().unwrap();
    let body = body(empty.repeat(900_000 / empty.len()));
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(body)
        .unwrap();
    let (links, base) = (links(""), Base::Public("http://localhost:8080".into()));
    let (turns, done) = (std::cell::Cell::new(0), std::cell::Cell::new(false));
    let judged = async {
        let response = rewritten(&links, &base, response).await;
        done.set(true);
        response
    };
    let others = async {
        while !done.get() {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let (response, ()) = tokio::join!(judged, others);
    assert!(turns.get() >= 3, "{}", turns.get());
    assert_eq!(response.headers()["content-encoding"], "gzip");
}
