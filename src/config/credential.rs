//! `[credentials.NAME]`: whose identity is kept fresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::defaults::REFRESH_TOKEN_LIFETIME;
use super::document::{Entry, Table};
use super::environment::as_variable;
use super::error::{Complaint, Place};
use super::schema::CREDENTIAL;
use super::secrets::{self, Found};
use super::section::{Given, Reader, Section};
use super::{Credential, GrantKind, units};
use crate::credential::RefreshAt;
use crate::oauth::ClientAuth;
use crate::secret::{Secret, fingerprint};

const SUFFIX: &str = "@vbc.prod";
const NEEDED: &str = " and grant = \"password\" needs it";

/// Reads all credentials, in the order of their names.
pub(super) fn read_all(reader: &mut Reader<'_>, root: &mut Table) -> Vec<Credential> {
    let entry = root.remove("credentials");
    let place = entry.as_ref().map_or_else(|| reader.whole.clone(), |entry| entry.key_place.clone());
    let table = reader.table(entry, "credentials");
    names(reader, &table, &place);
    if table.is_empty() && reader.simulate {
        return vec![Credential::simulated("default")];
    }
    let mut identities = BTreeMap::new();
    let mut users = BTreeMap::new();
    let mut credentials = Vec::new();
    for (name, entry) in table {
        let place = entry.key_place.clone();
        let credential = read(reader, &name, entry);
        other_password(reader, &mut users, &credential, &place);
        same_identity(reader, &mut identities, &credential, place);
        credentials.push(credential);
    }
    credentials
}

/// Checks the names among each other.
fn names(reader: &mut Reader<'_>, table: &Table, place: &Place) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, entry) in table {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let key = format!("credentials.{}", name.escape_debug());
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let remedy = "use up to 64 letters, digits, `-` and `_`, as in [credentials.default]";
            reader.complain(
                entry.key_place.clone(),
                &key,
                Complaint::new("this is no name for a credential", remedy),
            );
        }
        if let Some(other) = seen.insert(as_variable(name), name) {
            let message = format!("the name is too like credentials.{}", other.escape_debug());
            let remedy = "upper and lower case, `-` and `_` are the same in variables; choose another name";
            reader.complain(entry.key_place.clone(), &key, Complaint::new(message, remedy));
        }
    }
    if table.is_empty() && !reader.simulate {
        let complaint =
            Complaint::new("there is no credential", "add [credentials.default]; `vbc-proxy init` shows how");
        reader.complain(place.clone(), "credentials", complaint);
    }
    if table.len() > 1 && !table.contains_key("default") {
        let message = "there are several credentials and none is called `default`";
        let remedy = "give the one that requests use the name [credentials.default]";
        reader.complain(place.clone(), "credentials", Complaint::new(message, remedy));
    } else if table.len() > 1 && !reader.simulate {
        let message = "there are several credentials, and every request uses credentials.default";
        let remedy = "requests cannot choose a credential in this version; run a proxy for each that is used";
        reader.warn(place.clone(), "credentials", Complaint::new(message, remedy));
    }
}

/// Two credentials with one identity replace each other's tokens.
fn same_identity(
    reader: &mut Reader<'_>,
    identities: &mut BTreeMap<String, String>,
    credential: &Credential,
    place: Place,
) {
    if reader.simulate || credential.client_id.is_empty() {
        return;
    }
    // Who will log in by code may not have been said; then nothing is known to be the same.
    let Some(username) = &credential.username else { return };
    let identity = fingerprint(&[&credential.client_id, username, &credential.scope]);
    if let Some(other) = identities.insert(identity, credential.name.clone()) {
        let message = format!("it is the same application, user and scope as credentials.{other}");
        let remedy = "the service keeps one token for both, so that each may end the other's; remove one";
        reader.warn(place, format!("credentials.{}", credential.name), Complaint::new(message, remedy));
    }
}

/// A user has one password. What another is tried with counts towards the lock of the account.
fn other_password(
    reader: &mut Reader<'_>,
    users: &mut BTreeMap<Arc<str>, (Secret, String)>,
    credential: &Credential,
    place: &Place,
) {
    let (Some(username), Some(password)) = (&credential.username, &credential.password) else { return };
    if reader.simulate {
        return;
    }
    let Some((known, other)) = users.get(username) else {
        users.insert(Arc::clone(username), (password.clone(), credential.name.clone()));
        return;
    };
    if known != password {
        let message = format!("the password of {username} is another one in credentials.{other}");
        let remedy = "one of the two is wrong, and each refused login counts towards the lock of the account";
        reader.warn(
            place.clone(),
            format!("credentials.{}", credential.name),
            Complaint::new(message, remedy),
        );
    }
}

