//! Interactive logins in a browser: `/login/{credential}`, `/callback`,
//! `/login/{credential}/confirm`.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::Inner;
use super::foreign::is_from_foreign_page;
use super::login::{self, CALLBACK, Reach, login_path};
use super::logins::{Denial, Initiator, LIFETIME, RedeemableLogin};
use super::page::Page;
use crate::credential::{LoginError, LoginSummary};
use crate::oauth::{AuthorizationError, AuthorizationResponse, AuthorizeOptions};
use vbc_base::secret::{Secret, fingerprint};
use vbc_http::host_guard::requested_authority;

/// Binds a login to the browser that started it. `Lax`, because the code arrives by a redirect from
/// another site, and browsers send no `Strict` cookie with such a request.
const LOGIN_COOKIE: Cookie = Cookie { prefix: "vbc-proxy-login-", path: CALLBACK, same_site: "Lax" };
/// Binds a confirmation to the browser that shows the question.
const CONFIRM_COOKIE: Cookie = Cookie { prefix: "vbc-proxy-confirm-", path: "/login", same_site: "Strict" };

/// A paragraph of every page about a failure.
const UNCHANGED: &str = "Nothing was changed. Tokens that the proxy already has stay in use.";
const LISTED: usize = 500;

/// `GET /login`: the credentials with an interactive login.
pub(super) async fn choose(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    // Redirects to the host of the redirect URI, so that a click on a link stays on the same site.
    let host = requested_authority(request.uri(), request.headers()).ok().flatten();
    let first = inner.options.interactive.iter().next();
    let first = first.map(|(name, options)| (name, inner.reach(name, options, host.as_ref())));
    if let Some((name, Reach::At(url))) = first
        && let Some(origin) = url.strip_suffix(&login_path(name))
    {
        return redirect(&format!("{origin}/login"), None);
    }
    let page = Page::new(StatusCode::OK, "choose", "Log in");
    list(&inner, page)
}

fn list(inner: &Inner, page: Page) -> Response {
    if inner.options.interactive.is_empty() {
        return page
            .text("No credential of this proxy needs an interactive login.")
            .code("Only credentials with {} in the configuration do.", "grant = \"authorization_code\"")
            .response();
    }
    let names = inner.options.interactive.keys().take(LISTED);
    let page = page
        .text("Choose what to log in to:")
        .links(names.map(|name| (login_path(name), format!("Log in to {name}"))));
    match inner.options.interactive.len().saturating_sub(LISTED) {
        0 => page.response(),
        more => {
            let text = format!("{more} more are not listed. To log in to one of them, visit {{}}.");
            page.code(&text, "/login/NAME").response()
        }
    }
}

/// `GET /login/{credential}`: starts a login and redirects the browser to the authorization server.
pub(super) async fn login(
    State(inner): State<Arc<Inner>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let Some(options) = inner.options.interactive.get(&name) else {
        return no_interactive_login(&inner, &name);
    };
    // A link on a foreign page must not start a login (login CSRF). The link on this page may.
    if is_from_foreign_page(request.headers()) || request.method() != Method::GET {
        return Page::new(StatusCode::FORBIDDEN, "choose", "Log in?")
            .code(
                "A link on another site, or on this site under another name, sent you here to log in to {}. Continue only \
                 if you want to log in.",
                &name,
            )
            .link(&login_path(&name), &format!("Log in to {name}"))
            .response();
    }
    match inner.reach(
        &name,
        options,
        requested_authority(request.uri(), request.headers()).ok().flatten().as_ref(),
    ) {
        Reach::Here => {}
        Reach::At(url) => return redirect(&url, None),
        Reach::Elsewhere => return leads_elsewhere(&name, options),
    }
    match inner.begin(&name, options, Initiator::Browser) {
        Some(started) => {
            redirect(started.url.as_str(), Some(LOGIN_COOKIE.set(&name, options, &started.binding)))
        }
        None => no_random_bytes(),
    }
}

fn no_interactive_login(inner: &Inner, name: &str) -> Response {
    if inner.options.credentials.iter().any(|credential| credential.name() == name) {
        let page = Page::new(StatusCode::NOT_FOUND, "choose", "No login needed").code(
            "The credential {} logs in automatically, with the user name and password of the configuration.",
            name,
        );
        return list(inner, page);
    }
    // The page does not repeat the name, which comes from the request.
    list(inner, Page::new(StatusCode::NOT_FOUND, "choose", "No such credential"))
}

fn leads_elsewhere(name: &str, options: &AuthorizeOptions) -> Response {
    let page = Page::new(StatusCode::CONFLICT, "refused", "The login would not return here")
        .code(
            "The redirect URI of this credential is {}, which does not point to this listener.",
            &options.redirect_uri,
        )
        .code(
            "Log in from the command line instead, and paste the browser's final address there: {}",
            &format!("vbc-proxy login {name} --no-browser"),
        );
    match Url::parse(&options.redirect_uri) {
        Ok(url) if url.path() == CALLBACK => page
            .text("If that address is forwarded to this listener, start the login there:")
            .link(&login::login_url(&url, name), "Log in there")
            .response(),
        _ => page.response(),
    }
}

