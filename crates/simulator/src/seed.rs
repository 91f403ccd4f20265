//! How the world grows from its seed.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::SignedDuration;

use super::identities::Identity;
use super::numbers::Numbers;
use super::options::SimulatorOptions;
use super::pace::Pace;
use super::random::Random;
use super::webhooks::Webhooks;
use super::world::{
    Account, Address, App, Device, Extension, INDIA, Location, Login, Plan, Roles, SUITES, TENANT, User,
    World,
};
use vbc_base::clock::Timestamp;

pub(super) const GRANTS: &[&str] = &["password", "refresh_token", "authorization_code", "client_credentials"];

impl World {
    /// The seeded world. Its past ends at the midnight before `now`; its accounts grow when they are asked for.
    pub(super) fn seeded(options: &SimulatorOptions, now: Timestamp) -> Self {
        let midnight = now.as_second().div_euclid(86_400) * 86_400;
        let mut world = Self {
            apps: HashMap::new(),
            logins: HashMap::with_capacity(8 + options.identities.len()),
            plans: BTreeMap::new(),
            accounts: BTreeMap::new(),
            seed: options.seed,
            midnight: Timestamp::from_second(midnight).unwrap_or(now),
            pace: Pace { lag: options.lag, ringing: options.ringing },
            webhooks: Webhooks::default(),
            next_ring: None,
            awaited_ring: None,
        };
        world.plan(12345, "Northwind Traders", 28);
        world.plan(23456, "Contoso Dental Group", 12);
        world.plan(34567, "Fabrikam Logistics", 6);
        world.plan(45678, "Deccan Textiles", 8);
        world.add(&Identity::demo());
        // Logins of the demo account that show what goes wrong, and one of each other account.
        for (name, suite) in [
            ("erin", "provisioning"),
            ("rita", "reports"),
            ("vic", "vis"),
            ("rec", "call_recording"),
            ("tel", "telephony"),
        ] {
            let login = world.login(&format!("{name}{TENANT}"), &format!("{name}-password"), 12345);
            login.roles = Roles::without(suite);
        }
        world.login("sam@vbc.prod", "sam-password", 12345).sso = true;
        world.login("bob@vbc.prod", "bob-password", 23456);
        world.login("carol@vbc.prod", "carol-password", 34567);
        // Of the developer portal: refused, unless the field's report of it holds.
        world.login("dev.api@vbc.prod", "dev-password", 34567);
        // Her account is in India.
        world.login("asha@vbc.prod", "asha-password", 45678).roles.set(INDIA, true);
        // An application that may do little: one grant, one suite.
        let limited = App {
            secret: "limited-secret".into(),
            grants: vec!["password"],
            callback: "http://localhost:8081/limited".into(),
            subscriptions: vec!["telephony"],
            quota: None,
            openid: true,
        };
        world.apps.insert("limited-client".into(), limited);
        for identity in &options.identities {
            world.add(identity);
        }
        options.applications.iter().for_each(|application| world.add_application(application));
        options.users.iter().for_each(|user| world.add_user(user));
        world
    }

    pub(super) fn plan(&mut self, id: u64, name: &'static str, people: usize) {
        let position = self.plans.len() as u64;
        self.plans.entry(id).or_insert_with(|| Plan { name, people, position, logins: Vec::new() });
    }

    fn add(&mut self, identity: &Identity) {
        let app = App {
            secret: identity.client_secret.clone(),
            grants: GRANTS.to_vec(),
            callback: identity.callback.clone(),
            subscriptions: SUITES.to_vec(),
            quota: None,
            openid: true,
        };
        self.apps.insert(identity.client_id.clone(), app);
        self.plan(identity.account, "Tailspin Toys", 8);
        self.login(&identity.user, identity.password.expose(), identity.account);
    }

    /// Makes or replaces a login.
    pub(super) fn login(&mut self, name: &str, password: &str, account: u64) -> &mut Login {
        let login = Login {
            name: name.to_owned(),
            password: password.into(),
            account,
            roles: Roles::ALL,
            sso: false,
            failures: 0,
            lock: None,
        };
        if let Some(plan) = self.plans.get_mut(&account) {
            plan.logins.push(login.local().to_owned());
        }
        self.logins.entry(name.to_lowercase()).insert_entry(login).into_mut()
    }
}

/// Draws until nobody has it.
fn unused(taken: &mut HashSet<String>, mut draw: impl FnMut() -> String) -> String {
    loop {
        let drawn = draw();
        if taken.insert(drawn.clone()) {
            return drawn;
        }
    }
}

impl Account {
    /// The account with its people: the same for the same seed, whenever it is grown.
    pub(super) fn grown(id: u64, plan: &Plan, seed: u64, midnight: Timestamp) -> Self {
        let mut random = Random::new(seed.wrapping_add(plan.position.wrapping_mul(0xd1b5_4a32_d192_ed03)));
        let mut numbers = Numbers::new(plan.position);
        let mut account = Self::seeded(id, plan.name, plan.people, midnight, &mut numbers, &mut random);
        account.admit(&plan.logins, &mut numbers, &mut random);
        // The first account has the domain itself, each of the others a part of it.
        let domain = (plan.position > 0).then(|| format!("{id}.example.com"));
        account.give_addresses(domain.as_deref().unwrap_or("example.com"));
        account.record_the_past();
        account
    }

