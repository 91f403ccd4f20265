//! Which sections and keys there are, which are promised but not built yet, and what a misspelt one may have meant.

/// A section of `proxy.toml`.
pub(super) struct Shape {
    /// Its name.
    pub(super) name: &'static str,
    /// The keys it has.
    pub(super) keys: &'static [&'static str],
    /// Keys that are named in the design and refused until their feature is built.
    pub(super) later: &'static [&'static str],
}

/// Every section but the credentials, whose names are the operator's.
pub(super) const SECTIONS: &[Shape] = &[
    Shape {
        name: "listen",
        keys: &[
            "address",
            "unix_mode",
            "workers",
            "hosts",
            "origins",
            "public_url",
            "first_byte_timeout",
            "header_timeout",
            "half_close_grace",
            "idle_timeout",
            "drain_timeout",
            "head_size",
            "head_lines",
            "target_size",
            "max_connections",
            "max_connections_per_peer",
            "max_requests_in_flight",
            "max_requests_per_connection",
            "allow_anonymous",
            "tls",
        ],
        later: &[],
    },
    Shape { name: "admin", keys: &["address"], later: &[] },
    Shape {
        name: "upstream",
        keys: &[
            "url",
            "ca_file",
            "http",
            "connect_timeout",
            "response_timeout",
            "idle_timeout",
            "tunnel_timeout",
            "rewrite_links",
        ],
        later: &["proxy"],
    },
    Shape {
        name: "oauth",
        keys: &["token_url", "authorize_url", "userinfo_url", "timeout", "max_wait", "ca_file"],
        later: &["revoke_url"],
    },
    Shape {
        name: "retry",
        keys: &["memory", "disk", "disk_total", "disk_path", "expect_timeout"],
        later: &[],
    },
    Shape { name: "store", keys: &["kind", "path", "key_file"], later: &["url", "url_file"] },
    Shape { name: "log", keys: &["format", "level", "access"], later: &[] },
    Shape { name: "process", keys: &["core_dumps"], later: &[] },
    Shape { name: "faults", keys: &["seed", "rules"], later: &[] },
    Shape { name: "simulator", keys: &["address", "control"], later: &[] },
];

/// Sections that are named in the design and refused until their feature is built.
pub(super) const SECTIONS_LATER: &[&str] = &["clients", "telemetry"];

/// `[credentials.NAME]`.
pub(super) const CREDENTIAL: Shape = Shape {
    name: "credentials",
    keys: &[
        "grant",
        "client_id",
        "client_id_file",
        "client_id_env",
        "client_secret",
        "client_secret_file",
        "client_secret_env",
        "username",
        "username_file",
        "username_env",
        "allow_api_user",
        "password",
        "password_file",
        "password_env",
        "scope",
        "client_auth",
        "refresh_token_file",
        "refresh_token_env",
        "refresh_at",
        "refresh_before",
        "refresh_token_lifetime",
        "max_age",
        "redirect_uri",
        "pkce",
    ],
    later: &["pace"],
};

/// Keys of which one excludes the others, so that an override of one takes the place of all.
pub(super) const ALTERNATIVES: &[&[&str]] = &[
    &["client_id", "client_id_file", "client_id_env"],
    &["client_secret", "client_secret_file", "client_secret_env"],
    &["username", "username_file", "username_env"],
    &["password", "password_file", "password_env"],
    &["refresh_token_file", "refresh_token_env"],
    &["refresh_at", "refresh_before"],
];

/// The section of this name.
pub(super) fn section(name: &str) -> Option<&'static Shape> {
    SECTIONS.iter().find(|shape| shape.name == name)
}

/// The candidate nearest to a misspelt word, when one is near enough to be worth saying.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_ascii_lowercase();
    let allowed = word.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The remedy for a key that `shape` does not have.
pub(super) fn remedy_for_unknown_key(shape: &Shape, key: &str) -> String {
    let elsewhere = || SECTIONS.iter().find(|other| other.keys.contains(&key));
    if let Some(near) = nearest(key, shape.keys.iter().copied()) {
        format!("did you mean `{near}`?")
    } else if let Some(other) = elsewhere() {
        format!("it belongs to [{}]", other.name)
    } else if CREDENTIAL.keys.contains(&key) {
        "it belongs to [credentials.NAME]".into()
    } else {
        format!("there are: {}", shape.keys.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised() {
        let listen = section("listen").unwrap();
        assert_eq!(remedy_for_unknown_key(listen, "adress"), "did you mean `address`?");
        assert_eq!(remedy_for_unknown_key(listen, "header_timout"), "did you mean `header_timeout`?");
        assert_eq!(remedy_for_unknown_key(listen, "token_url"), "it belongs to [oauth]");
        assert_eq!(remedy_for_unknown_key(listen, "client_secret"), "it belongs to [credentials.NAME]");
        assert!(remedy_for_unknown_key(listen, "zzz").starts_with("there are: address, unix_mode"));
    }
}