fn no_random_bytes() -> Response {
    Page::new(StatusCode::SERVICE_UNAVAILABLE, "refused", "The login cannot start now")
        .text("The operating system provides no random bytes, and a login without them is not safe. Try again in a moment.")
        .text(UNCHANGED)
        .response()
}

/// `GET /callback`: the authorization server redirects here, with a code or an error.
pub(super) async fn callback(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let redirected = AuthorizationResponse::from_query(request.uri().query().unwrap_or_default());
    if request.method() != Method::GET {
        return denied(&inner, Denial::Unknown, None);
    }
    let Some(state) = redirected.state else { return denied(&inner, Denial::Unknown, None) };
    let cookies = LOGIN_COOKIE.values(request.headers());
    let login = match inner.logins.redeem_by_browser(inner.options.clock.now(), &state, &cookies) {
        Ok(login) => login,
        Err(why) => return denied(&inner, why, inner.logins.credential_of(&state).as_deref()),
    };
    let name = login.credential.clone();
    let key = login.key.clone();
    let mut response = match redirected.outcome {
        Err(error) => {
            inner.note_refusal(&login, &error);
            refused_by_server(&login, &error)
        }
        Ok(code) => match login::redeem(&inner, login, code).await {
            Err(LoginError::OtherUser { expected, found, confirm }) => {
                return match inner.wait(&key, confirm) {
                    Some(confirmation) => ask(&inner, &name, &expected, found.as_deref(), &confirmation),
                    None => no_random_bytes(),
                };
            }
            Err(error) => not_accepted(&name, &error),
            Ok(done) => logged_in(&name, &done),
        },
    };
    LOGIN_COOKIE.clear(&mut response, &inner, &name);
    response
}

/// `POST /login/{credential}/confirm`: whether another user replaces the current one.
pub(super) async fn confirm(
    State(inner): State<Arc<Inner>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let field = |wanted: &str| {
        let mut pairs = url::form_urlencoded::parse(&body);
        pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let replace = match field("choice").as_deref() {
        Some("replace") => true,
        Some("keep") => false,
        _ => return denied(&inner, Denial::Unknown, Some(&name)),
    };
    let token = Secret::new(field("token").unwrap_or_default());
    let cookies = CONFIRM_COOKIE.values(&headers);
    let (key, number) =
        match inner.logins.confirm_by_browser(inner.options.clock.now(), &name, &token, &cookies) {
            Ok(confirmed) => confirmed,
            Err(why) => return denied(&inner, why, Some(&name)),
        };
    let mut response = if replace {
        match login::confirm(&inner, key, &name, number).await {
            Ok(done) => logged_in(&name, &done),
            Err(error) => not_accepted(&name, &error),
        }
    } else {
        inner.keep(&key, &name);
        let kept = inner.find(&name).and_then(|credential| credential.snapshot().subject);
        Page::new(StatusCode::OK, "kept", "Nothing was changed")
            .user("Kept {}. The other login was discarded.", kept.as_deref().unwrap_or("the current user"))
            .text("You can close this window.")
            .response()
    };
    CONFIRM_COOKIE.clear(&mut response, &inner, &name);
    response
}

fn logged_in(name: &str, done: &LoginSummary) -> Response {
    let page = Page::new(StatusCode::OK, "logged_in", "You are logged in");
    let until = format!("{:.0}", done.expires_at);
    let page = match &done.subject {
        Some(subject) => page.user(&format!("The proxy now acts as {{}} (credential {name})."), subject),
        None => page.code("The proxy now has new tokens for the credential {}.", name),
    };
    let page = page.text(&format!(
        "The access token is valid until {until}. From now on the proxy refreshes it automatically."
    ));
    let page = if done.unsaved { page.text(login::UNSAVED) } else { page };
    page.text("You can close this window.").response()
}

fn ask(
    inner: &Inner,
    name: &str,
    expected: &str,
    found: Option<&str>,
    confirmation: &login::Confirmation,
) -> Response {
    let other = found.unwrap_or("an unknown user");
    let page = Page::new(StatusCode::CONFLICT, "other_user", "You logged in as another user")
        .user("You logged in as {}.", other)
        .code(&format!("The credential {{}} belongs to {expected}. Nothing has been replaced yet."), name)
        .text("If you replace the user, all requests that use this credential are made as the new user.")
        .question(
            &format!("{}/confirm", login_path(name)),
            confirmation.token.expose(),
            &format!("Replace {expected} with {other}"),
            &format!("Keep {expected}"),
        );
    let mut response = page.response();
    if let Some(options) = inner.options.interactive.get(name) {
        let set = CONFIRM_COOKIE.set(name, options, &confirmation.cookie);
        response.headers_mut().append(header::SET_COOKIE, set);
    }
    LOGIN_COOKIE.clear(&mut response, inner, name);
    response
}

fn refused_by_server(login: &RedeemableLogin, error: &AuthorizationError) -> Response {
    let title = match error {
        AuthorizationError::Refused { .. } => "The service rejected the login",
        AuthorizationError::NoCode => "The response contains no code",
    };
    let page = Page::new(StatusCode::BAD_REQUEST, "refused", title)
        .text(&capital(&error.to_string()))
        .text(UNCHANGED);
    let page = if login::may_be_sso(error) { page.text(login::NO_SSO) } else { page };
    retry(page, Some(&login.credential)).response()
}

fn not_accepted(name: &str, error: &LoginError) -> Response {
    let (status, title) = match error {
        LoginError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "The login could not be completed"),
        LoginError::NothingToConfirm => (StatusCode::CONFLICT, "Nothing left to confirm"),
        _ => (StatusCode::BAD_GATEWAY, "The login was not accepted"),
    };
    let page = Page::new(status, "refused", title).text(&capital(&error.to_string())).text(UNCHANGED);
    let page = if matches!(error, LoginError::Refused(_)) { page.text(login::NO_SSO) } else { page };
    retry(page, Some(name)).response()
}

