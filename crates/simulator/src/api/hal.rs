//! Pages, links and errors that Provisioning, Reports and Call Recording share.
//!
//! Every list counts its pages from 1. The meaning of `page=0` depends on the suite:
//!
//! | suite | `page=0` | because |
//! | --- | --- | --- |
//! | Provisioning | 400 | its examples begin at 1, and 400 is documented |
//! | Reports | the first page | its older specification begins at 0, the newer one at 1 |
//! | Call Recording, jobs too | the first page | its examples link to it as the first page |
//! | Telephony | the first page | it has no such parameter, and documents no 400 for lists |
//! | Integration Platform | no page | `offset` counts pages, from 0 |

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{ApiRequest, Page};
use crate::response::{Response, json as json_response};

/// The largest page size that is accepted. Larger ones have not been observed in requests.
const LARGEST_PAGE: usize = 10_000;

/// How a suite names the parts of its lists.
pub(super) struct Names {
    /// The member with the list itself.
    pub(super) embedded: &'static str,
    /// The members with the number of pages. Some lists have it twice, because clients rely on
    /// either name.
    pub(super) pages: &'static [&'static str],
    /// The least page number that is accepted; see the table above.
    pub(super) first: usize,
}

/// A parameter and its problem.
pub(super) type Problem = (&'static str, String);

/// The requested page number and page size, or their problems.
pub(super) fn paging(request: &ApiRequest<'_>, names: &Names) -> Result<(usize, usize), Vec<Problem>> {
    match (
        whole(request, "page", 1, names.first, usize::MAX),
        whole(request, "page_size", 10, 1, LARGEST_PAGE),
    ) {
        (Ok(number), Ok(size)) => Ok((number.max(1), size)),
        (number, size) => Err(number.err().into_iter().chain(size.err()).collect()),
    }
}

/// One page of a list. Without `listed`, the account is not the caller's, and the response is an
/// error.
pub(super) fn list(request: &ApiRequest<'_>, names: &Names, listed: Option<Vec<Value>>) -> Response {
    let paging = match paging(request, names) {
        Ok(paging) => paging,
        Err(wrong) => return validation(request, wrong),
    };
    let Some(listed) = listed else { return not_found("Account not found") };
    page(request, names, paging, &listed)
}

/// One page of a list, with links to the others.
pub(super) fn page(
    request: &ApiRequest<'_>,
    names: &Names,
    (number, size): (usize, usize),
    listed: &[Value],
) -> Response {
    let page = Page::new(number, size, listed.len());
    shown(request, names, &page, page.of(listed))
}

/// A member of a page. The content is serialized in place: copying it would dominate the cost.
#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a, T> {
    /// A value next to the list.
    Plain(Value),
    /// The items of the page, under the name of the list.
    Embedded(BTreeMap<&'static str, &'a [T]>),
}

/// One page of a list. The caller has built only the items of this page, so a long list is not
/// built in full.
pub(super) fn shown<T: Serialize>(
    request: &ApiRequest<'_>,
    names: &Names,
    page: &Page,
    content: &[T],
) -> Response {
    let filters = request.query_without(&["page", "page_size"]);
    let href = |number: usize| {
        let separator = if filters.is_empty() { "" } else { "&" };
        let path = format!("{}{}", request.base, request.path);
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
    json_response(200, &members)
}

/// A single item in the form of a list.
pub(super) fn one(request: &ApiRequest<'_>, data: impl Serialize) -> Response {
    let href = format!("{}{}", request.base, request.path);
    json_response(
        200,
        &json!({
            "page_size": 1, "page": 1, "total_pages": 1, "total_items": 1,
            "_links": { "self": { "href": href } }, "_embedded": { "data": data },
        }),
    )
}

/// A whole number of the query within a range, or its problem.
fn whole(
    request: &ApiRequest<'_>,
    name: &'static str,
    default: usize,
    least: usize,
    most: usize,
) -> Result<usize, Problem> {
    let Some(value) = request.query(name) else { return Ok(default) };
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

/// The response to invalid parameters.
pub(super) fn validation(request: &ApiRequest<'_>, wrong: Vec<Problem>) -> Response {
    let wrong: Vec<Value> =
        wrong.into_iter().map(|(name, reason)| json!({ "name": name, "reason": reason })).collect();
    let title = "Your request parameters didn't validate.";
    json_response(
        400,
        &json!({ "status": 400, "title": title, "instance": request.instance, "invalid_parameters": wrong }),
    )
}

/// Whether a filter is absent or equals the value, ignoring case.
pub(super) fn is(wanted: Option<&str>, value: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| value.is_some_and(|value| value.eq_ignore_ascii_case(wanted)))
}

/// The 401 for users without the role. It is documented without a specific message.
pub(super) fn unauthorized() -> Response {
    json_response(401, &json!({ "msg": "Unauthorized", "status": 401 }))
}

pub(super) fn not_found(what: &str) -> Response {
    json_response(404, &json!({ "msg": what, "status": 404 }))
}
