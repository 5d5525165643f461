"""The services' own models: which operations there are, and which documents they take and give.

The models are slices of botocore's (`scripts/slice_models.py`). A request that breaks a rule is
refused in the service's wording, with all its errors at once, as the services do:

    2 validation errors detected: Value '' at 'endpointName' failed to satisfy constraint: Member
    must have length greater than or equal to 1; Value null at 'endpointConfigName' failed to …
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from modelplex.aws import rules
from modelplex.aws.errors import (
    InvalidParameterException,
    NotImplementedByModelplex,
    ServiceError,
    UnknownOperationException,
    ValidationError,
    ValidationException,
)
from modelplex.aws.rules import Shape

ERRORS_MAX = 50  # errors told of one document; with that many it is looked at no further
VALUE_CHARS_MAX = 1024  # of a bad value repeated in its error; the rest is cut off
VALUE_DEPTH_MAX = 8  # of lists and maps in such a value; deeper ones are told as "..."

# What the platform takes beyond AWS: a single machine's folders as model data.
_URL_PATTERN = r"(https|s3)://([^/]+)/?(.*)|file:///(.*)"

# The service's name for a request that breaks a rule of its model.
_REFUSALS: dict[str, type[ServiceError]] = {
    "sagemaker": ValidationException,
    "sagemaker-runtime": ValidationError,
    "sts": ValidationError,
    "iam": ValidationError,
    "logs": InvalidParameterException,
    "ecr": InvalidParameterException,
}


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """What of one service is served, and the names of what is not."""

    service: str
    botocore: str  # the version it was cut from
    metadata: dict[str, str]  # protocol, targetPrefix, xmlNamespace …
    operations: dict[str, dict[str, Any]]  # with the names of their "input" and "output" shapes
    unimplemented: list[str]
    shapes: dict[str, Shape]

    def operation(self, name: str) -> dict[str, Any]:
        """The served operation; raises what a client is told of any other."""
        if name in self.operations:
            return self.operations[name]
        if name in self.unimplemented:
            raise NotImplementedByModelplex(self.service, name, self.operations)
        raise UnknownOperationException(f"{self.service} has no operation {name!r}.")


@functools.cache
def load(service: str) -> ServiceModel:
    """The model of "sagemaker", "sagemaker-runtime", "sts", "iam", "logs" or "ecr"."""
    text = resources.files("modelplex.aws").joinpath(f"models/{service}.json").read_text()
    document = json.loads(text)
    if service == "sagemaker":
        document["shapes"]["Url"]["pattern"] = _URL_PATTERN
    return ServiceModel(**document)


# -- requests -----------------------------------------------------------------------------------


def validate(model: ServiceModel, operation: str, document: Any) -> dict[str, Any]:
    """Refuses a request that breaks the model; returns it without what the model does not know.

    Raises SerializationException for a value of the wrong JSON type, else the service's own class
    (ValidationException; ValidationError; InvalidParameterException) with all errors. Unknown
    members are left out rather than refused, and null counts as absent: AWS's JSON services are
    known to do so, though no document of theirs promises it. A streaming body (`Body` of
    InvokeEndpoint) is no part of the document and not looked for.
    """
    name = model.operation(operation)["input"]
    if name is None:
        return {}
    walk = _Walk(model)
    known = walk.value(name, {} if document is None else document, "")
    if walk.errors:
        raise walk.refusal()
    assert isinstance(known, dict)
    return known


class _Walk:
    """One pass over one document, collecting what is wrong with it."""

    def __init__(self, model: ServiceModel) -> None:
        self.kind = _REFUSALS[model.service]
        self.shapes = model.shapes
        self.errors: list[str] = []

    def value(self, name: str, value: Any, path: str) -> Any:
        """Checks the value against the shape of that name; returns it without unknown members."""
        shape = self.shapes[name]
        rules.check_type(shape["type"], value, path)
        for broken in rules.broken(shape, value):
            self.refuse(value, path, broken)
        match shape["type"]:
            case "structure":
                return self.structure(shape, value, path)
            case "list":
                return self.items(shape, value, path)
            case "map":
                return self.map(shape, value, path)
            case _:
                return value

    def structure(self, shape: Shape, value: dict[str, Any], path: str) -> dict[str, Any]:
        known = {}
        for member, reference in shape["members"].items():
            inner = _below(path, member[:1].lower() + member[1:])
            if value.get(member) is not None:
                known[member] = self.value(reference["shape"], value[member], inner)
            elif member in shape.get("required", ()) and member != shape.get("payload"):
                self.refuse(None, inner, "Member must not be null")
        if shape.get("union") and len(known) != 1:
            self.refuse(value, path, "Member must have exactly one of its members set")
        return known

    def items(self, shape: Shape, value: list[Any], path: str) -> list[Any]:
        inner = self.shapes[shape["member"]]
        if inner["type"] not in ("structure", "list", "map"):
            self.scalars(inner, value, value, path, "Member must satisfy constraint")
            return value
        return [
            self.element(shape["member"], item, f"{path}.{number}.member")
            for number, item in enumerate(value, 1)
        ]

    def map(self, shape: Shape, value: dict[str, Any], path: str) -> dict[str, Any]:
        keys, inner = self.shapes[shape["key"]], self.shapes[shape["value"]]
        self.scalars(keys, list(value), value, path, "Map keys must satisfy constraint")
        if inner["type"] not in ("structure", "list", "map"):
            values = list(value.values())
            self.scalars(inner, values, value, path, "Map value must satisfy constraint")
            return value
        return {
            key: self.element(shape["value"], item, f"{path}.{key}.member")
            for key, item in value.items()
        }

    def element(self, name: str, value: Any, path: str) -> Any:
        if value is None:
            self.refuse(None, path, "Member must not be null")
            return None
        return self.value(name, value, path)

    def scalars(self, shape: Shape, inner: list[Any], whole: Any, path: str, words: str) -> None:
        """One error for all scalars in a list or map, naming all their rules, as AWS has it."""
        for item in inner:
            if item is None:
                self.refuse(whole, path, f"{words}: [Member must not be null]")
                return
            rules.check_type(shape["type"], item, path)
        if any(rules.broken(shape, item) for item in inner):
            self.refuse(whole, path, f"{words}: [{', '.join(rules.stated(shape))}]")

    def refuse(self, value: Any, path: str, constraint: str) -> None:
        said = "null" if value is None else f"'{_said(value)[:VALUE_CHARS_MAX]}'"
        self.errors.append(f"Value {said} at '{path}' failed to satisfy constraint: {constraint}")
        if len(self.errors) == ERRORS_MAX:
            raise self.refusal()

    def refusal(self) -> ServiceError:
        """All errors so far as one."""
        count = len(self.errors)
        detected = f"{count} validation error{'s' if count > 1 else ''} detected: "
        return self.kind(detected + "; ".join(self.errors))


def _below(path: str, member: str) -> str:
    return f"{path}.{member}" if path else member


def _said(value: Any, depth: int = VALUE_DEPTH_MAX) -> str:
    """A value as Java prints it, for that is what the services' errors quote."""
    match value:
        case bool():
            return str(value).lower()
        case dict() | list() if depth == 0:
            return "..."
        case dict():
            items = [f"{key}={_said(item, depth - 1)}" for key, item in value.items()]
            return "{" + ", ".join(items) + "}"
        case list():
            return "[" + ", ".join([_said(item, depth - 1) for item in value]) + "]"
        case _:
            return str(value)
