//! Compares `Accept` fields.

/// A media range of an `Accept` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaRange {
    /// `*/*`, or `*` as some clients write it.
    Anything,
    /// A narrower range, or one with a weight of 0.
    Other,
}

/// Whether both accept everything, and at least one says nothing more than that. A missing `Accept`
/// means `*/*` (RFC 9110 §12.5.1).
pub(super) fn accept_alike(one: &[&str], other: &[&str]) -> bool {
    let (one, other) = (ranges(one), ranges(other));
    (is_anything(&one) && has_anything(&other)) || (is_anything(&other) && has_anything(&one))
}

fn is_anything(ranges: &[MediaRange]) -> bool {
    ranges.iter().all(|range| *range == MediaRange::Anything)
}

fn has_anything(ranges: &[MediaRange]) -> bool {
    ranges.is_empty() || ranges.contains(&MediaRange::Anything)
}

fn ranges(lines: &[&str]) -> Vec<MediaRange> {
    let ranges = lines.iter().flat_map(|line| line.split(','));
    ranges.filter(|range| !range.trim().is_empty()).map(range_of).collect()
}

fn range_of(text: &str) -> MediaRange {
    let mut parts = text.split(';').map(str::trim);
    let is_any = matches!(parts.next(), Some("*/*" | "*"));
    let is_refused = parts.filter_map(|part| part.split_once('=')).any(|(name, weight)| {
        name.trim().eq_ignore_ascii_case("q")
            && weight.trim().parse::<f64>().is_ok_and(|weight| weight <= 0.0)
    });
    if is_any && !is_refused { MediaRange::Anything } else { MediaRange::Other }
}
