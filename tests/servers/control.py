"""Shared by the Python servers: the only user, and counters of requests."""

import threading
import time

#: The lifetime of an access token in seconds: short, so that refreshes are frequent.
LIFETIME = 4

USER = "alice@vbc.prod"


class State:
    def __init__(self):
        self.password = "right"
        self.delay = 0.0
        self.lock = threading.Lock()
        self.stats = {"logins": 0, "logins_refused": 0, "refreshes": 0, "refresh_reused": 0}

    def count(self, name):
        with self.lock:
            self.stats[name] += 1

    def login(self, username, password):
        good = username == USER and password == self.password
        self.count("logins" if good else "logins_refused")
        return good

    def hold_back(self):
        """Delays a response of the token endpoint after its grant is spent."""
        time.sleep(self.delay)
