"""InvokeEndpoint through real boto3: every documented answer, success and error."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.models import make_archive, make_image
from tests.support.platform import Deployed, Platform

pytestmark = pytest.mark.e2e

NOISY_HANDLER = """
import json
import os
import time


class Handler:
    def initialize(self, context):
        self.dir = context.system_properties["model_dir"]
        with open("weights.txt") as weights:
            self.weights = weights.read()
        if self.weights == "broken":
            raise RuntimeError("these weights are broken")
        if self.weights == "hungry":
            raise MemoryError("these weights never fit")

    def handle(self, data, context):
        word = bytes(data[0]["body"]).decode()
        header = context.get_request_header
        if word == "teapot":
            context.set_response_status(418, "I am a teapot")
            return ["short and stout"]
        if word == "bad":
            context.set_response_status(400, "Bad")
            return ["no such feature"]
        if word == "nothing":
            return None
        if word == "hang":
            time.sleep(60)
        context.set_response_content_type(0, "application/json")
        context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "from=handler")
        told = ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes",
                "X-Amzn-SageMaker-Inference-Id", "X-Amzn-SageMaker-Target-Model")
        headers = {name: header(0, name) for name in told}
        return [json.dumps({"weights": self.weights, "headers": headers, "cwd": os.getcwd(),
                            "dir": self.dir, "colour": os.environ.get("COLOUR")})]
"""


STORES = ["embedded", pytest.param("radosgw", marks=pytest.mark.radosgw)]


@pytest.fixture(scope="module", params=STORES)
def parity(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A platform with short limits, so that the documented time-outs can be seen; its artifacts
    are in the embedded store, and once more in a real S3.
    """
    folder = tmp_path_factory.mktemp("parity")
    config = folder / "short.toml"
    config.write_text("invocation_timeout_s = 5.0\n")
    options = ["--memory-mib", "1024", "--disk-mib", "1024", "--config", str(config)]
    if request.param == "radosgw":
        options += request.getfixturevalue("radosgw").options
    platform = Platform(folder / "data", *options)
    platform.start()
    try:
        image = make_image(
            folder / "noisy", NOISY_HANDLER, 'handler = "model_handler.py:Handler"\n'
        )
        platform.cli("build", "-t", "noisy", str(image))
        yield platform
    finally:
        platform.stop()


