"""Shapes: the slices are botocore's, and requests are refused in the services' words."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import boto3
import botocore
import pytest

from modelplex.aws import errors, rules, shapes

ROOT = Path(__file__).parent.parent.parent
SERVICES = ["sagemaker", "sagemaker-runtime", "sts", "iam", "logs", "ecr"]
SAGEMAKER = shapes.load("sagemaker")
NAME_PATTERN = "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"


def script(name: str) -> Any:
    """One of the repository's scripts, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refusal(document: Any, operation: str = "CreateModel", service: str = "sagemaker") -> str:
    """The text of the error that the document gets."""
    with pytest.raises(errors.ServiceError) as caught:
        shapes.validate(shapes.load(service), operation, document)
    return caught.value.message


def endpoint_config(**variant: Any) -> dict[str, Any]:
    """A request for an endpoint configuration with one variant."""
    whole = {"VariantName": "all", "ModelName": "demo", **variant}
    return {"EndpointConfigName": "demo", "ProductionVariants": [whole]}


# -- the slices ---------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_the_slices_are_botocore_s(service: str) -> None:
    """Slicing the installed botocore again gives the committed file."""
    path = ROOT / "src" / "modelplex" / "aws" / "models" / f"{service}.json"
    recorded = json.loads(path.read_text())["botocore"]
    if recorded != botocore.__version__:
        pytest.skip(f"sliced from botocore {recorded}, installed is {botocore.__version__}")
    slicer = script("slice_models")
    assert path.read_text() == slicer.rendered(slicer.sliced(service))


@pytest.mark.parametrize("service", SERVICES)
def test_every_pattern_compiles(service: str) -> None:
    """The patterns are written for Java; Python reads all that the slices have."""
    for shape in shapes.load(service).shapes.values():
        if "pattern" in shape:
            assert rules.compiled(shape["pattern"])


@pytest.mark.parametrize("service", SERVICES)
def test_letters_stand_beside_the_underscore(service: str) -> None:
    """`\\w` may stand for Java's letters, for each such pattern allows the underscore."""
    patterns = [shape.get("pattern", "") for shape in shapes.load(service).shapes.values()]
    assert all(r"\p{N}_" in pattern for pattern in patterns if r"\p{L}" in pattern)


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_is_served_or_refused(service: str) -> None:
    """No operation of the service is forgotten, none is in both lists."""
    model = shapes.load(service)
    client = boto3.client(service, region_name="us-west-2")
    known = set(client.meta.service_model.operation_names)
    assert known == set(model.operations) | set(model.unimplemented)
    assert not set(model.operations) & set(model.unimplemented)


def test_the_coverage_page_is_current() -> None:
    """docs/reference/coverage.md is what its script writes."""
    page = ROOT / "docs" / "reference" / "coverage.md"
    assert page.read_text() == script("coverage_table").page()


def test_an_operation_of_the_service_that_is_not_served() -> None:
    """It is named, with what there is instead; a name that is none is unknown."""
    with pytest.raises(errors.NotImplementedByModelplex, match="UpdateEndpoint of sagemaker"):
        SAGEMAKER.operation("UpdateEndpoint")
    with pytest.raises(errors.UnknownOperationException, match="MakeCoffee"):
        shapes.validate(SAGEMAKER, "MakeCoffee", {})


# -- the services' words ------------------------------------------------------------------------


def test_a_bad_name_is_refused_in_sagemaker_s_words() -> None:
    """Path, value and rule, as SageMaker has them."""
    assert refusal(endpoint_config(ModelName="bad name!"), "CreateEndpointConfig") == (
        "1 validation error detected: Value 'bad name!' at 'productionVariants.1.member.modelName' "
        "failed to satisfy constraint: Member must satisfy regular expression pattern: "
        "[a-zA-Z0-9]([\\-a-zA-Z0-9]*[a-zA-Z0-9])?"
    )


def test_all_errors_are_told_at_once() -> None:
    """N errors, joined with semicolons."""
    text = refusal({"EndpointName": "x" * 64}, "CreateEndpoint")
    assert text == (
        f"3 validation errors detected: Value '{'x' * 64}' at 'endpointName' failed to satisfy "
        f"constraint: Member must have length less than or equal to 63; Value '{'x' * 64}' at "
        "'endpointName' failed to satisfy constraint: Member must satisfy regular expression "
        f"pattern: {NAME_PATTERN}; Value null at 'endpointConfigName' failed to satisfy "
        "constraint: Member must not be null"
    )


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (
            {"InitialInstanceCount": 0},
            "Value '0' at 'productionVariants.1.member.initialInstanceCount' failed to satisfy "
            "constraint: Member must have value greater than or equal to 1",
        ),
        (
            {"InitialVariantWeight": -0.5},
            "Value '-0.5' at 'productionVariants.1.member.initialVariantWeight' failed to satisfy "
            "constraint: Member must have value greater than or equal to 0",
        ),
        ({"InstanceType": "ml.huge"}, "Member must satisfy enum value set: [ml.t2.medium, "),
    ],
)
def test_numbers_and_enums(variant: dict[str, Any], words: str) -> None:
    """Ranges and enums in the service's words."""
    assert words in refusal(endpoint_config(**variant), "CreateEndpointConfig")


