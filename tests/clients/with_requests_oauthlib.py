"""requests-oauthlib: password and code, automatic renewal, revocation."""

import os

import requests
from oauthlib.oauth2 import BackendApplicationClient, InvalidGrantError, LegacyApplicationClient
from requests.auth import HTTPBasicAuth

# Loopback has no TLS, which the library allows only with this variable.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

from requests_oauthlib import OAuth2Session

from common import (
    API, AUTHORIZE, CALLBACK, CLIENT_ID, CLIENT_SECRET, IDENTITY, PASSWORD, REVOKE, TOKEN, USER,
    assert_works, assert_dead, consent, done, fault, stats,
)

CREDENTIALS = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
LOGIN = {"username": USER, "password": PASSWORD}

for in_body in (False, True):
    how = "body" if in_body else "basic"
    credentials = {"include_client_id": True, "client_secret": CLIENT_SECRET} if in_body else {
        "auth": HTTPBasicAuth(CLIENT_ID, CLIENT_SECRET)}
    client = OAuth2Session(client=LegacyApplicationClient(CLIENT_ID, scope=["openid"]))
    first = client.fetch_token(TOKEN, **LOGIN, **credentials)
    assert_works(client)
    done(f"{how} password")

    second = client.refresh_token(TOKEN, **CREDENTIALS)
    assert second["refresh_token"] != first["refresh_token"]
    assert_works(client)
    try:
        client.refresh_token(TOKEN, refresh_token=first["refresh_token"], **CREDENTIALS)
        raise SystemExit("a refresh token was taken twice")
    except InvalidGrantError as error:
        assert error.description == "Persisted access token data not found", error
    done(f"{how} refresh")

    client = OAuth2Session(CLIENT_ID, redirect_uri=CALLBACK, scope=["openid"])
    url, _ = client.authorization_url(AUTHORIZE, nonce="n")
    token = client.fetch_token(TOKEN, authorization_response=consent(url), **credentials)
    assert token["id_token"]
    assert_works(client)
    done(f"{how} code")

    renewed = []
    client = OAuth2Session(
        client=LegacyApplicationClient(CLIENT_ID, scope=["openid"]), auto_refresh_url=TOKEN,
        auto_refresh_kwargs=CREDENTIALS, token_updater=renewed.append)
    before = stats()["refreshes"]["ok"]
    fault(fault="expires_in_as", value=-1, endpoint="token", count=1)
    old = client.fetch_token(TOKEN, **LOGIN, **credentials)
    old = dict(old)
    fault(fault="revoke_all_access")
    assert_works(client)
    [new] = renewed
    assert new["access_token"] != old["access_token"] and new["refresh_token"] != old["refresh_token"]
    # Through the proxy, the proxy's own token was renewed too.
    assert stats()["refreshes"]["ok"] - before == (1 if API == IDENTITY else 2), stats()
    done(f"{how} renewal")

    url, headers, body = client._client.prepare_token_revocation_request(
        REVOKE, new["refresh_token"], "refresh_token")
    response = requests.post(url, headers=headers, data=body, auth=HTTPBasicAuth(CLIENT_ID, CLIENT_SECRET))
    assert response.status_code == 200 and response.content == b"", response.text
    assert response.headers["cache-control"] == "no-store"
    assert_dead(new["access_token"])
    done(f"{how} revocation")

own = OAuth2Session(client=BackendApplicationClient(CLIENT_ID, scope=["openid"]))
assert "refresh_token" not in own.fetch_token(TOKEN, auth=HTTPBasicAuth(CLIENT_ID, CLIENT_SECRET))
done("client credentials")
