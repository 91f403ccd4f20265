//! The identity server: `/token`, `/revoke` and `/userinfo`; `/authorize` is in its own file.

use std::sync::Arc;

use base64::Engine;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};
use serde_json::json;

use super::answer::{Answer, empty, json as json_answer, ordered, set};
use super::authorize;
use super::discovery;
use super::jwt::{IdToken, Login, Members};
use super::request::{Arrived, Endpoint, Form};
use super::rows::Row;
use super::state::{Attempt, Consumer, State, same};
use super::tokens::{Owner, Refused};
use super::world::TENANT;
use vbc_base::clock::Timestamp;

/// Grants the server knows; an application may use those ticked for it.
pub(super) const KNOWN_GRANTS: &[&str] = &[
    "password",
    "refresh_token",
    "authorization_code",
    "client_credentials",
    "iwa:ntlm",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:device_code",
];

/// Answers a request to an identity endpoint.
pub(super) fn answer(state: &mut State, arrived: &Arrived, endpoint: Endpoint, now: Timestamp) -> Answer {
    let host = arrived.header(HOST).unwrap_or("localhost").to_owned();
    let allowed = allowed(endpoint);
    let mut answer = match (endpoint, &arrived.form) {
        _ if !allowed.contains(&&arrived.head.method) => not_allowed(allowed),
        (Endpoint::Token | Endpoint::Revoke, None) => empty(415),
        (Endpoint::Token, Some(form)) => {
            token(state, arrived, form, now).unwrap_or_else(|row| row.answer(&host))
        }
        (Endpoint::Revoke, Some(form)) => {
            revoke(state, arrived, form).unwrap_or_else(|row| row.answer(&host))
        }
        (Endpoint::Authorize, _) => authorize::answer(state, arrived, now),
        (Endpoint::UserInfo, _) => user_info(state, arrived, now),
        (Endpoint::Keys, _) => discovery::keys(state),
        (Endpoint::Discovery, _) => discovery::document(&state.options.public_base),
    };
    set(&mut answer, http::header::SERVER, "WSO2 Carbon Server");
    answer
}

/// The methods that an endpoint takes.
fn allowed(endpoint: Endpoint) -> &'static [&'static Method] {
    match endpoint {
        Endpoint::Token | Endpoint::Revoke => &[&Method::POST],
        Endpoint::Authorize => &[&Method::GET, &Method::POST],
        Endpoint::UserInfo => &[&Method::GET, &Method::HEAD, &Method::POST],
        Endpoint::Keys | Endpoint::Discovery => &[&Method::GET, &Method::HEAD],
    }
}

fn not_allowed(allowed: &[&Method]) -> Answer {
    let mut answer = empty(405);
    let names: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
    set(&mut answer, ALLOW, &names.join(", "));
    answer
}

/// What a grant was redeemed for.
pub(super) struct Redeemed {
    pub(super) row: usize,
    /// The login of a code.
    pub(super) login: Option<Login>,
}

impl From<usize> for Redeemed {
    fn from(row: usize) -> Self {
        Self { row, login: None }
    }
}

fn token(state: &mut State, arrived: &Arrived, form: &Form, now: Timestamp) -> Result<Answer, Row> {
    let grant = form.value("grant_type").unwrap_or_default().to_owned();
    let redeemed = redeem(state, arrived, form, &grant, now);
    let outcomes = match grant.as_str() {
        "password" => Some(&mut state.stats.logins),
        "refresh_token" => Some(&mut state.stats.refreshes),
        "authorization_code" => Some(&mut state.stats.codes),
        _ => None,
    };
    if let Some(outcomes) = outcomes {
        outcomes.count(redeemed.is_ok());
    }
    Ok(issued(state, &redeemed?, now))
}

/// The rules in their order: the first that is broken is the answer.
fn redeem(
    state: &mut State,
    arrived: &Arrived,
    form: &Form,
    grant: &str,
    now: Timestamp,
) -> Result<Redeemed, Row> {
    if form.repeats() {
        return Err(Row::RepeatedParameters);
    }
    if grant.is_empty() {
        return Err(Row::NoGrantType);
    }
    if !KNOWN_GRANTS.contains(&grant) {
        return Err(Row::UnknownGrantType);
    }
    let required: &[&str] = match grant {
        "password" => &["username", "password"],
        "refresh_token" => &["refresh_token"],
        "authorization_code" => &["code"],
        _ => &[],
    };
    let missing = form.missing(required);
    if !missing.is_empty() {
        return Err(Row::MissingParameters(missing));
    }
    let client = authenticate_client(state, arrived, form)?;
    let app = state.world.apps.get(&client).ok_or(Row::WrongSecret)?;
    if !app.grants.contains(&grant) {
        return Err(Row::GrantNotAllowed);
    }
    let with_refresh = app.grants.contains(&"refresh_token");
    match grant {
        "password" => {
            let user = log_in(state, form, now)?;
            let scopes = scopes(form.value("scope"))?;
            let policy = state.policy_for(&client);
            let owner = Owner { client: client.into(), user: Some(user), scopes };
            Ok(state.tokens.issue(owner, with_refresh, policy, now).into())
        }
        "refresh_token" => refresh(state, form, &client, now).map(Redeemed::from),
        "authorization_code" => authorize::redeem(state, form, &client, now),
        _ => {
            let policy = state.policy_for(&client);
            let owner = Owner { client: client.into(), user: None, scopes: scopes(form.value("scope"))? };
            Ok(state.tokens.issue(owner, false, policy, now).into())
        }
    }
}

