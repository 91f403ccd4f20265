//! Legs, the ends of a call: they can be held, transferred, played to and dialled into.

use serde_json::Value;

use super::shown::{changed, show_leg};
use super::{ApiRequest, Contact, PARTY, call_of, error, labelled, not_permitted, read_json};
use crate::random::Random;
use crate::response::{Response, empty, json as json_response};
use crate::world::Account;
use crate::world::calls::Call;
use vbc_base::clock::Timestamp;

/// The keys that can be dialled.
const KEYS: &str = "0123456789*#ABCDabcd,";
const NOT_ANSWERED: &str = "Leg has not been answered";

pub(super) fn list(mut request: ApiRequest<'_>) -> Response {
    let position = match call_of(&mut request) {
        Ok(position) => position,
        Err(refusal) => return *refusal,
    };
    let Some(account) = request.own_account() else { return not_permitted() };
    let id = account.id;
    let call = account.calls.get(position);
    let shown: Vec<Value> =
        call.into_iter().flat_map(|call| call.legs.iter().map(move |leg| show_leg(id, call, leg))).collect();
    labelled(&request, &Value::from(shown))
}

pub(super) fn one(mut request: ApiRequest<'_>) -> Response {
    let (position, leg) = match leg_of(&mut request) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let Some(account) = request.own_account() else { return not_permitted() };
    let id = account.id;
    let shown = account.calls.get(position).and_then(|call| Some(show_leg(id, call, call.legs.get(leg)?)));
    labelled(&request, &shown.unwrap_or_default())
}

/// A change of a leg.
enum Act {
    /// Holds the leg, or resumes it.
    Hold(bool),
    /// Dials these keys.
    Dial(String),
    /// Plays media from this URL, or stops playing.
    Stream(Option<String>),
    /// Starts or stops a recording, on demand or for the company.
    Record { starts: bool, on_demand: bool },
    /// Transfers to a party, which is called for the transfer.
    Blind(String),
    /// Transfers to the party that is connected with another leg, given by the leg's id.
    Attended(String),
}

impl Act {
    fn read(body: &Value, account: &Account) -> Result<Self, String> {
        if let Some(keys) = body.get("dtmf") {
            let keys =
                keys.as_str().filter(|keys| !keys.is_empty() && keys.chars().all(|key| KEYS.contains(key)));
            return keys
                .map(|keys| Self::Dial(keys.to_owned()))
                .ok_or_else(|| "dtmf must be of 0-9 * # A-D".into());
        }
        if let Some(stream) = body.get("stream").filter(|stream| !stream.is_null()) {
            return Self::stream(stream, &body["stream_url"]);
        }
        if let Some(wanted) = body.get("recording").filter(|wanted| !wanted.is_null()) {
            return Self::record(wanted, &body["service"]);
        }
        let state = match &body["state"] {
            Value::Null => None,
            Value::String(state) if state == "active" || state == "held" => Some(state == "held"),
            _ => return Err("state must be active or held".into()),
        };
        match (&body["to"], state) {
            (Value::Null, Some(held)) => Ok(Self::Hold(held)),
            (Value::Null, None) => Err("one of state, to, dtmf, stream and recording is required".into()),
            (_, Some(true)) => Err("a transfer's state is active".into()),
            (to, _) if to["type"] == "leg" => {
                let leg = to["destination"].as_str();
                leg.map(|leg| Self::Attended(leg.to_owned()))
                    .ok_or_else(|| "to.destination is required".into())
            }
            (to, _) => {
                let contact =
                    Contact::read(to, PARTY).ok_or_else(|| "to.destination is required".to_owned())?;
                Ok(Self::Blind(contact.reach(account, "to", PARTY)?))
            }
        }
    }

    /// Reads the members for playing media. A snippet in the documentation sends the boolean as
    /// text.
    fn stream(wanted: &Value, url: &Value) -> Result<Self, String> {
        let wanted = wanted.as_bool().or_else(|| wanted.as_str()?.parse().ok());
        match (wanted, url.as_str().filter(|url| !url.is_empty())) {
            (Some(false), _) => Ok(Self::Stream(None)),
            (Some(true), Some(url)) => Ok(Self::Stream(Some(url.to_owned()))),
            (Some(true), None) => Err("stream_url is required".into()),
            (None, _) => Err("stream must be true or false".into()),
        }
    }

