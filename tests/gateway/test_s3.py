"""S3 through the gateway: boto3 in front, rclone or another S3 behind."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from modelplex.aws.errors import ServiceUnavailable
from modelplex.aws.signatures import Keys, Signed, sign
from modelplex.gateway.app import open_door
from modelplex.gateway.door import Door
from modelplex.gateway.s3 import S3, EmbeddedStore
from modelplex.http.messages import Body, Request
from modelplex.http.server import serve
from modelplex.settings import Settings
from tests.gateway.world import KEYS, Gateway
from tests.support.processes import eventually, free_port

OTHER_KEYS = Keys("EXTERNALACCESSKEY000", "the-secret-of-another-s3")


def start_rclone(folder: Path, keys: Keys) -> tuple[subprocess.Popen[bytes], int]:
    """The real store over a folder; returns when it answers."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent))
    assert rclone is not None
    process = subprocess.Popen(
        [rclone, "serve", "s3", "--config=", f"--addr=127.0.0.1:{port}", str(folder)],
        env={**os.environ, "RCLONE_AUTH_KEY": f'"{keys.access_key},{keys.secret_key}"'},
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: accepts(port), what="rclone listens")
    return process, port


def accepts(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture
async def store(data: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The embedded store, where the gateway finds it."""
    process, port = start_rclone(data / "s3", KEYS)
    (data / "run" / "s3.json").write_text(json.dumps({"address": f"tcp:127.0.0.1:{port}"}))
    yield process
    stop(process)


@pytest.fixture
async def s3(store: object, gateway: Gateway) -> Any:
    """boto3's S3 client with a bucket named box."""
    client = gateway.boto3("s3")
    await asyncio.to_thread(client.create_bucket, Bucket="box")
    return client


def code(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


async def test_every_call_of_the_notebook_works(s3: Any) -> None:
    """Buckets and objects are made, looked at, listed, copied and removed."""

    def story() -> None:
        location = {"LocationConstraint": "us-west-2"}
        s3.create_bucket(Bucket="models", CreateBucketConfiguration=location)
        s3.head_bucket(Bucket="models")
        s3.put_object(Bucket="models", Key="demo/a b+ü.tar.gz", Body=b"abc")
        s3.copy_object(Bucket="models", Key="copy", CopySource="models/demo/a b+ü.tar.gz")
        assert s3.get_object(Bucket="models", Key="copy")["Body"].read() == b"abc"
        assert s3.head_object(Bucket="models", Key="copy")["ContentLength"] == 3
        keys = [o["Key"] for o in s3.list_objects_v2(Bucket="models")["Contents"]]
        assert keys == ["copy", "demo/a b+ü.tar.gz"]
        s3.delete_object(Bucket="models", Key="copy")
        assert "Contents" not in s3.list_objects_v2(Bucket="models", Prefix="copy")

    await asyncio.to_thread(story)


async def test_large_objects_go_through_in_parts(s3: Any, tmp_path: Path) -> None:
    """20 MB go up as a multipart upload and come down again, byte for byte."""

    def story() -> None:
        payload = os.urandom(20 * 1024 * 1024)
        (tmp_path / "big").write_bytes(payload)
        s3.upload_file(str(tmp_path / "big"), "box", "big")
        target = io.BytesIO()
        s3.download_fileobj("box", "big", target)
        assert hashlib.sha256(target.getvalue()).digest() == hashlib.sha256(payload).digest()

    await asyncio.to_thread(story)


async def test_a_range_is_answered_as_a_part(s3: Any) -> None:
    """206 with the right bytes, though rclone calls it 200."""

    def story() -> None:
        s3.put_object(Bucket="box", Key="k", Body=b"0123456789")
        part = s3.get_object(Bucket="box", Key="k", Range="bytes=2-4")
        assert part["Body"].read() == b"234"
        assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert part["ContentRange"] == "bytes 2-4/10"

    await asyncio.to_thread(story)


async def test_missing_things_are_missing(s3: Any) -> None:
    """404 for a bucket and a key that are not there, with S3's codes."""
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(s3.head_bucket, Bucket="nosuch")
    assert code(caught) == ("404", 404)
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(s3.get_object, Bucket="box", Key="nosuch")
    assert code(caught) == ("NoSuchKey", 404)


async def test_wrong_signatures_get_s3s_codes(s3: Any, gateway: Gateway) -> None:
    """An unknown key, a wrong secret and no signature are each refused in S3's own way."""
    stranger = gateway.boto3("s3", Keys("AKIAUNKNOWN", KEYS.secret_key))
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(stranger.list_buckets)
    assert code(caught) == ("InvalidAccessKeyId", 403)
    forger = gateway.boto3("s3", Keys(KEYS.access_key, "wrong"))
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(forger.put_object, Bucket="box", Key="k", Body=b"x" * 10**6)
    assert code(caught) == ("SignatureDoesNotMatch", 403)
    response, body = await gateway.raw("GET", "/box/k", [])
    assert response.status == 403
    assert b"<Code>AccessDenied</Code>" in body


async def test_presigned_urls_work_until_they_expire(
    s3: Any, gateway: Gateway, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A presigned GET is answered; after its time it is AccessDenied."""
    await asyncio.to_thread(s3.put_object, Bucket="box", Key="k", Body=b"hello")
    client = gateway.boto3("s3", signature_version="s3v4")
    url = client.generate_presigned_url(
        "get_object", Params={"Bucket": "box", "Key": "k"}, ExpiresIn=60
    )
    target = url.removeprefix(gateway.url)
    response, body = await gateway.raw("GET", target, [])
    assert (response.status, body) == (200, b"hello")
    monkeypatch.setattr(door, "_clock", lambda: time.time() + 61)
    response, body = await gateway.raw("GET", target, [])
    assert response.status == 403
    assert b"<Message>Request has expired</Message>" in body


async def test_a_restarted_store_is_found_again(
    s3: Any, store: subprocess.Popen[bytes], data: Path
) -> None:
    """When the store comes back on another port, the next request reaches it."""
    stop(store)
    process, port = start_rclone(data / "s3", KEYS)
    try:
        address = {"address": f"tcp:127.0.0.1:{port}"}
        (data / "run" / "s3.json").write_text(json.dumps(address))
        listed = await asyncio.to_thread(s3.list_buckets)
        assert [bucket["Name"] for bucket in listed["Buckets"]] == ["box"]
    finally:
        stop(process)


async def test_without_a_store_calls_are_unavailable(data: Path) -> None:
    """ServiceUnavailable once the store had its time to come back."""
    s3 = S3(EmbeddedStore(data / "run" / "s3.json"), patience_s=0.2)
    request = Request("GET", b"/", [(b"host", b"x")], Body.of(b""), "")
    signed = Signed("k", "s3", "r", "20260101T000000Z", False, "UNSIGNED-PAYLOAD", (b"host",))
    with pytest.raises(ServiceUnavailable, match="store"):
        await s3.proxy(request, signed)


@pytest.fixture
async def external(data: Path) -> AsyncIterator[Gateway]:
    """A gateway in front of an S3 with keys of its own."""
    process, port = start_rclone(data / "elsewhere", OTHER_KEYS)
    settings = Settings(
        data=data,
        access_key=KEYS.access_key,
        secret_key=KEYS.secret_key,
        s3_endpoint=f"http://127.0.0.1:{port}",
        s3_access_key=OTHER_KEYS.access_key,
        s3_secret_key=OTHER_KEYS.secret_key,
    )
    async with open_door(settings, data) as door:
        server = await serve(door.handle, "tcp:127.0.0.1:0")
        assert server.port is not None
        yield Gateway(server.port)
        await server.close(5)
    stop(process)


async def test_another_s3_gets_requests_signed_with_its_own_keys(external: Gateway) -> None:
    """Clients use the platform's keys, the S3 behind it sees its own; presigned URLs too."""
    client = external.boto3("s3", signature_version="s3v4")

    def story() -> str:
        client.create_bucket(Bucket="box")
        client.put_object(Bucket="box", Key="a b/ü+1", Body=b"hello")
        client.upload_fileobj(io.BytesIO(b"x" * 9_000_000), "box", "big")
        assert client.head_object(Bucket="box", Key="big")["ContentLength"] == 9_000_000
        assert client.list_objects_v2(Bucket="box", Prefix="a b/")["KeyCount"] == 1
        params = {"Bucket": "box", "Key": "a b/ü+1"}
        return str(client.generate_presigned_url("get_object", Params=params))

    url = await asyncio.to_thread(story)
    response, body = await external.raw("GET", url.removeprefix(external.url), [])
    assert (response.status, body) == (200, b"hello")


async def test_chunk_signatures_cannot_be_renewed(external: Gateway) -> None:
    """A body signed chunk by chunk is refused with what to do about it."""
    streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    headers = sign(
        "PUT", external.url + "/box/k", [], streaming, KEYS, "s3", "us-west-2", time.time()
    )
    response, body = await external.raw(
        "PUT", "/box/k", headers, b"3;chunk-signature=00\r\nabc\r\n"
    )
    assert response.status == 501
    assert b"chunk" in body
