"""Judges messages of a server by the official JSON Schema of their protocol revision.

The schema files are shared test data, REVISION.json each (see data_dir in conftest.py); where they
are not at hand the models of the official SDK judge instead, which know less: they have no tasks.
"""

import functools
import json
import os
from pathlib import Path

import mcp_types.methods
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

HERE = Path(__file__).parent
DATA = Path(os.environ.get("MCPGW_DATA") or HERE.parents[1] / "shared" / "data") / "mcp-schema"
LATEST_LEGACY, MODERN = "2025-11-25", "2026-07-28"
REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", LATEST_LEGACY, MODERN)
# Methods of the Tasks extension and what answers them.
EXTENSION = {
    "tasks/get": "GetTaskResult",
    "tasks/update": "TaskAcknowledgement",
    "tasks/cancel": "TaskAcknowledgement",
}
# Errors whose data has a form of its own.
ERRORS = {
    LATEST_LEGACY: {-32042: "URLElicitationRequiredError"},
    MODERN: {
        -32020: "HeaderMismatchError",
        -32021: "MissingRequiredClientCapabilityError",
        -32022: "UnsupportedProtocolVersionError",
    },
}


def first(errors):
    """The first of jsonschema's errors as text, the most telling one inside an anyOf; or None."""
    for error in errors:
        while error.context:
            error = max(error.context, key=lambda inner: len(inner.absolute_path))
        return f"{error.json_path}: {error.message[:200]}"
    return None


class Official:
    """One revision by its schema file."""

    def __init__(self, revision):
        self.revision = revision
        self.schema = json.loads((DATA / f"{revision}.json").read_text())
        self.key = "$defs" if "$defs" in self.schema else "definitions"
        self.defs = self.schema[self.key]
        self.requests = self._methods("ClientRequest")  # method -> name of the definition
        self.asked = self._methods("ServerRequest")
        self.notifications = self._methods("ServerNotification")
        self._extension = None

    def _methods(self, union):
        names = [
            row["$ref"].rpartition("/")[2] for row in self.defs.get(union, {}).get("anyOf", ())
        ]
        return {self.defs[name]["properties"]["method"]["const"]: name for name in names}

    @functools.cached_property
    def _validators(self):
        return {}

    def fault(self, name, value):
        """What is wrong with value as an instance of a definition: text, or None."""
        validator = self._validators.get(name)
        if validator is None:
            kind = Draft202012Validator if self.key == "$defs" else Draft7Validator
            reference = {"$ref": f"#/{self.key}/{name}", self.key: self.defs}
            validator = self._validators[name] = kind(reference)
        return first(validator.iter_errors(value))

    def result(self, method, result):
        """What is wrong with the result of a request."""
        if self.revision == MODERN:
            if method in EXTENSION:
                return extension(EXTENSION[method], result)
            kind = result.get("resultType")
            if kind == "task" and method == "tools/call":
                return extension("CreateTaskResult", result)
            if kind == "input_required":
                return self._input_required(method, result)
            if kind != "complete":
                return f"resultType is {kind!r}"
        if method not in self.requests:
            return f"{method} is no method of {self.revision}"
        name = self.requests[method].removesuffix("Request") + "Result"
        if method == "tools/call" and "task" in result and "content" not in result:
            name = "CreateTaskResult"
        elif method == "tasks/result":
            name = "CallToolResult"  # the only requests that become tasks here
        return self.fault(name if name in self.defs else "EmptyResult", result)

    def _input_required(self, method, result):
        name = self.requests.get(method, "").removesuffix("Request") + "ResultResponse"
        if "InputRequiredResult" not in json.dumps(self.defs.get(name)):
            return f"{method} has no input_required result"
        if "inputRequests" not in result and "requestState" not in result:
            return "neither inputRequests nor requestState"
        return self.fault("InputRequiredResult", result)

    def notification(self, message):
        if self.revision == MODERN and message["method"] == "notifications/tasks":
            return extension("TaskNotification", message)
        name = self.notifications.get(message["method"])
        return self.fault(name, message) if name else self._unknown(message)

    def request(self, message):
        """What is wrong with a request of the server's to its client."""
        name = self.asked.get(message["method"])
        return self.fault(name, message) if name else self._unknown(message)

    def _unknown(self, message):
        return f"no server of {self.revision} sends {message['method']}"

    def error(self, message):
        common = "JSONRPCError" if "JSONRPCError" in self.defs else "JSONRPCErrorResponse"
        fault = self.fault(common, message)
        if fault is None:
            name = ERRORS.get(self.revision, {}).get(message["error"]["code"])
            fault = name and self.fault(name, self._shaped(name, message))
        return fault

    def _shaped(self, name, message):
        """Some of these definitions are of the whole message, some of the error object."""
        return message if "error" in self.defs[name].get("properties", {}) else message["error"]


