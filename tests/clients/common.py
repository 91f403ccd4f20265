"""Shared by the Python programs: addresses, the demo identity, and requests without a library."""

import sys
from urllib.parse import parse_qs, urlsplit

import requests

IDENTITY, API, CONTROL = sys.argv[1:4]
CLIENT_ID, CLIENT_SECRET = "sim-client", "sim-secret"
USER, PASSWORD = "alice@vbc.prod", "sim-password"
CALLBACK = "http://localhost:8081/callback"
TOKEN, AUTHORIZE, REVOKE = (f"{IDENTITY}/{name}" for name in ("token", "authorize", "revoke"))
USERS = f"{API}/t/vbc.prod/provisioning/api/accounts/self/users"


def fault(**members):
    """Injects a fault into the simulator."""
    requests.post(f"{CONTROL}/__sim/faults", json=members).raise_for_status()


def stats():
    """The counters of the simulator."""
    return requests.get(f"{CONTROL}/__sim/stats").json()


def consent(url):
    """Follows an authorization URL as alice's browser does. Returns the URL of the callback."""
    response = requests.get(f"{url}&sim_user=alice", allow_redirects=False)
    assert response.status_code == 302, response.text
    location = response.headers["location"]
    assert "code" in parse_qs(urlsplit(location).query), location
    return location


def assert_dead(access_token):
    """Asserts that the identity server no longer accepts the token."""
    response = requests.get(f"{IDENTITY}/userinfo", headers={"Authorization": f"Bearer {access_token}"})
    assert response.status_code == 401, response.text


def assert_works(session):
    """Asserts that an API request of the library's session succeeds."""
    response = session.get(USERS)
    assert response.status_code == 200, response.text
    assert response.json()["_embedded"]["data"], response.text


def done(what):
    print(what, flush=True)
