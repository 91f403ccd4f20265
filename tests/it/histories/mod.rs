//! Random histories of one credential: expiries, revocations, faults, restarts, kills, clock jumps,
//! 401s and concurrent requests. They cover every issuance mode, by password and by code. The
//! simulator is the server, and an oracle watches the wire.
//!
//! `VBC_PROXY_HISTORIES` sets their number (default 500; `scripts/soak` runs 200,000).

mod oracle;
pub(crate) mod world;

use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use vbc_simulator::{Action, Edit, Effect, Fault, Mode, OldAccess, RetryAfter, StatusFault};

use tokio::time::Instant;
use world::{ALICE, Setting, World};

/// One step of a history.
#[derive(Clone, Debug)]
enum Event {
    /// Time passes.
    Wait(Duration),
    /// Time passes while the machine sleeps.
    Suspend(Duration),
    /// The proxy's clock is set back or ahead, but not the server's.
    Clock(SignedDuration),
    /// Requests wait for a bearer; some disconnect.
    Ask {
        count: u8,
        hang_up: Option<Duration>,
    },
    /// One request, with a retry after a 401.
    Call,
    /// Several concurrent requests with one bearer are refused.
    Refuse(u8),
    RevokeAccess,
    RevokeRefresh,
    /// Access tokens live this long from now on. The flag says whether existing ones do too.
    Lifetime(u64, bool),
    Mode(Mode),
    OldAccess(OldAccess),
    /// The token endpoint misbehaves this many times.
    Fault(Trouble, u64),
    Unreachable(bool),
    StoreFails(bool),
    Restart,
    Kill,
    /// The password changes at the server, but not in the configuration.
    ChangePassword,
    Lock(bool),
    Unlock,
    Refresh,
    /// The resource owner logs in through the browser.
    LogIn,
    Younger(Duration),
}

#[derive(Clone, Debug)]
enum Trouble {
    Status(u16, RetryAfter),
    Lose,
    Reset,
    Delay(Duration),
    Edit(Edit),
    Throttle200,
    Redirect,
}

impl Trouble {
    fn fault(&self) -> Fault {
        let effect = match self {
            Self::Status(status, retry_after) => {
                let retry_after = *retry_after;
                Effect::Status(StatusFault { status: *status, retry_after, ..StatusFault::default() })
            }
            Self::Lose => Effect::LoseResponse,
            Self::Reset => Effect::ResetBeforeHeaders,
            Self::Delay(by) => Effect::Delay(*by),
            Self::Edit(edit) => Effect::Edit(edit.clone()),
            Self::Throttle200 => Effect::Throttle200,
            Self::Redirect => Effect::Redirect("http://elsewhere/token".into()),
        };
        Fault::from(effect).on("/token")
    }
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let edit = prop_oneof![
        Just(Edit::Missing("expires_in".into())),
        Just(Edit::Missing("refresh_token".into())),
        Just(Edit::Missing("access_token".into())),
        Just(Edit::Missing("token_type".into())),
        Just(Edit::Missing("id_token".into())),
        prop_oneof![
            Just(serde_json::json!("3600")),
            Just(serde_json::json!(0)),
            Just(serde_json::json!(-5)),
            Just(serde_json::json!(1e30)),
            Just(serde_json::json!("soon"))
        ]
        .prop_map(Edit::ExpiresInAs),
        prop_oneof![Just("bearer"), Just("BEARER"), Just("mac")]
            .prop_map(|kind| Edit::TokenType(kind.into())),
        Just(Edit::HtmlBody),
        Just(Edit::TruncatedJson),
        Just(Edit::EmptyBody),
        Just(Edit::WrongContentType("text/plain".into())),
    ];
    let wait = prop_oneof![
        Just(RetryAfter::None),
        (1..120_u32).prop_map(RetryAfter::Date),
        (1..120_u32).prop_map(RetryAfter::Delta)
    ];
    prop_oneof![
        3 => (prop_oneof![Just(500_u16), Just(502), Just(503), Just(504), Just(429)], wait)
            .prop_map(|(status, wait)| Trouble::Status(status, wait)),
        4 => Just(Trouble::Lose),
        2 => Just(Trouble::Reset),
        2 => (1..45_000_u64).prop_map(|millis| Trouble::Delay(Duration::from_millis(millis))),
        5 => edit.prop_map(Trouble::Edit),
        1 => Just(Trouble::Throttle200),
        1 => Just(Trouble::Redirect),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let passing = prop_oneof![
        3 => (0..100_u64).prop_map(Duration::from_millis),
        3 => (100..60_000_u64).prop_map(Duration::from_millis),
        3 => (60..7_200_u64).prop_map(Duration::from_secs),
        // Long waits cost the most, because the refresher checks the clock every few minutes.
        1 => (7_200..200_000_u64).prop_map(Duration::from_secs),
    ];
    let hang_up = proptest::option::weighted(0.3, (0..100_u64).prop_map(Duration::from_millis));
    prop_oneof![
        9 => passing.prop_map(Event::Wait),
        1 => (60..700_000_u64).prop_map(|seconds| Event::Suspend(Duration::from_secs(seconds))),
        1 => (-700_000..0_i64).prop_map(|seconds| Event::Clock(SignedDuration::from_secs(seconds))),
        1 => (0..700_000_i64).prop_map(|seconds| Event::Clock(SignedDuration::from_secs(seconds))),
        5 => ((1..5_u8), hang_up).prop_map(|(count, hang_up)| Event::Ask { count, hang_up }),
        5 => Just(Event::Call),
        4 => (1..6_u8).prop_map(Event::Refuse),
        3 => Just(Event::RevokeAccess),
        2 => Just(Event::RevokeRefresh),
        2 => (prop_oneof![1..120_u64, 120..90_000_u64], any::<bool>())
            .prop_map(|(seconds, existing)| Event::Lifetime(seconds, existing)),
        1 => modes().prop_map(Event::Mode),
        1 => prop_oneof![Just(OldAccess::Dead), Just(OldAccess::Alive)].prop_map(Event::OldAccess),
        6 => (trouble(), 1..4_u64).prop_map(|(trouble, count)| Event::Fault(trouble, count)),
        1 => any::<bool>().prop_map(Event::Unreachable),
        2 => any::<bool>().prop_map(Event::StoreFails),
        2 => Just(Event::Restart),
        3 => Just(Event::Kill),
        1 => Just(Event::ChangePassword),
        1 => any::<bool>().prop_map(Event::Lock),
        1 => Just(Event::Unlock),
        1 => Just(Event::Refresh),
        2 => Just(Event::LogIn),
        2 => (1..3_600_u64).prop_map(|seconds| Event::Younger(Duration::from_secs(seconds))),
    ]
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Reuse), Just(Mode::RenewRevoke), Just(Mode::RenewKeep)]
}

