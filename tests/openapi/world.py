"""Target and login. With `BASE direct CONTROL` this program logs in and sends the token; with
`BASE proxy CONTROL` the proxy does. `CONTROL` is the simulator's control plane."""

import json
import sys
import urllib.parse
import urllib.request

BASE, HOW, CONTROL = sys.argv[1:4]
LOGIN = {
    "grant_type": "password", "scope": "openid", "username": "alice@vbc.prod", "password": "sim-password",
    "client_id": "sim-client", "client_secret": "sim-secret",
}


def token():
    """A bearer, or `None` if the proxy adds it."""
    if HOW == "proxy":
        return None
    form = urllib.parse.urlencode(LOGIN).encode()
    with urllib.request.urlopen(f"{BASE}/token", form) as response:
        return json.load(response)["access_token"]


TOKEN = token()
HEADERS = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}


def get(path):
    """The body of a response with any status."""
    request = urllib.request.Request(BASE + path, headers=HEADERS)
    with urllib.request.urlopen(request) as response:
        return response.read()


def ring():
    """Places a call to Alice from outside."""
    body = json.dumps({"to": "1001", "from": "14155550177"}).encode()
    urllib.request.urlopen(f"{CONTROL}/__sim/calls", body).close()
