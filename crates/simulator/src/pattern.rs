//! Path patterns: `*` matches any text within one segment, and a segment `**` matches any number
//! of segments.

/// Whether a path matches a pattern.
pub(crate) fn fits(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    segments(&pattern, &path)
}

/// Whether a text is a pattern rather than a plain path.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

fn segments(pattern: &[&str], path: &[&str]) -> bool {
    greedy(pattern, path, |one| *one == "**", |one, segment| within(one, segment))
}

/// Matches one segment; `*` matches any number of its bytes.
fn within(pattern: &str, segment: &str) -> bool {
    greedy(pattern.as_bytes(), segment.as_bytes(), |byte| *byte == b'*', |one, other| one == other)
}

/// Matches from left to right, and backtracks only to the last wildcard. The time is therefore at
/// most the product of both lengths.
fn greedy<P, T>(pattern: &[P], text: &[T], wild: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let mut at = 0;
    let mut done = 0;
    let mut retry = None;
    while done < text.len() {
        match pattern.get(at) {
            Some(one) if wild(one) => {
                retry = Some((at, done));
                at += 1;
            }
            Some(one) if same(one, &text[done]) => {
                at += 1;
                done += 1;
            }
            _ => {
                let Some((star, taken)) = retry else { return false };
                retry = Some((star, taken + 1));
                at = star + 1;
                done = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(wild)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars_take_within_a_segment_and_two_of_them_any_number_of_segments() {
        for (pattern, path, fit) in [
            ("/token", "/token", true),
            ("/token", "/token/", false),
            ("/t/*/reports/**", "/t/vbc.prod/reports/accounts/1/call-logs", true),
            ("/t/*/reports/**", "/t/vbc.prod/reports", true),
            ("/t/*/reports/*", "/t/vbc.prod/reports/a/b", false),
            ("/**/calls", "/t/vbc.prod/telephony/v3/cc/accounts/1/calls", true),
            ("/**/calls", "/t/calls/x", false),
            ("/**/calls/*", "/t/calls/x", true),
            ("/a*c", "/abbc", true),
            ("/a*c", "/abb/c", false),
            ("**", "/anything/at/all", true),
            ("/x", "/y", false),
        ] {
            assert_eq!(fits(pattern, path), fit, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_of_nothing_but_stars_takes_no_time() {
        let pattern = "/*a".repeat(40);
        let path = "/aaaaaaaaaaaaaaaaaaaab".repeat(40);
        assert!(!fits(&pattern, &path));
        assert!(!fits(&"*a".repeat(200), &"a".repeat(20_000).replace("aaaa", "aaab")));
    }
}
