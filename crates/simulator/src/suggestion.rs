//! Suggestions for unknown names.

/// A suggestion lists at most this many known names.
const SHOWN: usize = 60;

/// Suggests the nearest known name. If none is near, lists the known names.
pub(crate) fn choose(given: &str, known: &[String]) -> String {
    if let Some(word) = near(given, known) {
        return format!("did you mean `{word}`?");
    }
    if known.iter().all(String::is_empty) {
        return "remove it".to_owned();
    }
    let shown: Vec<&str> = known.iter().take(SHOWN).map(String::as_str).collect();
    let more = known.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("known: {}{more}", shown.join(", "))
}

/// The longest name, in bytes, that is compared. A longer one is no typing mistake, and comparing
/// it takes quadratic time.
const LONGEST: usize = 64;

pub(crate) fn near<'k>(given: &str, known: &'k [String]) -> Option<&'k str> {
    if given.len() > LONGEST {
        return None;
    }
    let given = given.to_lowercase();
    let (distance, word) =
        known.iter().map(|word| (strsim::damerau_levenshtein(&given, &word.to_lowercase()), word)).min()?;
    (distance <= 2.max(given.len() / 4) && distance < word.len()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_told_and_what_is_too_long_is_not_compared() {
        let known = ["revoke_all_access".to_owned()];
        assert_eq!(near("revoke_all_acces", &known), Some("revoke_all_access"));
        // A quarter of the letters may differ.
        let long = "x".repeat(LONGEST) + &known[0];
        assert_eq!(near(&long, &["x".repeat(LONGEST) + "revoke"]), None);
    }
}
