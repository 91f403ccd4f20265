//! The seeded world: equal for equal seeds, and without duplicates.

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::identities::{self, Identity};
use crate::names::SUITES;
use crate::options::SimulatorOptions;

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
    assert!(world.accounts.is_empty(), "no account is created yet");
    let (account, position) = world.person("Alice@vbc.prod").unwrap();
    assert_eq!(account.id, 12345);
    assert!(account.users.len() >= 25);
    assert!(account.extensions.iter().any(|extension| extension.number == "1001"));
    let user = &account.users[position];
    assert_eq!((user.first_name.as_str(), user.login_name.as_str()), ("Alice", "alice"));
    assert_eq!(world.apps["sim-client"].subscriptions.len(), SUITES.len());
}

/// A world with all accounts, and two users whose names and logins are similar.
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
        assert!(!one.is_empty() && seen.insert(one), "seed {seed}: {what} {one:?} is used twice");
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