    /// The first users who have no login yet become the people of these; where there are none left, more come.
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
                self.users.push(User::seeded(self.id * 100_000 + position as u64, numbers, random));
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
        let users: Vec<User> =
            (0..people).map(|n| User::seeded(id * 100 + 1 + n as u64, numbers, random)).collect();
        let mut taken = HashSet::new();
        let rooms = ["Front Desk", "Conference Room", "Fax"];
        let extensions = (0..people + rooms.len())
            .map(|n| {
                let user = users.get(n);
                let label = match (user, rooms.get(n.wrapping_sub(people))) {
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
                    sip_id: unused(&mut taken, || format!("VH{}", 1_000_000 + random.below(9_000_000))),
                    voicemail_to_text: random.chance(0.6),
                    do_not_disturb: random.chance(0.1),
                }
            })
            .collect::<Vec<_>>();
        let devices = (0..people)
            .map(|n| {
                let last_seen = before(midnight, random.below(3_600));
                Device {
                    mac: unused(&mut taken, || format!("0004F2{:06X}", random.below(1 << 24))),
                    ip: format!("10.{}.{}.{}", id % 200, n / 200, 10 + n % 200),
                    last_seen,
                    provisioned: before(last_seen, 86_400 + random.below(2_000_000)),
                }
            })
            .collect();
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

pub(super) fn before(at: Timestamp, seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    at.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::super::identities;
    use super::*;

    fn world(seed: u64) -> World {
        let options = SimulatorOptions { seed, ..SimulatorOptions::default() };
        World::seeded(&options, "2026-09-05T16:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_same_seed_gives_the_same_world_in_whatever_order_it_grows() {
        let (mut one, mut two, mut other) = (world(7), world(7), world(8));
        let calls = |world: &mut World, ids: [u64; 2]| -> BTreeMap<u64, Vec<String>> {
            ids.map(|id| (id, world.account(id).unwrap().calls.iter().map(|c| c.id.clone()).collect())).into()
        };
        assert_eq!(calls(&mut one, [12345, 23456]), calls(&mut two, [23456, 12345]));
        assert_ne!(calls(&mut one, [12345, 23456]), calls(&mut other, [12345, 23456]));
    }

    #[test]
    fn the_demo_identity_is_there() {
        let mut world = world(1);
        assert!(world.accounts.is_empty(), "nothing has grown yet");
        let (account, position) = world.person("Alice@vbc.prod").unwrap();
        assert_eq!(account.id, 12345);
        assert!(account.users.len() >= 25);
        assert!(account.extensions.iter().any(|extension| extension.number == "1001"));
        let user = &account.users[position];
        assert_eq!((user.first_name.as_str(), user.login_name.as_str()), ("Alice", "alice"));
        assert_eq!(world.apps["sim-client"].subscriptions.len(), SUITES.len());
    }

    /// Every account of a world, with two whose names and logins are much alike.
    fn everything(seed: u64) -> World {
        let user = |name: &str, account| identities::User::new(name, "x").account(account);
        let users = vec![user("omar.a", 9), user("omar.b", 9), user("omar", 12345), user("omar", 23456)];
        let options = SimulatorOptions { seed, users, ..SimulatorOptions::default() };
        let mut world = World::seeded(&options, "2026-09-05T16:00:00Z".parse().unwrap());
        for id in world.plans.keys().copied().collect::<Vec<_>>() {
            world.account(id);
        }
        world
    }

    #[test]
    fn in_none_of_a_thousand_worlds_is_a_number_or_an_address_given_twice() {
        for seed in 0..1_000 {
            let world = everything(seed);
            let accounts = || world.accounts.values();
            let extensions = || accounts().flat_map(|account| &account.extensions);
            let users = || accounts().flat_map(|account| &account.users);
            let mut numbers: Vec<&str> = extensions().flat_map(|own| &own.dids).map(String::as_str).collect();
            numbers.extend(users().map(|user| user.mobile.as_str()));
            let emails: Vec<&str> = users().map(|user| user.email.as_str()).collect();
            for account in accounts() {
                let own = |what: fn(&Extension) -> &String| account.extensions.iter().map(what);
                let handsets = own(|extension| &extension.sip_id).chain(own(|extension| &extension.number));
                unique("handset", seed, handsets.map(String::as_str));
                unique("device", seed, account.devices.iter().map(|device| device.mac.as_str()));
                unique("call", seed, account.calls.iter().map(|call| call.id.as_str()));
                for call in &account.calls {
                    let [from, to] = [&call.from, &call.to].map(|party| account.reached_by(party));
                    assert!(from == call.from && to == call.to, "{seed}: a caller from outside is {from}");
                }
            }
            unique("number", seed, numbers);
            unique("address", seed, emails);
        }
    }

    fn unique<'a>(what: &str, seed: u64, all: impl IntoIterator<Item = &'a str>) {
        let mut seen = HashSet::new();
        for one in all {
            assert!(!one.is_empty() && seen.insert(one), "seed {seed}: {what} {one:?} is given twice");
        }
    }

    #[test]
    fn a_further_identity_brings_its_account() {
        let identity =
            Identity { client_id: "x".into(), user: "x@vbc.prod".into(), account: 9, ..Identity::demo() };
        let options = SimulatorOptions { identities: vec![identity], ..SimulatorOptions::default() };
        let mut world = World::seeded(&options, Timestamp::UNIX_EPOCH);
        assert_eq!(world.logins["x@vbc.prod"].account, 9);
        assert_eq!(world.account(9).unwrap().users[0].login_name, "x");
    }
}