/// Whose tokens a request is about: client and user of a login, or whoever was issued what it presents. Nothing of
/// it has been checked.
pub(super) fn identity(state: &State, arrived: &Arrived) -> Option<Consumer> {
    let form = arrived.form.as_ref()?;
    match arrived.grant()? {
        "password" => {
            let in_header = arrived.authorization("basic").and_then(basic).map(|(id, _)| id);
            let client = in_header.as_deref().or(form.value("client_id"))?;
            let user = form.value("username")?.to_lowercase();
            Some((client.into(), Some(user.into())))
        }
        "refresh_token" => {
            let owner = state.tokens.owner_of_refresh(form.value("refresh_token")?)?;
            Some((owner.client.clone(), owner.user.as_deref().map(|user| user.to_lowercase().into())))
        }
        "authorization_code" => {
            let code = state.codes.get(form.value("code")?)?;
            Some((code.client.as_str().into(), Some(code.user.to_lowercase().into())))
        }
        _ => None,
    }
}

/// Basic header or both body parameters, exactly one of them.
fn authenticate_client(state: &State, arrived: &Arrived, form: &Form) -> Result<String, Row> {
    let in_body = form.value("client_id").zip(form.value("client_secret"));
    let in_header = arrived.authorization("basic");
    let (id, secret) = match (in_header, in_body) {
        (Some(header), _) => basic(header).ok_or(Row::WrongSecret)?,
        (None, Some((id, secret))) => (id.to_owned(), secret.to_owned()),
        (None, None) => return Err(Row::NoClientAuthentication),
    };
    match state.world.apps.get(&id) {
        None => return Err(Row::UnknownClient(id)),
        Some(app) if !same(app.secret.expose(), &secret) => return Err(Row::WrongSecret),
        Some(_) => {}
    }
    if in_header.is_some() && in_body.is_some() {
        return Err(Row::HeaderAndBody);
    }
    if form.value("client_assertion").is_some() {
        return Err(Row::TwoMethods);
    }
    Ok(id)
}

/// The service splits at every colon and wants exactly two parts; it decodes nothing.
fn basic(header: &str) -> Option<(String, String)> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(header).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    (!secret.contains(':')).then(|| (id.to_owned(), secret.to_owned()))
}

fn log_in(state: &mut State, form: &Form, now: Timestamp) -> Result<Arc<str>, Row> {
    let user = form.value("username").unwrap_or_default();
    check_login(state, user, form.value("password").unwrap_or_default(), now)
}

/// The right password of a login of this tenant, or the row that says what is wrong.
pub(super) fn check_login(
    state: &mut State,
    user: &str,
    password: &str,
    now: Timestamp,
) -> Result<Arc<str>, Row> {
    if !user.ends_with(TENANT) || state.is_developer(user) {
        return Err(Row::AuthenticationFailed(user.to_owned()));
    }
    match state.attempt(user, password, now) {
        Attempt::Right => Ok(login_name(state, user)),
        Attempt::Wrong => Err(Row::AuthenticationFailed(user.to_owned())),
        Attempt::Locked => Err(Row::Locked(user.to_owned())),
        Attempt::LockedByAdministrator => Err(Row::LockedByAdministrator(user.to_owned())),
    }
}

/// The name as it was given to the login, however it was typed.
pub(super) fn login_name(state: &State, user: &str) -> Arc<str> {
    state.world.logins.get(&user.to_lowercase()).map_or(user, |login| &login.name).into()
}

/// Sorted and without repetitions; `default` when none is asked for. Device scopes pass unchecked, anything not
/// known is refused.
pub(super) fn scopes(asked: Option<&str>) -> Result<Arc<str>, Row> {
    const KNOWN: &[&str] =
        &["openid", "default", "profile", "email", "phone", "address", "am_application_scope"];
    let scopes = normal(asked.unwrap_or_default());
    let known = |scope: &str| KNOWN.contains(&scope) || scope.starts_with("device_");
    if scopes.split_ascii_whitespace().all(known) { Ok(scopes.into()) } else { Err(Row::Scope) }
}

