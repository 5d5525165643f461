"""The S3 calls of notebooks and tools, through the one port: embedded store and a real S3."""

from __future__ import annotations

import io
import os
import urllib.error
import urllib.request
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.conftest import SMALL, StartPlatform
from tests.support.models import make_archive, make_image
from tests.support.platform import Platform
from tests.support.radosgw import Radosgw

pytestmark = pytest.mark.e2e


def exercise(client: Any, bucket: str) -> None:
    """What the notebook, the SageMaker SDK and `aws s3` do with objects."""
    with pytest.raises(ClientError) as missing:
        client.head_bucket(Bucket=bucket)
    assert missing.value.response["Error"]["Code"] == "404"
    where = {"LocationConstraint": "us-west-2"}
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
    big, key = os.urandom(20 * 1024 * 1024), "folder with space/ü+%.bin"
    client.upload_fileobj(io.BytesIO(big), bucket, key)  # multipart
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == big
    part = client.get_object(Bucket=bucket, Key=key, Range="bytes=100-199")
    assert part["Body"].read() == big[100:200]
    client.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert sorted(entry["Key"] for entry in listed) == sorted(["copy", key])
    assert {entry["Size"] for entry in client.list_objects(Bucket=bucket)["Contents"]} == {len(big)}
    client.delete_object(Bucket=bucket, Key="copy")
    with pytest.raises(ClientError) as gone:
        client.get_object(Bucket=bucket, Key="copy")
    assert gone.value.response["Error"]["Code"] == "NoSuchKey"


def presigned(client: Any, bucket: str) -> None:
    """A presigned URL works without any credentials, and a tampered one does not."""
    client.put_object(Bucket=bucket, Key="shared", Body=b"hello")
    wanted = {"Bucket": bucket, "Key": "shared"}
    url = client.generate_presigned_url("get_object", Params=wanted)
    with urllib.request.urlopen(url, timeout=30) as response:
        assert response.read() == b"hello"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace("shared", "secret"), timeout=30)
    with caught.value as refused:
        assert refused.code == 403


def signing(platform: Platform) -> Any:
    """An S3 client that presigns with SigV4, as AWS's newer regions require."""
    return platform.client("s3", config=Config(signature_version="s3v4"))


def test_the_embedded_store(platform: Platform) -> None:
    """rclone's S3 behind the one port."""
    exercise(platform.client("s3"), "parity-embedded")
    presigned(signing(platform), "parity-embedded")


@pytest.mark.radosgw
def test_a_real_s3_behind_the_one_port(start_platform: StartPlatform, radosgw: Radosgw) -> None:
    """With --s3-endpoint the same calls are signed again for it, and models are fetched from it."""
    platform = start_platform(*SMALL, *radosgw.options)
    exercise(platform.client("s3"), "parity-radosgw")
    presigned(signing(platform), "parity-radosgw")
    platform.cli("build", "-t", "echo", str(make_image(platform.data.with_name("image"))))
    archive = make_archive({"weights.txt": "from ceph"})
    deployed = platform.deploy({"m.tar.gz": archive}, image="echo")
    assert deployed.invoke("m.tar.gz")["weights"] == "from ceph"
    behind = boto3.client(
        "s3",
        endpoint_url=radosgw.endpoint,
        region_name="us-west-2",
        aws_access_key_id=radosgw.access_key,
        aws_secret_access_key=radosgw.secret_key,
    )
    listed = behind.list_objects_v2(Bucket=deployed.name)["Contents"]
    behind.close()
    assert [entry["Key"] for entry in listed] == ["models/m.tar.gz"]
