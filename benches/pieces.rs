//! Times the parts of a request in nanoseconds. `cargo bench --bench pieces` takes a few seconds.
//! Link rewriting (`links`) and the whole path (`instructions`) have their own benches.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};
use vbc_http::headers::{ResponseSurvey, Survey, strip_request, strip_response};
use vbc_proxy::testing::credential::Reader;
use vbc_proxy::testing::proxy;
use vbc_proxy::{App, Config, Simulator};

const ROUND: u32 = 20_000;
const ROUNDS: usize = 25;

fn main() {
    strip();
    verdict();
    bearer();
}

/// Returns the median of several rounds.
fn measure(mut piece: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            (0..ROUND).for_each(|_| piece());
            started.elapsed().as_nanos() as f64 / f64::from(ROUND)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let each = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    lines.iter().map(each).collect()
}

fn strip() {
    let tool = [
        ("host", "localhost:8080"),
        ("user-agent", "python-requests/2.32"),
        ("accept-encoding", "gzip, deflate"),
        ("accept", "*/*"),
        ("content-type", "application/json"),
        ("content-length", "512"),
    ];
    let hop =
        [("connection", "keep-alive, x-one"), ("keep-alive", "timeout=5"), ("authorization", "Bearer x")];
    let request = |lines: &[_]| {
        let headers = headers(lines);
        let clone = measure(|| drop(black_box(black_box(&headers).clone())));
        let all = measure(|| {
            let mut headers = black_box(&headers).clone();
            if Survey::of(&headers).strip {
                strip_request(&mut headers);
            }
            black_box(headers);
        });
        all - clone
    };
    println!("strip a request with nothing to strip     {:7.1} ns", request(&tool));
    println!("strip a request with three headers to go  {:7.1} ns", request(&[&tool[..], &hop].concat()));
    let response = headers(&[
        ("date", "Tue, 24 Nov 2026 12:00:00 GMT"),
        ("content-type", "application/json"),
        ("content-length", "512"),
        ("server", "WSO2"),
        ("etag", "\"1\""),
    ]);
    let mut response = response;
    let time = measure(|| {
        if black_box(ResponseSurvey::of(black_box(&response))).strip {
            strip_response(&mut response);
        }
    });
    println!("strip a response with nothing to strip   {time:7.1} ns");
}

fn verdict() {
    let gateway = headers(&[("www-authenticate", "OAuth2 realm=\"WSO2 API Manager\"")]);
    let bodies = [
        ("a code of the gateway", r#"{"fault":{"code":900901,"message":"Invalid Credentials"}}"#.as_bytes()),
        ("no code", b"<html>unauthorized</html>"),
    ];
    for (what, body) in bodies {
        let time = measure(|| {
            black_box(proxy::judge(black_box(&gateway), black_box(body)));
        });
        println!("judge a 401 with {what:<24} {time:7.1} ns");
    }
}

/// Reads the bearer, alone and during refreshes without a pause.
fn bearer() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sim = runtime.block_on(Simulator::start()).unwrap();
    let config = Config::from_toml(&format!(
        "listen.address = \"127.0.0.1:0\"\nadmin.address = \"off\"\nstore.kind = \"memory\"\n\
         upstream.url = \"{0}\"\noauth.token_url = \"{0}/token\"\n\
         credentials.default = {{ client_id = \"sim-client\", client_secret = \"sim-secret\", \
         username = \"alice\", password = \"sim-password\" }}\n",
        sim.url()
    ));
    let app = runtime.block_on(App::bind(config.unwrap().config)).unwrap();
    let credential = app.credential();
    runtime.block_on(credential.bearer()).unwrap();
    let mut reader = credential.reader();
    println!("read the bearer                           {:7.1} ns", read(&mut reader));
    let (ended, refreshed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let refreshing = {
        let (ended, refreshed, credential) = (Arc::clone(&ended), Arc::clone(&refreshed), credential.clone());
        runtime.spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                // Some refreshes are refused because they come too soon.
                match credential.refresh().await {
                    Ok(()) => refreshed.fetch_add(1, Ordering::Relaxed),
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        0
                    }
                };
            }
        })
    };
    let started = Instant::now();
    let time = read(&mut reader);
    let each = refreshed.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    ended.store(true, Ordering::Relaxed);
    runtime.block_on(refreshing).unwrap();
    println!("read the bearer, {each:6.0} refreshes a second {time:7.1} ns");
}

fn read(reader: &mut Reader) -> f64 {
    measure(|| {
        black_box(reader.cached().cloned());
    })
}
