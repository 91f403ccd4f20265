//! Finds the line and column of a position in a text.

/// The line starts and character counts of a text, counted once for many look-ups.
pub struct Lines<'t> {
    bytes: &'t [u8],
    /// The byte position at which each line starts.
    lines: Vec<usize>,
    /// The number of characters before every 1,024th byte.
    characters: Vec<usize>,
}

impl<'t> Lines<'t> {
    const STRIDE: usize = 1024;

    /// Counts the lines and characters of a text.
    pub fn of(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let lines = [0].into_iter().chain(newlines.map(|(at, _)| at + 1)).collect();
        let mut characters = vec![0];
        for part in bytes.chunks(Self::STRIDE) {
            characters.push(characters.last().unwrap_or(&0) + count(part));
        }
        Self { bytes, lines, characters }
    }

    /// The line and the column of a byte position, both from 1. Columns count characters. A
    /// position beyond the end of the text counts as the end.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let byte = byte.min(self.bytes.len());
        let line = self.lines.partition_point(|start| *start <= byte);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        // For a short line, one count from its start is cheaper than two counts from a stride.
        let characters = match self.bytes.get(start..byte) {
            Some(part) if part.len() < Self::STRIDE => count(part),
            _ => self.before(byte) - self.before(start),
        };
        (line, characters + 1)
    }

    /// The number of characters before a byte.
    fn before(&self, byte: usize) -> usize {
        let whole = byte / Self::STRIDE;
        let rest = self.bytes.get(whole * Self::STRIDE..byte).unwrap_or_default();
        self.characters.get(whole).unwrap_or(&0) + count(rest)
    }
}

/// The number of characters that begin in a part of a text.
fn count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_is_its_line_and_the_character_in_it() {
        let text =
            "a = 1\n\u{fc} = \"\u{20ac}\u{20ac}\" # ".to_owned() + &"\u{fc}x".repeat(2_000) + "\n\nlast = 2";
        let lines = Lines::of(&text);
        for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let before = &text[..at];
            let line = before.rsplit('\n').next().unwrap_or_default();
            let expected = (before.matches('\n').count() + 1, line.chars().count() + 1);
            assert_eq!(lines.position(at), expected, "{at}");
        }
    }
}
