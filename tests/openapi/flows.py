"""Valid requests to every operation, in an order in which every requested resource exists."""

import io
import time
import urllib.parse
import zipfile

from world import get, ring


def provisioning(begin):
    account = begin("account")
    own = account("AccountCtrl.getAccountServicesByAccountID", account_id="self")["_embedded"]["data"]
    here = {"account_id": str(own["id"])}
    location = account("AccountCtrl.getLocationsByAccountID", **here)["_embedded"]["data"][0]
    account("AccountCtrl.getLocationByID", location_id=location["id"], **here)
    account.done()
    user = begin("user")
    users = user("UserCtrl.getUsers", query={"page": 2, "page_size": 5}, **here)["_embedded"]["data"]
    assert len(users) == 5
    found = user("UserCtrl.getUsers", query={"login_name": "alice"}, **here)["_embedded"]["data"]
    user("UserCtrl.getUserByID", user_id=found[0]["id"], **here)
    user.done()
    extension = begin("extension")
    everybody = extension("ExtensionCtrl.getAccountExtensions", query={"page_size": 100}, **here)
    assert any("user" not in one for one in everybody["_embedded"]["data"]), "a room is nobody's"
    extension("ExtensionCtrl.getAccountExtensionByID", extension_number=1001, **here)
    extension.done()
    return str(own["id"]), str(found[0]["id"])


def reports(begin):
    walk = begin("reports")
    always = {"start:gte": "2000-01-01 00:00:00", "start:lte": "2100-01-01 00:00:00"}
    page = walk("getCallLogs", query={**always, "page": 1, "page_size": 50}, account_id="self")
    assert page["total_items"] > 50 and len(page["_embedded"]["call_logs"]) == 50
    walk.done()


def recording(begin, account, user):
    walk = begin("call-recording")
    company = walk("getCCRecordings", query={"order": "start:ASC"}, account_id=account)["_embedded"]["recordings"]
    walk("getCCRecording", account_id="self", recording_id=str(company[0]["id"]))
    walk("getODCRecordings", account_id=account, user_id=user)
    users = begin("user")("UserCtrl.getUsers", query={"page_size": 100}, account_id=account)["_embedded"]["data"]
    # A user who records on demand.
    for somebody in (str(one["id"]) for one in users):
        theirs = walk("getODCRecordings", account_id=account, user_id=somebody)["_embedded"]["recordings"]
        if theirs:
            break
    walk("getODCRecording", account_id=account, user_id=somebody, recording_id=str(theirs[0]["id"]))
    jobs = walk("createCCRExportJob", account_id=account, body={"call_id": company[0]["call_id"]})["job_ids"]
    walk("createODCRExportJob", account_id=account, user_id="self", body={})
    walk("getCCRExportJobs", account_id=account, user_id=user, query={"status": "in_progress"})
    job = until(lambda: walk("getCCRExportJob", account_id=account, user_id="self", job_id=jobs[0]))
    assert walk("getCCRExportJobs", account_id=account, user_id=user)["total_items"] == 2
    audio = get(path_of(company[0]["download_url"]))
    assert len(audio) == company[0]["file_size_in_bytes"] and b"\xff\xfb" in audio[:400]
    with zipfile.ZipFile(io.BytesIO(get(path_of(job["download_url"])))) as archive:
        assert archive.testzip() is None
        assert archive.read(company[0]["file_name"]) == audio
    walk("deleteCCRecording", account_id=account, recording_id=str(company[-1]["id"]))
    walk("deleteODCRecording", account_id=account, user_id=somebody, recording_id=str(theirs[0]["id"]))
    walk.done()


def until(ask):
    """Waits until an export job is complete."""
    while True:
        job = ask()
        if job["status"] == "complete":
            return job
        time.sleep(0.05)


def path_of(url):
    parts = urllib.parse.urlsplit(url)
    return parts.path + ("?" + parts.query if parts.query else "")


def telephony(begin, account):
    walk = begin("telephony")
    here = {"account_id": account}
    ours = {"type": "extension", "destination": "1001"}
    body = {"type": "click2dial", "from": ours, "to": {"type": "pstn", "destination": "14155550100"}}
    call = {**here, "call_id": walk("placeCall", body=body, **here)}
    assert walk("listCalls", query={"extension": "1001"}, **here)["calls"][0]["call_id"] == call["call_id"]
    walk("listCalls", query={"start_time": 1, "page_size": 3}, **here)
    legs = [{**call, "leg_id": leg["leg_id"]} for leg in walk("listLegs", **call)]
    for body in [
        {"dtmf": "*123#"}, {"state": "held"}, {"state": "active"}, {"stream": False},
        {"recording": "start", "service": "ocr"}, {"recording": "stop", "service": "ocr"},
    ]:
        walk("changeLeg", body=body, **legs[0])
    walk("getLeg", **legs[0])
    walk("changeCall", body={"from": ours, "to": {"type": "extension", "destination": "1002"}}, **call)
    walk("getCall", **call)
    walk("endCall", **call)
    body = {"type": "click2dial", "from": ours, "to": {"type": "extension", "destination": "1002"}}
    other = {**here, "call_id": walk("placeCall", body=body, **here)}
    walk("endLeg", leg_id=walk("listLegs", **other)[0]["leg_id"], **other)
    device = walk("listDevices", query={"order": "asc"}, **here)["devices"][0]
    walk("getDevice", device_id=device["mac_address"], **here)
    walk.done()


def platform(begin):
    walk = begin("vgis")
    walk("getUser")
    walk("getAccount")
    hook = walk("createWebhook", body={
        "url": "http://127.0.0.1:9/hook", "events": ["CALL"], "signingAlgo": "HMAC_SHA256", "signingKey": "key",
        "metadataPolicy": "HEADER",
    })
    assert walk("listWebhooks")[0]["id"] == hook["id"]
    walk("viewWebhook", id=hook["id"])
    walk("renewWebhook", id=hook["id"])
    walk("destroyWebhook", id=hook["id"])
    call = walk("createCall", body={"phoneNumber": "14155550100"})[0]
    one = {"id": str(call["id"])}
    assert walk("listCalls", query={"direction": "OUTBOUND", "states": "ACTIVE", "size": 5})
    assert walk("getCallsCount") == {"count": 1}
    walk("getRoles", **one)
    walk("callHold", **one)
    walk("callUnold", **one)
    walk("callTransfer", body={"phoneNumber": "1002"}, **one)
    # One call from outside is answered, and another goes to voicemail.
    for path in ["callAnswer", "callVMTransfer"]:
        ring()
        ringing = walk("listCalls", query={"states": "RINGING"})[0]
        walk(path, id=str(ringing["id"]))
    last = walk("createCall", body={"phoneNumber": "1003"})[0]
    walk("destroyCall", id=str(last["id"]))
    assert walk("listEvents", query={"order": "DESC", "size": 3})[0]["id"] == last["id"]
    walk("getEventsCount")
    walk("getEvent", id=str(last["id"]))
    walk.done()


def everything(begin):
    """Calls every operation. `begin(NAME)` returns a function that calls operations of a
    specification, and knows which ones are left."""
    account, user = provisioning(begin)
    reports(begin)
    recording(begin, account, user)
    telephony(begin, account)
    platform(begin)
