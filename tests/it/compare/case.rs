//! One line of the tables: the bytes that are sent, and the expected outcome.

/// A placeholder for the number that identifies a case at the upstream. It has the length of its
/// replacement, so that lengths stay correct.
const NUMBER: &[u8] = b"case-000";

/// The expected outcome of the bytes of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// This many requests reach the upstream, and each gets its response.
    Passes(usize),
    /// This many good requests get their responses. Then this status follows, and the connection
    /// ends.
    Refused { after: usize, status: u16 },
    /// There is no response, because the client has disconnected.
    Silence,
}

/// Why this proxy differs from some peers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Why {
    /// The names of these peers.
    peers: &'static [&'static str],
    pub(super) reason: &'static str,
}

impl Why {
    /// The fault of a case that differs from these peers, if it does not name each. It may name
    /// others: what a peer does depends on its version, and sometimes on timing.
    pub(super) fn fault(self, differing: &[&str]) -> Option<String> {
        let missing: Vec<&str> =
            differing.iter().copied().filter(|name| !self.peers.contains(name)).collect();
        let fault = || format!("differs from {}, and the case does not say why", missing.join(", "));
        (!missing.is_empty()).then(fault)
    }
}

/// The bytes of one client connection.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) expected: Expected,
    /// The client closes its sending side after the bytes.
    pub(super) then_ends: bool,
    /// The body that must arrive with the first request.
    pub(super) body: Option<&'static [u8]>,
    /// Why this proxy differs from a peer. Required where it does.
    pub(super) why: Why,
}

impl Case {
    fn new(name: &'static str, bytes: impl AsRef<[u8]>, expected: Expected) -> Self {
        Self {
            name,
            bytes: bytes.as_ref().to_vec(),
            expected,
            then_ends: false,
            body: None,
            why: Why::default(),
        }
    }

    /// Says why this proxy differs from these peers.
    pub(super) fn because(mut self, peers: &'static [&'static str], reason: &'static str) -> Self {
        self.why = Why { peers, reason };
        self
    }

    pub(super) fn then_ends(mut self) -> Self {
        self.then_ends = true;
        self
    }

    pub(super) fn arrives(mut self, body: &'static [u8]) -> Self {
        self.body = Some(body);
        self
    }

    /// The bytes of case number `index`.
    pub(super) fn numbered(&self, index: usize) -> Vec<u8> {
        numbered(&self.bytes, index)
    }
}

/// One request that passes.
pub(super) fn passes(name: &'static str, bytes: impl AsRef<[u8]>) -> Case {
    Case::new(name, bytes, Expected::Passes(1))
}

/// Requests that pass, one after another.
pub(super) fn all_pass(name: &'static str, count: usize, bytes: impl AsRef<[u8]>) -> Case {
    Case::new(name, bytes, Expected::Passes(count))
}

/// One request that gets 400.
pub(super) fn refused(name: &'static str, bytes: impl AsRef<[u8]>) -> Case {
    refused_with(name, 400, bytes)
}

pub(super) fn refused_with(name: &'static str, status: u16, bytes: impl AsRef<[u8]>) -> Case {
    Case::new(name, bytes, Expected::Refused { after: 0, status })
}

/// A 400 after this many good requests.
pub(super) fn refused_after(name: &'static str, after: usize, bytes: impl AsRef<[u8]>) -> Case {
    Case::new(name, bytes, Expected::Refused { after, status: 400 })
}

pub(super) fn silent(name: &'static str, bytes: impl AsRef<[u8]>) -> Case {
    Case::new(name, bytes, Expected::Silence)
}

/// Replaces every placeholder with the number of a case.
fn numbered(bytes: &[u8], index: usize) -> Vec<u8> {
    let (mut bytes, number) = (bytes.to_vec(), format!("case-{index:03}"));
    let mut at = 0;
    while at + NUMBER.len() <= bytes.len() {
        if bytes[at..].starts_with(NUMBER) {
            bytes[at..at + NUMBER.len()].copy_from_slice(number.as_bytes());
        }
        at += 1;
    }
    bytes
}

/// The number of the case that these bytes belong to.
pub(super) fn number_in(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(5).position(|window| window == b"case-")?;
    std::str::from_utf8(bytes.get(at + 5..at + 8)?).ok()?.parse().ok()
}

/// The expected outcome of the bytes of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// The whole response.
    Whole { status: u16, body: &'static str },
    /// A 502 of the proxy.
    BadGateway,
    /// The head, without the end of its body.
    Cut,
}

/// The response of an upstream to one request.
pub(super) struct Response {
    pub(super) name: &'static str,
    /// The request's method and version.
    pub(super) request: (&'static str, &'static str),
    pub(super) bytes: Vec<u8>,
    pub(super) becomes: Becomes,
    /// The upstream ends the connection after the bytes.
    pub(super) then_ends: bool,
    pub(super) why: Why,
}

impl Response {
    pub(super) fn new(name: &'static str, bytes: impl AsRef<[u8]>, becomes: Becomes) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self { name, request: ("GET", "1.1"), bytes, becomes, then_ends: false, why: Why::default() }
    }

    pub(super) fn to(mut self, method: &'static str, version: &'static str) -> Self {
        self.request = (method, version);
        self
    }

    pub(super) fn then_ends(mut self) -> Self {
        self.then_ends = true;
        self
    }

    /// Says why this proxy differs from these peers.
    pub(super) fn because(mut self, peers: &'static [&'static str], reason: &'static str) -> Self {
        self.why = Why { peers, reason };
        self
    }
}

#[test]
fn a_case_names_each_peer_that_it_differs_from() {
    let why = Why { peers: &["nginx", "hyper"], reason: "a reason" };
    for differing in [&[][..], &["hyper"], &["nginx", "hyper"]] {
        assert_eq!(why.fault(differing), None, "{differing:?}");
    }
    let fault = why.fault(&["hyper", "Caddy"]);
    assert_eq!(fault.as_deref(), Some("differs from Caddy, and the case does not say why"));
}
