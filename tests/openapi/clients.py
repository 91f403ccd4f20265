"""Generates a client from each specification with OpenAPI Generator, and calls every operation with
it. The clients parse every response into their models, and fail if a response does not fit."""

import importlib
import inspect
import json
import pathlib
import subprocess
import sys
import uuid

import flows
import specifications
from world import BASE, HEADERS

# The folder of generated clients.
FOLDER = pathlib.Path(sys.argv[4])
GENERATOR = pathlib.Path(sys.executable).parent / "openapi-generator-cli"


def generate(name):
    """Generates a client unless it exists. Returns its package and the specification."""
    package, path = "vbc_" + name.replace("-", "_"), FOLDER / f"{name}.json"
    specification = specifications.load(name)
    if not path.exists():
        path.write_text(json.dumps(specification))
        command = [str(GENERATOR), "generate", "-g", "python", "-i", str(path), "-o", str(FOLDER / name)]
        command += ["--package-name", package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{name}: {done.stdout}\n{done.stderr}")
    sys.path.insert(0, str(FOLDER / name))
    return importlib.import_module(package), specification


def plain(name):
    """A name in a form that does not depend on the naming convention."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def as_json(response):
    """A parsed model, converted back to JSON."""
    if hasattr(response, "to_dict"):
        response = response.to_dict()
    if isinstance(response, dict):
        return {key: as_json(value) for key, value in response.items()}
    if isinstance(response, list):
        return [as_json(one) for one in response]
    return str(response) if isinstance(response, uuid.UUID) else response


class Client:
    """A generated client, and its operations that have been called."""

    clients = {}

    def __init__(self, name):
        if name not in self.clients:
            self.clients[name] = generate(name)
        package, specification = self.clients[name]
        self.name = name
        configuration = package.Configuration(host=BASE + specifications.base(specification))
        client = package.ApiClient(configuration)
        client.default_headers.update(HEADERS)
        apis = [value(client) for key, value in vars(package).items() if key.endswith("Api")]
        operations = [
            operation["operationId"] for item in specification["paths"].values()
            for method, operation in item.items() if method in {"get", "put", "post", "delete"}
        ]
        methods = {plain(key): getattr(api, key) for api in apis for key in dir(api) if not key.startswith("_")}
        self.operations = {operation: methods[plain(operation)] for operation in operations}
        self.left = set(operations)

    def __call__(self, operation, query=None, body=None, **parameters):
        method = self.operations[operation]
        self.left.discard(operation)
        given = {plain(key): value for key, value in {**(query or {}), **parameters}.items()}
        arguments = {}
        for key in inspect.signature(method).parameters:
            if key.startswith("_"):
                continue
            if plain(key).removeprefix("var") in given:
                arguments[key] = given.pop(plain(key).removeprefix("var"))
            elif plain(key) in given:
                arguments[key] = given.pop(plain(key))
            elif body is not None and key not in given and is_model(method, key):
                arguments[key] = body
        assert not given, f"{self.name} {operation}: no parameter for {sorted(given)}"
        return as_json(method(**arguments))

    def done(self):
        assert not self.left, f"{self.name}: nobody called {sorted(self.left)}"
        print(self.name, len(self.operations), "operations")


def is_model(method, key):
    """Whether a parameter is a body. The others are strings, numbers and booleans."""
    return "models." in repr(inspect.signature(method).parameters[key].annotation)


flows.everything(Client)
