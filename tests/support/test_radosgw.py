"""The real S3 of the integration tests is what they take it for."""

from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.radosgw import Radosgw


@pytest.mark.radosgw
def test_it_keeps_objects_and_checks_signatures(radosgw: Radosgw) -> None:
    """An object comes back as it was put, and a wrong secret is refused."""

    def client(secret: str) -> object:
        return boto3.client(
            "s3",
            endpoint_url=radosgw.endpoint,
            region_name=radosgw.region,
            aws_access_key_id=radosgw.access_key,
            aws_secret_access_key=secret,
        )

    s3 = client(radosgw.secret_key)
    place = {"LocationConstraint": radosgw.region}
    s3.create_bucket(Bucket="support", CreateBucketConfiguration=place)
    s3.put_object(Bucket="support", Key="a/b", Body=b"content")
    assert s3.get_object(Bucket="support", Key="a/b")["Body"].read() == b"content"
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client("wrong").get_object(Bucket="support", Key="a/b")
