//! Filters of recordings, from query parameters or from an export's JSON.

use jiff::civil::{DateTime, date};

use super::super::hal::{Problem, is};
use crate::world::Recording;
use vbc_base::clock::{Timestamp, until};

/// Every local time before this one is within the range of timestamps, with any offset.
const LATEST: DateTime = date(9999, 12, 29).at(0, 0, 0, 0);

/// The filter that selects recordings. Every part that is given must match.
#[derive(Default)]
pub(super) struct Filter {
    /// Direction, call, caller, name and number called.
    words: [Option<String>; 5],
    extension: Option<String>,
    /// The least duration in milliseconds.
    shortest: Option<u64>,
    longest: Option<u64>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Filter {
    /// Reads the parameters through `given`, and adds their problems to `wrong`.
    pub(super) fn read(given: impl Fn(&str) -> Option<String>, wrong: &mut Vec<Problem>) -> Self {
        let given = |name: &str| given(name).filter(|text| !text.is_empty());
        let mut number = |name| parse(name, "must be a number", given(name), |text| text.parse().ok(), wrong);
        let [shortest, longest] = ["duration:gte", "duration:lte"].map(&mut number);
        let mut moment = |name| parse(name, "must be an ISO 8601 date and time", given(name), time, wrong);
        let [from, to] = ["start:gte", "start:lte"].map(&mut moment);
        let words = ["call_direction", "call_id", "caller_id", "cnam", "dnis"].map(given);
        Self { words, extension: given("extension"), shortest, longest, from, to }
    }

    pub(super) fn takes(&self, recording: &Recording) -> bool {
        let words =
            [recording.direction, &recording.call_id, &recording.caller_id, &recording.cnam, &recording.dnis];
        let milliseconds = milliseconds(recording);
        self.words.iter().zip(words).all(|(wanted, word)| is(wanted.as_deref(), Some(word)))
            && is(self.extension.as_deref(), Some(&recording.extension))
            && self.shortest.is_none_or(|shortest| milliseconds >= shortest)
            && self.longest.is_none_or(|longest| milliseconds <= longest)
            && self.from.is_none_or(|from| recording.start >= from)
            && self.to.is_none_or(|to| recording.start <= to)
    }
}

/// Parses a parameter, or adds a problem to `wrong`.
pub(super) fn parse<T>(
    name: &'static str,
    expected: &str,
    given: Option<String>,
    read: impl FnOnce(&str) -> Option<T>,
    wrong: &mut Vec<Problem>,
) -> Option<T> {
    let read = read(&given?);
    if read.is_none() {
        wrong.push((name, expected.to_owned()));
    }
    read
}

/// Reads a date and time. A space counts as a plus: the plus of an offset becomes a space if the
/// client does not percent-encode it.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.replace(' ', "+");
    read(&text).or_else(|| at_the_end(&text))
}

fn read(text: &str) -> Option<Timestamp> {
    Timestamp::strptime("%Y-%m-%dT%H:%M:%S%z", text).ok().or_else(|| text.parse().ok())
}

/// Reads a time in the last days of the year 9999. It counts as the end of the range of timestamps,
/// because it may be beyond that range.
fn at_the_end(text: &str) -> Option<Timestamp> {
    let (time, offset) = text.split_at_checked("9999-12-30T22:00:00".len())?;
    let time: DateTime = time.parse().ok()?;
    let readable = read(&format!("2000-01-01T00:00:00{offset}")).is_some();
    (time >= LATEST && readable).then_some(Timestamp::MAX)
}

pub(super) fn milliseconds(recording: &Recording) -> u64 {
    until(recording.start, recording.end).as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_up_to_the_end_of_the_year_9999() {
        let second = |text: &str| time(text).map(Timestamp::as_second);
        for text in ["2019-01-01T00:00:00+0000", "2019-01-01T00:00:00 0000", "2019-01-01T00:00:00Z"] {
            assert_eq!(second(text), Some(1_546_300_800), "{text}");
        }
        assert_eq!(second("2019-01-01T02:00:00+02:00"), Some(1_546_300_800));
        for end in [
            "9999-12-31T23:59:59+0000",
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999Z",
            "9999-12-31T00:00:00-05:00",
        ] {
            assert_eq!(time(end), Some(Timestamp::MAX), "{end}");
        }
        for text in ["9999-12-31T23:59:59", "9999-12-31T23:59:59?", "10000-01-01T00:00:00Z", "tomorrow", ""] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
