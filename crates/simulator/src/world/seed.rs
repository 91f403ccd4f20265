//! The seeded world: applications, logins, and plans of accounts.

use std::collections::{BTreeMap, HashMap};

use super::pace::Pace;
use super::webhooks::Webhooks;
use super::{App, Lock, Login, Plan, Roles, World};
use crate::identities::{Application, Identity, User};
use crate::names::{GRANTS, INDIA, SUITES, TENANT};
use crate::options::SimulatorOptions;
use vbc_base::clock::Timestamp;

impl World {
    /// The seeded world. Its past ends at the midnight before `now`; accounts are created when
    /// first requested.
    pub(crate) fn seeded(options: &SimulatorOptions, now: Timestamp) -> Self {
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
        // Logins of the demo account that lack a role, and one login of each other account.
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
        // A user of the developer portal, whose logins fail unless `FieldReport::ApiUsers` holds.
        world.login("dev.api@vbc.prod", "dev-password", 34567);
        // A user whose account is in India.
        world.login("asha@vbc.prod", "asha-password", 45678).roles.set(INDIA, true);
        // An application with a single grant and a single suite.
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

    pub(crate) fn plan(&mut self, id: u64, name: &'static str, people: usize) {
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

    /// Adds or replaces a login.
    pub(crate) fn login(&mut self, name: &str, password: &str, account: u64) -> &mut Login {
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

impl World {
    /// Adds or replaces an application.
    pub(crate) fn add_application(&mut self, application: &Application) {
        let all =
            |words: &[String], of: &[&'static str]| words.iter().filter_map(|word| known(of, word)).collect();
        let app = App {
            secret: application.client_secret.clone(),
            grants: all(&application.grants, GRANTS),
            callback: application.callback.clone(),
            subscriptions: all(&application.subscriptions, SUITES),
            quota: application.quota.map(|quota| Some(quota).filter(|quota| *quota > 0)),
            openid: true,
        };
        self.apps.insert(application.client_id.clone(), app);
    }

    /// Adds or replaces a user.
    pub(crate) fn add_user(&mut self, user: &User) {
        let name =
            if user.name.ends_with(TENANT) { user.name.clone() } else { format!("{}{TENANT}", user.name) };
        self.plan(user.account, "Tailspin Toys", 8);
        let login = self.login(&name, user.password.expose(), user.account);
        let mut roles = Roles::ALL;
        user.without.iter().for_each(|suite| roles.set(suite, false));
        (login.roles, login.sso, login.lock) = (roles, user.sso, user.locked.then_some(Lock::Administrator));
    }
}

fn known(words: &[&'static str], word: &str) -> Option<&'static str> {
    words.iter().copied().find(|known| *known == word)
}
