use super::*;

fn findings(text: &str) -> Vec<String> {
    let options = || SimulatorOptions::default();
    let error =
        Scenario::parse("s.toml", text).and_then(|scenario| scenario.apply(&mut options())).unwrap_err();
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_whole_scenario_is_read() {
    let text = r#"
seed = 7
start = 2026-03-01T09:00:00Z
mode = "renew_keep"
old_access = "alive"
refresh_rotation = false
token_format = "uuid"
quota = 0
lag = 0
ringing = "2s"
webhooks = ["hooks.test", "10.0.0.7"]
public_base = "http://sim:8090/"
lifetimes = { access = "1h", refresh = "7d", code = 60 }

[[applications]]
client_id = "crm"
client_secret = "crm-secret"
grants = ["password"]
subscriptions = ["reports"]
quota = 10

[[users]]
name = "dora"
password = "dora-password"
account = 777
without = ["vis"]
locked = true

[[faults]]
fault = "delay"
millis = 20
endpoint = "telephony"

[[timeline]]
at = "60s"
fault = "status"
status = 503
path = "/token"
lasts = "20s"

[[timeline]]
at = 30
fault = "lock_user"
user = "dora@vbc.prod"
"#;
    let mut options = SimulatorOptions { quota: Some(3), ..SimulatorOptions::default() };
    Scenario::parse("s.toml", text).unwrap().apply(&mut options).unwrap();
    assert_eq!((options.seed, options.quota, options.deterministic), (7, None, true));
    assert_eq!(options.start, Some("2026-03-01T09:00:00Z".parse().unwrap()));
    assert_eq!((options.mode, options.old_access), (Mode::RenewKeep, OldAccess::Alive));
    assert_eq!((options.token_format, options.refresh_rotation), (TokenFormat::Uuid, false));
    assert_eq!((options.lag, options.ringing), (0.0, Duration::from_secs(2)));
    assert_eq!(options.public_base, "http://sim:8090");
    assert_eq!(options.webhooks, "hooks.test,10.0.0.7".parse().unwrap());
    assert_eq!(options.lifetimes.access, Duration::from_secs(3600));
    assert_eq!(options.lifetimes.code, Duration::from_secs(60));
    assert_eq!(options.applications[0].quota, Some(10));
    assert_eq!(options.users[0].without, ["vis"]);
    let at: Vec<u64> = options.timeline.iter().map(|step| step.at.as_secs()).collect();
    assert_eq!(at, [0, 60, 30]);
    let Fault::Requests(_, on) = &options.timeline[1].fault else { panic!("on requests") };
    assert_eq!((on.path.as_deref(), on.lasts), (Some("/token"), Some(Duration::from_secs(20))));
}

#[test]
fn everything_wrong_is_said_at_once_with_line_and_remedy() {
    let text = r#"sede = 7
mode = "new"
public_base = "http://sim/path"

[lifetimes]
acess = "1h"
refresh = "soon"

[[users]]
name = "dora"

[[timeline]]
fault = "revoke_all_acess"

[[timeline]]
at = "30 parsecs"
fault = "status"
status = 999

[[timeline]]
at = "30s"
fault = "status"
status = 503
patth = "/token"

[[timeline]]
at = "40s"
"#;
    assert_eq!(
        findings(text),
        [
            "s.toml:1:1: sede: unknown key; did you mean `seed`?",
            "s.toml:2:1: mode: invalid value; write one of: reuse, renew_revoke, renew_keep",
            "s.toml:3:1: public_base: invalid value; write a URL without a path, such as \"http://sim:8090\"",
            "s.toml:6:1: lifetimes.acess: unknown key; did you mean `access`?",
            "s.toml:7:1: lifetimes.refresh: invalid value; write a time of at least a second, such as \"1h\"",
            "s.toml:9:1: users.0: `password` is missing; add password = \"…\"",
            "s.toml:12:1: timeline.0: `at` is missing; write the time after the start, such as at = \"30s\"",
            "s.toml:13:1: timeline.0.fault: unknown fault `revoke_all_acess`; did you mean `revoke_all_access`?",
            "s.toml:16:1: timeline.1.at: this is not a duration; write the time after the start, such as at = \"30s\"",
            "s.toml:18:1: timeline.1.status: invalid value; write a status from 200 to 599",
            "s.toml:24:1: timeline.2.patth: `status` takes no `patth`; did you mean the parameter `path`?",
            "s.toml:26:1: timeline.3: `fault` is missing; add it, such as fault = \"revoke_all_access\"",
        ]
    );
}

#[test]
fn what_is_named_has_to_be_there() {
    let text = r#"
[[users]]
name = "dora"
password = "p"
without = ["report"]

[[timeline]]
at = 1
fault = "lock_user"
user = "alcie@vbc.prod"

[[timeline]]
at = 2
fault = "unsubscribe"
suite = "vis"
client_id = "crm"
"#;
    let found = findings(text);
    assert!(
        found[0].starts_with("s.toml:2:1: users.suite: no suite `report`; did you mean `reports`?"),
        "{found:?}"
    );
    assert_eq!(
        found[1],
        "s.toml:7:1: timeline.0.user: no user `alcie@vbc.prod`; did you mean `alice@vbc.prod`? Otherwise add it under [[users]]"
    );
    assert!(
        found[2].starts_with("s.toml:12:1: timeline.1.client_id: no application `crm`; known: "),
        "{found:?}"
    );
}

#[test]
fn what_is_not_toml_or_not_there_is_said() {
    assert!(
        findings("seed = = 7\n")[0].starts_with("s.toml:1:8: this is not TOML: "),
        "{:?}",
        findings("seed = = 7\n")
    );
    assert!(
        findings("users = 1\n")[0].ends_with("this is not a list of tables; start each entry with [[users]]")
    );
    let error = Scenario::read(Path::new("no-such-scenario.toml")).unwrap_err();
    assert_eq!(error.to_string(), "no-such-scenario.toml: no such file; check its name and permissions");
}
