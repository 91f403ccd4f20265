"""Calls every operation of every specification for an existing resource, and checks each response
against the schema."""

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance, response_schema_conformance, status_code_conformance,
)

import flows
import specifications
from world import BASE, HEADERS

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]


class Walk:
    """A specification, and its operations that have been called."""

    def __init__(self, name):
        specification = specifications.strict(specifications.load(name))
        self.name, self.base = name, BASE + specifications.base(specification)
        self.schema = schemathesis.openapi.from_dict(specification)
        self.operations = {
            operation.ok().definition.raw["operationId"]: operation.ok()
            for operation in self.schema.get_all_operations()
        }
        self.left = set(self.operations)

    def __call__(self, operation, query=None, body=None, **parameters):
        asked = self.operations[operation]
        self.left.discard(operation)
        more = {} if body is None else {"body": body, "media_type": "application/json"}
        case = asked.Case(path_parameters=parameters, query=query or {}, headers=dict(HEADERS), **more)
        response = case.call(base_url=self.base)
        assert 200 <= response.status_code < 300, f"{self.name} {operation}: {response.status_code} {response.text}"
        case.validate_response(response, checks=CHECKS)
        return response.json() if response.content and "json" in response.headers["content-type"][0] else response.text

    def done(self):
        assert not self.left, f"{self.name}: nobody asked for {sorted(self.left)}"
        print(self.name, len(self.operations), "operations")


flows.everything(Walk)
