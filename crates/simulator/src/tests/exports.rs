//! Export jobs, their zip files, and Call Recording in India.

use super::*;

const COMPANY: &str = "/t/vbc.prod/call_recording/api/accounts/12345/company_call_recordings";
const JOBS: &str = "/t/vbc.prod/call_recording/v1/api/accounts/self/users/self/call_recordings/jobs";
const BASE: &str = "https://api.vonage.com";

async fn export(sim: &Simulator, token: &str, path: &str, body: &str) -> TestResponse {
    sim.send("POST", path, &[("authorization", &format!("Bearer {token}"))], body).await
}

/// The bytes of a response that may not be text.
async fn bytes(sim: &Simulator, path: &str, token: &str) -> (u16, HeaderMap, Bytes) {
    let request = http::Request::get(path).header("authorization", format!("Bearer {token}"));
    let response = sim.service().respond(request.body(Bytes::new()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status.as_u16(), head.headers, body)
}

#[tokio::test]
async fn an_export_goes_on_with_the_clock_and_ends_in_a_zip_of_the_audio() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let recordings = sim.get(&format!("{COMPANY}?page_size=1000"), &token).await.json();
    let recordings = recordings["_embedded"]["recordings"].as_array().unwrap().clone();
    let wanted: Vec<&Value> =
        recordings.iter().filter(|recording| recording["call_direction"] == "INBOUND").collect();
    assert!(wanted.len() > 2);
    let response =
        export(&sim, &token, &format!("{COMPANY}/export"), r#"{"call_direction":"INBOUND"}"#).await;
    assert_eq!(response.status, 202);
    let id = response.json()["job_ids"][0].as_str().unwrap().to_owned();
    let path = format!("{JOBS}/{id}");
    let job = sim.get(&path, &token).await.json();
    assert_eq!((&job["status"], &job["files_completed"]), (&json!("pending"), &json!(0)));
    assert_eq!(job["files_total"], wanted.len());
    assert!(job.get("download_url").is_none());
    let download =
        format!("/t/vbc.prod/call_recording/v1/api/bulkDownload/retrieve?job_id={id}&login_name=alice");
    assert_eq!(sim.get(&download, &token).await.status, 404, "not yet");
    sim.advance(Duration::from_secs(4));
    let job = sim.get(&path, &token).await.json();
    assert_eq!(
        (&job["status"], job["files_completed"].as_u64().is_some_and(|n| (2..4).contains(&n))),
        (&json!("in_progress"), true)
    );
    sim.advance(Duration::from_secs(wanted.len() as u64));
    let job = sim.get(&path, &token).await.json();
    assert_eq!((&job["status"], &job["files_completed"]), (&json!("complete"), &job["files_total"]));
    assert!(job["valid_until"].as_str().unwrap().ends_with("+0000"));
    let url = job["download_url"].as_str().unwrap().strip_prefix(BASE).unwrap();
    let (status, headers, zip) = bytes(&sim, url, &token).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "application/zip"));
    let listed = read(&zip);
    assert_eq!(listed.len(), wanted.len());
    for recording in &wanted {
        let audio = recording["download_url"].as_str().unwrap().strip_prefix(BASE).unwrap();
        let (_, _, audio) = bytes(&sim, audio, &token).await;
        assert_eq!(listed[recording["file_name"].as_str().unwrap()], audio);
    }
    for other in [&download.replace("job_id", "jobId"), &download.replace("&login_name=alice", "")] {
        assert_eq!(bytes(&sim, other, &token).await.2, zip);
    }
    assert_eq!(sim.get(&download.replace("alice", "bob"), &token).await.status, 404);
    sim.advance(Duration::from_secs(8 * 86_400));
    let token = sim.log_in().await.text("access_token");
    assert_eq!(sim.get(&path, &token).await.json()["status"], "expired");
}

#[tokio::test]
async fn audio_is_sent_whole_in_parts_or_not_at_all() {
    let sim = Simulator::start().await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let page = sim.get(&format!("{COMPANY}?order=start:ASC"), &token).await.json();
    let recording = &page["_embedded"]["recordings"][0];
    let path = recording["download_url"].as_str().unwrap().strip_prefix(BASE).unwrap();
    let (status, headers, whole) = bytes(&sim, path, &token).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "audio/mpeg"));
    assert_eq!(recording["file_size_in_bytes"], whole.len());
    let tag = headers["etag"].to_str().unwrap();
    let bearer = format!("Bearer {token}");
    let ask = async |name: &str, value: &str| {
        sim.send("GET", path, &[("authorization", bearer.as_str()), (name, value)], "").await
    };
    let part = ask("range", "bytes=10-19").await;
    assert_eq!((part.status.as_u16(), part.header("content-length")), (206, Some("10")));
    assert_eq!(part.header("content-range"), Some(&*format!("bytes 10-19/{}", whole.len())));
    assert_eq!(ask("range", "bytes=99999999-").await.status, 416);
    let unchanged = ask("if-none-match", tag).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.header("etag"), &*unchanged.body), (304, Some(tag), ""));
    let bearer = [("authorization", bearer.as_str())];
    let head = sim.send("HEAD", path, &bearer, "").await;
    assert_eq!((head.header("content-length"), &*head.body), (Some(&*whole.len().to_string()), ""));
}

