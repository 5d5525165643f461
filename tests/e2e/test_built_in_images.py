"""Every built-in image behind an endpoint, asked by boto3 with the content types that it takes."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from benchmarks.images import MODELS
from tests.support import builtin
from tests.support.platform import ROLE, Platform

pytestmark = [pytest.mark.e2e, pytest.mark.frameworks]

ROWS = [[float(n) for n in range(1, 11)], [-1.0] * 10]
CSV = "\n".join(",".join(f"{value:g}" for value in row) for row in ROWS)
LIBSVM = "\n".join(
    " ".join(["0", *(f"{at}:{value:g}" for at, value in enumerate(row, 1))]) for row in ROWS
)
BODIES = {
    "text/csv": CSV.encode(),
    "application/json": json.dumps(ROWS).encode(),
    "application/jsonlines": "\n".join(json.dumps(row) for row in ROWS).encode(),
    "application/x-npy": b"",  # filled below
    "text/libsvm": LIBSVM.encode(),
}
_npy = io.BytesIO()
np.save(_npy, np.array(ROWS, "float32"))
BODIES["application/x-npy"] = _npy.getvalue()

ARRAYS = ("text/csv", "application/json", "application/jsonlines", "application/x-npy")
TAKES = dict.fromkeys(MODELS, ARRAYS) | {
    "xgboost": (*ARRAYS, "text/libsvm"),
    "lightgbm": (*ARRAYS, "text/libsvm"),
}
GIVES = dict.fromkeys(MODELS, ("application/json", "text/csv"))
CODE = """
import json


def model_fn(model_dir):
    return 2


def predict_fn(data, model):
    return data.sum(axis=1) * model
"""


def archive(folder: Path) -> bytes:
    """A folder as a model's artifact."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, arcname=".")
    return buffer.getvalue()


def deploy(platform: Platform, name: str, folder: Path) -> None:
    """An endpoint of the image with the model in a folder, in service."""
    platform.client("s3").put_object(Bucket="models", Key=f"{name}/m.tar.gz", Body=archive(folder))
    sagemaker = platform.client("sagemaker")
    container = {
        "Image": f"modelplex/{name}",
        "Mode": "MultiModel",
        "ModelDataUrl": f"s3://models/{name}/",
    }
    sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with an endpoint for each image; the images are those that other tests built."""
    folders = {
        name: builtin.made(builtin.image(name), each.script) for name, each in MODELS.items()
    }
    builtin.image("python")
    own = folders["python"] = tmp_path_factory.mktemp("python")
    (own / "code").mkdir()
    (own / "code" / "inference.py").write_text(CODE)
    home = tmp_path_factory.mktemp("platform")
    (home / "data").mkdir(mode=0o700)
    (home / "data" / "images").symlink_to(builtin.FOLDER)
    platform = Platform(home / "data", "--memory-mib", "12000", "--instance-scale", "0.2")
    platform.start()
    try:
        platform.client("s3").create_bucket(Bucket="models")
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda name: deploy(platform, name, folders[name]), folders))
        yield platform
    finally:
        platform.stop()
        shutil.rmtree(home, ignore_errors=True)


def invoke(platform: Platform, name: str, content_type: str, accept: str, body: bytes) -> Any:
    """The answer, read by its own content type."""
    answer = platform.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=name,
        TargetModel="m.tar.gz",
        ContentType=content_type,
        Accept=accept,
        Body=body,
    )
    text = answer["Body"].read().decode()
    if answer["ContentType"] == "application/json":
        return json.loads(text)
    assert answer["ContentType"].startswith("text/csv")
    return [[float(word) for word in line.split(",")] for line in text.split()]


def numbers(answer: Any) -> list[float]:
    """All numbers of an answer, however it is nested."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list):
        return [number for each in answer for number in numbers(each)]
    return [float(answer)]


@pytest.mark.parametrize("name", MODELS)
def test_all_content_types_say_the_same(platform: Platform, name: str) -> None:
    """Two rows, sent in every form that the image takes, and taken in each that it gives."""
    answers = [
        numbers(invoke(platform, name, content_type, accept, BODIES[content_type]))
        for content_type in TAKES[name]
        for accept in GIVES[name]
    ]
    assert len(answers[0]) in (2, 4)
    for answer in answers:
        assert answer == pytest.approx(answers[0], rel=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/csv", b"1,2,3", 400),
        ("text/csv", b"these,are,no,numbers,at,all,in,ten,whole,words", 400),
        ("application/json", b"{nothing", 400),
        ("application/x-npy", b"nothing", 400),
        ("application/x-recordio-protobuf", b"0", 415),
    ],
)
def test_wrong_input_is_told(
    platform: Platform, name: str, content_type: str, body: bytes, status: int
) -> None:
    """The client reads a sentence, with the status that the container gave."""
    with pytest.raises(ClientError) as refused:
        invoke(platform, name, content_type, "application/json", body)
    assert refused.value.response["Error"]["Code"] == "ModelError"
    assert refused.value.response["OriginalStatusCode"] == status
    assert len(refused.value.response["OriginalMessage"].split()) > 4


def test_the_python_image_runs_the_models_own_code(platform: Platform) -> None:
    """What its inference.py lacks, reading and writing, is done by the image."""
    assert invoke(platform, "python", "text/csv", "application/json", BODIES["text/csv"]) == [
        110.0,
        -20.0,
    ]
