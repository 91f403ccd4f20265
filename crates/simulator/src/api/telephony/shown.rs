//! Calls and legs as the suite shows them.

use std::ops::Range;

use serde_json::{Value, json};

use super::epoch;
use crate::world::calls::{Call, Leg};

/// The response to a change of a call.
pub(super) fn changed(account: u64, call: &Call) -> Value {
    json!({
        "account_id": account.to_string(), "call_id": call.id, "call_state": call.state(),
        "destination": call.to,
    })
}

pub(super) fn show(account: u64, call: &Call, legs: Range<usize>) -> Value {
    let legs = call.legs.get(legs).unwrap_or_default();
    let legs: Vec<Value> = legs.iter().map(|leg| show_leg(account, call, leg)).collect();
    let mut shown = json!({
        "account_id": account.to_string(), "call_id": call.id, "direction": call.direction.lower(),
        "from": call.from, "to": call.to, "start_time": epoch(call.start), "status": call.status(),
        "legs": legs,
    });
    if let Some(end) = call.end {
        shown["end_time"] = epoch(end).into();
    }
    shown
}

/// A leg in a response. It keeps its party even after another party replaced it on the call.
pub(super) fn show_leg(account: u64, call: &Call, leg: &Leg) -> Value {
    let (from, to) = if leg.caller { (&leg.party, &call.to) } else { (&call.from, &leg.party) };
    let mut shown = json!({
        "account_id": account.to_string(), "call_id": call.id, "leg_id": leg.id,
        "direction": if leg.caller { "inbound" } else { "outbound" },
        "from": from, "to": to, "start_time": epoch(leg.start), "status": leg.status(),
    });
    if let Some(end) = leg.end {
        shown["end_time"] = epoch(end).into();
    }
    shown
}
