"""Answers of AWS services, held against the services' own models."""

from __future__ import annotations

from typing import Any

from modelplex.aws import rules
from modelplex.aws.rules import Shape
from modelplex.aws.shapes import ServiceModel


def check_answer(model: ServiceModel, operation: str, document: Any) -> None:
    """Asserts that an answer is what the model promises: types, required, enums, no more members.

    Timestamps are seconds since 1970, as JSON protocols write them.
    """
    name = model.operation(operation)["output"]
    if name is None:
        assert document in (None, {}), f"{operation} gives nothing, not {document!r}"
    else:
        _check_answer(model.shapes, name, document, operation)


def _check_answer(shapes: dict[str, Shape], name: str, value: Any, path: str) -> None:
    shape = shapes[name]
    assert rules.has_type(shape["type"], value), f"{path} is no {shape['type']}: {value!r}"
    assert value in shape.get("enum", [value]), f"{path} is none of {shape['enum']}: {value!r}"
    match shape["type"]:
        case "structure":
            _check_members(shapes, shape, value, path)
        case "list":
            for number, item in enumerate(value):
                _check_answer(shapes, shape["member"], item, f"{path}[{number}]")
        case "map":
            for key, item in value.items():
                _check_answer(shapes, shape["value"], item, f"{path}.{key}")


def _check_members(shapes: dict[str, Shape], shape: Shape, value: Shape, path: str) -> None:
    members = shape["members"]
    unknown = sorted(set(value) - set(members))
    assert not unknown, f"{path} has members the model does not know: {unknown}"
    missing = sorted(set(shape.get("required", ())) - set(value) - {shape.get("payload")})
    assert not missing, f"{path} lacks {missing}"
    for member, item in value.items():
        _check_answer(shapes, members[member]["shape"], item, f"{path}.{member}")