class Models:
    """One revision by the SDK's models."""

    def __init__(self, revision):
        self.revision = revision

    def _try(self, check, *arguments):
        try:
            check(*arguments)
        except KeyError:
            return f"{arguments[0]} is not of {self.revision}"
        except ValueError as error:
            rows = error.errors() if hasattr(error, "errors") else [{"loc": ()}]
            if self.revision == MODERN and all(_newest(row["loc"]) for row in rows):
                return None
            return str(error)
        return None

    def result(self, method, result):
        if method.startswith("tasks/") or result.get("resultType") == "task" or "task" in result:
            return None
        check = mcp_types.methods.validate_server_result
        fault = self._try(check, method, self.revision, result)
        known = (method, LATEST_LEGACY) in mcp_types.methods.SERVER_RESULTS
        if fault is None and known and result.get("resultType") == "complete":
            # As one that wants more input it would have passed whatever it holds.
            fault = self._try(check, method, LATEST_LEGACY, result)
        return fault

    def notification(self, message):
        if message["method"].startswith("notifications/tasks"):
            return None
        check = mcp_types.methods.parse_server_notification
        return self._try(check, message["method"], self.revision, message.get("params"))

    def request(self, message):
        check = mcp_types.methods.parse_server_request
        return self._try(check, message["method"], self.revision, message.get("params"))

    def error(self, message):
        return self._try(lambda: mcp_types.JSONRPCError.model_validate(message))


def _newest(place):
    """Whether the revision allows at this place what the models do not know: any JSON value."""
    return place[-2:] == ("outputSchema", "type") or place[-1:] == ("structuredContent",)


@functools.cache
def schema(revision):
    """Official, or Models where the files are missing."""
    if (DATA / f"{revision}.json").exists():
        return Official(revision)
    return Models(revision)


def own(name):
    return json.loads((HERE / "schemas" / name).read_text())


@functools.cache
def _extension_registry():
    official = Resource.from_contents(schema(MODERN).schema, DRAFT202012)
    tasks = Resource.from_contents(own("tasks-extension.json"), DRAFT202012)
    return Registry().with_resources([("REVISION", official), ("TASKS", tasks)])


@functools.cache
def _extension_validator(name):
    return Draft202012Validator({"$ref": f"TASKS#/$defs/{name}"}, registry=_extension_registry())


def extension(name, value):
    """What is wrong with a message of the Tasks extension."""
    return first(_extension_validator(name).iter_errors(value))


@functools.cache
def _own_meta():
    return Draft202012Validator(own("own-meta.json"))


def meta(value):
    """What is wrong with our own members of a _meta object."""
    return first(_own_meta().iter_errors(value))


@functools.lru_cache(1000)
def tool_schema(text):
    """What is wrong with a tool's input or output schema (JSON text) as a JSON Schema; schemas
    that name no dialect are of 2020-12."""
    value = json.loads(text)
    kind = Draft7Validator if "draft-07" in str(value.get("$schema")) else Draft202012Validator
    return first(kind(kind.META_SCHEMA).iter_errors(value))


@functools.lru_cache(1000)
def _instance_validator(text):
    return Draft202012Validator(json.loads(text))


def instance(text, value):
    """What is wrong with a value by a tool's output schema (JSON text)."""
    return first(_instance_validator(text).iter_errors(value))