fn denied(inner: &Inner, why: Denial, name: Option<&str>) -> Response {
    let page = |status, title| Page::new(status, "refused", title);
    let page = match why {
        Denial::Unknown => page(StatusCode::BAD_REQUEST, "This login is unknown")
            .text("It was not started here, it is too old, or the proxy was restarted in the meantime."),
        Denial::Expired => page(StatusCode::BAD_REQUEST, "This login took too long")
            .text(&format!("A login must be completed within {} minutes.", LIFETIME.as_secs() / 60)),
        Denial::Replaced => page(StatusCode::BAD_REQUEST, "A newer login replaced this one")
            .text("Complete the newer login in its own window, or start again."),
        Denial::Used { well: true } => {
            return page(StatusCode::CONFLICT, "Already logged in")
                .text("You are already logged in; nothing was changed.")
                .text("You can close this window.")
                .response();
        }
        Denial::Used { well: false } => page(StatusCode::CONFLICT, "This login was already used")
            .text("A login can be completed only once, so the proxy did not repeat it."),
        Denial::OtherBrowser => page(StatusCode::FORBIDDEN, "This login was started in another browser")
            .text(
                "A login must be completed in the browser that started it, so that nobody can make you use their login. \
                 If this is that browser, its cookie is missing: log in again.",
            ),
        Denial::CommandLine | Denial::OtherLogin => {
            return page(StatusCode::BAD_REQUEST, "The command line waits for this login")
                .text("Copy the whole address of this page from the address bar, and paste it at the prompt of the login command.")
                .text("This page has changed nothing.")
                .response();
        }
    };
    let name = name.filter(|name| inner.options.interactive.contains_key(*name));
    retry(page.text(UNCHANGED), name).response()
}

fn retry(page: Page, name: Option<&str>) -> Page {
    match name {
        Some(name) => page.link(&login_path(name), &format!("Log in to {name} again")),
        None => page.link("/login", "Log in"),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

fn redirect(to: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    if let Ok(to) = HeaderValue::try_from(to) {
        headers.insert(header::LOCATION, to);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}

/// A kind of cookie. Each credential has its own cookie of each kind.
struct Cookie {
    prefix: &'static str,
    path: &'static str,
    same_site: &'static str,
}

impl Cookie {
    fn set(&self, credential: &str, options: &AuthorizeOptions, value: &Secret) -> HeaderValue {
        self.line(credential, options, value.expose(), LIFETIME.as_secs())
    }

    fn clear(&self, response: &mut Response, inner: &Inner, credential: &str) {
        if let Some(options) = inner.options.interactive.get(credential) {
            response.headers_mut().append(header::SET_COOKIE, self.line(credential, options, "", 0));
        }
    }

    /// The value of `Set-Cookie`. The cookie's name depends on the credential and on the redirect
    /// URI, because all ports of a host share their cookies.
    fn line(&self, credential: &str, options: &AuthorizeOptions, value: &str, age: u64) -> HeaderValue {
        let Self { prefix, path, same_site } = self;
        let name = &fingerprint(&[credential, &options.redirect_uri])[..8];
        let secure = if options.redirect_uri.starts_with("https:") { "; Secure" } else { "" };
        let text = format!(
            "{prefix}{name}={value}; Path={path}; Max-Age={age}; HttpOnly; SameSite={same_site}{secure}"
        );
        let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// The values of the request's cookies of this kind, at most 16.
    fn values(&self, headers: &HeaderMap) -> Vec<Secret> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let own = pairs.filter(|(name, _)| name.starts_with(self.prefix));
        own.map(|(_, value)| Secret::new(value)).take(16).collect()
    }
}
