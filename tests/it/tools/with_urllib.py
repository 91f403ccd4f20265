# with_urllib.py BASE BODY JOB...
import sys
import urllib.error
import urllib.request

base, body, *jobs = sys.argv[1:]
users = base + "/t/vbc.prod/provisioning/api/accounts/self/users"
calls = base + "/t/vbc.prod/telephony/v3/cc/accounts/self/calls"
json = {"Content-Type": "application/json"}
call = b'{"type":"click2dial","from":{"destination":"1001"},"to":{"destination":"15550100"}}'


def request(job):
    if job == "list":
        return urllib.request.Request(users + "?page_size=3&a=%2F")
    if job == "call":
        return urllib.request.Request(calls, call, json)
    if job == "upload":
        # A file is sent in chunks.
        return urllib.request.Request(calls, open(body, "rb"), json)
    return urllib.request.Request(users + "/999999")


for job in jobs:
    try:
        response = urllib.request.urlopen(request(job))
    except urllib.error.HTTPError as error:
        response = error
    print(job, response.status, response.read().decode())
