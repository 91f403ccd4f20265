"""What the Python servers share: the one user, and counters of what was asked."""

import threading
import time

#: How long an access token lives, in seconds: short, so that refreshes are frequent.
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
        """Keeps a response of the token endpoint back, whose grant is spent by now."""
        time.sleep(self.delay)