    fn record(wanted: &Value, service: &Value) -> Result<Self, String> {
        let starts = match wanted.as_str() {
            Some("start") => true,
            Some("stop") => false,
            _ => return Err("recording must be start or stop".into()),
        };
        match service.as_str() {
            Some("ocr") => Ok(Self::Record { starts, on_demand: true }),
            Some("ccr") => Ok(Self::Record { starts, on_demand: false }),
            _ => Err("service must be ccr or ocr".into()),
        }
    }

    /// Makes the change.
    ///
    /// # Errors
    /// The reason, if the leg's state does not allow the change.
    fn perform(
        self,
        call: &mut Call,
        leg: usize,
        random: &mut Random,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        let rings = call.answered.is_none();
        let Some(this) = call.legs.get_mut(leg) else { return Err(NOT_ANSWERED) };
        match self {
            Self::Hold(false) if rings => {
                call.answer(now);
            }
            _ if rings => return Err(NOT_ANSWERED),
            Self::Record { starts: true, on_demand } => {
                return call.start_recording(leg, on_demand, now).then_some(()).ok_or("Leg is recorded");
            }
            Self::Record { starts: false, on_demand } => {
                return call.stop_recording(leg, on_demand, now).then_some(()).ok_or("Leg is not recorded");
            }
            Self::Hold(held) => this.held = held,
            Self::Dial(keys) => this.dialled.push_str(&keys),
            Self::Stream(url) => this.stream = url,
            Self::Blind(to) | Self::Attended(to) => call.transfer(leg, to, random, now),
        }
        Ok(())
    }
}

pub(super) fn change(mut request: ApiRequest<'_>) -> Response {
    let Some(body) = read_json(request.body) else {
        return error(400, "Request body is not a valid JSON object");
    };
    let (position, leg) = match leg_of(&mut request) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let Some(account) = request.own_account() else { return not_permitted() };
    let act = match Act::read(&body, account) {
        Ok(Act::Attended(other)) => match join(account, position, &other) {
            Some(party) => Act::Blind(party),
            None => return error(404, "Leg not found"),
        },
        Ok(act) => act,
        Err(wrong) => return error(400, &wrong),
    };
    if let Act::Record { on_demand, .. } = act
        && !can_record(account, position, leg, on_demand)
    {
        return error(409, "Nobody on this leg can record");
    }
    let id = account.id;
    let transferred = if let Act::Blind(to) = &act { Some(to.clone()) } else { None };
    super::change(request, position, |call, random, now| {
        if call.legs.get(leg).is_none_or(|leg| leg.end.is_some()) {
            return error(409, "Leg has ended");
        }
        if let Err(reason) = act.perform(call, leg, random, now) {
            return error(409, reason);
        }
        let mut shown = changed(id, call);
        if let Some(to) = transferred {
            shown["destination"] = to.into();
        }
        if let Some(leg) = call.legs.get(leg) {
            shown["leg_id"] = leg.id.as_str().into();
            shown["call_state"] = leg.state().into();
        }
        json_response(200, &shown)
    })
}

/// Whether the leg can be recorded. An extension must be on it; for a recording on demand, the
/// extension must have a user.
fn can_record(account: &Account, position: usize, leg: usize, on_demand: bool) -> bool {
    let party = account.calls.get(position).and_then(|call| Some(&call.legs.get(leg)?.party));
    let mut extensions = account.extensions.iter();
    extensions.any(|extension| Some(&extension.number) == party && (!on_demand || extension.user.is_some()))
}

/// The party at the other end of another call's leg. `None` if no other active call has the leg.
fn join(account: &Account, position: usize, leg: &str) -> Option<String> {
    let calls = account.calls.iter().enumerate();
    let mut others = calls.filter(|(other, call)| *other != position && call.end.is_none());
    others.find_map(|(_, call)| {
        let own = call.legs.get(call.leg(leg)?)?;
        Some(call.party(!own.caller).to_owned())
    })
}

pub(super) fn end(mut request: ApiRequest<'_>) -> Response {
    let (position, leg) = match leg_of(&mut request) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    super::change(request, position, |call, _, now| {
        if call.legs.get(leg).is_none_or(|leg| leg.end.is_some()) {
            return error(409, "Leg has ended");
        }
        call.finish(now);
        empty(204)
    })
}

/// The positions of the call and the leg in the path.
fn leg_of(request: &mut ApiRequest<'_>) -> Result<(usize, usize), Box<Response>> {
    let position = call_of(request)?;
    let leg = request.parameter(2);
    let call = request.own_account().and_then(|account| account.calls.get(position));
    let leg = call.and_then(|call| call.leg(&leg));
    leg.map(|leg| (position, leg)).ok_or_else(|| Box::new(error(404, "Leg not found")))
}
