//! A thousand attempts to get a secret into a cassette, in all places and encodings, and under
//! names that no table lists.

mod encodings;
mod places;
mod search;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use vbc_cassette::{Cassette, har};
use vbc_proxy::Simulator;

use crate::harness::{Client, RawUpstream};
use crate::process::{Process, Relay, configuration, get, lay_out};
use encodings::{Encoding, NAMES};
use places::{Exchange, PLACES};
use search::Search;

/// Personal data and keys that only clients and the service know.
const UNKNOWN: [&str; 7] = [
    "Wilhelmina Featherstone",
    "wilhelmina.f@mail.example.org",
    "+4930555012345",
    PIN,
    "Zq7hT2vLx9Rb",
    "skTlive9aF3kQ0xT7bM2cV8wPy",
    "wilhelmina.featherstone@vbc.prod",
];

const PIN: &str = "804271";

/// The places where numbers of the service or of HTTP occur too.
const OF_NUMBERS: [&str; 12] = [
    "request body 6 of an operation",
    "a range",
    "an activity",
    "a parameter that is repeated",
    "a value of an operation",
    "an identifier",
    "an account",
    "response body 8 of an operation",
    "a path of a location",
    "a path of a link",
    "a number of a request",
    "a time to wait",
];

/// One attempt, and its name in a failure.
struct Try {
    name: String,
    exchange: Exchange,
    /// The secret as sent, in its encoding.
    sent: Vec<String>,
}

/// Attempts in every place, with each encoding in turn, and with random secrets and names.
fn tries(count: usize, secrets: &[String], places: &[places::Named], encodings: &[Encoding]) -> Vec<Try> {
    // `VBC_PROXY_SEED` selects other attempts.
    let mut random =
        std::env::var("VBC_PROXY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(16_u64);
    let mut pick = |most: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % most
    };
    let one = |index: usize| {
        let (place, of) = places[index % places.len()];
        let encoding = encodings[(index / places.len() + index) % encodings.len()];
        let (mut secret, name) = (&secrets[pick(secrets.len())], NAMES[pick(NAMES.len())]);
        // A few digits, or a UUID in swapped case, may also come from the service itself.
        let is_uuid = secret.len() == 36 && matches!(encoding, Encoding::SwappedCase);
        if is_uuid || (secret == PIN && OF_NUMBERS.contains(&place)) {
            secret = &secrets[0];
        }
        // Sends only part of a token that would be too long for a request target.
        let is_long = secret.len() > 100 && encoding.is_lengthy();
        let sent = encoding.pieces(if is_long { &secret[100..164] } else { secret });
        let shown: String = secret.chars().take(12).collect();
        Try {
            name: format!("{index}: {place}, {encoding:?}, {shown}…, named {name}"),
            exchange: of(&places::Case { name, pieces: &sent }),
            sent,
        }
    };
    (0..count).map(one).collect()
}

/// What a session leaves: the cassette in `directory`, and the attempts that it contains.
struct Left {
    directory: tempfile::TempDir,
    tries: Vec<Try>,
    /// The secrets that the proxy knows.
    known: Vec<String>,
}

impl Left {
    fn cassette(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("a.cassette")
    }

    fn archive(&self) -> Value {
        har::export(&Cassette::read(&self.path()).unwrap())
    }
}

