"""Runs the proxy against independent authorization servers.

    soak.py PROXY FOLDER [SERVER...]

PROXY is the built program. FOLDER has the Node servers with their packages. Each server goes
through the same life: a wrong password, revoked tokens, a changed password, and 30 times `kill -9`
under load. The run fails when a refused password is sent twice, or when a credential with a
password does not recover by itself.
"""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

HERE = Path(__file__).parent
KILLS = 30
#: The time in which a proxy must serve again. Generous: it is a limit, not a measurement.
PATIENCE = 20


def ask(method, url, body=None, headers=None):
    """Sends a request on its own connection. Returns status, headers and body."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    try:
        target = parts.path + ("?" + parts.query if parts.query else "")
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


class Server:
    """An authorization server and the API behind it."""

    def __init__(self, name, command, by_code=False):
        self.name, self.by_code = name, by_code
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self.url = next(line.strip() for line in self.process.stdout if line.startswith("http"))

    def stats(self):
        return json.loads(ask("GET", self.url + "/control/stats")[2])

    def control(self, what, body):
        status = ask("POST", f"{self.url}/control/{what}", body)[0]
        assert status == 204, f"{what}: {status}"

    def close(self):
        self.process.kill()
        self.process.wait()


class Proxy:
    """The proxy in front of a server. Its store survives restarts."""

    def __init__(self, program, server, folder, password="right", credentials=("default",)):
        self.program, self.folder = program, folder
        self.config = Path(folder, "proxy.toml")
        self.log = open(Path(folder, "log"), "ab")
        text = f"""
            [listen]
            address = "127.0.0.1:0"
            [admin]
            address = "unix:admin.sock"
            [upstream]
            url = "{server.url}"
            [oauth]
            token_url = "{server.url}/token"
            authorize_url = "{server.url}/auth"
            userinfo_url = "off"
            [store]
            path = "tokens"
        """
        grant = "authorization_code" if server.by_code else "password"
        for name in credentials:
            text += f"""
                [credentials.{name}]
                grant = "{grant}"
                client_id = "app"
                client_secret = "app-secret"
            """
            text += 'client_auth = "body"\n' if server.by_code else f'username = "alice"\npassword = "{password}"\n'
        self.config.write_text(text)
        self.config.chmod(0o600)
        self.process = None

    def start(self):
        command = [self.program, "serve", "--config", self.config]
        environment = {"PATH": os.environ["PATH"]}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=self.log, env=environment, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("vbc-proxy listening on "), f"it does not start, see {self.log.name}: {line!r}"
        self.url = line.split()[3]
        return self

    def get(self):
        """Returns status and body of one request."""
        status, _, body = ask("GET", self.url + "/api/me")
        return status, body

    def recovers(self):
        """Waits until a request succeeds. Returns the last response if none does."""
        end = time.monotonic() + PATIENCE
        while True:
            status, body = self.get()
            if status == 200 or "login needed" in body or time.monotonic() > end:
                return status, body
            time.sleep(0.1)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE + 30) == 0, f"it does not stop cleanly, see {self.log.name}"

    def log_in(self):
        """Logs in through the browser: follows the redirects, and opens the callback's URL."""
        command = [self.program, "login", "--no-browser", "--config", self.config]
        pipe = subprocess.PIPE
        login = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        seen = []
        url = None
        while url is None:
            line = login.stdout.readline() or login.stderr.readline()
            assert line, f"no address to visit: {seen}"
            seen.append(line)
            url = next((word for word in line.split() if "/auth?" in word), None)
        cookies = {}
        while not url.startswith("http://localhost:8081/callback"):
            sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
            status, headers, body = ask("GET", url, headers=sent)
            assert status in (302, 303), f"{url}: {status} {body}"
            for cookie in headers.get_all("Set-Cookie") or []:
                name, _, value = cookie.partition(";")[0].partition("=")
                cookies[name] = value
            url = urllib.parse.urljoin(url, headers["Location"])
        out, err = login.communicate(url + "\n", timeout=PATIENCE)
        assert login.returncode == 0, f"the login failed: {out}{err}"


class Load:
    """Sends some requests a second until it is stopped. Requests to a killed proxy may fail."""

    def __init__(self):
        self.target, self.statuses, self.going = None, {}, True
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while self.going:
            if (target := self.target) is not None:
                try:
                    status = target.get()[0]
                except OSError:
                    status = "no connection"
                except http.client.HTTPException:
                    status = "cut short"
                self.statuses[status] = self.statuses.get(status, 0) + 1
            time.sleep(0.03)

    def stop(self):
        self.going = False
        self.thread.join()
        return self.statuses


class Failed(Exception):
    pass


def check(truth, what):
    if not truth:
        raise Failed(what)


