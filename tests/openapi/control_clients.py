"""Generates clients from the control plane's own description with two generators, and injects every
fault with each client. Faults are typed: a client rejects a fault without a required parameter."""

import datetime
import enum
import importlib
import json
import pathlib
import subprocess
import sys
import typing
import urllib.request

CONTROL, FOLDER = sys.argv[3], pathlib.Path(sys.argv[4])
TOOLS = pathlib.Path(sys.executable).parent

with urllib.request.urlopen(f"{CONTROL}/__sim/openapi.json") as response:
    DOCUMENT = json.load(response)
SCHEMAS = DOCUMENT["components"]["schemas"]
FAULTS = {
    fault: reference.rsplit("/", 1)[1]
    for fault, reference in SCHEMAS["Fault"]["discriminator"]["mapping"].items()
}

# Values that change something in a fresh simulator.
VALUES = {
    "seconds": 60, "existing": True, "mode": "renew_keep", "state": "alive", "user": "alice@vbc.prod",
    "keep_tokens": True, "password": "another-password", "sso": True, "client_id": "sim-client",
    "secret": "another-secret", "allowed": False, "suite": "vis", "per_minute": 3, "status": 500,
    "time": datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc), "retry_after": "date", "body": "{}",
    "content_type": "text/plain", "location": "/elsewhere", "millis": 5, "bytes_per_second": 1000, "bytes": 3,
    "requests": 2, "field": "expires_in", "value": "x", "path": "/nothing", "endpoint": "api", "method": "GET",
    "grant": "password", "after": 1, "count": 2, "lasts": "1h", "probability": 0.5, "seed": 7,
}
# Faults with a one-time effect. The simulator never lists them as active.
DONE = {
    "revoke_all_access", "revoke_all_refresh", "rotate_signing_kid", "unlock_user", "change_password",
    "regenerate_secret", "resubscribe",
}
LISTED_AS = {"reports_token_age_limit": "token_age_limit"}


def command(name, *arguments):
    done = subprocess.run([str(TOOLS / name), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name}: {done.stdout}\n{done.stderr}")


class Generated:
    """OpenAPI Generator's client: pydantic models."""

    def __init__(self, description):
        command("openapi-generator-cli", "generate", "-g", "python", "-i", description, "-o", str(FOLDER / "one"),
                "--package-name", "control_one")
        sys.path.insert(0, str(FOLDER / "one"))
        self.package = importlib.import_module("control_one")
        client = self.package.ApiClient(self.package.Configuration(host=CONTROL))
        self.api = self.package.DefaultApi(client)

    def fault(self, schema, values):
        return getattr(self.package, schema)(**values)

    def inject(self, fault):
        body = self.package.FaultOrList(self.package.Fault(fault))
        injected = self.api.post_sim_faults(body)
        return injected[0].id, injected[0].fault

    def in_force(self):
        return {one.id: one.fault for one in self.api.get_sim_faults()}

    def remove(self, number):
        self.api.delete_sim_faults_id(number)

    def reset(self):
        assert self.api.post_sim_reset().status == "reset"


class Attributes:
    """openapi-python-client's client: attrs models, and its own enumerations."""

    def __init__(self, description):
        command("openapi-python-client", "generate", "--path", description, "--output-path",
                str(FOLDER / "two" / "control_two"), "--meta", "none")
        sys.path.insert(0, str(FOLDER / "two"))
        self.models = importlib.import_module("control_two.models")
        self.client = importlib.import_module("control_two").Client(base_url=CONTROL)

    def call(self, operation, **arguments):
        module = importlib.import_module(f"control_two.api.default.{operation}")
        response = module.sync_detailed(client=self.client, **arguments)
        assert response.status_code < 300, response
        return response.parsed

    def fault(self, schema, values):
        model = getattr(self.models, schema)
        hints = typing.get_type_hints(model)
        # A keyword of Python gets an underscore.
        named = {name if name in hints else f"{name}_": value for name, value in values.items()}
        return model(**{name: typed(hints[name], value) for name, value in named.items()})

    def inject(self, fault):
        injected = self.call("post_sim_faults", body=fault)
        return injected[0].id, injected[0].fault

    def in_force(self):
        return {one.id: one.fault for one in self.call("get_sim_faults")}

    def remove(self, number):
        self.call("delete_sim_faults_id", id=number)

    def reset(self):
        assert self.call("post_sim_reset").status == "reset"


def typed(hint, value):
    """A word as the model's enumeration."""
    for one in typing.get_args(hint) or (hint,):
        if isinstance(one, type) and issubclass(one, enum.Enum):
            return one(value)
    return value


def is_refused(client, schema, values):
    try:
        client.fault(schema, values)
    except (TypeError, ValueError):
        return True
    return False


def try_fault(client, fault, schema):
    described = SCHEMAS[schema]
    assert "fault" in described["required"] and described["properties"]["fault"]["enum"] == [fault]
    everything = {"fault": fault, **{name: VALUES[name] for name in described["properties"] if name != "fault"}}
    least = {name: everything[name] for name in described["required"]}
    for name in described["required"]:
        less = {key: value for key, value in least.items() if key != name}
        assert is_refused(client, schema, less), f"{fault}: {name} may be left out"
    for name, member in described["properties"].items():
        if "enum" in member:
            assert is_refused(client, schema, {**least, name: "neither"}), f"{fault}: {name} takes any word"
    for values in [least, everything]:
        client.reset()
        number, name = client.inject(client.fault(schema, values))
        assert name == fault, (name, fault)
        if fault not in DONE:
            assert client.in_force().get(number) == LISTED_AS.get(fault, fault), f"{fault}: {client.in_force()}"
            client.remove(number)
        assert client.in_force() == {}, f"{fault}: {client.in_force()}"


def everything():
    description = FOLDER / "control.json"
    description.write_text(json.dumps(DOCUMENT))
    for client in [Generated(str(description)), Attributes(str(description))]:
        for fault, schema in FAULTS.items():
            try_fault(client, fault, schema)
        print(type(client).__name__, len(FAULTS), "faults")


everything()
