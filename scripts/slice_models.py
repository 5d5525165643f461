"""Cuts botocore's service models down to what modelplex serves: `aws/models/*.json`.

Run it after an update of botocore: `python scripts/slice_models.py`. Kept are the served
operations, every shape they reach (documentation removed) and the names of all other operations.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import botocore
from botocore.loaders import Loader

SERVED = {
    "sagemaker": [
        *(
            f"{verb}{kind}"
            for kind in ("Model", "EndpointConfig", "Endpoint")
            for verb in ("Create", "Describe", "Delete")
        ),
        *("ListModels", "ListEndpointConfigs", "ListEndpoints"),
        *("AddTags", "ListTags", "DeleteTags"),
    ],
    "sagemaker-runtime": ["InvokeEndpoint"],
    "sts": ["GetCallerIdentity"],
    "iam": ["GetRole"],
    "logs": ["FilterLogEvents", "GetLogEvents", "DescribeLogGroups", "DescribeLogStreams"],
    "ecr": [
        "GetAuthorizationToken",
        *("CreateRepository", "DescribeRepositories", "DeleteRepository"),
        *("ListImages", "DescribeImages", "BatchGetImage", "BatchDeleteImage"),
        *("TagResource", "UntagResource", "ListTagsForResource"),
    ],
}

METADATA = ("apiVersion", "protocol", "jsonVersion", "targetPrefix", "xmlNamespace")
SHAPE = (
    *("type", "required", "members", "member", "key", "value", "enum", "pattern", "min", "max"),
    *("union", "payload", "exception", "error"),
)
REFERENCE = ("shape", "location", "locationName")

FOLDER = Path(__file__).parent.parent / "src" / "modelplex" / "aws" / "models"

Json = dict[str, Any]


def sliced(service: str) -> Json:
    """The part of botocore's newest model of the service that modelplex serves."""
    whole = Loader().load_service_model(service, "service-2")
    operations = {name: _operation(whole["operations"][name]) for name in sorted(SERVED[service])}
    reached: Json = {}
    for operation in operations.values():
        for name in (operation["input"], operation["output"], *operation["errors"]):
            _reach(name, whole["shapes"], reached)
    return {
        "service": service,
        "botocore": botocore.__version__,
        "metadata": _only(whole["metadata"], METADATA),
        "operations": operations,
        "unimplemented": sorted(set(whole["operations"]) - set(operations)),
        "shapes": dict(sorted(reached.items())),
    }


def _operation(operation: Json) -> Json:
    return {
        "http": operation["http"],
        "input": operation.get("input", {}).get("shape"),
        "output": operation.get("output", {}).get("shape"),
        "wrapper": operation.get("output", {}).get("resultWrapper"),
        "errors": [error["shape"] for error in operation.get("errors", [])],
    }


def _reach(name: str | None, shapes: Json, reached: Json) -> None:
    """Adds the shape of that name, and all it refers to, to `reached`."""
    if name is None or name in reached:
        return
    shape = _only(shapes[name], SHAPE)
    for part in ("member", "key", "value"):
        if part in shape:
            shape[part] = shape[part]["shape"]
            _reach(shape[part], shapes, reached)
    for member, reference in shape.get("members", {}).items():
        shape["members"][member] = _only(reference, REFERENCE)
    reached[name] = shape
    for reference in shape.get("members", {}).values():
        _reach(reference["shape"], shapes, reached)


def _only(document: Json, keys: tuple[str, ...]) -> Json:
    """A copy of the document, one level deep, with these keys alone."""
    return {
        key: dict(document[key]) if isinstance(document[key], dict) else document[key]
        for key in keys
        if key in document
    }


def rendered(model: Json) -> str:
    """The slice as JSON with one operation or shape a line, so that a diff can be read."""
    parts = []
    for key, value in model.items():
        if key in ("operations", "shapes"):
            rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            parts.append(f'"{key}": {{\n{rows}\n}}')
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> int:
    """Writes all slices."""
    for service in SERVED:
        (FOLDER / f"{service}.json").write_text(rendered(sliced(service)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
