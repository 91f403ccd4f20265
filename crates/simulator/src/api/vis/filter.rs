//! Filters and order of a user's calls.

use std::cmp::Ordering;
use std::time::Duration;

use super::super::Page;
use super::{ApiRequest, Problem, error};
use crate::response::Response;
use crate::world::calls::View;
use vbc_base::clock::{Timestamp, after};

const UNDER_WAY: &[&str] = &["INITIALIZING", "RINGING", "ACTIVE", "HELD", "REMOTE_HELD"];
const ENDED: &[&str] = &["DETACHED", "REJECTED", "CANCELLED", "ANSWERED", "MISSED"];
const SORTS: &[&str] =
    &["id", "startTime", "answerTime", "endTime", "duration", "state", "direction", "phoneNumber"];

/// A call's position in the account, and the user's view of the call.
pub(super) type UserCall = (usize, View);

/// Which calls are shown, in which order, and on which page.
pub(super) struct Filter {
    directions: Vec<String>,
    /// `None` matches any state.
    states: Option<Vec<String>>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    offset: usize,
    size: usize,
    descending: bool,
    sort: Option<String>,
}

impl Filter {
    /// Reads the filter for the list of active calls, newest first. Without `states` it matches any
    /// state, because the documentation has no default.
    pub(super) fn of_active_calls(request: &ApiRequest<'_>) -> Result<Self, Box<Response>> {
        Self::read(request, UNDER_WAY, None, "DESC")
    }

    /// Reads the filter for the count of active calls. The default state is `ACTIVE`.
    pub(super) fn of_call_count(request: &ApiRequest<'_>) -> Result<Self, Box<Response>> {
        Self::read(request, UNDER_WAY, Some("ACTIVE"), "DESC")
    }

    /// Reads the filter for events, which are calls in any state, oldest first.
    pub(super) fn of_events(request: &ApiRequest<'_>) -> Result<Self, Box<Response>> {
        Self::read(request, &[UNDER_WAY, ENDED].concat(), None, "ASC")
    }

    fn read(
        request: &ApiRequest<'_>,
        known: &[&str],
        states: Option<&str>,
        order: &str,
    ) -> Result<Self, Box<Response>> {
        let mut wrong: Vec<Problem> = Vec::new();
        let mut words = |name: &'static str, known: &[&str], default: Option<&str>| {
            let given = request.query(name).filter(|given| !given.is_empty());
            let given = given.or_else(|| default.map(str::to_owned))?;
            let words: Vec<String> = given.split(',').map(|word| word.trim().to_ascii_uppercase()).collect();
            if !words.iter().all(|word| known.contains(&word.as_str())) {
                wrong.push((name, format!("must be of: {}", known.join(", "))));
            }
            Some(words)
        };
        let directions = words("direction", &["INBOUND", "OUTBOUND"], Some("INBOUND,OUTBOUND"));
        let states = words("states", known, states);
        let order = words("order", &["ASC", "DESC"], Some(order));
        words("types", &["CALL"], None);
        let mut number = |name: &'static str| {
            let text = request.query(name)?;
            let number = text.parse::<u64>().ok();
            if number.is_none() {
                wrong.push((name, "must be a number".to_owned()));
            }
            number
        };
        let [from, to] = ["fromDate", "toDate"].map(&mut number);
        let offset = number("offset").map_or(0, |number| usize::try_from(number).unwrap_or(usize::MAX));
        let size = number("size").map_or(20, |number| usize::try_from(number).unwrap_or(usize::MAX));
        let sort = request.query("sort").filter(|sort| !sort.is_empty());
        if sort.as_deref().is_some_and(|sort| !SORTS.contains(&sort)) {
            wrong.push(("sort", format!("must be one of: {}", SORTS.join(", "))));
        }
        if !wrong.is_empty() {
            return Err(Box::new(error(400, "VALIDATION_ERROR", "Invalid request parameters", &wrong)));
        }
        let [from, to] = [from, to].map(|moment| moment.map(milliseconds));
        let descending = order.is_some_and(|order| order.iter().any(|word| word == "DESC"));
        let directions = directions.unwrap_or_default();
        Ok(Self { directions, states, from, to, offset, size: size.max(1), descending, sort })
    }

    pub(super) fn takes(&self, view: &View) -> bool {
        self.directions.iter().any(|direction| direction == view.direction.upper())
            && self.states.as_ref().is_none_or(|states| states.iter().any(|state| state == view.state))
            && self.from.is_none_or(|from| view.start >= from)
            && self.to.is_none_or(|to| view.start <= to)
    }

    /// Sorts the calls, and returns the requested page of them. `found` must be in the order in
    /// which the calls started.
    pub(super) fn page(&self, mut found: Vec<UserCall>) -> Vec<UserCall> {
        if let Some(sort) = &self.sort {
            found.sort_by(|one, two| compare(sort, one, two));
        }
        if self.descending {
            found.reverse();
        }
        // `offset` counts pages from 0.
        let page = Page::new(self.offset.saturating_add(1), self.size, found.len());
        page.of(&found).to_vec()
    }
}

fn compare(by: &str, (n, one): &UserCall, (m, two): &UserCall) -> Ordering {
    match by {
        "id" => n.cmp(m),
        "answerTime" => one.answered.cmp(&two.answered),
        "endTime" => one.end.cmp(&two.end),
        "duration" => one.duration().cmp(&two.duration()),
        "state" => one.state.cmp(two.state),
        "direction" => one.direction.upper().cmp(two.direction.upper()),
        "phoneNumber" => one.remote.cmp(&two.remote),
        _ => one.start.cmp(&two.start),
    }
}

/// Milliseconds since 1970, clamped to the range of timestamps.
fn milliseconds(number: u64) -> Timestamp {
    after(Timestamp::UNIX_EPOCH, Duration::from_millis(number))
}
