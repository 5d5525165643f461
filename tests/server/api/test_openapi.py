"""The descriptions: well-formed OpenAPI 3, and true."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from modelplex.server.api import openapi
from modelplex.server.api.management import _order
from modelplex.server.api.parameters import Parameters
from tests.server.twins import TwinModel, world

Json = dict[str, Any]
BOTH = openapi.document(inference=True, management=True)
METHODS = {"get", "put", "post", "delete", "options"}
TYPES = {"string", "integer", "boolean", "object", "array"}


def operations(document: Json) -> list[tuple[str, str, Json]]:
    """(path, method, operation) of all."""
    return [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def check_schema(schema: Json) -> None:
    """A schema object as OpenAPI 3.0 allows it, in what is used here."""
    assert schema["type"] in TYPES
    assert set(schema.get("required", ())) <= set(schema.get("properties", ()))
    if schema["type"] == "array":
        check_schema(schema["items"])
    for property_ in schema.get("properties", {}).values():
        check_schema(property_)


def check(document: Json) -> None:
    """The rules of OpenAPI 3.0 that a document of this kind can break."""
    assert re.fullmatch(r"3\.0\.\d", document["openapi"])
    assert document["info"].keys() >= {"title", "version"}
    found = operations(document)
    names = [operation["operationId"] for _, _, operation in found]
    assert len(set(names)) == len(names)
    for path, method, operation in found:
        assert path.startswith("/")
        assert method in METHODS
        check_operation(path, operation)


def check_operation(path: str, operation: Json) -> None:
    """Parameters match the path's template; responses have descriptions; schemas are schemas."""
    parameters = operation.get("parameters", [])
    keys = [(parameter["in"], parameter["name"]) for parameter in parameters]
    assert len(set(keys)) == len(keys)
    in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", path))
    for parameter in parameters:
        assert parameter["in"] == "query" or parameter["required"] is True
        check_schema(parameter["schema"])
    assert operation["responses"]
    for status, response in operation["responses"].items():
        assert re.fullmatch(r"[1-5]\d\d", status)
        assert response["description"]
    contents = [*operation["responses"].values(), operation.get("requestBody", {})]
    for content in contents:
        for media in content.get("content", {}).values():
            check_schema(media["schema"])


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("management", [False, True])
def test_documents_are_well_formed(inference: bool, management: bool) -> None:
    """Whatever a listener serves."""
    check(openapi.document(inference=inference, management=management))


@pytest.mark.parametrize("name", ["m", "a/b {c} ü", "1-2.3"])
def test_documents_of_models_are_well_formed(name: str) -> None:
    """Whatever a model is called."""
    check(openapi.model_document(name))


def test_the_parameters_of_a_registration_are_those_that_are_read() -> None:
    """Each documented parameter is understood, and each understood one is documented."""
    asked = set()

    class Asked(dict[str, object]):
        def get(self, key: str, default: object = None) -> object:
            asked.add(key)
            return {"url": "/m"}.get(key, default)

    _order(Parameters(Asked()))
    documented = BOTH["paths"]["/models"]["post"]["parameters"]
    assert {parameter["name"] for parameter in documented} == asked


async def test_every_described_operation_exists() -> None:
    """None of them is answered by "not found" or "not allowed"."""
    async with world() as served:
        for path, method, _ in operations(BOTH):
            served.models.models.pop("m", None)
            served.models.add(TwinModel("m"))
            target = path.replace("{model_name}", "m")
            status, body = await served.read(method.upper(), target)
            assert status not in (404, 405), (method, path, body)


async def test_where_the_descriptions_are() -> None:
    """OPTIONS of the root, the older path, and OPTIONS of a model's path."""
    async with world() as served:
        served.models.add(TwinModel("m"))
        for method, target in (("OPTIONS", "/"), ("GET", "/api-description")):
            status, body = await served.read(method, target)
            assert (status, json.loads(body)) == (200, BOTH)
        for target in ("/predictions/m", "/invocations?model_name=m", "/models/m/invoke"):
            status, body = await served.read("OPTIONS", target)
            assert (status, json.loads(body)) == (200, openapi.model_document("m"))
        assert (await served.read("OPTIONS", "/predictions/nosuch"))[0] == 404


async def test_each_listener_describes_its_own() -> None:
    """Two listeners, two descriptions."""
    async with world(inference=False) as management:
        _, body = await management.read("OPTIONS", "/")
        paths = json.loads(body)["paths"].keys()
        assert "/models" in paths
        assert "/invocations" not in paths
