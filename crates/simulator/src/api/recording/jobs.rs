//! Export jobs, and the zip files that they produce.

use serde_json::{Value, json};

use super::super::hal::{Names, Problem, list as page_of, not_found, validation};
use super::super::read_json;
use super::file::File;
use super::filter::Filter;
use super::lists::file_name;
use super::zip::{Archive, Entry};
use super::{ApiRequest, TIME, Whose, audio, not_authorized, root, user};
use crate::response::{Response, json as json_response};
use crate::world::exports::Job;
use crate::world::{Account, Recording};
use vbc_base::clock::Timestamp;

const NAMES: Names = Names { embedded: "jobs", pages: &["total_pages"], first: 0 };
/// The most recordings in one job. Each has at most 16 MiB, so a zip file stays below 4 GiB.
const LARGEST: usize = 200;

pub(super) fn export_company(mut request: ApiRequest<'_>) -> Response {
    let Some(user) = request.own_position() else { return not_authorized() };
    export(request, None, user)
}

pub(super) fn export_on_demand(mut request: ApiRequest<'_>) -> Response {
    match user(&mut request) {
        Ok(user) => export(request, Some(user), user),
        Err(refusal) => *refusal,
    }
}

/// Creates a user's export jobs from the filter in the request's JSON body.
fn export(mut request: ApiRequest<'_>, whose: Whose, user: usize) -> Response {
    let Some(body) = read_json(request.body) else {
        return validation(&request, vec![("body", "must be a JSON object".into())]);
    };
    let given = |name: &str| match &body[name] {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    let mut wrong: Vec<Problem> = Vec::new();
    let filter = Filter::read(given, &mut wrong);
    if !wrong.is_empty() {
        return validation(&request, wrong);
    }
    let now = request.now;
    let pace = request.state.world.pace;
    if request.own_account().is_none() {
        return not_authorized();
    }
    let id = request.account;
    let state = request.state;
    let Some(account) = state.world.account(id) else { return not_authorized() };
    let fits = |recording: &&Recording| {
        recording.on_demand == whose && recording.ready <= now && filter.takes(recording)
    };
    let found: Vec<Recording> = account.recordings.iter().filter(fits).cloned().collect();
    let mut ids = Vec::new();
    // An export that selects no recordings still creates a job.
    let mut chunks = found.chunks(LARGEST);
    let first = chunks.next().unwrap_or_default();
    for recordings in std::iter::once(first).chain(chunks) {
        let id = state.random.uuid();
        ids.push(id.clone());
        account.jobs.push(Job { id, user, created: now, recordings: recordings.to_vec(), pace });
    }
    json_response(202, &json!({ "job_ids": ids }))
}

pub(super) fn list(mut request: ApiRequest<'_>) -> Response {
    let user = match user(&mut request) {
        Ok(user) => user,
        Err(refusal) => return *refusal,
    };
    let status = request.query("status").filter(|status| !status.is_empty());
    let root = root(&request);
    let now = request.now;
    let listed = request.own_account().map(|account| {
        let wanted = |job: &&Job| {
            let status_fits =
                status.as_deref().is_none_or(|status| status.eq_ignore_ascii_case(job.status(now)));
            job.user == user && status_fits
        };
        account.jobs.iter().filter(wanted).map(|job| show(&root, account, job, now)).collect()
    });
    page_of(&request, &NAMES, listed)
}

pub(super) fn one(mut request: ApiRequest<'_>) -> Response {
    let user = match user(&mut request) {
        Ok(user) => user,
        Err(refusal) => return *refusal,
    };
    let id = request.parameter(2);
    let root = root(&request);
    let now = request.now;
    let Some(account) = request.own_account() else { return not_authorized() };
    match account.jobs.iter().find(|job| job.user == user && job.id == id) {
        Some(job) => json_response(200, &show(&root, account, job, now)),
        None => not_found("Job not found"),
    }
}

/// The zip file of a complete job. The documentation says `job_id`, the specification's example
/// `jobId`.
pub(super) fn download(request: ApiRequest<'_>) -> Response {
    zip(request, true)
}

pub(super) fn download_head(request: ApiRequest<'_>) -> Response {
    zip(request, false)
}

fn zip(request: ApiRequest<'_>, with_ranges: bool) -> Response {
    let id = request.query("job_id").or_else(|| request.query("jobId")).unwrap_or_default();
    let login = request.query("login_name").filter(|login| !login.is_empty());
    let now = request.now;
    let Some(account) = request.state.world.account(request.account) else { return not_authorized() };
    let found = account.jobs.iter().find(|job| {
        let name = account.users.get(job.user).map(|user| user.login_name.as_str());
        let theirs =
            login.as_deref().is_none_or(|login| name.is_some_and(|name| name.eq_ignore_ascii_case(login)));
        job.id == id && theirs && job.status(now) == "complete"
    });
    let Some(job) = found else { return not_found("Job not found or not complete") };
    let entries: Vec<Entry> = job
        .recordings
        .iter()
        .map(|recording| Entry {
            name: file_name(account.id, recording),
            modified: recording.end,
            length: u32::try_from(audio::size(recording.bytes)).unwrap_or(u32::MAX),
            seed: recording.id,
        })
        .collect();
    let length = Archive::<fn(u64, usize) -> bytes::Bytes>::length(&entries);
    let file = File {
        content_type: "application/zip",
        name: format!("{id}.zip"),
        tag: format!("\"{id}-{length}\""),
        modified: job.complete(),
        length,
    };
    file.respond(request.headers, with_ranges, Archive::new(entries, audio::audio))
}

fn show(root: &str, account: &Account, job: &Job, now: Timestamp) -> Value {
    let user = account.users.get(job.user);
    let (number, login) = user.map_or((0, ""), |user| (user.id, user.login_name.as_str()));
    let own = format!("{root}/accounts/{}/users/{number}/call_recordings/jobs/{}", account.id, job.id);
    let status = job.status(now);
    let mut shown = json!({
        "_links": { "self": { "href": own } }, "id": job.id, "status": status,
        "files_completed": job.packed(now), "files_total": job.recordings.len(),
    });
    if status == "complete" {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("job_id", &job.id)
            .append_pair("login_name", login)
            .finish();
        shown["download_url"] = format!("{root}/bulkDownload/retrieve?{query}").into();
        shown["valid_until"] = job.valid_until().strftime(TIME).to_string().into();
    }
    shown
}