fn normal(asked: &str) -> String {
    let mut scopes: Vec<&str> = asked.split_ascii_whitespace().collect();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() { "default".into() } else { scopes.join(" ") }
}

fn refresh(state: &mut State, form: &Form, client: &str, now: Timestamp) -> Result<usize, Row> {
    let scopes = form.value("scope").map(normal);
    let value = form.value("refresh_token").unwrap_or_default();
    let policy = state.policy_for(client);
    state.tokens.redeem(value, client, scopes.as_deref(), policy, now).map_err(|refused| match refused {
        Refused::Unknown => Row::RefreshUnknown,
        Refused::Spent => {
            state.stats.refresh_reuse += 1;
            if state.spent_is_server_error { Row::ServerError } else { Row::RefreshUnknown }
        }
        Refused::Revoked => Row::RefreshInactive,
        Refused::NotLatest => Row::RefreshNotLatest,
        Refused::Expired => Row::RefreshExpired,
        Refused::Scope => Row::Scope,
    })
}

fn issued(state: &State, redeemed: &Redeemed, now: Timestamp) -> Answer {
    let pair = state.tokens.pair(redeemed.row, now);
    let mut members = vec![("access_token", pair.access.expose().into())];
    members.extend(pair.refresh.map(|refresh| ("refresh_token", refresh.expose().into())));
    members.push(("scope", (*pair.owner.scopes).into()));
    if pair.owner.scopes.split(' ').any(|scope| scope == "openid") {
        let user = pair.owner.user.as_deref();
        let account = user.and_then(|user| state.login(user)).map(|login| login.account);
        let token = IdToken { account, login: redeemed.login.as_ref(), kid: state.policy.kid };
        members.push(("id_token", token.sign(&pair, now).into()));
    }
    members.push(("token_type", "Bearer".into()));
    members.push(("expires_in", pair.expires_in.into()));
    let mut answer = json_answer(200, &Members(members));
    forbid_caching(&mut answer);
    answer
}

/// What the identity server says of each successful answer that is about tokens.
fn forbid_caching(answer: &mut Answer) {
    set(answer, CACHE_CONTROL, "no-store");
    set(answer, PRAGMA, "no-cache");
}

/// Revoking either token kills the pair; an unknown one is answered alike.
fn revoke(state: &mut State, arrived: &Arrived, form: &Form) -> Result<Answer, Row> {
    let token = form.value("token").ok_or(Row::InvalidRevocation)?;
    let client = authenticate_client(state, arrived, form)?;
    let mut answer = empty(200);
    // The service names a type for this empty body.
    set(&mut answer, CONTENT_TYPE, "application/json");
    forbid_caching(&mut answer);
    let revoked = state.tokens.revoke(token, &client).map_err(|_| Row::OtherClient)?;
    if let Some(pair) = revoked {
        // The service puts the raw values here.
        let mut add = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                answer.headers_mut().insert(HeaderName::from_static(name), value);
            }
        };
        add("revokedaccesstoken", pair.access.expose());
        if let Some(refresh) = pair.refresh {
            add("revokedrefreshtoken", refresh.expose());
        }
        add("authorizeduser", pair.owner.user.as_deref().unwrap_or(&pair.owner.client));
    }
    state.stats.revokes += 1;
    Ok(answer)
}

fn user_info(state: &mut State, arrived: &Arrived, now: Timestamp) -> Answer {
    let owner = arrived.authorization("bearer").and_then(|token| state.tokens.accept(token, now));
    let Some(owner) = owner.map(|row| row.owner.clone()) else {
        let mut answer = ordered(
            401,
            &[("error_description", "Access token validation failed"), ("error", "invalid_token")],
        );
        set(&mut answer, WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"");
        return answer;
    };
    if !owner.scopes.split(' ').any(|scope| scope == "openid") {
        let words = "Access token does not have the openid scope";
        return ordered(403, &[("error_description", words), ("error", "insufficient_scope")]);
    }
    let subject = owner.user.as_deref().unwrap_or(&owner.client);
    let mut claims = json!({ "sub": subject });
    let login = owner.user.clone();
    if let Some((account, position)) = login.as_deref().and_then(|login| state.world.person(login))
        && let Some(user) = account.users.get(position)
    {
        claims["email"] = user.email.as_str().into();
        claims["given_name"] = user.first_name.as_str().into();
        claims["family_name"] = user.last_name.as_str().into();
        claims["preferred_username"] = login.as_deref().into();
    }
    json_answer(200, &claims)
}
