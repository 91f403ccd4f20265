"""authlib's session for requests: every grant, automatic renewal, an ID token, revocation."""

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet

from common import (
    API, AUTHORIZE, CALLBACK, CLIENT_ID, CLIENT_SECRET, IDENTITY, PASSWORD, REVOKE, TOKEN, USER,
    assert_works, assert_dead, consent, done, fault, stats,
)

renewed = []


def session(method):
    return OAuth2Session(
        CLIENT_ID, CLIENT_SECRET, scope="openid", redirect_uri=CALLBACK, token_endpoint=TOKEN,
        token_endpoint_auth_method=method,
        update_token=lambda token, **old: renewed.append((token, old)),
    )


for method in ("client_secret_basic", "client_secret_post"):
    client = session(method)
    first = client.fetch_token(TOKEN, username=USER, password=PASSWORD, grant_type="password")
    assert first["expires_in"] > 0 and first["scope"] == "openid", first
    assert_works(client)
    done(f"{method} password")

    second = client.refresh_token(TOKEN)
    assert second["refresh_token"] != first["refresh_token"]
    assert_works(client)
    try:
        client.refresh_token(TOKEN, refresh_token=first["refresh_token"])
        raise SystemExit("a refresh token was taken twice")
    except OAuthError as error:
        assert error.error == "invalid_grant", error
    done(f"{method} refresh")

    metadata = requests.get(f"{IDENTITY}/t/vbc.prod/oauth2/token/.well-known/openid-configuration").json()
    url, state = client.create_authorization_url(AUTHORIZE, nonce="n-0S6_WzA2Mj")
    token = client.fetch_token(TOKEN, authorization_response=consent(url), state=state)
    keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"]).json())
    decoded = jwt.decode(token["id_token"], keys, algorithms=["RS256"])
    claims = CodeIDToken(
        decoded.claims, decoded.header,
        {"iss": {"essential": True, "value": metadata["issuer"]}, "aud": {"essential": True, "value": CLIENT_ID}},
        {"nonce": "n-0S6_WzA2Mj", "client_id": CLIENT_ID, "access_token": token["access_token"]},
    )
    claims.validate()
    assert claims["at_hash"] and claims["eClaims"]["accountNumber"] == "12345", claims
    assert_works(client)
    done(f"{method} code")

    # The library counts the token as expired and renews it. The service has revoked it too.
    before = stats()["refreshes"]["ok"]
    fault(fault="expires_in_as", value=-1, endpoint="token", count=1)
    old = client.fetch_token(TOKEN, username=USER, password=PASSWORD, grant_type="password")
    fault(fault="revoke_all_access")
    renewed.clear()
    assert_works(client)
    [(new, replaced)] = renewed
    assert new["access_token"] != old["access_token"]
    assert replaced["refresh_token"] == old["refresh_token"]
    # Through the proxy, the proxy's own token was renewed too.
    assert stats()["refreshes"]["ok"] - before == (1 if API == IDENTITY else 2), stats()
    done(f"{method} renewal")

    response = client.revoke_token(REVOKE, token=new["access_token"], token_type_hint="access_token")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert_dead(new["access_token"])
    done(f"{method} revocation")

own = OAuth2Session(CLIENT_ID, CLIENT_SECRET, scope="openid")
assert "refresh_token" not in own.fetch_token(TOKEN, grant_type="client_credentials")
done("client credentials")