def wrong_password(program, server):
    """Expects one refused login, across restarts and across the credentials of one user."""
    for credentials in (("default",), ("default", "second", "third")):
        before = server.stats()["logins_refused"]
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(4):
                proxy = Proxy(program, server, folder, "wrong", credentials).start()
                for _ in range(5):
                    check(proxy.get()[0] == 503, "a refused password must be a 503")
                    time.sleep(0.4)
                proxy.kill()
        refused = server.stats()["logins_refused"] - before
        check(refused == 1, f"{len(credentials)} credentials: {refused} refused logins, not 1")
    print("  a wrong password: one refused login over 4 starts, also for 3 credentials of one user")


def revocations(proxy, server):
    server.control("revoke", "access")
    check(proxy.get()[0] == 200, "revoked access tokens must be replaced")
    server.control("revoke", "all")
    status, body = proxy.recovers()
    if server.by_code:
        check(status == 503 and "login needed" in body, f"without a password: login needed, not {status} {body}")
        proxy.log_in()
        status, body = proxy.recovers()
    check(status == 200, f"revoked refresh tokens must be replaced: {status} {body}")
    print("  revoked tokens: replaced" + (" by an interactive login" if server.by_code else ""))


def changed_password(program, proxy, server, folder):
    """Expects one refused login, and no other until the password is corrected."""
    before = server.stats()["logins_refused"]
    server.control("password", "changed")
    server.control("revoke", "all")
    for _ in range(3):
        for _ in range(5):
            check(proxy.get()[0] == 503, "a changed password must be a 503")
            time.sleep(0.4)
        proxy.stop()
        proxy.start()
    refused = server.stats()["logins_refused"] - before
    check(refused == 1, f"a changed password: {refused} refused logins, not 1")
    proxy.stop()
    proxy = Proxy(program, server, folder, "changed").start()
    status, body = proxy.recovers()
    check(status == 200, f"a corrected password must work: {status} {body}")
    print("  a changed password: one refused login over 3 starts, 200 once it is corrected")
    return proxy


def kills(proxy, server, seed):
    chance = random.Random(seed)
    before, logins = server.stats(), 0
    # Some kills then hit a proxy whose refresh token is spent, and whose new token has not arrived.
    server.control("delay", "0.5")
    load = Load()
    try:
        for _ in range(KILLS):
            load.target = proxy
            time.sleep(chance.uniform(0.1, 3.5))
            load.target = None
            proxy.kill()
            proxy.start()
            status, body = proxy.recovers()
            if server.by_code and status != 200:
                # The new refresh token may be lost with the process, and there is no password.
                check("login needed" in body, f"after kill -9: {status} {body}")
                logins += 1
                proxy.log_in()
                status, body = proxy.recovers()
            check(status == 200, f"after kill -9: {status} {body}")
    finally:
        statuses = load.stop()
        server.control("delay", "0")
    after = server.stats()
    check(401 not in statuses, f"a client has seen a 401: {statuses}")
    check(after["logins_refused"] == before["logins_refused"], "a login was refused")
    counts = ", ".join(f"{after[name] - before[name]} {name}" for name in after)
    interactive = f", {logins} interactive logins" if server.by_code else ""
    print(f"  {KILLS} kills: {counts}{interactive}; requests by status: {statuses}")


def live(program, server, seed):
    if not server.by_code:
        wrong_password(program, server)
    with tempfile.TemporaryDirectory() as folder:
        proxy = Proxy(program, server, folder).start()
        try:
            if server.by_code:
                check(proxy.get()[0] == 503, "nobody has logged in yet")
                proxy.log_in()
            check(proxy.recovers()[0] == 200, "the first request")
            revocations(proxy, server)
            if not server.by_code:
                proxy = changed_password(program, proxy, server, folder)
            kills(proxy, server, seed)
            proxy.stop()
        except Failed:
            print(Path(folder, "log").read_text()[-6000:])
            raise
        finally:
            proxy.process.kill()


def main():
    program, folder, *names = sys.argv[1:]
    seed = int(os.environ.get("VBC_PROXY_SEED", random.randrange(1 << 32)))
    print(f"VBC_PROXY_SEED={seed}")
    servers = {
        "django-oauth-toolkit": lambda name: Server(name, [sys.executable, HERE / "django_server.py"]),
        "authlib": lambda name: Server(name, [sys.executable, HERE / "authlib_server.py"]),
        "node-oauth2-server": lambda name: Server(name, ["node", f"{folder}/node_oauth2_server.mjs"]),
        "oidc-provider": lambda name: Server(name, ["node", f"{folder}/oidc_provider.mjs"], by_code=True),
    }
    failures = []
    for name in names or servers:
        print(f"== {name}", flush=True)
        server = servers[name](name)
        try:
            live(os.path.abspath(program), server, seed)
        except Failed as failure:
            print(f"  FAILED: {failure}")
            failures.append(name)
        finally:
            server.close()
    print(f"{len(names or servers) - len(failures)} passed, {len(failures)} failed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