/// Records a session of the attempts that `plan` makes from the secrets that the proxy knows.
async fn record(options: &[&str], plan: impl Fn(&[String]) -> Vec<Try>) -> Left {
    let simulator = Simulator::start().await.unwrap();
    let relay = Relay::to(simulator.address()).await;
    let responses: Arc<OnceLock<Vec<Vec<u8>>>> = Arc::default();
    let responding = Arc::clone(&responses);
    let upstream = RawUpstream::scripted(move |mut connection| {
        let responses = Arc::clone(&responding);
        async move {
            while let Some(request) = connection.request().await {
                let index = request.header("x-try").and_then(|index| index.parse::<usize>().ok());
                let response = index.zip(responses.get()).map(|(index, responses)| &responses[index][..]);
                connection.write(response.unwrap_or(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await;
            }
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    lay_out(directory.path(), &configuration(&upstream.url(), &relay.token_url(), ""), "sim-password");
    let arguments = [&["serve", "--record", "a.cassette"], options].concat();
    let mut serve = Process::start(directory.path(), &arguments, &[]);
    let (address, _) = serve.listening().await;
    // The first request brings the tokens.
    assert_eq!(get(address, "/t/vbc.prod/first").await.status, 200);
    let issued = relay.issued();
    let mut known = vec!["sim-secret".to_owned(), "sim-password".to_owned()];
    known.extend(issued.iter().flat_map(|set| [&set.access, &set.refresh]).cloned());
    let tries = plan(&known);
    assert!(responses.set(tries.iter().map(|one| one.exchange.response()).collect()).is_ok());
    for (index, one) in tries.iter().enumerate() {
        let mut client = Client::connect(address).await;
        client.write(&one.exchange.request(index)).await;
        let response = client.read_to_end().await;
        let text = String::from_utf8_lossy(&response);
        assert!(text.starts_with("HTTP/1.1 ") && !text.contains("error="), "{}: {text}", one.name);
    }
    let reached = upstream.requests().len();
    assert_eq!(serve.terminate().await.code, Some(0));
    let left = Left { directory, tries, known };
    // Every attempt reached the upstream and the cassette.
    assert_eq!((reached, left.cassette().lines().count()), (left.tries.len() + 1, left.tries.len() + 2));
    left
}

/// Searches everything that was recorded. Returns the leak of each attempt that has one.
fn leaks(left: &Left, search: &Search) -> BTreeMap<usize, String> {
    let cassette = left.cassette();
    // The first line and the first request are not attempts.
    let records = cassette.lines().skip(2).map(|line| serde_json::from_str(line).unwrap());
    let archive = left.archive();
    let entries = archive["log"]["entries"].as_array().unwrap().iter().skip(1).cloned();
    let mut found = BTreeMap::new();
    for (what, values) in
        [("cassette", records.collect::<Vec<Value>>()), ("archive", entries.collect::<Vec<Value>>())]
    {
        assert_eq!(values.len(), left.tries.len());
        for (index, (value, one)) in values.iter().zip(&left.tries).enumerate() {
            if let Some(leak) = search.look_through(value, &one.sent) {
                found.entry(index).or_insert_with(|| format!("{} in the {what}: {leak}", one.name));
            }
        }
    }
    found
}

#[track_caller]
fn assert_none(left: &Left, found: &BTreeMap<usize, String>) {
    if let Ok(path) = std::env::var("VBC_PROXY_LEAKS") {
        std::fs::write(Path::new(&path), found.values().cloned().collect::<Vec<_>>().join("\n")).unwrap();
    }
    let first: Vec<&str> = found.values().take(20).map(String::as_str).collect();
    assert!(found.is_empty(), "{} of {} tries:\n{}", found.len(), left.tries.len(), first.join("\n"));
}

#[tokio::test]
async fn no_secret_of_a_thousand_tries_gets_into_a_cassette() {
    let plan = |known: &[String]| {
        let secrets: Vec<String> = known.iter().cloned().chain(UNKNOWN.map(str::to_owned)).collect();
        tries(1000, &secrets, &PLACES.concat(), &Encoding::ALL)
    };
    let left = record(&[], plan).await;
    let unknown = UNKNOWN.map(str::to_owned);
    let search = Search::of(left.known.iter().chain(&unknown));
    assert_none(&left, &leaks(&left, &search));
}

#[tokio::test]
async fn a_recording_of_everything_has_no_secret_that_the_proxy_knows() {
    let encodings = [
        Encoding::Raw,
        Encoding::Percent,
        Encoding::DoublePercent,
        Encoding::Base64(0),
        Encoding::Base64(1),
        Encoding::Base64(2),
        Encoding::Base64Url,
        Encoding::Hex,
        Encoding::UpperHex,
    ];
    let plan = |known: &[String]| tries(500, known, &PLACES.concat(), &encodings);
    let left = record(&["--record-unknown", "--record-personal"], plan).await;
    assert_none(&left, &leaks(&left, &Search::of(left.known.iter())));
    // Everything else is recorded.
    assert!(left.cassette().contains("jsessionid"));
}
