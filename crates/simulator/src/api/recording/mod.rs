//! Call Recording: recordings by the company's rules, and on demand by users. Accounts in India
//! have the company's recordings only, in a suite of its own.

mod audio;
mod file;
mod filter;
mod jobs;
mod lists;
mod zip;

use super::hal::{Names, not_found};
use super::{ApiRequest, Route, Suite, without_role};
use crate::names::INDIA;
use crate::response::{Response, text};

pub(super) static SUITE: Suite = Suite {
    context: "call_recording",
    version: "v1",
    routes: &[
        Route { method: "GET", pattern: COMPANY, run: lists::company },
        Route { method: "POST", pattern: COMPANY_EXPORT, run: jobs::export_company },
        Route { method: "GET", pattern: ONE_OF_COMPANY, run: lists::show_company },
        Route { method: "DELETE", pattern: ONE_OF_COMPANY, run: lists::delete_company },
        Route { method: "GET", pattern: "api/accounts/{}/users/{}/call_recordings", run: lists::on_demand },
        Route {
            method: "POST",
            pattern: "api/accounts/{}/users/{}/call_recordings/export",
            run: jobs::export_on_demand,
        },
        Route { method: "GET", pattern: JOBS, run: jobs::list },
        Route { method: "GET", pattern: JOB, run: jobs::one },
        Route { method: "GET", pattern: ONE_ON_DEMAND, run: lists::show_on_demand },
        Route { method: "DELETE", pattern: ONE_ON_DEMAND, run: lists::delete_on_demand },
        Route { method: "GET", pattern: AUDIO, run: audio::get },
        Route { method: "HEAD", pattern: AUDIO, run: audio::head },
        Route { method: "GET", pattern: DOWNLOAD, run: jobs::download },
        Route { method: "HEAD", pattern: DOWNLOAD, run: jobs::download_head },
    ],
    refusal: |state, owner| without_role(state, owner, &SUITE),
    refuse: not_authorized,
};

pub(super) static SUITE_OF_INDIA: Suite = Suite {
    context: INDIA,
    version: "v1",
    routes: &[
        Route { method: "GET", pattern: COMPANY, run: lists::company },
        Route { method: "POST", pattern: COMPANY_EXPORT, run: jobs::export_company },
        Route { method: "GET", pattern: ONE_OF_COMPANY, run: lists::show_company },
        Route { method: "DELETE", pattern: ONE_OF_COMPANY, run: lists::delete_company },
        Route { method: "GET", pattern: JOBS, run: jobs::list },
        Route { method: "GET", pattern: JOB, run: jobs::one },
        Route { method: "GET", pattern: AUDIO, run: audio::get },
        Route { method: "HEAD", pattern: AUDIO, run: audio::head },
        Route { method: "GET", pattern: DOWNLOAD, run: jobs::download },
        Route { method: "HEAD", pattern: DOWNLOAD, run: jobs::download_head },
    ],
    refusal: |state, owner| without_role(state, owner, &SUITE_OF_INDIA),
    refuse: || text(403, "text/plain", "Missing HMAC token"),
};

const COMPANY: &str = "api/accounts/{}/company_call_recordings";
const COMPANY_EXPORT: &str = "api/accounts/{}/company_call_recordings/export";
const ONE_OF_COMPANY: &str = "api/accounts/{}/company_call_recordings/{}";
const ONE_ON_DEMAND: &str = "api/accounts/{}/users/{}/call_recordings/{}";
const JOBS: &str = "api/accounts/{}/users/{}/call_recordings/jobs";
const JOB: &str = "api/accounts/{}/users/{}/call_recordings/jobs/{}";
const AUDIO: &str = "api/audio/recording/{}";
const DOWNLOAD: &str = "api/bulkDownload/retrieve";

/// The format of times, which are always in UTC.
const TIME: &str = "%Y-%m-%dT%H:%M:%S+0000";

fn not_authorized() -> Response {
    text(403, "text/plain", "User is not authorized to search CCR recordings for this account")
}

/// The owner of the recordings in a path: a user, by position, or `None` for the company.
type Whose = Option<usize>;

/// The position of the user in the path.
fn user(request: &mut ApiRequest<'_>) -> Result<usize, Box<Response>> {
    let named = request.parameter(1);
    let own = request.own_position();
    let Some(account) = request.own_account() else { return Err(Box::new(not_authorized())) };
    let position = if named == "self" { own } else { account.position(&named) };
    position.ok_or_else(|| Box::new(not_found("User not found")))
}

/// The base of links into the suite. These links omit the version.
fn root(request: &ApiRequest<'_>) -> String {
    let context = super::suite(request.path).map_or(SUITE.context, |(suite, _)| suite.context);
    format!("{}/t/vbc.prod/{context}/api", request.base)
}

const NAMES: Names = Names { embedded: "recordings", pages: &["total_pages"], first: 0 };
