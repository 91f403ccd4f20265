"""An authorization server made with Authlib and Flask, and the API behind it.

Grants: password and refresh_token, with rotation. A wrong password gets `400 invalid_request` here.
"""

import os
import sys
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # loopback only

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from flask import Flask, jsonify, request

from control import LIFETIME, State

app = Flask(__name__)
state = State()
tokens = []


class Client(ClientMixin):
    client_id = "app"

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, redirect_uri):
        return False

    def check_client_secret(self, client_secret):
        return client_secret == "app-secret"

    def check_endpoint_auth_method(self, method, endpoint):
        return True

    def check_response_type(self, response_type):
        return False

    def check_grant_type(self, grant_type):
        return grant_type in ("password", "refresh_token")


class Token(TokenMixin):
    def __init__(self, token, user):
        self.access_token = token["access_token"]
        self.refresh_token = token["refresh_token"]
        self.scope = token.get("scope", "")
        self.expires_at = time.time() + token["expires_in"]
        self.user = user
        self.access_revoked = self.refresh_revoked = False

    def check_client(self, client):
        return True

    def get_scope(self):
        return self.scope

    def get_expires_in(self):
        return LIFETIME

    def is_expired(self):
        return time.time() >= self.expires_at

    def is_revoked(self):
        return self.access_revoked

    def get_user(self):
        return self.user

    def get_client(self):
        return Client()


class PasswordGrant(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]

    def authenticate_user(self, username, password):
        if state.login(username, password):
            return username
        return None


class RefreshTokenGrant(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        for token in tokens:
            if token.refresh_token == refresh_token:
                if token.refresh_revoked:
                    state.count("refresh_reused")
                    return None
                return token
        return None

    def authenticate_user(self, credential):
        return credential.user

    def revoke_old_credential(self, credential):
        credential.refresh_revoked = credential.access_revoked = True
        state.count("refreshes")


server = AuthorizationServer(
    app,
    query_client=lambda client_id: Client() if client_id == "app" else None,
    save_token=lambda token, request: tokens.append(Token(token, request.user)),
)
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"password": LIFETIME, "refresh_token": LIFETIME}
server.load_config(app.config)
server.init_app(app)
server.register_grant(PasswordGrant)
server.register_grant(RefreshTokenGrant)


@app.post("/token")
def token():
    response = server.create_token_response()
    state.hold_back()
    return response


@app.get("/api/<path:_>")
def api(_):
    presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
    for known in tokens:
        if known.access_token == presented and not known.is_revoked() and not known.is_expired():
            return jsonify(user=known.user)
    return jsonify(error="invalid_token"), 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}


@app.get("/control/stats")
def stats():
    return jsonify(state.stats)


@app.post("/control/password")
def password():
    state.password = request.get_data(as_text=True)
    return "", 204


@app.post("/control/delay")
def delay():
    state.delay = float(request.get_data(as_text=True))
    return "", 204


@app.post("/control/revoke")
def revoke():
    what = request.get_data(as_text=True)
    for token in tokens:
        token.access_revoked = True
        token.refresh_revoked = token.refresh_revoked or what == "all"
    return "", 204


if __name__ == "__main__":
    from werkzeug.serving import make_server

    listening = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"http://127.0.0.1:{listening.server_port}", flush=True)
    sys.stderr = open(os.devnull, "w")
    listening.serve_forever()
