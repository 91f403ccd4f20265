//! The effective configuration as text, for people; without secrets.

use std::fmt::{Display, Write};

use super::units::{show_duration, show_size};
use super::{Config, Credential, GrantKind, ListenAddress, LogFormat, Origin, Store, UpstreamHttp};
use crate::credential::RefreshAt;
use crate::oauth::ClientAuth;

const REDACTED: &str = "[redacted]";

impl Display for Origin {
    /// As `upstream.url` is written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

impl Display for ListenAddress {
    /// As `listen.address` and `admin.address` are written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Config {
    /// The configuration laid out as `proxy.toml`, with every secret as `[redacted]`.
    pub fn redacted(&self) -> String {
        let mut page = Page::default();
        self.listeners(&mut page);
        self.upstreams(&mut page);
        let retry = &self.retry;
        page.section("retry")
            .text("memory", show_size(retry.memory as u64))
            .text("disk", show_size(retry.disk))
            .text("disk_total", show_size(retry.disk_total))
            .text("disk_path", retry.disk_path.display())
            .text("expect_timeout", show_duration(retry.expect_timeout));
        page.section("store");
        match &self.store {
            Store::Memory => page.text("kind", "memory"),
            Store::File { path, key_file } => {
                page.text("kind", "file").text("path", path.display());
                match key_file {
                    Some(keys) => page.text("key_file", keys.path.display()),
                    None => &mut page,
                }
            }
        };
        for credential in &self.credentials {
            credential.redacted(&mut page);
        }
        let format = match self.log.format {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        page.section("log")
            .text("format", format)
            .text("level", &self.log.level)
            .bare("access", self.log.access);
        page.section("process").bare("core_dumps", self.process.core_dumps);
        page.section("faults").bare("seed", self.faults.seed);
        if !self.faults.rules.is_empty() {
            page.list("rules", self.faults.rules.iter().map(ToString::to_string));
        }
        let simulator = &self.simulator;
        page.section("simulator").text("address", simulator.address).text("control", simulator.control);
        page.0
    }

    fn listeners(&self, page: &mut Page) {
        let listen = &self.listen;
        page.section("listen");
        match listen.addresses.as_slice() {
            [only] => page.text("address", only),
            several => page.list("address", several.iter().map(ToString::to_string)),
        };
        page.text("unix_mode", format_args!("{:04o}", listen.unix_mode)).bare("workers", listen.workers);
        page.list("hosts", &listen.hosts).list("origins", &listen.origins);
        if let Some(url) = &listen.public_url {
            page.text("public_url", url);
        }
        page.text("first_byte_timeout", show_duration(listen.first_byte_timeout))
            .text("header_timeout", show_duration(listen.header_timeout))
            .text("half_close_grace", show_duration(listen.half_close_grace))
            .text("idle_timeout", show_duration(listen.idle_timeout))
            .text("drain_timeout", show_duration(listen.drain_timeout));
        page.text("head_size", show_size(listen.head_size as u64))
            .bare("head_lines", listen.head_lines)
            .text("target_size", show_size(listen.target_size as u64));
        match listen.max_connections {
            Some(most) => page.bare("max_connections", most),
            None => page.text("max_connections", "auto"),
        };
        page.bare("max_connections_per_peer", listen.max_connections_per_peer)
            .bare("max_requests_in_flight", listen.max_requests_in_flight)
            .bare("max_requests_per_connection", listen.max_requests_per_connection)
            .bare("allow_anonymous", listen.allow_anonymous);
        if let Some(tls) = &listen.tls {
            let files =
                [("cert", Some(&tls.cert)), ("key", Some(&tls.key)), ("client_ca", tls.client_ca.as_ref())];
            let given = files
                .into_iter()
                .filter_map(|(key, path)| Some((key.to_owned(), path?.display().to_string())));
            let table = given.map(|(key, path)| (key, path.into())).collect();
            page.bare("tls", toml::Value::Table(table));
        }
        let admin = self.admin.address.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string);
        page.section("admin").text("address", admin);
    }

    fn upstreams(&self, page: &mut Page) {
        let upstream = &self.upstream;
        page.section("upstream").text("url", &upstream.url);
        if let Some(path) = &upstream.ca_file {
            page.text("ca_file", path.display());
        }
        let http = match upstream.http {
            UpstreamHttp::Auto => "auto",
            UpstreamHttp::H1 => "h1",
            UpstreamHttp::H2 => "h2",
        };
        page.text("http", http)
            .text("connect_timeout", show_duration(upstream.connect_timeout))
            .text("response_timeout", show_duration(upstream.response_timeout))
            .text("idle_timeout", show_duration(upstream.idle_timeout))
            .text("tunnel_timeout", show_duration(upstream.tunnel_timeout))
            .bare("rewrite_links", upstream.rewrite_links);
        let oauth = &self.oauth;
        page.section("oauth")
            .text("token_url", &oauth.token_url)
            .text("authorize_url", &oauth.authorize_url)
            .text("userinfo_url", oauth.userinfo_url.as_ref().map_or("off", |url| url.as_str()))
            .text("timeout", show_duration(oauth.timeout))
            .text("max_wait", show_duration(oauth.max_wait));
        if let Some(path) = &oauth.ca_file {
            page.text("ca_file", path.display());
        }
    }
}

impl Credential {
    fn redacted(&self, page: &mut Page) {
        let grant = match self.grant {
            GrantKind::Password => "password",
            GrantKind::AuthorizationCode => "authorization_code",
        };
        page.section(&format!("credentials.{}", self.name)).text("grant", grant);
        page.text("client_id", &self.client_id).text("client_secret", REDACTED);
        if let Some(username) = &self.username {
            page.text("username", username);
            if username.ends_with(".api@vbc.prod") {
                page.bare("allow_api_user", true);
            }
        }
        if self.password.is_some() {
            page.text("password", REDACTED);
        }
        page.text("scope", &self.scope);
        match self.client_auth {
            Some(ClientAuth::Body) => page.text("client_auth", "body"),
            Some(ClientAuth::Basic) => page.text("client_auth", "basic"),
            None => page,
        };
        if self.seed.is_some() {
            page.comment("a first refresh token is given: [redacted]");
        }
        match self.refresh {
            RefreshAt::Share(share) => page.bare("refresh_at", share),
            RefreshAt::Before(time) => page.text("refresh_before", show_duration(time)),
        };
        page.text("refresh_token_lifetime", show_duration(self.refresh_token_lifetime));
        if !self.max_age.is_empty() {
            let age = |(prefix, age): &(String, _)| (prefix.clone(), show_duration(*age).into());
            page.bare("max_age", toml::Value::Table(self.max_age.iter().map(age).collect()));
        }
        if let Some(uri) = &self.redirect_uri {
            page.text("redirect_uri", uri);
        }
        if self.pkce {
            page.bare("pkce", true);
        }
    }
}

/// TOML text in the making.
#[derive(Default)]
struct Page(String);

impl Page {
    fn section(&mut self, name: &str) -> &mut Self {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}[{name}]"))
    }

    fn text(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.bare(key, quoted(&value.to_string()))
    }

    fn list(&mut self, key: &str, values: impl IntoIterator<Item = impl AsRef<str>>) -> &mut Self {
        let values: Vec<String> = values.into_iter().map(|value| quoted(value.as_ref())).collect();
        self.line(format_args!("{key} = [{}]", values.join(", ")))
    }

    fn bare(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.line(format_args!("{key} = {value}"))
    }

    fn comment(&mut self, text: &str) -> &mut Self {
        self.line(format_args!("# {text}"))
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
        self
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
