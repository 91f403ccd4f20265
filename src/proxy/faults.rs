//! Decides which configured faults hit a request. Pure, except for the counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;

use crate::config::{FaultEffect, FaultRule, Faults};

/// One injector serves all threads, so that the outcome of a seed does not depend on the number of
/// threads.
#[derive(Debug)]
pub(super) struct Injector {
    seed: u64,
    /// Each rule, with the number of requests that the rule has matched.
    rules: Vec<(FaultRule, AtomicU64)>,
}

/// What happens to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// How long the request is delayed.
    pub(super) delay: Duration,
    /// The number (from 1) and the effect of each rule that hit the request.
    pub(super) hits: Vec<(usize, FaultEffect)>,
}

impl Injector {
    pub(super) fn new(faults: &Faults) -> Self {
        let rules = faults.rules.iter().map(|rule| (rule.clone(), AtomicU64::new(0))).collect();
        Self { seed: faults.seed, rules }
    }

    /// The text of the rule with this number. Empty if there is no such rule.
    pub(super) fn rule(&self, number: usize) -> String {
        self.rules.get(number.wrapping_sub(1)).map(|(rule, _)| rule.to_string()).unwrap_or_default()
    }

    /// The plan for the next request. Delays add up. Rules after the first one that aborts or
    /// responds are ignored.
    pub(super) fn plan(&self, method: &Method, path: &str) -> Plan {
        let mut plan = Plan::default();
        for (number, (rule, met)) in (1..).zip(&self.rules) {
            if !rule.route.matches(method, path) {
                continue;
            }
            let request = met.fetch_add(1, Ordering::Relaxed);
            if !hits(self.seed, number as u64, request, rule.percent) {
                continue;
            }
            plan.delay = plan.delay.saturating_add(rule.delay);
            plan.hits.push((number, rule.effect));
            if rule.effect != FaultEffect::Delay {
                break;
            }
        }
        plan
    }
}

fn hits(seed: u64, rule: u64, request: u64, percent: f64) -> bool {
    // splitmix64: evenly distributed, and the same on every platform.
    let mut mixed = seed ^ rule.wrapping_mul(0xd1b5_4a32_d192_ed03);
    mixed = mixed.wrapping_add((request + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // An `f64` represents 53 bits exactly.
    let share = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    share * 100.0 < percent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn injector(lines: &str) -> Injector {
        let basis = "credentials.default.client_id = \"a\"\ncredentials.default.client_secret = \"b\"\n\
                     credentials.default.username = \"c\"\ncredentials.default.password = \"d\"\n";
        Injector::new(&Config::from_toml(&format!("{basis}{lines}")).unwrap().config.faults)
    }

    fn hit(injector: &Injector, times: usize) -> Vec<bool> {
        (0..times).map(|_| !injector.plan(&Method::GET, "/a").hits.is_empty()).collect()
    }

    #[test]
    fn a_share_is_met_and_the_same_seed_meets_the_same_requests() {
        for (percent, least, most) in [(0.0, 0, 0), (10.0, 900, 1100), (100.0, 10_000, 10_000)] {
            let rules = format!("faults.rules = [\"{percent}% /a abort\"]");
            let hits = hit(&injector(&rules), 10_000);
            let count = hits.iter().filter(|hit| **hit).count();
            assert!((least..=most).contains(&count), "{percent}%: {count}");
            assert_eq!(hit(&injector(&rules), 10_000), hits);
            if percent == 10.0 {
                assert_ne!(hit(&injector(&format!("faults.seed = 1\n{rules}")), 10_000), hits);
            }
        }
    }

    #[test]
    fn delays_add_up_until_a_rule_decides() {
        let rules = "faults.rules = [\"100% /a delay 1s\", \"100% /b abort\", \"100% /** delay 2s status 503\", \
                     \"100% /** abort\"]";
        let plan = injector(rules).plan(&Method::GET, "/a");
        assert_eq!(plan.delay, Duration::from_secs(3));
        let numbers: Vec<usize> = plan.hits.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 3]);
        assert_eq!(injector(rules).rule(3), "100% /** delay 2s status 503");
    }
}
