# with_requests.py BASE BODY JOB...
import sys

import requests

base, body, *jobs = sys.argv[1:]
users = base + "/t/vbc.prod/provisioning/api/accounts/self/users"
calls = base + "/t/vbc.prod/telephony/v3/cc/accounts/self/calls"
call = {"type": "click2dial", "from": {"destination": "1001"}, "to": {"destination": "15550100"}}


def pieces():
    with open(body, "rb") as file:
        while piece := file.read(9999):
            yield piece


def send(session, job):
    if job == "list":
        return session.get(users, params={"page_size": 3, "a": "/"})
    if job == "call":
        return session.post(calls, json=call)
    if job == "upload":
        # A generator is sent in chunks.
        return session.post(calls, data=pieces(), headers={"Content-Type": "application/json"})
    return session.get(users + "/999999")


with requests.Session() as session:
    for job in jobs:
        response = send(session, job)
        print(job, response.status_code, response.text)
