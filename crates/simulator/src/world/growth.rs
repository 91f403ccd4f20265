//! Creates an account from its seed: users, extensions, devices and past calls.

use std::collections::{HashMap, HashSet};

use super::Plan;
use super::account::{Account, AccountUser, Address, Device, Extension, Location};
use super::numbers::Numbers;
use super::past::before;
use crate::random::Random;
use vbc_base::clock::Timestamp;

/// Draws until the value is unused.
fn unused(taken: &mut HashSet<String>, mut draw: impl FnMut() -> String) -> String {
    loop {
        let drawn = draw();
        if taken.insert(drawn.clone()) {
            return drawn;
        }
    }
}

impl Account {
    /// Creates an account with its users. It depends only on the seed and on `midnight`, not on
    /// when it is created.
    pub(crate) fn grown(id: u64, plan: &Plan, seed: u64, midnight: Timestamp) -> Self {
        let mut random = Random::new(seed.wrapping_add(plan.position.wrapping_mul(0xd1b5_4a32_d192_ed03)));
        let mut numbers = Numbers::new(plan.position);
        let mut account = Self::seeded(id, plan.name, plan.people, midnight, &mut numbers, &mut random);
        account.admit(&plan.logins, &mut numbers, &mut random);
        // The first account has the bare domain, the others a subdomain.
        let domain = (plan.position > 0).then(|| format!("{id}.example.com"));
        account.give_addresses(domain.as_deref().unwrap_or("example.com"));
        account.record_the_past();
        account
    }

    /// Gives the logins to users: to a user who already has that login name, or else to the first
    /// free user. Adds users if necessary.
    fn admit(&mut self, logins: &[String], numbers: &mut Numbers, random: &mut Random) {
        let known: HashMap<String, usize> =
            self.users.iter().enumerate().map(|(n, user)| (user.login_name.clone(), n)).collect();
        let mut taken = HashSet::new();
        let mut next = 0;
        for login in logins {
            if self.people.contains_key(login) {
                continue;
            }
            let position = known.get(login).copied().filter(|position| !taken.contains(position));
            let position = position.unwrap_or_else(|| {
                while taken.contains(&next) {
                    next += 1;
                }
                next
            });
            if position == self.users.len() {
                self.users.push(AccountUser::seeded(self.id * 100_000 + position as u64, numbers, random));
            }
            if known.get(login) != Some(&position) {
                self.users[position].rename(login);
                let user = &self.users[position];
                let label = format!("{} {}", user.first_name, user.last_name);
                for own in self.extensions.iter_mut().filter(|own| own.user == Some(position)) {
                    own.label.clone_from(&label);
                }
            }
            taken.insert(position);
            self.people.insert(login.clone(), position);
        }
    }

    fn seeded(
        id: u64,
        name: &str,
        people: usize,
        midnight: Timestamp,
        numbers: &mut Numbers,
        random: &mut Random,
    ) -> Self {
        let locations: Vec<Location> = (0..2 + people / 12)
            .map(|n| {
                let address = Address::seeded(random);
                let name =
                    if n == 0 { "Headquarters".into() } else { format!("{} Office {n}", address.city) };
                Location { id: id * 10 + n as u64, name, address }
            })
            .collect();
        let users: Vec<AccountUser> =
            (0..people).map(|n| AccountUser::seeded(id * 100 + 1 + n as u64, numbers, random)).collect();
        let mut taken = HashSet::new();
        let extensions = extensions(id, &users, &locations, &mut taken, numbers, random);
        let devices = devices(id, people, midnight, &mut taken, random);
        let mut account = Self {
            id,
            name: name.into(),
            address: locations.first().map_or_else(|| Address::seeded(random), |at| at.address.clone()),
            locations,
            users,
            people: HashMap::new(),
            extensions,
            devices,
            calls: Vec::new(),
            call_positions: HashMap::new(),
            recordings: Vec::new(),
            jobs: Vec::new(),
        };
        account.remember_calls(people * 3, midnight, numbers, random);
        account
    }
}

/// One extension for each user, and three without a user.
fn extensions(
    id: u64,
    users: &[AccountUser],
    locations: &[Location],
    taken: &mut HashSet<String>,
    numbers: &mut Numbers,
    random: &mut Random,
) -> Vec<Extension> {
    let rooms = ["Front Desk", "Conference Room", "Fax"];
    (0..users.len() + rooms.len())
        .map(|n| {
            let user = users.get(n);
            let label = match (user, rooms.get(n.wrapping_sub(users.len()))) {
                (Some(user), _) => format!("{} {}", user.first_name, user.last_name),
                (None, room) => room.copied().unwrap_or("Lobby").to_owned(),
            };
            Extension {
                number: (1001 + n).to_string(),
                external_id: format!("{id}{}", 1001 + n),
                user: user.map(|_| n),
                label,
                location: locations[random.below(locations.len() as u64) as usize].id,
                dids: (0..random.below(3)).map(|_| numbers.give(random)).collect(),
                sip_id: unused(taken, || format!("VH{}", 1_000_000 + random.below(9_000_000))),
                voicemail_to_text: random.chance(0.6),
                do_not_disturb: random.chance(0.1),
            }
        })
        .collect()
}

/// A device for each user.
fn devices(
    id: u64,
    people: usize,
    midnight: Timestamp,
    taken: &mut HashSet<String>,
    random: &mut Random,
) -> Vec<Device> {
    (0..people)
        .map(|n| {
            let last_seen = before(midnight, random.below(3_600));
            Device {
                mac: unused(taken, || format!("0004F2{:06X}", random.below(1 << 24))),
                ip: format!("10.{}.{}.{}", id % 200, n / 200, 10 + n % 200),
                last_seen,
                provisioned: before(last_seen, 86_400 + random.below(2_000_000)),
            }
        })
        .collect()
}
