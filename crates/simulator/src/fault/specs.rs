//! The table of all faults: name, parameters, description and reader.

use std::time::Duration;

use super::parameters::Parameters;
use super::{Action, Edit, Effect, Fault, FaultError};

/// The description of one kind of fault.
pub(crate) struct FaultSpec {
    pub(crate) name: &'static str,
    /// Its parameters. Faults on requests also take the parameters of a match.
    pub(crate) takes: &'static [&'static str],
    /// Its effect, for people.
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
    known("revoke_all_access", &[], "every access token issued so far is refused", |_| {
        Ok(Action::RevokeAllAccess.into())
    }),
    known("revoke_all_refresh", &[], "every refresh token issued so far is refused", |_| {
        Ok(Action::RevokeAllRefresh.into())
    }),
    known(
        "expire_in",
        &["seconds", "existing"],
        "access tokens live this long; with existing, living ones no longer either",
        |given| {
            let lifetime = Duration::from_secs(given.number("seconds")?);
            Ok(Action::ExpireIn { lifetime, existing: given.flag("existing", false)? }.into())
        },
    ),
    known("mode", &["mode"], "what a second login does: reuse, renew_revoke or renew_keep", |given| {
        Ok(Action::Mode(given.word("mode")?).into())
    }),
    known("old_access", &["state"], "the old access token after a refresh: dead or alive", |given| {
        Ok(Action::OldAccess(given.word("state")?).into())
    }),
    known("rotate_signing_kid", &[], "new tokens name another signing key", |_| {
        Ok(Action::RotateSigningKid.into())
    }),
    known("spent_refresh", &["status"], "a refresh token used twice is answered 400 or 500", |given| {
        Ok(Action::SpentRefresh { server_error: given.is_server_error()? }.into())
    }),
    known(
        "lock_user",
        &["user", "keep_tokens"],
        "an administrator locks the user, whose tokens are revoked",
        |given| {
            let keep_tokens = given.flag("keep_tokens", false)?;
            Ok(Action::LockUser { user: given.text("user")?, keep_tokens }.into())
        },
    ),
    known("unlock_user", &["user"], "lifts any lock", |given| {
        Ok(Action::UnlockUser { user: given.text("user")? }.into())
    }),
    known(
        "change_password",
        &["user", "password"],
        "a new password; the user's tokens are revoked",
        |given| {
            let password = given.text("password")?.into();
            Ok(Action::ChangePassword { user: given.text("user")?, password }.into())
        },
    ),
    known("single_sign_on", &["user", "sso"], "the user logs in elsewhere: no password works", |given| {
        Ok(Action::SingleSignOn { user: given.text("user")?, sso: given.flag("sso", true)? }.into())
    }),
    known(
        "regenerate_secret",
        &["client_id", "secret"],
        "a new consumer secret; the application's tokens are revoked",
        |given| {
            let secret = given.text("secret")?.into();
            Ok(Action::RegenerateSecret { client_id: given.text("client_id")?, secret }.into())
        },
    ),
    known("refuse_scope", &["client_id", "allowed"], "the scope openid is not granted", |given| {
        let client_id = given.optional_text("client_id")?;
        Ok(Action::Openid { client_id, allowed: given.flag("allowed", false)? }.into())
    }),
    known("roles", &["user", "suite", "allowed"], "whether a suite's backend knows the user", |given| {
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
        "requests a minute for each application (or this one) and user; 0 is no limit",
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
        "no application (or not this one) may use the suite",
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
        "applications (or this one) may use the suite again",
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
        "answered so instead",
        |given| given.befalling(Effect::Status(given.status()?)),
    ),
    known("throttle_200", &[MATCHERS], "the words for too many requests, with status 200", |given| {
        given.befalling(Effect::Throttle200)
    }),
    known("redirect", &["location", MATCHERS], "sent there by a 302 instead", |given| {
        given.befalling(Effect::Redirect(given.text("location")?))
    }),
    known("delay", &["millis", "seconds", MATCHERS], "executed and answered that much later", |given| {
        given.befalling(Effect::Delay(given.duration()?))
    }),
    known("hang", &[MATCHERS], "not answered until the fault is removed or over", |given| {
        given.befalling(Effect::Hang)
    }),
    known("drip", &["bytes_per_second", MATCHERS], "the answer's body is sent slowly", |given| {
        given.befalling(Edit::Drip(given.pace()?))
    }),
    known("reset_before_headers", &[MATCHERS], "the connection is reset, nothing is executed", |given| {
        given.befalling_once(Effect::ResetBeforeHeaders)
    }),
    known(
        "reset_mid_body",
        &["bytes", MATCHERS],
        "the connection is reset behind so many bytes of the answer's body, or half of it",
        |given| given.befalling_once(Edit::ResetMidBody(given.optional_size("bytes")?)),
    ),
    known("lose_response_after_commit", &[MATCHERS], "executed, then the connection is reset", |given| {
        given.befalling_once(Effect::LoseResponse)
    }),
    known(
        "refuse_continue",
        &["status", "retry_after", "seconds", "body", "content_type", MATCHERS],
        "a body announced by Expect: 100-continue is not asked for; 417 unless told otherwise",
        |given| given.befalling(Effect::RefuseContinue(given.status_or(417)?)),
    ),
    known(
        "early_response",
        &["status", "bytes", "retry_after", "seconds", "body", "content_type", MATCHERS],
        "answered when so many bytes of the body have been read, none unless told; 413 unless told otherwise",
        |given| {
            let read = given.optional_size("bytes")?.unwrap_or(0) as u64;
            given.befalling(Effect::EarlyResponse { instead: given.status_or(413)?, read })
        },
    ),
    known(
        "close_after_n_requests",
        &["requests", MATCHERS],
        "each connection is closed, with notice, after so many requests",
        |given| given.befalling(Effect::CloseAfter(given.positive("requests")?)),
    ),
    known("missing", &["field", MATCHERS], "token answers lack this member", |given| {
        given.befalling(Edit::Missing(given.field()?))
    }),
    known("expires_in_as", &["value", MATCHERS], "expires_in of token answers is this", |given| {
        given.befalling(Edit::ExpiresInAs(given.value("value")?))
    }),
    known("token_type", &["value", MATCHERS], "token_type of token answers is this", |given| {
        given.befalling(Edit::TokenType(given.text("value")?))
    }),
    known("html_body", &[MATCHERS], "executed; a page in place of the body", |given| {
        given.befalling(Edit::HtmlBody)
    }),
    known("truncated_json", &[MATCHERS], "executed; the second half of the body is missing", |given| {
        given.befalling(Edit::TruncatedJson)
    }),
    known("empty_body", &[MATCHERS], "executed; no body", |given| given.befalling(Edit::EmptyBody)),
    known(
        "wrong_content_type",
        &["content_type", MATCHERS],
        "executed; the body is said to be of this type, text/html unless told otherwise",
        |given| {
            let content_type = given.optional_text("content_type")?;
            given.befalling(Edit::WrongContentType(content_type.unwrap_or_else(|| "text/html".into())))
        },
    ),
    known("xml_fault", &[MATCHERS], "errors of the gateway are written in XML", |given| {
        given.befalling(Edit::XmlFault)
    }),
    known("fault_wrapped_json", &[MATCHERS], "errors of the gateway are wrapped in a fault", |given| {
        given.befalling(Edit::FaultWrappedJson)
    }),
    known("backend_401", &[MATCHERS], "the suite's own 401, behind a content gateway", |given| {
        given.befalling(Effect::Backend401)
    }),
    known(
        "token_age_limit",
        &["seconds", MATCHERS],
        "the 401 of Reports for access tokens issued longer ago; path is required",
        |given| {
            let limit = Duration::from_secs(given.number("seconds")?);
            given.text("path").and_then(|_| given.befalling(Effect::TokenAgeLimit(limit)))
        },
    ),
    known("reports_token_age_limit", &["seconds"], "the same for Reports", |given| {
        let limit = Duration::from_secs(given.number("seconds")?);
        Ok(Fault::token_age_limit("/t/vbc.prod/reports", limit))
    }),
];
