//! Telephone numbers of an account. No two extensions or users get the same number.

use std::collections::HashSet;

use crate::random::Random;

/// Area codes. Each account uses one row; after ten accounts the rows are used again.
const AREAS: [[u16; 6]; 10] = [
    [201, 212, 303, 415, 512, 646],
    [202, 213, 304, 404, 503, 617],
    [203, 214, 305, 405, 504, 702],
    [205, 215, 312, 408, 505, 713],
    [206, 216, 313, 410, 507, 716],
    [207, 217, 314, 412, 508, 718],
    [208, 218, 315, 413, 509, 719],
    [209, 219, 316, 414, 510, 720],
    [210, 224, 317, 417, 513, 724],
    [225, 228, 318, 419, 515, 727],
];
/// In each area, 555-0100 to 555-0199 are reserved for fiction.
const IN_AREA: usize = 100;
const NUMBERS: usize = AREAS[0].len() * IN_AREA;
/// An account that has this many numbers gets further ones from another range. The rest of this
/// range is left for callers from outside.
const FULL: usize = NUMBERS / 2;

/// The numbers of an account: its ranges, and the numbers given so far.
pub(crate) struct Numbers {
    areas: [u16; 6],
    /// How many earlier accounts use the same areas.
    round: usize,
    given: HashSet<String>,
}

impl Numbers {
    /// The numbers of the account at this position. No other account has the same numbers.
    pub(crate) fn new(position: u64) -> Self {
        let position = usize::try_from(position).unwrap_or_default();
        let areas = AREAS[position % AREAS.len()];
        Self { areas, round: position / AREAS.len(), given: HashSet::new() }
    }

    /// A number that the account has not given yet.
    pub(crate) fn give(&mut self, random: &mut Random) -> String {
        let drawn = draw(random);
        let number = if self.given.len() < FULL {
            let mut free = (drawn..drawn + NUMBERS).map(|index| self.number(index % NUMBERS));
            free.find(|number| !self.given.contains(number))
        } else {
            None
        };
        let number = number.unwrap_or_else(|| self.further());
        self.given.insert(number.clone());
        number
    }

    /// The number of an outside party. Several parties may have the same number.
    pub(crate) fn outside(&self, random: &mut Random) -> String {
        let drawn = draw(random);
        let mut free = (drawn..drawn + NUMBERS).map(|index| self.number(index % NUMBERS));
        free.find(|number| !self.given.contains(number)).unwrap_or_else(|| self.number(drawn))
    }

    fn number(&self, index: usize) -> String {
        // The first round uses 555-01xx, which is reserved for fiction. Later rounds use the
        // numbers from 555-02xx on.
        let exchange = 555 + self.round / 99;
        let hundred = 1 + self.round % 99;
        format!("1{}{exchange}{hundred:02}{:02}", self.areas[index / IN_AREA], index % IN_AREA)
    }

    /// A number from the other range, for accounts with many users.
    fn further(&self) -> String {
        let area = self.areas[self.given.len() % 6];
        let line = self.given.len() / 6;
        format!("1{area}{}{:04}", 900 + self.round % 100 + line / 10_000, line % 10_000)
    }
}

/// The index of a random number. It draws the area first, then the number within the area.
fn draw(random: &mut Random) -> usize {
    let area = random.below(AREAS[0].len() as u64) as usize;
    area * IN_AREA + random.below(IN_AREA as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_twice_however_many_there_are() {
        let mut all = HashSet::new();
        let mut random = Random::new(1);
        for position in 0..40 {
            let mut numbers = Numbers::new(position);
            for _ in 0..if position == 0 { 5_000 } else { 100 } {
                let number = numbers.give(&mut random);
                assert_eq!(number.len(), 11, "{number}");
                assert!(all.insert(number));
                assert!(!numbers.given.contains(&numbers.outside(&mut random)));
            }
        }
    }

    #[test]
    fn areas_are_of_one_account_each() {
        let areas: HashSet<u16> = AREAS.concat().into_iter().collect();
        assert_eq!(areas.len(), AREAS.len() * 6);
    }
}
