//! The table of all faults: name, parameters, description and reader.

use std::time::Duration;

use super::parameters::Parameters;
use super::{Action, Edit, Effect, Fault, FaultError};

/// The description of one kind of fault.
pub(crate) struct FaultSpec {
    pub(crate) name: &'static str,
    /// Its parameters. Faults on requests also take the parameters of a match.
    pub(crate) takes: &'static [&'static str],
    /// Its effect, in words.
    pub(crate) says: &'static str,
    pub(super) read: fn(&Parameters<'_>) -> Result<Fault, FaultError>,
}

impl FaultSpec {
    /// The names of its parameters.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.takes.iter().flat_map(|take| take.split(", ")).filter(|parameter| !parameter.is_empty())
    }
}

/// The parameters of a match.
const MATCHERS: &str = "path, endpoint, method, grant, after, count, lasts, probability, seed";

const fn known(
    name: &'static str,
    takes: &'static [&'static str],
    says: &'static str,
    read: fn(&Parameters<'_>) -> Result<Fault, FaultError>,
) -> FaultSpec {
    FaultSpec { name, takes, says, read }
}

/// Every kind of fault.
pub(crate) const FAULTS: &[FaultSpec] = &[
    known("revoke_all_access", &[], "rejects every access token issued so far", |_| {
        Ok(Action::RevokeAllAccess.into())
    }),
    known("revoke_all_refresh", &[], "rejects every refresh token issued so far", |_| {
        Ok(Action::RevokeAllRefresh.into())
    }),
    known(
        "expire_in",
        &["seconds", "existing"],
        "sets the lifetime of new access tokens; with existing, also shortens current ones",
        |given| {
            let lifetime = Duration::from_secs(given.number("seconds")?);
            Ok(Action::ExpireIn { lifetime, existing: given.flag("existing", false)? }.into())
        },
    ),
    known("mode", &["mode"], "sets what a second login does: reuse, renew_revoke or renew_keep", |given| {
        Ok(Action::Mode(given.word("mode")?).into())
    }),
    known(
        "old_access",
        &["state"],
        "sets the state of the old access token after a refresh: dead or alive",
        |given| Ok(Action::OldAccess(given.word("state")?).into()),
    ),
    known("rotate_signing_kid", &[], "renames the signing key of new tokens", |_| {
        Ok(Action::RotateSigningKid.into())
    }),
    known(
        "spent_refresh",
        &["status"],
        "responds with 400 or 500 to a refresh token that is used twice",
        |given| Ok(Action::SpentRefresh { server_error: given.is_server_error()? }.into()),
    ),
    known(
        "lock_user",
        &["user", "keep_tokens"],
        "locks the user as an administrator does, and revokes the user's tokens",
        |given| {
            let keep_tokens = given.flag("keep_tokens", false)?;
            Ok(Action::LockUser { user: given.text("user")?, keep_tokens }.into())
        },
    ),
    known("unlock_user", &["user"], "removes any lock of the user", |given| {
        Ok(Action::UnlockUser { user: given.text("user")? }.into())
    }),
    known(
        "change_password",
        &["user", "password"],
        "changes the password, and revokes the user's tokens",
        |given| {
            let password = given.text("password")?.into();
            Ok(Action::ChangePassword { user: given.text("user")?, password }.into())
        },
    ),
    known(
        "single_sign_on",
        &["user", "sso"],
        "makes the user log in through single sign-on: no password works",
        |given| Ok(Action::SingleSignOn { user: given.text("user")?, sso: given.flag("sso", true)? }.into()),
    ),
    known(
        "regenerate_secret",
        &["client_id", "secret"],
        "changes the consumer secret, and revokes the application's tokens",
        |given| {
            let secret = given.text("secret")?.into();
            Ok(Action::RegenerateSecret { client_id: given.text("client_id")?, secret }.into())
        },
    ),
    known("refuse_scope", &["client_id", "allowed"], "stops granting the scope openid", |given| {
        let client_id = given.optional_text("client_id")?;
        Ok(Action::Openid { client_id, allowed: given.flag("allowed", false)? }.into())
    }),
    known("roles", &["user", "suite", "allowed"], "sets whether a suite's backend knows the user", |given| {
        let user = given.text("user")?;
        let suite = given.text("suite")?;
        Ok(Action::Role { user, suite, allowed: given.flag("allowed", false)? }.into())
    }),
    known("clock_advance", &["seconds"], "moves the simulator's clock", |given| {
        Ok(Action::ClockAdvance(given.signed_seconds()?).into())
    }),
    known("clock_set", &["time"], "sets the simulator's clock", |given| {
        Ok(Action::ClockSet(given.time("time")?).into())
    }),
    known(
        "quota",
        &["per_minute", "client_id"],
        "limits each user's requests per minute, for every application or only client_id; 0 means no limit",
        |given| {
            let per_minute = given.quota()?;
            Ok(match given.optional_text("client_id")? {
                Some(client_id) => Action::ApplicationQuota { client_id, per_minute }.into(),
                None => Action::Quota(per_minute).into(),
            })
        },
    ),
    known(
        "unsubscribe",
        &["suite", "client_id"],
        "stops every application, or only client_id, from using the suite",
        |given| {
            let suite = given.text("suite")?;
            Ok(match given.optional_text("client_id")? {
                Some(client_id) => Action::Subscription { client_id, suite, allowed: false }.into(),
                None => Action::Unsubscribe { suite }.into(),
            })
        },
    ),
    known(
        "resubscribe",
        &["suite", "client_id"],
        "lets every application, or only client_id, use the suite again",
        |given| {
            let suite = given.text("suite")?;
            Ok(match given.optional_text("client_id")? {
                Some(client_id) => Action::Subscription { client_id, suite, allowed: true }.into(),
                None => Action::Resubscribe { suite }.into(),
            })
        },
    ),
    known(
        "status",
        &["status", "retry_after", "seconds", "body", "content_type", MATCHERS],
        "responds with this status; the request is not executed",
        |given| given.befalling(Effect::Status(given.status()?)),
    ),
    known(
        "throttle_200",
        &[MATCHERS],
        "sends the gateway's error for too many requests with status 200; the request is not executed",
        |given| given.befalling(Effect::Throttle200),
    ),
    known(
        "redirect",
        &["location", MATCHERS],
        "redirects to this location with a 302; the request is not executed",
        |given| given.befalling(Effect::Redirect(given.text("location")?)),
    ),
    known(
        "delay",
        &["millis", "seconds", MATCHERS],
        "delays the request by this time, then executes it",
        |given| given.befalling(Effect::Delay(given.duration()?)),
    ),
    known("hang", &[MATCHERS], "holds the request until the fault is removed or expires", |given| {
        given.befalling(Effect::Hang)
    }),
    known(
        "drip",
        &["bytes_per_second", MATCHERS],
        "sends the response's body at this many bytes per second",
        |given| given.befalling(Edit::Drip(given.pace()?)),
    ),
    known(
        "reset_before_headers",
        &[MATCHERS],
        "resets the connection; the request is not executed",
        |given| given.befalling_once(Effect::ResetBeforeHeaders),
    ),
    known(
        "reset_mid_body",
        &["bytes", MATCHERS],
        "resets the connection after this many bytes of the response's body, or after half the body",
        |given| given.befalling_once(Edit::ResetMidBody(given.optional_size("bytes")?)),
    ),
    known(
        "lose_response_after_commit",
        &[MATCHERS],
        "executes the request, then resets the connection",
        |given| given.befalling_once(Effect::LoseResponse),
    ),
    known(
        "refuse_continue",
        &["status", "retry_after", "seconds", "body", "content_type", MATCHERS],
        "rejects Expect: 100-continue with this status; 417 by default",
        |given| given.befalling(Effect::RefuseContinue(given.status_or(417)?)),
    ),
    known(
        "early_response",
        &["status", "bytes", "retry_after", "seconds", "body", "content_type", MATCHERS],
        "responds after this many bytes of the body have been read (0 by default); status 413 by default",
        |given| {
            let read = given.optional_size("bytes")?.unwrap_or(0) as u64;
            given.befalling(Effect::EarlyResponse { instead: given.status_or(413)?, read })
        },
    ),
    known(
        "close_after_n_requests",
        &["requests", MATCHERS],
        "closes each connection after this many requests, with Connection: close",
        |given| given.befalling(Effect::CloseAfter(given.positive("requests")?)),
    ),
    known("missing", &["field", MATCHERS], "removes this member from token responses", |given| {
        given.befalling(Edit::Missing(given.field()?))
    }),
    known(
        "expires_in_as",
        &["value", MATCHERS],
        "sets expires_in of token responses to this value",
        |given| given.befalling(Edit::ExpiresInAs(given.value("value")?)),
    ),
    known("token_type", &["value", MATCHERS], "sets token_type of token responses to this value", |given| {
        given.befalling(Edit::TokenType(given.text("value")?))
    }),
    known("html_body", &[MATCHERS], "executes the request, and responds with an HTML page", |given| {
        given.befalling(Edit::HtmlBody)
    }),
    known(
        "truncated_json",
        &[MATCHERS],
        "executes the request, and omits the second half of the body",
        |given| given.befalling(Edit::TruncatedJson),
    ),
    known("empty_body", &[MATCHERS], "executes the request, and responds without a body", |given| {
        given.befalling(Edit::EmptyBody)
    }),
    known(
        "wrong_content_type",
        &["content_type", MATCHERS],
        "executes the request, and labels the body with this type; text/html by default",
        |given| {
            let content_type = given.optional_text("content_type")?;
            given.befalling(Edit::WrongContentType(content_type.unwrap_or_else(|| "text/html".into())))
        },
    ),
    known("xml_fault", &[MATCHERS], "writes errors of the gateway in XML", |given| {
        given.befalling(Edit::XmlFault)
    }),
    known("fault_wrapped_json", &[MATCHERS], "wraps errors of the gateway in a fault", |given| {
        given.befalling(Edit::FaultWrappedJson)
    }),
    known(
        "backend_401",
        &[MATCHERS],
        "responds with the suite's own 401, although the gateway admitted the request",
        |given| given.befalling(Effect::Backend401),
    ),
    known(
        "token_age_limit",
        &["seconds", MATCHERS],
        "responds with the 401 of Reports to access tokens older than this; path is required",
        |given| {
            let limit = Duration::from_secs(given.number("seconds")?);
            given.text("path").and_then(|_| given.befalling(Effect::TokenAgeLimit(limit)))
        },
    ),
    known(
        "reports_token_age_limit",
        &["seconds"],
        "applies token_age_limit to the paths of Reports",
        |given| {
            let limit = Duration::from_secs(given.number("seconds")?);
            Ok(Fault::token_age_limit("/t/vbc.prod/reports", limit))
        },
    ),
];

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;

    /// The rows of the tables of faults in `docs/simulator.md`: name, parameters, effect, example.
    fn rows(page: &str) -> Vec<Vec<&str>> {
        let (_, faults) = page.split_once("\n## Faults\n").unwrap();
        let (faults, _) = faults.split_once("\n## ").unwrap();
        let rows = faults.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
            .filter(|cells| cells.len() == 4)
            .collect()
    }

    #[test]
    fn the_page_about_the_simulator_has_every_fault_with_its_parameters_and_an_example() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/simulator.md");
        let page = fs::read_to_string(file).unwrap();
        let rows = rows(&page);
        for FaultSpec { name, takes, .. } in FAULTS {
            let row = rows.iter().find(|row| row[0] == format!("`{name}`"));
            let row = row.unwrap_or_else(|| panic!("docs/simulator.md has no row for {name}"));
            let own: Vec<&str> = takes.iter().copied().filter(|take| *take != MATCHERS).collect();
            let like_status = row[1].contains("those of `status`");
            for parameter in own {
                let shared = like_status
                    && ["status", "retry_after", "seconds", "body", "content_type"].contains(&parameter);
                assert!(shared || row[1].contains(&format!("`{parameter}`")), "{name}: {parameter}");
            }
            let example: Value = serde_json::from_str(row[3].trim_matches('`')).unwrap();
            assert_eq!(example["fault"], *name, "{example}");
            assert!(Fault::from_json(&example).is_ok(), "{example}");
        }
        assert_eq!(rows.len(), FAULTS.len(), "docs/simulator.md has a row for an unknown fault");
        for parameter in MATCHERS.split(", ") {
            assert!(page.contains(&format!("\n| `{parameter}` | ")), "{parameter}");
        }
    }
}
