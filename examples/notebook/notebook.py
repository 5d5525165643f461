"""The notebook "Amazon SageMaker Multi-Model Endpoints using your own algorithm container" as a
script: section by section and call for call, against whatever AWS_ENDPOINT_URL points at.

    eval "$(modelplex env)"
    python notebook.py [--image IMAGE]

IMAGE is the one that the notebook builds, unless another is named: `modelplex/mxnet` answers the
same without MXNet. It works in the current folder, on the models in `data/` (README.md says how to
make them). What has no meaning away from AWS is left out, with a comment that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import gmtime, strftime

import boto3
from botocore.client import ClientError

HERE = os.path.dirname(os.path.abspath(__file__))

parser = argparse.ArgumentParser(description="The notebook as a script.")
parser.add_argument("--image", help="instead of the one that the notebook builds")
arguments = parser.parse_args()


@contextmanager
def timed() -> Iterator[None]:
    """The notebook's `%%time`."""
    start = time.perf_counter()
    yield
    print(f"Wall time: {(time.perf_counter() - start) * 1000:,.0f} ms\n")


def section(title: str) -> None:
    """A heading of the notebook."""
    print(f"\n{title}\n{'-' * len(title)}")


def download(path: str) -> None:
    """The notebook downloads `path` from MXNet's model zoo, which is not reachable from everywhere.
    Here it has to be there: made by models.py with random weights, or the pretrained one.
    """
    if not os.path.exists(path):
        sys.exit(f"{path} is missing: `python models.py` makes it, or put the pretrained one there")


def pack(name: str, file_name: str) -> None:
    """The notebook's cell that makes `data/NAME.tar.gz` of the downloaded files."""
    download(f"data/{name}/{file_name}-0000.params")
    download(f"data/{name}/{file_name}-symbol.json")
    download(f"data/{name}/synset.txt")

    with open(f"data/{name}/{file_name}-shapes.json", "w") as file:
        file.write('[{"shape": [1, 3, 224, 224], "name": "data"}]')

    with tarfile.open(f"data/{name}.tar.gz", "w:gz") as tar:
        tar.add(f"data/{name}", arcname=".")


# Building and registering a container using MMS
#
# Left out: `docker build`, `docker push` and ECR. The platform builds the same folder itself, into
# an environment instead of a container: modelplex build -t demo-sagemaker-multimodel ./container

section("Set up the environment")

sm_client = boto3.client(service_name="sagemaker")
runtime_sm_client = boto3.client(service_name="sagemaker-runtime")

account_id = boto3.client("sts").get_caller_identity()["Account"]
region = boto3.Session().region_name

bucket = f"sagemaker-{region}-{account_id}"
prefix = "demo-multimodel-endpoint"

# Instead of sagemaker.get_execution_role(), which asks the notebook instance that it runs on, and
# this is none: the same role from where the SDK would look it up next.
role = boto3.client("iam").get_role(RoleName="modelplex")["Role"]["Arn"]

print(f"Account {account_id}, region {region}, bucket {bucket}\nRole {role}")

section("Upload model artifacts to S3")

pack("resnet_18", "resnet-18")
pack("resnet_152", "resnet-152")

s3 = boto3.resource("s3")
try:
    s3.meta.client.head_bucket(Bucket=bucket)
except ClientError:
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})

models = {"resnet_18.tar.gz", "resnet_152.tar.gz"}

for model in models:
    key = os.path.join(prefix, model)
    with open("data/" + model, "rb") as file_obj:
        s3.Bucket(bucket).Object(key).upload_fileobj(file_obj)
    print(f"s3://{bucket}/{key}")

section("Create a multi-model endpoint: import models into hosting")

model_name = "DEMO-MultiModelModel" + strftime("%Y-%m-%d-%H-%M-%S", gmtime())
model_url = f"https://s3-{region}.amazonaws.com/{bucket}/{prefix}/"
image = f"{account_id}.dkr.ecr.{region}.amazonaws.com/demo-sagemaker-multimodel:latest"
image = arguments.image or image

print("Model name: " + model_name)
print("Model data Url: " + model_url)
print("Container image: " + image)

container = {"Image": image, "ModelDataUrl": model_url, "Mode": "MultiModel"}

create_model_response = sm_client.create_model(
    ModelName=model_name, ExecutionRoleArn=role, Containers=[container]
)

print("Model Arn: " + create_model_response["ModelArn"])

section("Create endpoint configuration")

endpoint_config_name = "DEMO-MultiModelEndpointConfig-" + strftime("%Y-%m-%d-%H-%M-%S", gmtime())
print("Endpoint config name: " + endpoint_config_name)

