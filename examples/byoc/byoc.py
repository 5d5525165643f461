"""Your own container behind a multi-model endpoint, from its image to its death under load.

    eval "$(modelplex env)"
    ./build_and_push.sh
    python byoc.py

Unmodified boto3 against whatever AWS_ENDPOINT_URL points at; the one thing that is not Amazon's is
the `docker kill` near the end, which needs the engine that runs the container. Works in the current
folder.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import boto3
from botocore.client import ClientError
from botocore.config import Config

NAME = "demo-byoc"
PREFIX = "demo-byoc"
CLASSES = 8
# What the models take in memory, in MiB, all of them more than an instance has. The archives are
# equally small, so that nobody but the container can know it before a model is loaded.
SIZES = (8, 12, 16, 20, 24, 28, 32, 40, 60, 90, 140, 200)
REQUESTS_UNDER_KILL = 200
CLIENTS = 4
PATIENCE_S = 300.0
MIB = 1024 * 1024

sagemaker = boto3.client("sagemaker")
runtime = boto3.client(
    "sagemaker-runtime",
    config=Config(read_timeout=70, retries={"max_attempts": 0}, max_pool_connections=CLIENTS),
)
s3 = boto3.client("s3")
logs = boto3.client("logs")
region = boto3.Session().region_name
account = boto3.client("sts").get_caller_identity()["Account"]
bucket = f"sagemaker-{region}-{account}"
unique = f"{NAME}-{time.strftime('%Y-%m-%d-%H-%M-%S', time.gmtime())}"
log_group = f"/aws/sagemaker/Endpoints/{unique}"


def section(title: str) -> None:
    """A heading."""
    print(f"\n{title}\n{'-' * len(title)}", flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Says how long the block took."""
    start = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - start:,.1f} s", flush=True)


def archive(mebibytes: int) -> bytes:
    """A model that takes so much memory when it is loaded."""
    features = mebibytes * MIB // (8 * CLASSES)
    shape = json.dumps({"classes": CLASSES, "features": features, "seed": mebibytes}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("shape.json")
        entry.size = len(shape)
        tar.addfile(entry, io.BytesIO(shape))
    return buffer.getvalue()


def invoke(model: str) -> dict[str, int]:
    """One prediction. Raises ClientError."""
    answer = runtime.invoke_endpoint(
        EndpointName=unique,
        TargetModel=model,
        ContentType="application/json",
        Body=json.dumps({"features": [1.0, -2.0, 0.5]}),
    )
    document: dict[str, int] = json.loads(answer["Body"].read())
    return document


def invoke_patiently(model: str) -> dict[str, int]:
    """As a client that SageMaker's errors do not surprise: asked again until there is an answer."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return invoke(model)
        except ClientError as problem:
            if time.monotonic() > deadline:
                raise
            print(f"  {model}: {problem.response['Error']['Code']}, again", flush=True)
            time.sleep(1.0)


def outcome(model: str) -> str:
    """What a client that asks once is told: "answered", or the error's code."""
    try:
        invoke(model)
    except ClientError as problem:
        return str(problem.response["Error"]["Code"])
    return "answered"


def log_lines(pattern: str) -> list[str]:
    """What the container printed, as CloudWatch Logs has it."""
    pages = logs.get_paginator("filter_log_events")
    found = pages.paginate(logGroupName=log_group, filterPattern=pattern)
    return [event["message"].strip() for page in found for event in page["events"]]


def docker(*words: str) -> list[str]:
    """The lines that the docker command printed."""
    done = subprocess.run(["docker", *words], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.split("\n")[:-1]


section("Upload 12 models")

try:
    s3.head_bucket(Bucket=bucket)
except ClientError:
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})

models = [f"model_{mebibytes:03}.tar.gz" for mebibytes in SIZES]
for model, mebibytes in zip(models, SIZES, strict=True):
    packed = archive(mebibytes)
    s3.put_object(Bucket=bucket, Key=f"{PREFIX}/{model}", Body=packed)
    print(f"s3://{bucket}/{PREFIX}/{model}: {len(packed)} bytes, {mebibytes} MiB when loaded")

section("Create the endpoint")

image = f"{account}.dkr.ecr.{region}.amazonaws.com/{NAME}:latest"
print(f"Image {image}")
sagemaker.create_model(
    ModelName=unique,
    ExecutionRoleArn=f"arn:aws:iam::{account}:role/modelplex",
    PrimaryContainer={
        "Image": image,
        "Mode": "MultiModel",
        "ModelDataUrl": f"s3://{bucket}/{PREFIX}/",
    },
)
variant = {
    "VariantName": "AllTraffic",
    "ModelName": unique,
    "InstanceType": "ml.m5.xlarge",
    "InitialInstanceCount": 1,
}
sagemaker.create_endpoint_config(EndpointConfigName=unique, ProductionVariants=[variant])
sagemaker.create_endpoint(EndpointName=unique, EndpointConfigName=unique)
with timed("In service after"):
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=unique)
deployed = sagemaker.describe_endpoint(EndpointName=unique)["ProductionVariants"][0]
print(f"It runs {deployed['DeployedImages'][0]['ResolvedImage']}")

section("Invoke every model")

for model in models:
    start = time.perf_counter()
    answer = invoke_patiently(model)
    took = (time.perf_counter() - start) * 1000
    weights = answer["weights_bytes"] // MIB
    print(f"{model}: class {answer['class']}, {weights} MiB of weights, {took:,.0f} ms")

refused = log_lines('"POST /models HTTP" 507')
print(f"\nThe container had no memory for a model {len(refused)} times, and said 507:")
print(*refused[:3], sep="\n")
print("Each time the platform unloaded others and asked again, and the client got its answer.")

section("Kill the container under load")

(container, *_) = docker(
    "ps", "--quiet", "--filter", "name=modelplex-", "--filter", "status=running"
)
small = models[:6]
with ThreadPoolExecutor(CLIENTS) as clients:
    asked = [clients.submit(outcome, small[i % len(small)]) for i in range(REQUESTS_UNDER_KILL)]
    while sum(each.done() for each in asked) < REQUESTS_UNDER_KILL // 4:
        time.sleep(0.01)
    docker("kill", container)
    print(f"docker kill {container}, with requests under way")
    with timed("All requests over after"):
        outcomes = Counter(each.result() for each in asked)
print(*(f"{count:4} {what}" for what, count in outcomes.most_common()), sep="\n")

with timed("Every model answers again after"):
    for model in models:
        invoke_patiently(model)
status = sagemaker.describe_endpoint(EndpointName=unique)["EndpointStatus"]
print(f"Endpoint status: {status}")

section("Clean up")

sagemaker.delete_endpoint(EndpointName=unique)
sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=unique)
sagemaker.delete_endpoint_config(EndpointConfigName=unique)
sagemaker.delete_model(ModelName=unique)
left = docker("ps", "--all", "--quiet", "--filter", f"name={container}")
print(f"Deleted the endpoint, its configuration and the model; {len(left)} containers are left.")