def test_a_list_has_a_size() -> None:
    """Too few and too many are both told with the value as Java prints it."""
    arn = "arn:aws:sagemaker:us-west-2:123456789012:model/x"
    assert refusal({"ResourceArn": arn, "TagKeys": []}, "DeleteTags") == (
        "1 validation error detected: Value '[]' at 'tagKeys' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1"
    )
    many = [{"Key": f"k{n}", "Value": "v"} for n in range(51)]
    text = refusal({"ResourceArn": arn, "Tags": many}, "AddTags")
    assert text.startswith("1 validation error detected: Value '[{Key=k0, Value=v}, {Key=k1,")
    assert text.endswith("Member must have length less than or equal to 50")


def test_scalars_in_lists_and_maps_are_told_of_together() -> None:
    """For those the services name the whole and all rules of its members."""
    arn = "arn:aws:sagemaker:us-west-2:123456789012:model/x"
    assert refusal({"ResourceArn": arn, "TagKeys": ["ok", "no\n"]}, "DeleteTags") == (
        "1 validation error detected: Value '[ok, no\n]' at 'tagKeys' failed to satisfy "
        "constraint: Member must satisfy constraint: [Member must have length less than or equal "
        "to 128, Member must have length greater than or equal to 1, Member must satisfy regular "
        r"expression pattern: ([\p{L}\p{Z}\p{N}_.:/=+\-@]*)]"
    )
    container = {"Environment": {"0": "x", "A": "y" * 1025}}
    text = refusal({"ModelName": "m", "PrimaryContainer": container})
    assert text.startswith("2 validation errors detected: Value '{0=x, A=yyy")
    assert "at 'primaryContainer.environment' failed to satisfy constraint: Map keys must" in text
    assert (
        "Map value must satisfy constraint: [Member must have length less than or equal to 1024"
        in text
    )


def test_nulls_in_lists_and_maps() -> None:
    """A null is no member of a list or map."""
    arn = "arn:aws:sagemaker:us-west-2:123456789012:model/x"
    assert "[Member must not be null]" in refusal(
        {"ResourceArn": arn, "TagKeys": [None]}, "DeleteTags"
    )
    assert "'tags.1.member' failed to satisfy constraint: Member must not be null" in refusal(
        {"ResourceArn": arn, "Tags": [None]}, "AddTags"
    )


@pytest.mark.parametrize(
    ("service", "operation", "document", "kind"),
    [
        ("sagemaker", "DeleteModel", {"ModelName": "no!"}, errors.ValidationException),
        ("iam", "GetRole", {"RoleName": "no!"}, errors.ValidationError),
        ("logs", "GetLogEvents", {"logStreamName": "a:b"}, errors.InvalidParameterException),
        ("sagemaker-runtime", "InvokeEndpoint", {"EndpointName": ""}, errors.ValidationError),
    ],
)
def test_each_service_has_its_class(
    service: str, operation: str, document: Any, kind: type[errors.ServiceError]
) -> None:
    """The same rules, under each service's own code."""
    with pytest.raises(kind):
        shapes.validate(shapes.load(service), operation, document)


def test_long_values_and_many_errors_are_cut() -> None:
    """An error's text is bounded, whatever the request."""
    assert len(refusal({"ModelName": "é" * 100_000})) < 3 * shapes.VALUE_CHARS_MAX
    arn = "arn:aws:sagemaker:us-west-2:123456789012:model/x"
    text = refusal({"ResourceArn": arn, "Tags": [{}] * 1000}, "AddTags")
    assert text.count("Member must") == shapes.ERRORS_MAX
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    assert "[...]" in refusal({"ResourceArn": arn, "Tags": [{"x": deep}] * 51}, "AddTags")