fn read(reader: &mut Reader<'_>, name: &str, entry: Entry) -> Credential {
    let mut section = reader.open(Some(entry), &CREDENTIAL, format!("credentials.{}", name.escape_debug()));
    let grant = grant(&mut section);
    let client_id = client_id(&mut section);
    let client_secret = required(&mut section, "client_secret", "").map(|given| Secret::from(given.value));
    let username = username(&mut section, grant).map(Arc::from);
    let password = password(&mut section, grant);
    let seed = secrets::find(&mut section, "refresh_token").given().map(|given| given.value.into());
    let scope: Arc<str> = scope(&mut section).into();
    let client_auth =
        client_auth(&mut section, grant, client_id.as_deref(), client_secret.as_ref().map(Secret::expose));
    let refresh = refresh(&mut section);
    let refresh_token_lifetime = refresh_token_lifetime(&mut section);
    let max_age = max_age(&mut section);
    let redirect_uri = redirect_uri(&mut section);
    let pkce = section.flag("pkce", false);
    if section.reader.simulate {
        let simulated = Credential::simulated(name);
        return Credential {
            scope,
            client_auth,
            refresh,
            refresh_token_lifetime,
            max_age,
            pkce,
            ..simulated
        };
    }
    Credential {
        name: name.to_owned(),
        grant: grant.unwrap_or(GrantKind::Password),
        client_id: client_id.unwrap_or_default(),
        client_secret: client_secret.unwrap_or_else(|| Secret::new("")),
        username,
        password,
        scope,
        client_auth,
        seed,
        refresh,
        refresh_token_lifetime,
        max_age,
        redirect_uri,
        pkce,
    }
}

/// `None` when it is wrong, which is not a reason to ask for a password.
fn grant(section: &mut Section<'_, '_>) -> Option<GrantKind> {
    if section.place_of("grant").is_none() {
        return Some(GrantKind::Password);
    }
    let words = [("password", GrantKind::Password), ("authorization_code", GrantKind::AuthorizationCode)];
    section.choice("grant", &words)
}

/// A value without which the credential cannot work; `why` follows "it is missing".
fn required(section: &mut Section<'_, '_>, key: &str, why: &str) -> Option<Given<Zeroizing<String>>> {
    match secrets::find(section, key) {
        Found::Value(given) => return Some(given),
        Found::Withheld => {}
        Found::Nothing => missing(section, key, why),
    }
    None
}

fn missing(section: &mut Section<'_, '_>, key: &str, why: &str) {
    if section.reader.simulate {
        return;
    }
    let remedy =
        format!("give {key}, {key}_file or {key}_env, for example {key}_env = \"VBC_{}\"", as_variable(key));
    let place = section.place();
    section.complain(place, key, Complaint::new(format!("it is missing{why}"), remedy));
}

fn client_id(section: &mut Section<'_, '_>) -> Option<String> {
    let Given { value: mut id, place } = required(section, "client_id", "")?;
    if id.chars().any(char::is_control) || id.trim() != id.as_str() {
        let complaint =
            Complaint::new("there are blanks around it or control characters in it", "write only the key");
        section.complain(place, "client_id", complaint);
        return None;
    }
    Some(std::mem::take(&mut *id))
}

fn username(section: &mut Section<'_, '_>, grant: Option<GrantKind>) -> Option<String> {
    let Given { value, place } = match grant {
        Some(GrantKind::Password) => required(section, "username", NEEDED)?,
        _ => secrets::find(section, "username").given()?,
    };
    let allow_api_user = section.flag("allow_api_user", false);
    match with_suffix(&value, allow_api_user) {
        Ok(username) => Some(username),
        Err(complaint) => {
            section.complain(place, "username", complaint);
            None
        }
    }
}

/// The user name as the service knows it: `@vbc.prod` is appended unless it is there. A name that is an e-mail
/// address gets it too.
fn with_suffix(name: &str, allow_api_user: bool) -> Result<String, Complaint> {
    let bare = name.strip_suffix(SUFFIX).unwrap_or(name);
    if bare.is_empty() || bare.trim() != bare || bare.chars().any(char::is_control) {
        let message = "the name is empty, or has blanks around it or control characters in it";
        return Err(Complaint::new(message, "write the VBC user name, such as \"alice\""));
    }
    if bare.ends_with(SUFFIX) {
        return Err(Complaint::new(
            format!("it ends with {SUFFIX} twice"),
            "write it once, or leave it to be appended",
        ));
    }
    if bare.ends_with(".api") && !allow_api_user {
        let message = "a name ending in .api is a developer account, whose credentials cannot be used for the token \
                       request";
        let remedy = "use the name and password of a VBC user; if your tenant accepts this one, set \
                      allow_api_user = true";
        return Err(Complaint::new(message, remedy));
    }
    Ok(format!("{bare}{SUFFIX}"))
}

