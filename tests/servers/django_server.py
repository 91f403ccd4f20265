"""An authorization server made with django-oauth-toolkit, and the API behind it.

Grants: password and refresh_token, with rotation and reuse protection.
"""

import json
import os
import sys
import tempfile
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

from control import LIFETIME, USER, State

state = State()
folder = tempfile.TemporaryDirectory()

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="only for tests on loopback",
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(folder.name, "db"),
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    },
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend"],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    LOGGING_CONFIG=None,
    OAUTH2_PROVIDER={
        "ACCESS_TOKEN_EXPIRE_SECONDS": LIFETIME,
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "SCOPES": {"openid": "all"},
        "DEFAULT_SCOPES": ["openid"],
    },
)
django.setup()

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path, re_path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from oauth2_provider.models import AccessToken, Application, RefreshToken
from oauth2_provider.views import TokenView


@csrf_exempt
def token(request):
    kind = request.POST.get("grant_type")
    spent = kind == "refresh_token" and RefreshToken.objects.filter(
        token=request.POST.get("refresh_token"), revoked__isnull=False
    ).exists()
    response = TokenView.as_view()(request)
    good = response.status_code == 200
    if kind == "password":
        state.count("logins" if good else "logins_refused")
    elif good:
        state.count("refreshes")
    elif spent:
        state.count("refresh_reused")
    state.hold_back()
    return response


def api(request, _):
    presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
    known = AccessToken.objects.filter(token=presented, expires__gt=timezone.now()).first()
    if known is None:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        return JsonResponse({"error": "invalid_token"}, status=401, headers=headers)
    return JsonResponse({"user": known.user.username})


def stats(request):
    return JsonResponse(state.stats)


@csrf_exempt
def password(request):
    user = User.objects.get(username=USER)
    user.set_password(request.body.decode())
    user.save()
    return HttpResponse(status=204)


@csrf_exempt
def delay(request):
    state.delay = float(request.body)
    return HttpResponse(status=204)


@csrf_exempt
def revoke(request):
    if request.body == b"all":
        for known in RefreshToken.objects.filter(revoked__isnull=True):
            known.revoke()
    AccessToken.objects.all().delete()
    return HttpResponse(status=204)


urlpatterns = [
    path("token", token),
    re_path("^api/(.*)$", api),
    path("control/stats", stats),
    path("control/password", password),
    path("control/delay", delay),
    path("control/revoke", revoke),
]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    user = User.objects.create_user(USER, password="right")
    Application.objects.create(
        name="app",
        client_id="app",
        client_secret="app-secret",
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_PASSWORD,
        user=user,
    )
    listening = make_server("127.0.0.1", 0, get_wsgi_application(), Server, Quiet)
    print(f"http://127.0.0.1:{listening.server_port}", flush=True)
    sys.stderr = open(os.devnull, "w")
    listening.serve_forever()
