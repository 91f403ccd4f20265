//! Devices and when they were last seen.

use serde_json::{Value, json};

use super::{ApiRequest, ascending, epoch, error, labelled, listed, moment, not_permitted, page};
use crate::response::Response;
use crate::world::Device;

pub(super) fn list(mut request: ApiRequest<'_>) -> Response {
    let [from, to] = ["start_time", "end_time"].map(|name| request.query(name).and_then(|at| moment(&at)));
    let ascending = ascending(&request);
    let query = request.query;
    let Some(account) = request.own_account() else { return not_permitted() };
    let id = account.id;
    let fits = |device: &&Device| {
        from.is_none_or(|from| device.last_seen >= from) && to.is_none_or(|to| device.last_seen <= to)
    };
    let mut found: Vec<&Device> = account.devices.iter().filter(fits).collect();
    found.sort_by_key(|device| device.last_seen);
    if !ascending {
        found.reverse();
    }
    let page = page(query, found.len());
    let shown = page.of(&found).iter().map(|device| show(id, device)).collect();
    listed(&request, "devices", &page, shown)
}

pub(super) fn one(mut request: ApiRequest<'_>) -> Response {
    let mac = request.parameter(1);
    let Some(account) = request.own_account() else { return not_permitted() };
    let id = account.id;
    let plain = mac.replace([':', '-'], "");
    let found = account.devices.iter().find(|device| device.mac.eq_ignore_ascii_case(&plain));
    match found.map(|device| show(id, device)) {
        Some(shown) => labelled(&request, &shown),
        None => error(404, "Device not found"),
    }
}

fn show(account: u64, device: &Device) -> Value {
    let seen = epoch(device.last_seen);
    let provisioned = epoch(device.provisioned);
    json!({
        "account_id": account.to_string(), "device_ip": device.ip, "mac_address": device.mac,
        "is_registered": "true", "last_request": seen, "last_success": seen,
        "registration": { "last_success": seen },
        "provisioned": { "last_success": provisioned, "last_request": provisioned },
    })
}