# -- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "Start of list found where not expected."),
        ("x", "Expected map or null"),
        ({"ModelName": 1}, "NUMBER_VALUE can not be converted to a String (at 'modelName')"),
        ({"ModelName": True}, "TRUE_VALUE can not be converted to a String"),
        ({"ModelName": "\ud800"}, "STRING_VALUE can not be converted to a String"),
        ({"ModelName": {}}, "Start of structure or map found where not expected."),
        ({"ModelName": "m", "Containers": {}}, "Start of structure or map found"),
        ({"ModelName": "m", "Containers": 1}, "Expected list or null (at 'containers')"),
        ({"ModelName": "m", "EnableNetworkIsolation": "true"}, "converted to a Boolean"),
        ({"ModelName": "m", "Tags": ["x"]}, "Expected map or null (at 'tags.1.member')"),
        ({"ModelName": "m", "PrimaryContainer": {"Environment": {"A": 1}}}, "to a String"),
        ({"ModelName": "m", "PrimaryContainer": {"Environment": {"\udfff": ""}}}, "not expected"),
    ],
)
def test_a_wrong_json_type_is_a_serialization_exception(document: Any, words: str) -> None:
    """As the JSON services answer, with the place added."""
    with pytest.raises(errors.SerializationException) as caught:
        shapes.validate(SAGEMAKER, "CreateModel", document)
    assert words in caught.value.message


@pytest.mark.parametrize("number", [True, "1", 1.5, 2**31, float("nan"), float("inf")])
def test_what_is_no_integer(number: Any) -> None:
    """Neither a boolean, nor a text, nor a fraction, nor what 32 bits cannot hold."""
    with pytest.raises(errors.SerializationException):
        shapes.validate(SAGEMAKER, "ListModels", {"MaxResults": number})


@pytest.mark.parametrize("when", ["2026-01-01", 1e300, float("nan"), False])
def test_what_is_no_timestamp(when: Any) -> None:
    """Timestamps are seconds since 1970, up to the year 9999."""
    with pytest.raises(errors.SerializationException):
        shapes.validate(SAGEMAKER, "ListModels", {"CreationTimeAfter": when})


# -- what is taken ------------------------------------------------------------------------------


def test_unknown_members_and_nulls_are_left_out() -> None:
    """What the model does not know is neither refused nor kept."""
    document = {
        "ModelName": "m",
        "ExecutionRoleArn": None,
        "New": 1,
        "PrimaryContainer": {"Image": "i", "Newer": [], "Environment": {"A": "b"}},
        "Tags": [{"Key": "k", "Value": "v", "Newest": {}}],
    }
    assert shapes.validate(SAGEMAKER, "CreateModel", document) == {
        "ModelName": "m",
        "PrimaryContainer": {"Image": "i", "Environment": {"A": "b"}},
        "Tags": [{"Key": "k", "Value": "v"}],
    }


@pytest.mark.parametrize("document", [None, {}])
def test_nothing_is_an_empty_document(document: Any) -> None:
    """Operations whose members are all optional take an empty body."""
    assert shapes.validate(SAGEMAKER, "ListModels", document) == {}


@pytest.mark.parametrize(
    "url", ["s3://b/p/", "https://s3-us-west-2.amazonaws.com/b/p/", "file:///srv/models/"]
)
def test_model_data_may_lie_in_a_folder(url: str) -> None:
    """file:/// is taken beyond AWS's pattern; other schemes are refused by it."""
    document = {"ModelName": "m", "PrimaryContainer": {"ModelDataUrl": url}}
    assert shapes.validate(SAGEMAKER, "CreateModel", document) == document
    document["PrimaryContainer"] = {"ModelDataUrl": f"x{url}"}
    assert "at 'primaryContainer.modelDataUrl'" in refusal(document)


def test_the_body_of_an_invocation_is_no_part_of_the_document() -> None:
    """The runtime's headers are checked as a document, its body is not looked for."""
    runtime = shapes.load("sagemaker-runtime")
    document = {"EndpointName": "demo", "TargetModel": "a/b.tar.gz"}
    assert shapes.validate(runtime, "InvokeEndpoint", document) == document
    text = refusal({**document, "TargetModel": " x"}, "InvokeEndpoint", "sagemaker-runtime")
    assert r"at 'targetModel'" in text
    assert r"\A\S[\p{Print}]*\z" in text


def test_tags_may_be_in_any_language() -> None:
    """Letters, numbers and spaces of all scripts; no control characters."""
    arn = "arn:aws:sagemaker:us-west-2:123456789012:model/x"
    tags = [{"Key": "größe 寸 ٣", "Value": "\u00a0x@y"}]
    assert shapes.validate(SAGEMAKER, "AddTags", {"ResourceArn": arn, "Tags": tags})["Tags"] == tags