def hostile(entry: tarfile.TarInfo, data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def link_out() -> bytes:
    entry = tarfile.TarInfo("out")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return hostile(entry)


ODD = "a folder/model 50% + 1=2.tar.gz"
ARCHIVES = {
    "good.tar.gz": make_archive({"weights.txt": "good"}),
    "sub/folder/good.tar.gz": make_archive({"weights.txt": "deep"}),
    ODD: make_archive({"weights.txt": "odd"}),
    "broken.tar.gz": make_archive({"weights.txt": "broken"}),
    "hungry.tar.gz": make_archive({"weights.txt": "hungry"}),
    "truncated.tar.gz": make_archive({"weights.txt": "x" * 100_000})[:-20],
    "garbage.tar.gz": b"this is not an archive",
    "climbing.tar.gz": hostile(tarfile.TarInfo("../../escaped.txt"), b"x"),
    "absolute.tar.gz": hostile(tarfile.TarInfo("/tmp/escaped.txt"), b"x"),
    "link.tar.gz": link_out(),
}


@pytest.fixture(scope="module")
def multi(parity: Platform) -> Deployed:
    """A multi-model endpoint with good, broken and hostile artifacts."""
    return parity.deploy(ARCHIVES, image="noisy", instances=2)


@pytest.fixture
def invoke(parity: Platform, multi: Deployed) -> Callable[..., dict[str, Any]]:
    """InvokeEndpoint on the multi-model endpoint, with the members given."""
    runtime = parity.client("sagemaker-runtime")

    def call(model: str | None = "good.tar.gz", **members: Any) -> dict[str, Any]:
        wanted = {"EndpointName": multi.name, "Body": b"x", **members}
        if model is not None:
            wanted["TargetModel"] = model
        answer: dict[str, Any] = runtime.invoke_endpoint(**wanted)
        return answer

    return call


Invoke = Callable[..., dict[str, Any]]


def refused(invoke: Invoke, *arguments: Any, **members: Any) -> dict[str, Any]:
    """The error document of a call that must fail, with its HTTP status under `status`."""
    with pytest.raises(ClientError) as caught:
        invoke(*arguments, **members)
    response: dict[str, Any] = dict(caught.value.response)
    return {
        **response,
        **response["Error"],
        "status": response["ResponseMetadata"]["HTTPStatusCode"],
    }


def test_members_reach_the_handler_and_its_headers_come_back(invoke: Invoke) -> None:
    """ContentType, Accept, CustomAttributes, InferenceId and TargetModel are headers inside."""
    answer = invoke(
        ContentType="application/x-image",
        Accept="application/json",
        CustomAttributes="trace=7",
        InferenceId="id-9",
    )
    told = json.loads(answer["Body"].read())
    assert told["headers"] == {
        "Content-Type": "application/x-image",
        "Accept": "application/json",
        "X-Amzn-SageMaker-Custom-Attributes": "trace=7",
        "X-Amzn-SageMaker-Inference-Id": "id-9",
        "X-Amzn-SageMaker-Target-Model": "good.tar.gz",
    }
    assert told["cwd"] == told["dir"]
    assert answer["ContentType"] == "application/json"
    assert answer["CustomAttributes"] == "from=handler"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["ResponseMetadata"]["RequestId"]


def test_target_models_may_lie_in_folders(invoke: Invoke) -> None:
    """The rest of the S3 path is the model's name."""
    assert json.loads(invoke("sub/folder/good.tar.gz")["Body"].read())["weights"] == "deep"
    assert json.loads(invoke(ODD)["Body"].read())["weights"] == "odd"


def test_a_missing_target_model_is_a_validation_error(invoke: Invoke) -> None:
    """A multi-model endpoint needs the header."""
    error = refused(invoke, None)
    assert (error["Code"], error["status"]) == ("ValidationError", 400)
    assert "target model header" in error["Message"]


@pytest.mark.parametrize("name", ["../secret.tar.gz", "a/../../b.tar.gz", "/etc/passwd", "a//b"])
def test_a_target_model_cannot_leave_its_prefix(invoke: Invoke, name: str) -> None:
    """Climbing and absolute names are refused before anything is looked up."""
    error = refused(invoke, name)
    assert (error["Code"], error["status"]) == ("ValidationError", 400)


def test_a_missing_artifact_is_a_validation_error(invoke: Invoke) -> None:
    """The message names the object."""
    error = refused(invoke, "nobody.tar.gz")
    assert (error["Code"], error["status"]) == ("ValidationError", 400)
    assert "nobody.tar.gz" in error["Message"]


@pytest.mark.parametrize("name", ["truncated", "garbage", "climbing", "absolute", "link"])
def test_a_damaged_or_hostile_archive_is_refused_and_harms_nobody(
    invoke: Invoke, name: str
) -> None:
    """Nothing is loaded from it, and the next request is answered."""
    error = refused(invoke, f"{name}.tar.gz")
    assert error["Code"] in ("ModelError", "ValidationError"), error
    assert error["status"] in (400, 424)
    assert json.loads(invoke()["Body"].read())["weights"] == "good"


def test_a_model_that_fails_to_load_is_a_model_error(invoke: Invoke) -> None:
    """424 with the handler's own message and where its log is."""
    error = refused(invoke, "broken.tar.gz")
    assert (error["Code"], error["status"]) == ("ModelError", 424)
    assert error["OriginalStatusCode"] == 500
    assert "these weights are broken" in error["OriginalMessage"]
    assert error["LogStreamArn"].startswith("arn:aws:logs:us-west-2:")


def test_a_model_that_never_fits_is_a_model_error_507(invoke: Invoke) -> None:
    """MemoryError in initialize ends as 507 once there is nobody left to evict."""
    error = refused(invoke, "hungry.tar.gz")
    assert (error["Code"], error["OriginalStatusCode"]) == ("ModelError", 507)


@pytest.mark.parametrize(("word", "status"), [("teapot", 418), ("bad", 400), ("nothing", 503)])
def test_an_unhappy_handler_is_a_model_error_with_its_own_status(
    invoke: Invoke, word: str, status: int
) -> None:
    """Whatever the container answers but success is OriginalStatusCode in a 424."""
    error = refused(invoke, Body=word.encode())
    assert (error["Code"], error["status"]) == ("ModelError", 424)
    assert error["OriginalStatusCode"] == status


def test_a_hanging_handler_times_out_and_the_model_comes_back(invoke: Invoke) -> None:
    """The worker is killed after the invocation time-out; another one answers the next request."""
    error = refused(invoke, Body=b"hang")
    assert (error["Code"], error["OriginalStatusCode"]) == ("ModelError", 0)
    assert "timed out" in error["OriginalMessage"]
    assert json.loads(invoke()["Body"].read())["weights"] == "good"


def test_unknown_endpoint_and_variant(invoke: Invoke) -> None:
    """The message names what was not found."""
    error = refused(invoke, EndpointName="nobody")
    assert (error["Code"], error["status"]) == ("ValidationError", 400)
    assert "nobody" in error["Message"]
    error = refused(invoke, TargetVariant="NoSuch")
    assert (error["Code"], error["status"]) == ("ValidationError", 400)
    assert "NoSuch" in error["Message"]


def test_a_body_over_the_limit_is_413(invoke: Invoke) -> None:
    """6,291,456 bytes are accepted, one more is not."""
    assert invoke(Body=b"x" * 6_291_456)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert refused(invoke, Body=b"x" * 6_291_457)["status"] == 413


def test_streaming_is_an_honest_error(parity: Platform, multi: Deployed) -> None:
    """AWS's own streaming call has no TargetModel; ours says that it is not there."""
    runtime = parity.client("sagemaker-runtime")
    with pytest.raises(ClientError, match="InvokeEndpointWithResponseStream"):
        runtime.invoke_endpoint_with_response_stream(EndpointName=multi.name, Body=b"x")


def test_a_single_model_endpoint(parity: Platform) -> None:
    """One artifact, loaded before the endpoint is in service; TargetModel is refused."""
    store = parity.client("s3")
    store.create_bucket(
        Bucket="single", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    store.put_object(Bucket="single", Key="model.tar.gz", Body=ARCHIVES["good.tar.gz"])
    container = {
        "Image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/noisy:latest",
        "ModelDataUrl": "https://single.s3.us-west-2.amazonaws.com/model.tar.gz",
        "Environment": {"COLOUR": "green"},
    }
    deployed = parity.serve("single", container)
    runtime = parity.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(EndpointName="single", Body=b"x")
    told = json.loads(answer["Body"].read())
    assert (told["weights"], told["colour"]) == ("good", "green")
    start = answer["ResponseMetadata"]["HTTPHeaders"]["x-modelplex-start"]
    assert start == "warm", "it was loaded before the first request"
    with pytest.raises(ClientError, match="is not a multi-model endpoint") as caught:
        runtime.invoke_endpoint(EndpointName="single", TargetModel="a.tar.gz", Body=b"x")
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    deployed.delete()
