//! A request whose body has been received.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderName, Method};
use http_body_util::BodyExt;

use crate::fault::Subject;
use vbc_base::secret::{Secret, hex};

/// The most bytes of a body that are kept. A longer body is hashed, but its bytes are dropped.
const KEPT: usize = 1024 * 1024;
const API_LIMIT: u64 = 64 * 1024 * 1024;
const IDENTITY_LIMIT: u64 = 1024 * 1024;

/// The paths of the identity server. All others belong to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Issues tokens.
    Token,
    /// Shows the login page and issues codes.
    Authorize,
    /// Revokes tokens.
    Revoke,
    /// Describes the user of a token.
    UserInfo,
    /// The public keys of ID tokens.
    Keys,
    /// The metadata of OpenID Connect Discovery.
    Discovery,
}

impl Endpoint {
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/token" | "/t/vbc.prod/oauth2/token" => Some(Self::Token),
            "/authorize" | "/t/vbc.prod/oauth2/authorize" => Some(Self::Authorize),
            "/revoke" | "/t/vbc.prod/oauth2/revoke" => Some(Self::Revoke),
            "/userinfo" | "/t/vbc.prod/oauth2/userinfo" => Some(Self::UserInfo),
            "/oauth2/jwks" | "/t/vbc.prod/oauth2/jwks" => Some(Self::Keys),
            "/oauth2/token/.well-known/openid-configuration"
            | "/t/vbc.prod/oauth2/token/.well-known/openid-configuration" => Some(Self::Discovery),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Token => "/token",
            Self::Authorize => "/authorize",
            Self::Revoke => "/revoke",
            Self::UserInfo => "/userinfo",
            Self::Keys => "/oauth2/jwks",
            Self::Discovery => "/oauth2/token/.well-known/openid-configuration",
        }
    }
}

/// A request with its head, its body and, for identity endpoints, its form.
pub(crate) struct ReceivedRequest {
    pub(crate) head: Parts,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) body: Body,
    /// The form of a request to an identity endpoint. `None` if the body is not a form.
    pub(crate) form: Option<Form>,
}

impl ReceivedRequest {
    pub(crate) fn new(head: Parts, endpoint: Option<Endpoint>, body: Body) -> Self {
        let form = match endpoint {
            Some(_) if head.method == Method::POST => Form::read(&head, &body.data),
            _ => None,
        };
        Self { head, endpoint, body, form }
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(crate) fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn grant(&self) -> Option<&str> {
        match self.endpoint {
            Some(Endpoint::Token) => self.form.as_ref()?.value("grant_type"),
            _ => None,
        }
    }

    /// The credentials of an `Authorization` header with this scheme.
    pub(crate) fn authorization(&self, scheme: &str) -> Option<&str> {
        let (given, rest) = self.header(http::header::AUTHORIZATION)?.split_once(' ')?;
        let rest = rest.trim();
        (given.eq_ignore_ascii_case(scheme) && !rest.is_empty()).then_some(rest)
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            path: self.path(),
            endpoint: self.endpoint.map(Endpoint::name),
            method: self.head.method.as_str(),
            grant: self.grant(),
        }
    }
}

/// A received body: its content up to a limit, its length and its hash.
pub(crate) struct Body {
    pub(crate) data: Bytes,
    pub(crate) length: u64,
    pub(crate) sha256: String,
    /// Whether the body exceeded the limit, so that its rest was not read.
    pub(crate) too_long: bool,
}

impl Body {
    /// Reads a body until it ends, exceeds its limit, or has `enough` bytes. `None` if the client
    /// disconnects.
    pub(crate) async fn read<B>(
        mut incoming: B,
        endpoint: Option<Endpoint>,
        enough: Option<u64>,
    ) -> Option<Self>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        use aws_lc_rs::digest;
        let limit = if endpoint.is_some() { IDENTITY_LIMIT } else { API_LIMIT };
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut data = BytesMut::new();
        let mut length = 0_u64;
        let mut whole = true;
        let wanted = |length: u64| enough.is_none_or(|enough| length < enough);
        while wanted(length)
            && let Some(frame) = incoming.frame().await
        {
            let Ok(chunk) = frame.ok()?.into_data() else { continue };
            length += chunk.len() as u64;
            if length > limit {
                return Some(Self { data: Bytes::new(), length, sha256: String::new(), too_long: true });
            }
            hash.update(&chunk);
            whole &= data.len() + chunk.len() <= KEPT;
            if whole {
                data.extend_from_slice(&chunk);
            }
        }
        Some(Self { data: data.freeze(), length, sha256: hex(hash.finish().as_ref()), too_long: false })
    }
}

/// Form parameters in order. An empty parameter counts as absent, as at VBC.
pub(crate) struct Form(Vec<(String, Secret)>);

impl Form {
    fn read(head: &Parts, body: &[u8]) -> Option<Self> {
        let content_type = head.headers.get(http::header::CONTENT_TYPE);
        let content_type = content_type.map_or("", |value| value.to_str().unwrap_or("unreadable"));
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            "" | "application/x-www-form-urlencoded" => Some(Self::parse(body)),
            "application/json" => {
                let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).ok()?;
                let text = |value: serde_json::Value| value.as_str().map(Secret::new);
                Some(Self(
                    object.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect(),
                ))
            }
            _ => None,
        }
    }

    pub(crate) fn parse(text: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(text);
        Self(pairs.map(|(name, value)| (name.into_owned(), Secret::new(value))).collect())
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(given, _)| given == name)?;
        Some(value.expose()).filter(|value| !value.is_empty())
    }

    pub(crate) fn repeats(&self) -> bool {
        let mut seen = HashSet::with_capacity(self.0.len());
        self.0.iter().any(|(name, _)| !seen.insert(name.as_str()))
    }

    /// The parameters in `names` that have no value.
    pub(crate) fn missing<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        names.iter().copied().filter(|name| self.value(name).is_none()).collect()
    }
}