fn setting() -> impl Strategy<Value = Setting> {
    let old_access = prop_oneof![Just(OldAccess::Dead), Just(OldAccess::Alive)];
    (any::<bool>(), modes(), old_access).prop_map(|(by_password, mode, old_access)| Setting {
        by_password,
        mode,
        old_access,
    })
}

async fn happen(world: &mut World, event: Event) {
    let service = world.service.clone();
    if matches!(event, Event::RevokeAccess | Event::ChangePassword | Event::Lock(true)) {
        world.oracle.lock().revoked();
    }
    let act = |action: Action| drop(service.inject(action));
    match event {
        Event::Wait(by) => tokio::time::sleep(by).await,
        Event::Suspend(by) => world.suspend(by),
        Event::Clock(by) => {
            if by.is_positive() {
                world.oracle.lock().hurried();
            }
            world.clock.shift(by);
        }
        Event::Ask { count, hang_up } => world.ask_in_background(count, hang_up),
        Event::Call => call(world).await,
        Event::Refuse(count) => world.refuse_at_once(count).await,
        Event::RevokeAccess => world.service.revoke_all_access(),
        Event::RevokeRefresh => world.service.revoke_all_refresh(),
        Event::Lifetime(seconds, existing) => {
            act(Action::ExpireIn { lifetime: Duration::from_secs(seconds), existing });
        }
        Event::Mode(mode) => act(Action::Mode(mode)),
        Event::OldAccess(old) => act(Action::OldAccess(old)),
        Event::Fault(trouble, count) => drop(world.service.inject(trouble.fault().times(count))),
        Event::Unreachable(cut) => world.cut_off(cut),
        Event::StoreFails(failing) => world.fail_store(failing),
        Event::Restart => world.restart().await,
        Event::Kill => world.kill().await,
        Event::ChangePassword => {
            act(Action::ChangePassword { user: ALICE.into(), password: "another".into() });
        }
        Event::Lock(true) => act(Action::LockUser { user: ALICE.into(), keep_tokens: false }),
        Event::Lock(false) => act(Action::UnlockUser { user: ALICE.into() }),
        Event::Unlock => {
            // The unlock takes effect immediately. A login may follow before the oracle is
            // notified.
            world.oracle.lock().unlocked();
            let _ = world.credential().unlock().await;
            world.oracle.lock().unlocked();
        }
        Event::Refresh => drop(world.credential().refresh().await),
        Event::LogIn => drop(world.log_in().await),
        Event::Younger(age) => {
            let asked = Instant::now();
            let _ = world.credential().younger(age).await;
            world.in_time(asked);
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A 503 of the proxy: there was no usable token.
    NoToken,
    /// The status of the upstream's response, and the revision of the bearer.
    Upstream(Option<u16>, u64),
}

/// Makes one request as the data plane does. Then it checks every surface at the same moment.
async fn call(world: &World) {
    let given = request(world).await;
    let said = world.surfaces().await;
    let usable = said[0].1;
    if said.iter().any(|(_, other)| *other != usable) {
        world.oracle.lock().violated(format!("the surfaces contradict each other: {said:?}"));
    }
    let revision = world.credential().snapshot().revision;
    match given {
        Outcome::NoToken if usable => {
            world.oracle.lock().violated("a request got 503, and the surfaces say that a token is usable");
        }
        Outcome::Upstream(Some(200), sent) if !usable && sent == revision => {
            world.oracle.lock().violated("a request got 200, and the surfaces say that no token is usable");
        }
        Outcome::Upstream(Some(401), sent) if usable && sent == revision => {
            world
                .oracle
                .lock()
                .violated("the gateway refused the token, and the surfaces say that it is usable");
        }
        _ => {}
    }
}

/// Sends a request with a bearer. After a 401 it sends the request at most twice more: with the
/// same bearer if that is new, and after a forced refresh. Reports a violation if the gateway
/// refuses a token that was issued for this request.
async fn request(world: &World) -> Outcome {
    let Some(mut bearer) = world.ask().await else { return Outcome::NoToken };
    let credential = world.credential();
    let (mut late, mut fresh) = (false, false);
    for sendings in 1..=3 {
        let status = world.call(&bearer).await;
        if status != Some(401) {
            if status == Some(200) && credential.doubts(&bearer) {
                credential.trust(&bearer);
            }
            return Outcome::Upstream(status, bearer.revision);
        }
        if fresh && !world.oracle.lock().doomed {
            world.oracle.lock().violated("a caller saw a 401 with a token that was issued for its request");
        }
        if sendings == 3 {
            break;
        }
        let new_for = bearer.new_for(world.clock.now());
        if let Some(newer) = credential.newer_than(&bearer) {
            (bearer, fresh) = (newer, false);
        } else if !late && !new_for.is_zero() {
            (late, fresh) = (true, false);
            tokio::time::sleep(new_for).await;
            bearer = match credential.newer_than(&bearer) {
                Some(newer) => newer,
                None if bearer.is_alive(world.clock.now()) => bearer,
                None => match world.ask().await {
                    Some(bearer) => bearer,
                    None => return Outcome::NoToken,
                },
            };
        } else {
            let asked = Instant::now();
            let replacement = credential
                .replace(&bearer, vbc_proxy::testing::credential::rejected_prefixes::Kind::Token)
                .await;
            world.in_time(asked);
            match replacement {
                Ok(newer) => (bearer, fresh) = (newer.bearer, newer.fresh),
                Err(_) => return Outcome::NoToken,
            }
        }
    }
    credential.distrust(&bearer);
    Outcome::Upstream(Some(401), bearer.revision)
}

/// Removes all faults. Then there must be a token, or an interactive login is needed and succeeds.
async fn heal(world: &mut World, by_password: bool) {
    world.settle().await;
    world.cut_off(false);
    world.fail_store(false);
    world.service.clear_faults();
    let user = || ALICE.to_owned();
    let _ = world.service.inject(Action::UnlockUser { user: user() });
    let password = world.password.as_str().into();
    let _ = world.service.inject(Action::ChangePassword { user: user(), password });
    let lifetime = Duration::from_secs(86_400);
    let _ = world.service.inject(Action::ExpireIn { lifetime, existing: false });
    world.oracle.lock().unlocked();
    let _ = world.credential().unlock().await;
    world.oracle.lock().unlocked();
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    call(world).await;
    if world.credential().snapshot().login_needed {
        if by_password {
            world.oracle.lock().violated("an interactive login is needed although there is a password");
        }
        if !world.log_in().await {
            world.oracle.lock().violated("an interactive login failed");
        }
    }
    let status = match world.ask().await {
        Some(bearer) => world.call(&bearer).await,
        None => None,
    };
    if status != Some(200) {
        let snapshot = world.credential().snapshot();
        world.oracle.lock().violated(format!("not healed: {status:?}, {snapshot:?}"));
    }
    if world.credential().snapshot().unsaved {
        world.oracle.lock().violated("the token set is still unsaved");
    }
}

fn run(setting: Setting, events: Vec<Event>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let violations = runtime.unwrap().block_on(async {
        let mut world = World::new(setting).await;
        if !setting.by_password {
            world.log_in().await;
        }
        for event in events {
            happen(&mut world, event).await;
        }
        heal(&mut world, setting.by_password).await;
        std::mem::take(&mut world.oracle.lock().violations)
    });
    if violations.is_empty() { Ok(()) } else { Err(TestCaseError::fail(violations.join("; "))) }
}

#[test]
fn no_history_violates_an_invariant() {
    let cases = std::env::var("VBC_PROXY_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    let seed = std::env::var("VBC_PROXY_SEED").ok().and_then(|text| text.parse().ok());
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: seed.map_or(RngSeed::Random, RngSeed::Fixed),
        max_shrink_iters: 500,
        ..Config::default()
    };
    let histories = (setting(), proptest::collection::vec(event(), 5..40));
    TestRunner::new(config).run(&histories, |(setting, events)| run(setting, events)).unwrap();
}
