//! The names and addresses of users in the seeded world.

use std::collections::HashSet;

use super::numbers::Numbers;
use super::{Account, AccountUser, Address};
use crate::random::Random;

const FIRST: &[&str] = &[
    "Alice", "Omar", "Priya", "Lucas", "Mei", "Sofia", "Noah", "Amara", "Jonas", "Leila", "Mateo", "Grace",
    "Hiroshi", "Ines", "Dmitri", "Fatima", "Oliver", "Chloe", "Tariq", "Hannah", "Diego", "Yuki", "Elena",
    "Samuel", "Nadia", "Victor", "Ruth", "Andre",
];
const LAST: &[&str] = &[
    "Moreau",
    "Haddad",
    "Raman",
    "Silva",
    "Chen",
    "Rossi",
    "Bennett",
    "Okafor",
    "Lindqvist",
    "Farahani",
    "Garcia",
    "O'Neill",
    "Tanaka",
    "Almeida",
    "Volkov",
    "Rahman",
    "Wright",
    "Dubois",
    "Aziz",
    "Schneider",
    "Herrera",
    "Sato",
    "Popescu",
    "Adeyemi",
    "Kowalski",
    "Petrov",
    "Goldberg",
    "Baptiste",
];
const STREETS: &[&str] = &["Main Street", "Harbor Road", "Maple Avenue", "Commerce Drive", "Station Street"];
const CITIES: &[(&str, &str, &str)] = &[
    ("Holmdel", "NJ", "America/New York"),
    ("Austin", "TX", "America/Chicago"),
    ("Denver", "CO", "America/Denver"),
    ("Seattle", "WA", "America/Los Angeles"),
];

impl Address {
    pub(crate) fn seeded(random: &mut Random) -> Self {
        let (city, state, time_zone) = CITIES[random.below(CITIES.len() as u64) as usize];
        Self {
            street: format!("{} {}", 10 + random.below(900), random.pick(STREETS)),
            city,
            state,
            postal_code: format!("{:05}", 7000 + random.below(90_000)),
            time_zone,
        }
    }
}

impl AccountUser {
    pub(crate) fn seeded(id: u64, numbers: &mut Numbers, random: &mut Random) -> Self {
        let first = random.pick(FIRST);
        let last = random.pick(LAST);
        let login = format!("{}{}", first.to_lowercase(), id % 1000);
        Self {
            id,
            first_name: first.into(),
            last_name: last.into(),
            // `give_addresses` sets the address when all users have names.
            email: String::new(),
            login_name: login,
            mobile: numbers.give(random),
        }
    }

    pub(crate) fn rename(&mut self, login: &str) {
        let first = login.split(['@', '.']).next().unwrap_or(login);
        let mut letters = first.chars();
        if let Some(initial) = letters.next() {
            self.first_name = initial.to_uppercase().chain(letters).collect();
        }
        self.login_name = login.to_owned();
    }
}

impl Account {
    /// Gives each user an e-mail address. If an earlier user has the same name, the address
    /// includes the user's id.
    pub(crate) fn give_addresses(&mut self, domain: &str) {
        let mut taken = HashSet::new();
        for user in &mut self.users {
            let mut name = format!("{}.{}", user.first_name, user.last_name).to_lowercase().replace('\'', "");
            if !taken.insert(name.clone()) {
                name = format!("{name}{}", user.id);
                taken.insert(name.clone());
            }
            user.email = format!("{name}@{domain}");
        }
    }
}
