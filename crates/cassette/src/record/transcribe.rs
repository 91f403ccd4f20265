//! Converts an exchange to a record, and replaces everything in it that must not be kept.

use http::{HeaderMap, Version};

use super::tape::{Exchange, Pieces};
use crate::format::{Content, Fields, Record, RecordedRequest, RecordedResponse, field};
use crate::redact::Filter;
use crate::text::latin1;

/// The record of an exchange. Its number is not set yet.
pub(super) fn transcribe(exchange: &Exchange, filter: &Filter<'_>) -> Record {
    let (raw, is_whole) = {
        let request = exchange.request();
        (raw(exchange, &request), request.ended || request.is_truncated())
    };
    let mut record = filter.record(raw);
    if !is_whole {
        record.request.body = Content::Unread;
        record.request.body_hash = None;
    }
    // The server adds the length for the client, so the record gets it too.
    let headers = &mut record.response.headers;
    if let (Some(length), None) = (exchange.length, field(headers, "content-length")) {
        let length = record.response.body.bytes().map_or(length, |bytes| bytes.len() as u64);
        headers.push(("content-length".into(), length.to_string()));
    }
    record
}

/// The record of an exchange with nothing replaced.
fn raw(exchange: &Exchange, request: &Pieces) -> Record {
    let tape = &exchange.tape;
    Record {
        n: 0,
        at: tape.at,
        millis: tape.started.elapsed().as_millis() as u64,
        base: tape.base.clone(),
        request: RecordedRequest {
            method: tape.method.to_string(),
            target: tape.target.clone(),
            version: version(tape.version).to_owned(),
            headers: fields(&tape.headers),
            body: content(request),
            body_hash: None,
        },
        response: RecordedResponse {
            status: exchange.status.as_u16(),
            reason: exchange.reason.clone(),
            headers: fields(&exchange.headers),
            body: content(&exchange.pieces),
            body_hash: None,
            trailers: fields(&exchange.pieces.trailers),
            complete: exchange.pieces.ended,
            pieces: exchange.pieces.times.clone(),
        },
    }
}

fn content(pieces: &Pieces) -> Content {
    if pieces.is_truncated() { Content::Truncated(pieces.length) } else { Content::of(pieces.bytes()) }
}

fn fields(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes()))).collect()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
