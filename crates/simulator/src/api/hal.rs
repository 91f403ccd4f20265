//! What Provisioning, Reports and Call Recording have in common: lists in pages with links, and their errors.
//!
//! Every list counts its pages from 1. What `page=0` is depends on the suite, and is the same in
//! all lists of one:
//!
//! | suite | `page=0` | because |
//! | --- | --- | --- |
//! | Provisioning | 400 | its examples begin at 1, and 400 is documented |
//! | Reports | the first page | its older specification begins at 0, the newer one at 1 |
//! | Call Recording, jobs too | the first page | its examples link to it as the first page |
//! | Telephony | the first page | it has no such parameter, and no 400 for a list: nonsense counts as absent |
//! | Integration Platform | no page | `offset` counts pages, from 0 |

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Call, Page};
use crate::response::{Answer, json as json_answer};

/// As many as anyone has asked for.
const LARGEST_PAGE: usize = 10_000;

/// What a suite calls the parts of its lists.
pub(super) struct Names {
    /// The list itself.
    pub(super) embedded: &'static str,
    /// How many pages there are; some clients ask for the one name, some for the other.
    pub(super) pages: &'static [&'static str],
    /// The least page number that is taken; see the table above.
    pub(super) first: usize,
}

/// A parameter and what is wrong with it.
pub(super) type Wrong = (&'static str, String);

/// Number and size of the page that is asked for, or what is wrong with them.
pub(super) fn paging(call: &Call<'_>, names: &Names) -> Result<(usize, usize), Vec<Wrong>> {
    match (whole(call, "page", 1, names.first, usize::MAX), whole(call, "page_size", 10, 1, LARGEST_PAGE)) {
        (Ok(number), Ok(size)) => Ok((number.max(1), size)),
        (number, size) => Err(number.err().into_iter().chain(size.err()).collect()),
    }
}

/// One page of a list; `None` is an account that is not the caller's.
pub(super) fn list(call: &Call<'_>, names: &Names, listed: Option<Vec<Value>>) -> Answer {
    let paging = match paging(call, names) {
        Ok(paging) => paging,
        Err(wrong) => return validation(call, wrong),
    };
    let Some(listed) = listed else { return not_found("Account not found") };
    page(call, names, paging, &listed)
}

/// One page of a list, with links to the others.
pub(super) fn page(
    call: &Call<'_>,
    names: &Names,
    (number, size): (usize, usize),
    listed: &[Value],
) -> Answer {
    let page = Page::new(number, size, listed.len());
    shown(call, names, &page, page.of(listed))
}

/// A member of a page: its content is written as it is, for a copy of it costs more than all else.
#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a, T> {
    Plain(Value),
    Embedded(BTreeMap<&'static str, &'a [T]>),
}

/// A page whose content is made already: where a list may be long, only its page is.
pub(super) fn shown<T: Serialize>(call: &Call<'_>, names: &Names, page: &Page, content: &[T]) -> Answer {
    let filters = call.query_without(&["page", "page_size"]);
    let href = |number: usize| {
        let separator = if filters.is_empty() { "" } else { "&" };
        let path = format!("{}{}", call.base, call.path);
        json!({ "href": format!("{path}?{filters}{separator}page={number}&page_size={}", page.size) })
    };
    let last = page.pages.max(1);
    let mut links = Map::new();
    links.insert("first".into(), href(1));
    links.insert("self".into(), href(page.number));
    links.insert("last".into(), href(last));
    if page.number > 1 {
        links.insert("prev".into(), href((page.number - 1).min(last)));
    }
    if page.number < last {
        links.insert("next".into(), href(page.number + 1));
    }
    let mut members = BTreeMap::from([
        ("page_size", Member::Plain(page.size.into())),
        ("page", Member::Plain(page.number.into())),
        ("total_items", Member::Plain(page.total.into())),
        ("_links", Member::Plain(links.into())),
        ("_embedded", Member::Embedded(BTreeMap::from([(names.embedded, content)]))),
    ]);
    members.extend(names.pages.iter().map(|name| (*name, Member::Plain(page.pages.into()))));
    json_answer(200, &members)
}

/// One thing, in the guise of a list.
pub(super) fn one(call: &Call<'_>, data: impl Serialize) -> Answer {
    let href = format!("{}{}", call.base, call.path);
    json_answer(
        200,
        &json!({
            "page_size": 1, "page": 1, "total_pages": 1, "total_items": 1,
            "_links": { "self": { "href": href } }, "_embedded": { "data": data },
        }),
    )
}

/// A whole number of the query in a range, or why it is none.
fn whole(
    call: &Call<'_>,
    name: &'static str,
    default: usize,
    least: usize,
    most: usize,
) -> Result<usize, Wrong> {
    let Some(value) = call.query(name) else { return Ok(default) };
    match value.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(number) if number > most => Err((name, format!("must be less than or equal to {most}"))),
        Ok(_) => Err((name, format!("must be greater than or equal to {least}"))),
        Err(_) if value.parse::<i64>().is_ok() => {
            Err((name, format!("must be greater than or equal to {least}")))
        }
        Err(_) => Err((name, "must be a number".into())),
    }
}

/// What is wrong with the parameters.
pub(super) fn validation(call: &Call<'_>, wrong: Vec<Wrong>) -> Answer {
    let wrong: Vec<Value> =
        wrong.into_iter().map(|(name, reason)| json!({ "name": name, "reason": reason })).collect();
    let title = "Your request parameters didn't validate.";
    json_answer(
        400,
        &json!({ "status": 400, "title": title, "instance": call.instance, "invalid_parameters": wrong }),
    )
}

/// Whether a filter, if given, is met; case does not matter.
pub(super) fn is(wanted: Option<&str>, value: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| value.is_some_and(|value| value.eq_ignore_ascii_case(wanted)))
}

/// What the documents have for a user who may not ask: an error without words of its own.
pub(super) fn unauthorized() -> Answer {
    json_answer(401, &json!({ "msg": "Unauthorized", "status": 401 }))
}

pub(super) fn not_found(what: &str) -> Answer {
    json_answer(404, &json!({ "msg": what, "status": 404 }))
}