/// The files of a zip file, read through its directory.
fn read(zip: &Bytes) -> std::collections::BTreeMap<String, Bytes> {
    let number = |at: usize, bytes: usize| {
        zip[at..at + bytes].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let end = zip.len() - 22;
    let mut at = number(end + 16, 4);
    let mut files = std::collections::BTreeMap::new();
    for _ in 0..number(end + 10, 2) {
        let (crc, size, name, local) =
            (number(at + 16, 4), number(at + 24, 4), number(at + 28, 2), number(at + 42, 4));
        let content = zip.slice(local + 30 + name..local + 30 + name + size);
        let mut sum = flate2::Crc::new();
        sum.update(&content);
        assert_eq!(sum.sum() as usize, crc);
        files.insert(String::from_utf8(zip[at + 46..at + 46 + name].to_vec()).unwrap(), content);
        at += 46 + name;
    }
    assert_eq!(at, end);
    files
}

#[tokio::test]
async fn jobs_are_a_users_own_and_filtered_by_status() {
    let sim = Simulator::bind(SimulatorOptions { lag: 10.0, ..SimulatorOptions::default() }).await.unwrap();
    let token = sim.log_in().await.text("access_token");
    let other = sim.password("erin@vbc.prod", "erin-password").await.text("access_token");
    let path = format!("{COMPANY}/export");
    for body in ["", "[]", r#"{"start:gte":"yesterday"}"#, r#"{"duration:gte":"long"}"#] {
        assert_eq!(export(&sim, &token, &path, body).await.status, 400, "{body}");
    }
    assert_eq!(export(&sim, &token, &path, r#"{"call_id":"nothing"}"#).await.status, 202);
    sim.advance(Duration::from_secs(21));
    assert_eq!(export(&sim, &token, &path, r#"{"duration:gte":1}"#).await.status, 202);
    for (query, count) in [("", 2), ("?status=complete", 1), ("?status=pending", 1), ("?status=failed", 0)] {
        let page = sim.get(&format!("{JOBS}{query}"), &token).await.json();
        assert_eq!(page["total_items"], count, "{query}");
    }
    assert_eq!(sim.get(JOBS, &other).await.json()["total_items"], 0);
    let empty = sim.get(&format!("{JOBS}?status=complete"), &token).await.json();
    let empty = &empty["_embedded"]["jobs"][0];
    assert_eq!((&empty["files_total"], empty["download_url"].is_string()), (&json!(0), true));
    let users = "/t/vbc.prod/call_recording/api/accounts/self/users/self/call_recordings/export";
    assert_eq!(export(&sim, &token, users, "{}").await.status, 202);
    assert_eq!(sim.get(JOBS, &token).await.json()["total_items"], 3);
    assert_eq!(export(&sim, &token, &path.replace("12345", "23456"), "{}").await.status, 403);
}

#[tokio::test]
async fn india_is_for_accounts_there_and_for_the_company_only() {
    let sim = Simulator::bind(SimulatorOptions { lag: 0.0, ..SimulatorOptions::default() }).await.unwrap();
    let india = "/t/vbc.prod/call_recording_india/api/accounts/self/company_call_recordings";
    let token = sim.log_in().await.text("access_token");
    let refused = sim.get(india, &token).await;
    assert_eq!((refused.status.as_u16(), refused.body.as_str()), (403, "Missing HMAC token"));
    let token = sim.password("asha@vbc.prod", "asha-password").await.text("access_token");
    let page = sim.get(india, &token).await.json();
    let recording = &page["_embedded"]["recordings"][0];
    let own = recording["_links"]["self"]["href"].as_str().unwrap().strip_prefix(BASE).unwrap();
    assert!(own.starts_with("/t/vbc.prod/call_recording_india/api/accounts/45678/"), "{own}");
    assert_eq!(&sim.get(own, &token).await.json(), recording);
    let users = "/t/vbc.prod/call_recording_india/api/accounts/self/users/self/call_recordings";
    assert_eq!(sim.get(users, &token).await.status, 404);
    let id = export(&sim, &token, &format!("{india}/export"), "{}").await.json()["job_ids"][0].clone();
    let job = sim.get(&format!("{users}/jobs/{}", id.as_str().unwrap()), &token).await.json();
    let (status, _, zip) =
        bytes(&sim, job["download_url"].as_str().unwrap().strip_prefix(BASE).unwrap(), &token).await;
    assert_eq!((status, read(&zip).len()), (200, job["files_total"].as_u64().unwrap() as usize));
}