fn password(section: &mut Section<'_, '_>, grant: Option<GrantKind>) -> Option<Secret> {
    let given = ["password", "password_file", "password_env"].map(|key| (key, section.place_of(key)));
    if grant == Some(GrantKind::AuthorizationCode) {
        for (key, place) in given {
            if let Some(place) = place {
                let message = "grant = \"authorization_code\" uses no password: a person logs in";
                section.complain(
                    place,
                    key,
                    Complaint::new(message, "remove it, or write grant = \"password\""),
                );
            }
        }
        return None;
    }
    let given = match grant {
        Some(GrantKind::Password) => required(section, "password", NEEDED),
        _ => secrets::find(section, "password").given(),
    };
    given.map(|given| given.value.into())
}

fn scope(section: &mut Section<'_, '_>) -> String {
    // RFC 6749 §3.3
    let is_token = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
    };
    let parse = |text: &str| {
        let complaint =
            Complaint::new("this is not a scope", "write words with one blank between, such as \"openid\"");
        if text.split(' ').all(is_token) { Ok(text.to_owned()) } else { Err(complaint) }
    };
    let Some(Given { value, place }) = section.parsed("scope", parse) else { return "openid".into() };
    if !value.split(' ').any(|word| word == "openid") {
        let complaint =
            Complaint::new("openid is not in it, and some suites refuse such tokens", "add openid");
        section.warn(place, "scope", complaint);
    }
    value
}

fn client_auth(
    section: &mut Section<'_, '_>,
    grant: Option<GrantKind>,
    id: Option<&str>,
    secret: Option<&str>,
) -> Option<ClientAuth> {
    let given = section.place_of("client_auth");
    let auth = section.choice("client_auth", &[("body", ClientAuth::Body), ("basic", ClientAuth::Basic)]);
    // A code is redeemed with "basic" unless told otherwise.
    let by_default = given.is_none() && grant == Some(GrantKind::AuthorizationCode);
    if (auth == Some(ClientAuth::Basic) || by_default) && !section.reader.simulate {
        let place = given.unwrap_or_else(|| section.place());
        let (with, when) = match by_default {
            true => ("\"basic\", the default for a code,", ""),
            false => ("\"basic\",", " if the login is refused"),
        };
        for (what, value) in [("client_id", id), ("client_secret", secret)] {
            if value.is_some_and(encoding_changes) {
                let message = format!(
                    "form-encoding, which RFC 6749 asks for with {with} changes {what}, and servers such as WSO2 do \
                     not decode it"
                );
                let complaint = Complaint::new(message, format!("write client_auth = \"body\"{when}"));
                section.warn(place.clone(), "client_auth", complaint);
            }
        }
    }
    auth
}

fn encoding_changes(value: &str) -> bool {
    byte_serialize(value.as_bytes()).collect::<String>() != value
}

fn refresh(section: &mut Section<'_, '_>) -> RefreshAt {
    let both = section.place_of("refresh_at").is_some();
    if both && let Some(place) = section.place_of("refresh_before") {
        let complaint = Complaint::new("refresh_at is given as well", "keep one of the two");
        section.complain(place, "refresh_before", complaint);
    }
    let share = section.number("refresh_at", 0.05, 0.95).map(RefreshAt::Share);
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(7 * 86_400));
    let before = section.parsed("refresh_before", |text| units::duration_within(text, least, most));
    before.map(|given| RefreshAt::Before(given.value)).or(share).unwrap_or_default()
}

fn refresh_token_lifetime(section: &mut Section<'_, '_>) -> Duration {
    let (least, most) = (Duration::from_secs(3600), Duration::from_secs(365 * 86_400));
    let parse = |text: &str| units::duration_within(text, least, most);
    section.parsed("refresh_token_lifetime", parse).map_or(REFRESH_TOKEN_LIFETIME, |given| given.value)
}

/// The longest prefix first, so that the first that fits is the one that counts.
fn max_age(section: &mut Section<'_, '_>) -> Vec<(String, Duration)> {
    let (least, most) = (Duration::from_secs(10), Duration::from_secs(365 * 86_400));
    let parse = |prefix: &str, age: &str| {
        Ok((units::path_prefix(prefix)?, units::duration_within(age, least, most)?))
    };
    let mut ages: Vec<_> = section
        .map("max_age", "{ \"/t/vbc.prod/reports\" = \"4m\" }", parse)
        .unwrap_or_default()
        .into_iter()
        .collect();
    ages.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    ages
}

fn redirect_uri(section: &mut Section<'_, '_>) -> Option<String> {
    let Given { value, place } = section.parsed("redirect_uri", units::redirect_uri)?;
    let url = Url::parse(&value).ok();
    if url
        .is_some_and(|url| url.scheme() == "http" && !units::is_loopback(url.host_str().unwrap_or_default()))
    {
        let complaint = Complaint::new("authorization codes would travel in the clear", "write https");
        section.warn(place, "redirect_uri", complaint);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

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
