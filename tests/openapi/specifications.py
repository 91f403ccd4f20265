"""The specifications, with a reason for each correction where they differ from the service."""

import copy
import pathlib

import yaml

HERE = pathlib.Path(__file__).parent
FILES = {path.stem: path for path in [*sorted((HERE / "published").glob("*.yml")), HERE / "telephony.yml"]}

AN_ARRAY = "a list is answered by a list; the file says one object"
NOT_A_DATE = "times of day, as the documentation's own examples show"
NO_COLON = "its own examples have an offset without a colon, which is no RFC 3339 time"

# Specification, place, value, reason. `None` removes the member.
CORRECTIONS = [
    ("account", "components/parameters/AccountID/schema", {"type": "string"}, "it may be `self`"),
    ("extension", "components/schemas/OneExtension", {
        "type": "object",
        "properties": {
            "_links": {"type": "object", "properties": {"self": {"$ref": "#/components/schemas/SelfHref"}}},
            "_embedded": {
                "type": "object",
                "properties": {"extension": {"$ref": "#/components/schemas/EndUserRoute"}},
            },
        },
    }, "one extension is not in the guise of a list"),
    ("extension", "paths//api/accounts/{account_id}/extensions/{extension_number}/get/responses/200/content"
     "/application~json/schema", {"$ref": "#/components/schemas/OneExtension"}, "the same"),
    ("extension", "components/schemas/EndUserRouteEmbeddedObject/properties/data", {
        "type": "array", "items": {"$ref": "#/components/schemas/EndUserRoute"},
    }, AN_ARRAY),
    ("extension", "components/schemas/EndUserRoute/properties/external_id", {"type": "string"}, "newer"),
    ("vgis", "components/schemas/Webhook/properties/statistics/properties/lastSuccess", {"type": "string"},
     "the documentation has it"),
    *[(name, "components/schemas/Links/properties/last", {"$ref": "#/components/schemas/LastHref"},
       "forgotten, though its type is there") for name in ["extension", "user", "reports"]],
    *[("vgis", f"components/schemas/Webhook/properties/statistics/properties/{member}", {"type": "string"},
       "the same") for member in ["lastFailure", "lastFailureMessage", "lastHttpErrorCode", "lastErrorMessage"]],
    ("vgis", "components/schemas/Webhook/properties/renewedBy", {"type": "string"}, "the same"),
    ("extension", "components/schemas/BasicUser/properties/id", {"type": "number"}, "newer"),
    ("extension", "components/schemas/EndUserRoute/properties/service_type_name", {"type": "string"}, "newer"),
    ("reports", "components/schemas/CallLogsHalResponse/properties/total_pages", {"type": "number"}, "newer"),
    ("reports", "components/schemas/CallLog/properties/custom_tag", {"type": "string"}, "newer"),
    *[("vgis", f"components/schemas/{schema}/properties/{member}/format", None, NOT_A_DATE)
      for schema in ["Event", "Call"] for member in ["startTime", "answerTime", "endTime"]],
    *[("call-recording", f"components/schemas/{schema}/properties/{member}/format", None, NO_COLON)
      for schema, members in {
          "CompanyCallRecording": ["start", "end"], "OnDemandCallRecording": ["start", "end"],
          "ExportJob": ["valid_until"],
      }.items() for member in members],
]

# Responses that the files leave out.
PROBLEM = {"description": "what is wrong with the parameters"}
UNDOCUMENTED = {
    # The gateway sends this for a request without credentials, before any suite.
    "401": {"description": "refused by the gateway"},
    # The suites send this for another account or an unknown id.
    "404": {"description": "not found"},
    "400": PROBLEM,
}

# Members that are not always present: pages may have no neighbours, and calls may be unanswered.
OPTIONAL = {
    "first", "last", "prev", "next", "next_page", "next_page_uri", "previous_page_uri", "user", "answerTime", "endTime", "end_time",
    "smsData", "renewedAt", "renewedBy", "signingKey", "download_url", "valid_until", "lastSuccess", "callerId",
    "lastFailure", "lastFailureMessage", "lastHttpErrorCode", "lastErrorMessage", "service_type_name", "custom_tag",
    *(f"{side}_{member}" for side in ["source", "destination"]
      for member in ["device_name", "user_full_name", "user", "sip_id", "extension"]),
}


class Loader(yaml.SafeLoader):
    """Keeps times as written, since they are strings in JSON."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(name):
    """A specification, corrected."""
    specification = yaml.load(FILES[name].read_text(), Loader)
    for of, pointer, value, _ in CORRECTIONS:
        if of == name:
            correct(specification, pointer, value)
    for item in specification["paths"].values():
        for method, operation in item.items():
            if method in {"get", "put", "post", "delete"}:
                for status, response in UNDOCUMENTED.items():
                    operation["responses"].setdefault(status, copy.deepcopy(response))
    return specification


def correct(specification, pointer, value):
    # A path of the API starts with its own slash. In a media type, `~` stands for the slash.
    head, _, rest = pointer.partition("//")
    names = head.split("/")
    if rest:
        path, _, after = ("/" + rest).partition("/get/")
        names += [path, "get", *after.split("/")]
    names = [name.replace("~", "/") for name in names]
    for name in names[:-1]:
        specification = specification[name]
    if value is None:
        del specification[names[-1]]
    else:
        specification[names[-1]] = value


def strict(specification):
    """A strict copy: every specified member is required, except the optional ones, and no other
    member is allowed."""
    tighten(specification["components"]["schemas"])
    return specification


def tighten(schema):
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and "type" in schema:
            schema.setdefault("required", sorted(set(schema["properties"]) - OPTIONAL))
            schema["additionalProperties"] = False
            if not schema["required"]:
                del schema["required"]
        for value in schema.values():
            tighten(value)


def base(specification):
    """The path of the specification's server."""
    return "/" + specification["servers"][0]["url"].split("/", 3)[3]