create_endpoint_config_response = sm_client.create_endpoint_config(
    EndpointConfigName=endpoint_config_name,
    ProductionVariants=[
        {
            "InstanceType": "ml.m5.xlarge",
            "InitialInstanceCount": 2,
            "InitialVariantWeight": 1,
            "ModelName": model_name,
            "VariantName": "AllTraffic",
        }
    ],
)

print("Endpoint config Arn: " + create_endpoint_config_response["EndpointConfigArn"])

section("Create endpoint")

endpoint_name = "DEMO-MultiModelEndpoint-" + strftime("%Y-%m-%d-%H-%M-%S", gmtime())
print("Endpoint name: " + endpoint_name)

create_endpoint_response = sm_client.create_endpoint(
    EndpointName=endpoint_name, EndpointConfigName=endpoint_config_name
)
print("Endpoint Arn: " + create_endpoint_response["EndpointArn"])

resp = sm_client.describe_endpoint(EndpointName=endpoint_name)
status = resp["EndpointStatus"]
print("Endpoint Status: " + status)

print(f"Waiting for {endpoint_name} endpoint to be in service...")
with timed():
    waiter = sm_client.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName=endpoint_name)

section("Invoke models")

# The notebook downloads a photograph. Here it is yours, if there is one, or a drawing.
fname = "cat.jpg" if os.path.exists("cat.jpg") else os.path.join(HERE, "cat.jpg")

with open(fname, "rb") as f:
    payload = f.read()

print("resnet_18.tar.gz, for the first time")
with timed():
    response = runtime_sm_client.invoke_endpoint(
        EndpointName=endpoint_name,
        ContentType="application/x-image",
        TargetModel="resnet_18.tar.gz",  # the rest of the S3 path where the model artifacts are
        Body=payload,
    )

    print(*json.loads(response["Body"].read()), sep="\n")

print("resnet_18.tar.gz, for the second time")
with timed():
    response = runtime_sm_client.invoke_endpoint(
        EndpointName=endpoint_name,
        ContentType="application/x-image",
        TargetModel="resnet_18.tar.gz",
        Body=payload,
    )

    print(*json.loads(response["Body"].read()), sep="\n")

section("Invoke another model")

print("resnet_152.tar.gz, for the first time")
with timed():
    response = runtime_sm_client.invoke_endpoint(
        EndpointName=endpoint_name,
        ContentType="application/x-image",
        TargetModel="resnet_152.tar.gz",
        Body=payload,
    )

    print(*json.loads(response["Body"].read()), sep="\n")

section("Add models to the endpoint")

pack("squeezenet_v1.0", "squeezenet_v1.0")

file = "data/squeezenet_v1.0.tar.gz"

for x in range(10):
    s3_file_name = f"demo-subfolder/squeezenet_v1.0_{x}.tar.gz"
    key = os.path.join(prefix, s3_file_name)
    with open(file, "rb") as file_obj:
        s3.Bucket(bucket).Object(key).upload_fileobj(file_obj)
    models.add(s3_file_name)

print(f"Number of models: {len(models)}")
print(f"Models: {models}")

with timed():
    results: dict[str, int] = defaultdict(int)

    for _ in range(100):
        target_model = random.choice(tuple(models))
        response = runtime_sm_client.invoke_endpoint(
            EndpointName=endpoint_name,
            ContentType="application/x-image",
            TargetModel=target_model,
            Body=payload,
        )

        results[json.loads(response["Body"].read())[0]] += 1

    print(*results.items(), sep="\n")

section("Updating a model")

# The notebook says how in words: never overwrite, upload under a new name and ask for that.
key = os.path.join(prefix, "resnet_18_v2.tar.gz")
with open("data/resnet_18.tar.gz", "rb") as file_obj:
    s3.Bucket(bucket).Object(key).upload_fileobj(file_obj)

print("resnet_18_v2.tar.gz, for the first time")
with timed():
    response = runtime_sm_client.invoke_endpoint(
        EndpointName=endpoint_name,
        ContentType="application/x-image",
        TargetModel="resnet_18_v2.tar.gz",
        Body=payload,
    )

    print(*json.loads(response["Body"].read()), sep="\n")

section("(Optional) Delete the hosting resources")

sm_client.delete_endpoint(EndpointName=endpoint_name)
sm_client.delete_endpoint_config(EndpointConfigName=endpoint_config_name)
sm_client.delete_model(ModelName=model_name)

print("Deleted the endpoint, its configuration and the model.")
