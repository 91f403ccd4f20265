//! Names of the tenant, the suites and the grants.

/// The tenant that every user name ends with.
pub(crate) const TENANT: &str = "@vbc.prod";

/// The name of the suite for Call Recording in India, also in its paths.
pub(crate) const INDIA: &str = "call_recording_india";

/// The suites that an application can be subscribed to.
pub(crate) const SUITES: &[&str] = &["provisioning", "telephony", "reports", "call_recording", INDIA, "vis"];

/// The grants that an application can be allowed.
pub(crate) const GRANTS: &[&str] = &["password", "refresh_token", "authorization_code", "client_credentials"];

/// Every grant that the identity server knows. An application can be allowed only those in
/// [`GRANTS`].
pub(crate) const KNOWN_GRANTS: &[&str] = &[
    "password",
    "refresh_token",
    "authorization_code",
    "client_credentials",
    "iwa:ntlm",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "urn:ietf:params:oauth:grant-type:saml2-bearer",
    "urn:ietf:params:oauth:grant-type:device_code",
];
