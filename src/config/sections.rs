//! The sections of `proxy.toml`, and the whole configuration.

use std::net::SocketAddr;

use http::uri::Authority;
use url::Url;

use super::credential::{self, Credential, GrantKind};
use super::document::{Table, Value};
use super::error::not_available;
use super::faults::Faults;
use super::listen::{Admin, Listen, Simulator, check_addresses};
use super::page::Page;
use super::process::{Log, Process};
use super::retry::Retry;
use super::schema::{self, Schema};
use super::section::Reader;
use super::store::{Store, StoreKeys};
use super::upstream::{OAuth, Upstream};
use super::urls::Origin;
use vbc_base::trusted::Flaw;

/// All sections and keys.
pub(super) const SCHEMA: Schema = Schema {
    sections: &[
        Listen::SHAPE,
        Admin::SHAPE,
        Upstream::SHAPE,
        OAuth::SHAPE,
        Retry::SHAPE,
        StoreKeys::SHAPE,
        Log::SHAPE,
        Process::SHAPE,
        Faults::SHAPE,
        Simulator::SHAPE,
    ],
    credential: Credential::SHAPE,
    later: &["clients", "telemetry"],
};

/// The whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `[listen]`: the listeners for clients.
    pub listen: Listen,
    /// `[admin]`: the listener for operators.
    pub admin: Admin,
    /// `[upstream]`: the API.
    pub upstream: Upstream,
    /// `[oauth]`: the authorization server.
    pub oauth: OAuth,
    /// `[retry]`: how much of a request is kept for a retry.
    pub retry: Retry,
    /// `[store]`: where token sets are stored.
    pub store: Store,
    /// `[credentials.*]`, sorted by name.
    pub credentials: Vec<Credential>,
    /// `[log]`.
    pub log: Log,
    /// `[process]`.
    pub process: Process,
    /// `[faults]`: deliberate faults. They have an effect only if `serve` or `run` allows them.
    pub faults: Faults,
    /// `[simulator]`: for `serve --simulate` and `simulate`.
    pub simulator: Simulator,
}

impl Config {
    /// Reads the whole tree. The result is valid only if the reader has no findings.
    pub(super) fn read(reader: &mut Reader<'_>, root: &mut Table) -> Self {
        report_unknown_sections(reader, root);
        let mut listeners = Vec::new();
        let mut config = Self {
            listen: Listen::read(reader, root, &mut listeners),
            admin: Admin::read(reader, root, &mut listeners),
            simulator: Simulator::read(reader, root, &mut listeners),
            upstream: Upstream::read(reader, root),
            oauth: OAuth::read(reader, root),
            retry: Retry::read(reader, root),
            store: Store::read(reader, root),
            credentials: credential::read_all(reader, root),
            log: Log::read_keys(&mut reader.section(root, &Log::SHAPE)),
            process: Process::read_keys(&mut reader.section(root, &Process::SHAPE)),
            faults: Faults::read(reader, root),
        };
        check_addresses(reader, &listeners);
        if reader.simulate {
            config.point_at_simulator();
        }
        config.warn_of_login_elsewhere(reader);
        config
    }

    /// The configuration in the layout of `proxy.toml`, with every secret as `[redacted]`.
    pub fn redacted(&self) -> String {
        let mut page = Page::default();
        self.listen.print(page.section("listen"));
        self.admin.print(page.section("admin"));
        self.upstream.print(page.section("upstream"));
        self.oauth.print(page.section("oauth"));
        self.retry.print(page.section("retry"));
        self.store.print(page.section("store"));
        for credential in &self.credentials {
            credential.print(page.section(&format!("credentials.{}", credential.name)));
        }
        self.log.print(page.section("log"));
        self.process.print(page.section("process"));
        self.faults.print(page.section("faults"));
        self.simulator.print(page.section("simulator"));
        page.into_text()
    }

    /// The age limits of the credential with this name.
    pub fn max_age(&self, credential: &str) -> Vec<(String, std::time::Duration)> {
        let credential = self.credentials.iter().find(|known| known.name == credential);
        credential.map(|credential| credential.max_age.clone()).unwrap_or_default()
    }

