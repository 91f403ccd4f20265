"""Generates valid and invalid requests from each schema with Schemathesis. No response may be a
server error, and every response must match the schema."""

import json
import pathlib
import subprocess
import sys
import tempfile

import specifications
from world import BASE, HEADERS, HOW, get

# The number of random requests for each operation. Other requests cover every parameter.
EXAMPLES = 8 if HOW == "direct" else 2
CHECKS = ["not_a_server_error", "response_schema_conformance", "content_type_conformance"]
if HOW == "direct":
    # Only without the proxy: no schema describes the statuses of the proxy's own refusals.
    CHECKS.append("status_code_conformance")


def known():
    """Parameters of existing resources."""
    page = json.loads(get("/t/vbc.prod/call_recording/api/accounts/self/company_call_recordings"))
    users = json.loads(get("/t/vbc.prod/provisioning/api/accounts/self/users"))
    locations = json.loads(get("/t/vbc.prod/provisioning/api/accounts/self/locations"))
    return {
        "path.account_id": "self",
        "path.location_id": locations["_embedded"]["data"][0]["id"],
        "path.extension_number": 1001,
        "path.recording_id": page["_embedded"]["recordings"][0]["id"],
        "path.user_id": users["_embedded"]["data"][0]["id"],
    }


def run(name, folder, parameters):
    specification = specifications.load(name)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(specification))
    config = folder / "schemathesis.toml"
    lines = [f'"{name}" = {json.dumps(value)}' for name, value in parameters.items()]
    config.write_text("[parameters]\n" + "\n".join(lines) + "\n")
    command = [
        str(pathlib.Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "--no-color",
        "run", str(path), "--url", BASE + specifications.base(specification), "--checks", ",".join(CHECKS),
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1", "--generation-database", "none",
        "--warnings", "off", "--suppress-health-check", "all",
    ]
    for header, value in HEADERS.items():
        command += ["--header", f"{header}: {value}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name}:\n{done.stdout[-20000:]}\n{done.stderr}")
    tested = [line for line in done.stdout.splitlines() if "generated" in line]
    print(name, *tested)


with tempfile.TemporaryDirectory() as folder:
    for specification in specifications.FILES:
        run(specification, pathlib.Path(folder), known())
