//! `[credentials.NAME]`: the identities whose tokens are kept fresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;
use url::form_urlencoded::byte_serialize;
use vbc_base::units::show_duration;

use super::document::{Entry, Table};
use super::environment::as_variable;
use super::error::Location;
use super::kind::{Kind, YEAR, check_given, choice, number, quiet_flag, settings, span, text};
use super::page::Page;
use super::secrets::{self, first_refresh_token, identifier, secret, user_name};
use super::section::{Reader, Section};
use super::{units, urls};
use crate::credential::RefreshAt;
use crate::oauth::ClientAuth;
use vbc_base::secret::{Secret, fingerprint};
use vbc_base::trusted::Flaw;

const SUFFIX: &str = "@vbc.prod";

settings! {
    /// The application and the user whose tokens the proxy keeps fresh. Give `client_id`,
    /// `client_secret`, `username` and `password` each in one of three forms. The forms are
    /// `KEY = "…"`, `KEY_file` (a file with the value) and `KEY_env` (an environment variable with
    /// the value).
    /// If there are several credentials, all requests use `[credentials.default]`.
    pub struct Credential ["credentials"] {
        /// `"password"` logs in automatically, with user name and password. `"authorization_code"`
        /// needs one interactive login, or a first refresh token.
        grant: GrantKind = "password", choice(&[
            ("password", GrantKind::Password), ("authorization_code", GrantKind::AuthorizationCode),
        ]), lines [r#"grant = "password""#];
        /// The Consumer Key of your application, from the Production Keys page of the developer
        /// portal.
        client_id ["client_id", "client_id_file", "client_id_env"]: String = required, identifier(),
            lines [r#"client_id_env = "VBC_CLIENT_ID""#];
        /// The Consumer Secret of your application.
        client_secret ["client_secret", "client_secret_file", "client_secret_env"]: Secret = required, secret(),
            lines [
                r#"client_secret_env = "VBC_CLIENT_SECRET""#,
                r#"# client_secret_file = "client_secret""#
            ];
        /// A VBC user, not the developer account (`*.api`). `@vbc.prod` is appended unless the name
        /// ends with it, also to an e-mail address. Required for `grant = "password"`. With
        /// `"authorization_code"` it is optional: the user who is expected to log in.
        username ["username", "username_file", "username_env"]: Option<Arc<str>>, user_name(),
            lines [r#"username_env = "VBC_USERNAME""#, r#"# username = "alice""#];
        /// Accepts a user name that ends in `.api`. Some white-label tenants let such users obtain
        /// tokens.
        allow_api_user: bool = false, quiet_flag();
        /// The password. Required for `grant = "password"`, not allowed otherwise.
        password ["password", "password_file", "password_env"]: Option<Secret>, secret(),
            lines [r#"password_env = "VBC_PASSWORD""#, r#"# password_file = "password""#];
        /// The scope of the tokens.
        scope: Arc<str> = "openid", scope();
        /// How the application authenticates at the token endpoint: `"body"` (in the form) or
        /// `"basic"` (RFC 6749 §2.3.1). By default, the proxy uses `"basic"` to redeem a code and
        /// `"body"` for everything else.
        client_auth: Option<ClientAuth>, choice(&[
            ("body", ClientAuth::Body), ("basic", ClientAuth::Basic),
        ]), lines [r#"# client_auth = "body""#];
        /// A first refresh token that was obtained elsewhere. Used only while the store has no
        /// tokens of this identity.
        seed ["refresh_token_file", "refresh_token_env"]: Option<Secret>, first_refresh_token(),
            lines [
                r#"# refresh_token_file = "refresh_token""#,
                r#"# refresh_token_env = "VBC_REFRESH_TOKEN""#
            ];
        /// When to refresh early: after this share of a token's lifetime, or this long before it
        /// expires. Give only one of the two.
        refresh ["refresh_at", "refresh_before"]: RefreshAt = 0.5, early_refresh(),
            lines ["# refresh_at = 0.5", r#"# refresh_before = "10m""#];
        /// How long an unused refresh token stays valid.
        refresh_token_lifetime: Duration = "7d", span(HOUR, YEAR);
        /// For suites that reject older tokens: path prefixes, each with the maximum age of a
        /// token. The longest matching prefix applies. As a variable:
        /// `/t/vbc.prod/reports=4m,/t/vbc.prod/vgis=10m`.
        max_age: Vec<(String, Duration)> = {}, max_age(),
            lines [r#"# max_age = { "/t/vbc.prod/reports" = "4m" }"#];
        /// For `"authorization_code"`: the callback URL, exactly as it is registered with the
        /// application. By default, `/callback` on the admin listener.
        redirect_uri: Option<String>, redirect_uri(),
            lines [r#"# redirect_uri = "http://localhost:8081/callback""#];
        /// Protects the authorization code with PKCE (RFC 7636). VBC does not require it.
        pkce: bool = false, quiet_flag();
        later ["pace"];
        fields {
            /// The name in `[credentials.NAME]`.
            pub name: String = String::new();
        }
    }
}

/// How a credential gets its first tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    /// Logs in with user name and password if no refresh token works.
    Password,
    /// The user logs in interactively; the proxy only refreshes.
    AuthorizationCode,
}

const HOUR: Duration = Duration::from_secs(3600);

fn redirect_uri() -> Kind<String> {
    text("a URL", urls::redirect_uri, String::clone)
}

/// The value of `refresh_at` or `refresh_before`.
fn early_refresh() -> Kind<RefreshAt> {
    let share = number(0.05, 0.95);
    let before = span(Duration::from_secs(1), Duration::from_secs(7 * 86_400));
    let description = format!("{}, or {}", share.description, before.description);
    let read = move |section: &mut Section<'_, '_>, key: &str| {
        if section.is_given(key)
            && let Some(location) = section.key_location("refresh_before")
        {
            let flaw = Flaw::new("refresh_at is also given", "keep one of the two");
            section.report_at(location, "refresh_before", flaw);
        }
        let share = share.read(section, key).map(RefreshAt::Share);
        before.read(section, "refresh_before").map(RefreshAt::Before).or(share)
    };
    let print = |page: &mut Page, key: &str, value: &RefreshAt| match value {
        RefreshAt::Share(share) => page.bare(key, share),
        RefreshAt::Before(time) => page.text("refresh_before", show_duration(*time)),
    };
    Kind::new(description, read, print)
}

/// Maximum ages by path prefix. Longer prefixes come first, so that the first match is the longest.
fn max_age() -> Kind<Vec<(String, Duration)>> {
    const LEAST: Duration = Duration::from_secs(10);
    let read = |section: &mut Section<'_, '_>, key: &str| {
        let ages = section.map(key, "{ \"/t/vbc.prod/reports\" = \"4m\" }", |prefix, age| {
            Ok((urls::path_prefix(prefix)?, units::duration_within(age, LEAST, YEAR)?))
        })?;
        let mut ages: Vec<_> = ages.into_iter().collect();
        ages.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Some(ages)
    };
    let print = |page: &mut Page, key: &str, value: &Vec<(String, Duration)>| {
        if !value.is_empty() {
            let age = |(prefix, age): &(String, _)| (prefix.clone(), show_duration(*age).into());
            page.bare(key, toml::Value::Table(value.iter().map(age).collect()));
        }
    };
    Kind::new(format!("a table from path prefixes to {}", span(LEAST, YEAR).description), read, print)
}

impl Credential {
    /// An identity of the built-in simulator. The credential `default` is its demo user. Any other
    /// credential is a user of its own name, because credentials of the same user would replace
    /// each other's tokens. The caller must add those users to the simulator.
    pub fn simulated(name: &str) -> Self {
        let user = match name {
            "default" => "alice",
            // `alice` is the user of `default`. Names of credentials have no dot, so no other
            // credential has the user `alice.2`.
            name if name.eq_ignore_ascii_case("alice") => "alice.2",
            name => name,
        };
        Self {
            name: name.to_owned(),
            client_id: "sim-client".into(),
            client_secret: Secret::new("sim-secret"),
            username: Some(format!("{user}@vbc.prod").into()),
            password: Some(Secret::new("sim-password")),
            ..Self::default()
        }
    }
}

/// Reads all credentials, sorted by name.
pub(super) fn read_all(reader: &mut Reader<'_>, root: &mut Table) -> Vec<Credential> {
    let entry = root.remove("credentials");
    let location = entry.as_ref().map_or_else(|| reader.whole.clone(), |entry| entry.key_location.clone());
    let table = reader.table(entry, "credentials");
    check_names(reader, &table, &location);
    if table.is_empty() && reader.simulate {
        return vec![Credential::simulated("default")];
    }
    let mut first = FirstCredentials::default();
    let mut credentials = Vec::new();
    for (name, entry) in table {
        let location = entry.key_location.clone();
        let credential = Credential::read(reader, &name, entry);
        first.add(reader, &credential, &location);
        credentials.push(credential);
    }
    credentials
}

fn check_names(reader: &mut Reader<'_>, table: &Table, location: &Location) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, entry) in table {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let key = format!("credentials.{}", name.escape_debug());
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let remedy = "use up to 64 letters, digits, `-` and `_`, as in [credentials.default]";
            reader.report(
                entry.key_location.clone(),
                &key,
                Flaw::new("this is not a valid name for a credential", remedy),
            );
        }
        if let Some(other) = seen.insert(as_variable(name), name) {
            let message = format!("the name is too similar to credentials.{}", other.escape_debug());
            let remedy =
                "choose another name; variables do not distinguish upper from lower case, or `-` from `_`";
            reader.report(entry.key_location.clone(), &key, Flaw::new(message, remedy));
        }
    }
    if table.is_empty() && !reader.simulate {
        let flaw = Flaw::new(
            "there is no credential",
            "add [credentials.default]; `vbc-proxy init` writes an example",
        );
        reader.report(location.clone(), "credentials", flaw);
    }
    if table.len() > 1 && !table.contains_key("default") {
        let message = "there are several credentials, but none is called `default`";
        let remedy = "choose the one that all requests should use, and rename it to [credentials.default]";
        reader.report(location.clone(), "credentials", Flaw::new(message, remedy));
    } else if table.len() > 1 && !reader.simulate {
        let message = "there are several credentials, but all requests use credentials.default";
        let remedy =
            "run one proxy for each credential; in this version, requests cannot choose a credential";
        reader.warn(location.clone(), "credentials", Flaw::new(message, remedy));
    }
}

/// The credentials read so far, to find conflicts with later ones.
#[derive(Default)]
struct FirstCredentials {
    /// The name of the latest credential with each identity, by the identity's fingerprint.
    identities: BTreeMap<String, String>,
    /// The password and the name of the first credential with each user, by the user name.
    users: BTreeMap<Arc<str>, (Secret, String)>,
}

impl FirstCredentials {
    /// Remembers a credential. Warns if it conflicts with an earlier one.
    fn add(&mut self, reader: &mut Reader<'_>, credential: &Credential, location: &Location) {
        // A credential without a user name conflicts with none: any user can log in interactively.
        let Some(username) = credential.username.as_ref().filter(|_| !reader.simulate) else { return };
        let name = &credential.name;
        let mut warn = |message: String, remedy: &str| {
            reader.warn(location.clone(), format!("credentials.{name}"), Flaw::new(message, remedy));
        };
        if let Some(password) = &credential.password {
            let new = || (password.clone(), name.clone());
            let (known, other) = self.users.entry(Arc::clone(username)).or_insert_with(new);
            if known != password {
                warn(
                    format!("the password of {username} differs from the one in credentials.{other}"),
                    "correct the wrong password; each rejected login counts towards locking the account",
                );
            }
        }
        if credential.client_id.is_empty() {
            return;
        }
        let identity = fingerprint(&[&credential.client_id, username, &credential.scope]);
        if let Some(other) = self.identities.insert(identity, name.clone()) {
            warn(
                format!("it has the same application, user and scope as credentials.{other}"),
                "remove one of the two; the service keeps one token for both, so each may invalidate the other's token",
            );
        }
    }
}

impl Credential {
    fn read(reader: &mut Reader<'_>, name: &str, entry: Entry) -> Self {
        let path = format!("credentials.{}", name.escape_debug());
        let mut section = reader.open(Some(entry), &Self::SHAPE, path);
        refuse_password_of_code(&mut section);
        let credential =
            Self { name: name.to_owned(), ..Self::read_keys(&mut section) }.checked(&mut section);
        if !section.reader.simulate {
            return credential;
        }
        let Self { grant, client_id, client_secret, username, password, .. } = Self::simulated(name);
        Self {
            grant,
            client_id,
            client_secret,
            username,
            password,
            allow_api_user: false,
            seed: None,
            redirect_uri: None,
            ..credential
        }
    }

    /// Checks the keys that depend on each other.
    fn checked(mut self, section: &mut Section<'_, '_>) -> Self {
        if self.grant == GrantKind::Password && !section.is_wrong("grant") {
            for key in ["username", "password"] {
                check_given(section, section.names(key), ", but grant = \"password\" needs it");
            }
        }
        if self.client_id.chars().any(char::is_control) || self.client_id.trim() != self.client_id {
            let message = "it begins or ends with white space, or contains control characters";
            let location = secrets::location(section, "client_id");
            section.report_at(location, "client_id", Flaw::new(message, "write only the Consumer Key"));
        }
        if let Some(username) = &self.username {
            match with_suffix(username, self.allow_api_user) {
                Ok(username) => self.username = Some(username.into()),
                Err(flaw) => {
                    let location = secrets::location(section, "username");
                    section.report_at(location, "username", flaw);
                    self.username = None;
                }
            }
        }
        self.allow_api_user &= self.username.as_ref().is_some_and(|name| name.ends_with(".api@vbc.prod"));
        if section.is_given("scope") && !self.scope.split(' ').any(|word| word == "openid") {
            let message = "it does not contain openid, so some suites reject the tokens";
            section.warn("scope", Flaw::new(message, "add openid"));
        }
        self.warn_of_basic(section);
        let redirect = self.redirect_uri.as_ref().and_then(|uri| Url::parse(uri).ok());
        if redirect.is_some_and(|url| {
            url.scheme() == "http" && !urls::is_loopback(url.host_str().unwrap_or_default())
        }) {
            let flaw = Flaw::new("authorization codes would be sent unencrypted", "use https");
            section.warn("redirect_uri", flaw);
        }
        self
    }

    /// Warns if the form-encoding of `client_auth = "basic"` changes the client id or secret.
    fn warn_of_basic(&self, section: &mut Section<'_, '_>) {
        let given = section.key_location("client_auth");
        let by_default = given.is_none() && self.grant == GrantKind::AuthorizationCode;
        let is_basic = by_default || self.client_auth == Some(ClientAuth::Basic);
        if !is_basic || section.reader.simulate {
            return;
        }
        let location = given.unwrap_or_else(|| section.location("client_auth"));
        let (with, when) = if by_default {
            ("\"basic\" (the default for redeeming a code)", "")
        } else {
            ("\"basic\"", " if the login is rejected")
        };
        for (name, value) in [("client_id", &*self.client_id), ("client_secret", self.client_secret.expose())]
        {
            if encoding_changes(value) {
                let message = format!(
                    "{with} form-encodes {name} (RFC 6749 §2.3.1), which changes it, and servers such as WSO2 do not \
                     decode it"
                );
                let flaw = Flaw::new(message, format!("write client_auth = \"body\"{when}"));
                section.warn_at(location.clone(), "client_auth", flaw);
            }
        }
    }
}

/// Reports a password that is given with `grant = "authorization_code"`. The password is not read.
fn refuse_password_of_code(section: &mut Section<'_, '_>) {
    if section.peek("grant") != Some("authorization_code") {
        return;
    }
    for key in ["password", "password_file", "password_env"] {
        if let Some(location) = section.discard(key) {
            let message = "grant = \"authorization_code\" uses no password, because logins are interactive";
            let remedy = "remove the password, or write grant = \"password\"";
            section.report_at(location, key, Flaw::new(message, remedy));
        }
    }
}

/// The user name with the suffix that the service expects: `@vbc.prod`, even after an e-mail
/// address.
fn with_suffix(name: &str, allow_api_user: bool) -> Result<String, Flaw> {
    let bare = name.strip_suffix(SUFFIX).unwrap_or(name);
    if bare.is_empty() || bare.trim() != bare || bare.chars().any(char::is_control) {
        let message = "the name is empty, begins or ends with white space, or contains control characters";
        return Err(Flaw::new(message, "write the VBC user name, for example \"alice\""));
    }
    if bare.ends_with(SUFFIX) {
        return Err(Flaw::new(
            format!("it ends with {SUFFIX} twice"),
            "write it once, or leave it out, because the proxy appends it",
        ));
    }
    if bare.ends_with(".api") && !allow_api_user {
        let message = "a name ending in .api is a developer account, which cannot request tokens";
        let remedy = "use the name and password of a VBC user; if your tenant accepts this name, set \
                      allow_api_user = true";
        return Err(Flaw::new(message, remedy));
    }
    Ok(format!("{bare}{SUFFIX}"))
}

fn scope() -> Kind<Arc<str>> {
    // RFC 6749 §3.3
    let is_token = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
    };
    let parse = move |text: &str| {
        let remedy = "write words separated by one blank each, for example \"openid\"";
        let is_scope = text.split(' ').all(is_token);
        if is_scope { Ok(text.into()) } else { Err(Flaw::new("this is not a scope", remedy)) }
    };
    text("words separated by blanks", parse, |scope: &Arc<str>| scope.to_string())
}

fn encoding_changes(value: &str) -> bool {
    byte_serialize(value.as_bytes()).collect::<String>() != value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_simulated_credential_is_a_user_of_its_own() {
        let user = |name| Credential::simulated(name).username.unwrap();
        assert_eq!(&*user("default"), "alice@vbc.prod");
        assert_eq!(&*user("crm"), "crm@vbc.prod");
        assert_eq!(&*user("Alice"), "alice.2@vbc.prod");
    }

    #[test]
    fn the_suffix_is_appended_unless_the_name_ends_with_it() {
        assert_eq!(with_suffix("alice", false), Ok("alice@vbc.prod".into()));
        assert_eq!(with_suffix("alice@vbc.prod", false), Ok("alice@vbc.prod".into()));
        assert_eq!(with_suffix("alice@org.com", false), Ok("alice@org.com@vbc.prod".into()));
        assert_eq!(with_suffix("alice@org.com@vbc.prod", false), Ok("alice@org.com@vbc.prod".into()));
        assert_eq!(with_suffix("a@vbc.production", false), Ok("a@vbc.production@vbc.prod".into()));
    }

    #[test]
    fn names_that_cannot_work_are_refused() {
        assert!(with_suffix("alice@vbc.prod@vbc.prod", false).unwrap_err().message.contains("twice"));
        for name in ["acme.api", "acme.api@vbc.prod"] {
            assert!(with_suffix(name, false).unwrap_err().message.contains("developer account"), "{name}");
            assert_eq!(with_suffix(name, true), Ok("acme.api@vbc.prod".into()));
        }
        for name in ["", "@vbc.prod", " alice", "alice\n"] {
            assert!(with_suffix(name, false).is_err(), "{name:?}");
        }
        assert!(with_suffix("acme.apis", false).is_ok());
    }

    #[test]
    fn encoding_is_known_to_change_a_value() {
        assert!(!encoding_changes("abcXYZ_019-."));
        for value in ["a b", "a+b", "a/b=", "ä", "a~b"] {
            assert!(encoding_changes(value), "{value}");
        }
    }
}