    /// The defaults for the simulator at its default address: its demo identity as the credential
    /// `default`, and a store in memory. A starting point for tests and for users of the library.
    pub fn simulated() -> Self {
        let mut config = Self::default();
        config.credentials.push(Credential::simulated("default"));
        config.point_at_simulator();
        config
    }

    /// Sets the simulator's address, no trust roots and a store in memory. After the simulator is
    /// bound, the caller must set the address again with [`point_at`](Self::point_at).
    fn point_at_simulator(&mut self) {
        self.point_at(self.simulator.address);
        self.upstream.ca_file = None;
        self.oauth.ca_file = None;
        self.store = Store::Memory;
    }

    /// Makes the simulator at this address the upstream and the authorization server.
    pub fn point_at(&mut self, simulator: SocketAddr) {
        let url = |path: &str| Url::parse(&format!("http://{simulator}/{path}"));
        if let (Ok(authority), Ok(token_url), Ok(authorize_url), Ok(userinfo_url)) =
            (Authority::try_from(simulator.to_string()), url("token"), url("authorize"), url("userinfo"))
        {
            self.upstream.url = Origin { tls: false, authority };
            self.oauth.token_url = token_url;
            self.oauth.authorize_url = authorize_url;
            self.oauth.userinfo_url = Some(userinfo_url);
        }
    }

    /// Warns if users log in at one server and their codes are redeemed at another.
    fn warn_of_login_elsewhere(&self, reader: &mut Reader<'_>) {
        let default = OAuth::default();
        let by_code = |credential: &Credential| credential.grant == GrantKind::AuthorizationCode;
        if self.oauth.token_url.origin() != default.token_url.origin()
            && self.oauth.authorize_url == default.authorize_url
            && self.credentials.iter().any(by_code)
        {
            let message = format!(
                "users would log in at {}, but their codes would be redeemed at {}",
                self.oauth.authorize_url, self.oauth.token_url
            );
            let remedy = "set authorize_url to the login page of the same server";
            reader.warn(reader.whole.clone(), "oauth.authorize_url", Flaw::new(message, remedy));
        }
    }
}

/// Removes unknown sections from the tree. Each becomes a finding.
fn report_unknown_sections(reader: &mut Reader<'_>, root: &mut Table) {
    let schema = reader.schema;
    root.retain(|name, entry| {
        if schema.names().any(|known| known == name) {
            return true;
        }
        let is_table = matches!(entry.item.value, Value::Table(_));
        let home = schema.home(name).filter(|_| !is_table);
        let flaw = if schema.later.contains(&name.as_str()) {
            not_available("this section")
        } else {
            let remedy = match (home, schema::nearest(name, schema.names())) {
                (Some(home), _) => format!("it belongs to [{home}]"),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => {
                    format!("the sections are: {}", schema.names().collect::<Vec<_>>().join(", "))
                }
            };
            let what = if is_table { "unknown section" } else { "unknown key outside of all sections" };
            Flaw::new(what, remedy)
        };
        let name = reader.printable(name, &entry.key_location);
        reader.report(entry.key_location.clone(), name, flaw);
        false
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_made_and_the_simulated_configuration_stays_at_home() {
        assert_eq!(OAuth::default().token_url.as_str(), "https://api.vonage.com/token");
        let config = Config::simulated();
        assert_eq!(config.oauth.token_url.as_str(), "http://127.0.0.1:8090/token");
        assert_eq!(config.oauth.authorize_url.as_str(), "http://127.0.0.1:8090/authorize");
        assert_eq!(config.oauth.userinfo_url.unwrap().as_str(), "http://127.0.0.1:8090/userinfo");
        assert_eq!(config.upstream.url.authority, "127.0.0.1:8090");
        assert!(matches!(config.store, Store::Memory));
    }

    #[test]
    fn a_misspelt_key_is_recognised() {
        let remedy = |key| SCHEMA.remedy_for_unknown_key(&Listen::SHAPE, key);
        assert_eq!(remedy("adress"), "did you mean `address`?");
        assert_eq!(remedy("header_timout"), "did you mean `header_timeout`?");
        assert_eq!(remedy("token_url"), "it belongs to [oauth]");
        assert_eq!(remedy("client_secret"), "it belongs to [credentials.NAME]");
        assert!(remedy("zzz").starts_with("the keys are: address, unix_mode"));
    }
}
