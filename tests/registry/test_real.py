"""`modelplex up --registry` with Debian's docker-registry: pushed and pulled over plain HTTP."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from botocore.exceptions import ClientError

from tests.conftest import SMALL
from tests.ecr import layout
from tests.support.platform import COMMAND, Platform
from tests.support.processes import eventually

BLOB = b"a layer" * 300_000


@pytest.fixture
def platform_with_registry(tmp_path: Path) -> Iterator[Platform]:
    """A platform with `--registry` on any free port."""
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    platform = Platform(tmp_path / "data", *SMALL, "--registry", "--registry-port", "0")
    try:
        platform.start()
        eventually(lambda: Registry(platform).ask("GET", "/ping")[0] == 200)
        yield platform
    finally:
        platform.stop()


class Registry:
    """What `docker` does, by hand."""

    def __init__(self, platform: Platform) -> None:
        settings = json.loads((platform.data / "settings.json").read_text())
        self.address = f"127.0.0.1:{settings['registry_port']}"
        self.ecr = platform.client("ecr")

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except OSError:
            return 0, http.client.HTTPMessage(), b""
        finally:
            connection.close()

    def login(self) -> dict[str, str]:
        """The header of GetAuthorizationToken's user and password."""
        (data,) = self.ecr.get_authorization_token()["authorizationData"]
        assert base64.b64decode(data["authorizationToken"]).startswith(b"AWS:")
        assert data["proxyEndpoint"] == f"http://{self.address}"
        return {"Authorization": f"Basic {data['authorizationToken']}"}

    def push(self, name: str, tag: str, login: dict[str, str]) -> str:
        """A blob in two pieces, then a manifest of it; the manifest's digest."""
        blob, config = self._upload(name, BLOB, login), self._upload(name, b"{}", login)
        document = layout.manifest()
        document["config"] |= {"size": 2, "digest": config}
        document["layers"][0] |= {"size": len(BLOB), "digest": blob}
        path, body = f"/v2/{name}/manifests/{tag}", json.dumps(document).encode()
        status, headers, answer = self.ask(
            "PUT", path, body, **login, **{"Content-Type": layout.MANIFEST}
        )
        assert status == 201, answer
        return headers["Docker-Content-Digest"]

    def _upload(self, name: str, blob: bytes, login: dict[str, str]) -> str:
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        status, _, _ = self.ask("HEAD", f"/v2/{name}/blobs/{digest}", **login)
        assert status in (404, 200)
        status, headers, _ = self.ask("POST", f"/v2/{name}/blobs/uploads/", **login)
        assert status == 202
        half = len(blob) // 2
        for piece in (blob[:half], blob[half:]):
            status, headers, _ = self.ask("PATCH", self._next(headers), piece, **login)
            assert status == 202
        path = f"{self._next(headers)}&digest={digest}"
        status, headers, answer = self.ask("PUT", path, **login)
        assert status == 201, answer
        return digest

    def _next(self, headers: http.client.HTTPMessage) -> str:
        return urljoin("/", headers["Location"])


def code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    """The code of an error of boto3's."""
    return str(caught.value.response["Error"]["Code"])


@pytest.mark.registry
def test_the_notebook_s_calls_and_a_push(platform_with_registry: Platform) -> None:
    """Asked for, created, logged in, pushed, pulled, listed, deleted; all over a killed store."""
    platform = platform_with_registry
    registry = Registry(platform)
    ecr = registry.ecr
    with pytest.raises(ClientError) as caught:
        ecr.describe_repositories(repositoryNames=["demo"])
    assert code(caught) == "RepositoryNotFoundException"
    login = registry.login()
    assert registry.ask("GET", "/v2/")[0] == 401
    assert registry.ask("GET", "/v2/", **login)[0] == 200
    assert registry.ask("POST", "/v2/demo/blobs/uploads/", **login)[0] == 404
    made = ecr.create_repository(repositoryName="demo")["repository"]
    assert made["repositoryUri"] == f"{registry.address}/demo"
    digest = registry.push("demo", "v1", login)
    (image,) = ecr.describe_images(repositoryName="demo")["imageDetails"]
    assert (image["imageDigest"], image["imageTags"]) == (digest, ["v1"])
    assert image["imageSizeInBytes"] == len(BLOB) + 2

    kill(platform, "registry-store")
    kill(platform, "registry")
    eventually(lambda: registry.ask("GET", "/ping")[0] == 200, what="both are back")
    kinds = {**login, "Accept": layout.MANIFEST}
    status, headers, body = registry.ask("GET", "/v2/demo/manifests/v1", **kinds)
    assert (status, headers["Docker-Content-Digest"]) == (200, digest)
    layer = json.loads(body)["layers"][0]["digest"]
    assert registry.ask("GET", f"/v2/demo/blobs/{layer}", **login)[2] == BLOB
    part = registry.ask("GET", f"/v2/demo/blobs/{layer}", **login, Range="bytes=1-3")
    assert (part[0], part[2]) == (206, BLOB[1:4])

    platform.kill()
    platform.start()
    registry = Registry(platform)
    eventually(lambda: registry.ask("GET", "/ping")[0] == 200, what="the next one answers")
    assert registry.ask("GET", "/v2/demo/manifests/v1", **kinds)[0] == 200
    with pytest.raises(ClientError) as caught:
        registry.ecr.delete_repository(repositoryName="demo")
    assert code(caught) == "RepositoryNotEmptyException"
    registry.ecr.batch_delete_image(repositoryName="demo", imageIds=[{"imageTag": "v1"}])
    assert registry.ask("GET", "/v2/demo/manifests/v1", **kinds)[0] == 404
    registry.ecr.delete_repository(repositoryName="demo")
    assert registry.ask("GET", "/v2/demo/manifests/v1", **kinds)[0] == 404
    assert f"Registry of images at {registry.address}" in platform.cli("status").decode()
    assert f"MODELPLEX_REGISTRY_ADDRESS={registry.address}" in platform.cli("env").decode()


def kill(platform: Platform, process: str) -> None:
    """kill -9 of one of the platform's processes."""
    processes: Any = platform.get("/modelplex/status")["processes"]
    os.kill(processes[process]["pid"], signal.SIGKILL)


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    """With the package to install; nothing is left running."""
    path = str(Path(COMMAND).parent)
    done = subprocess.run(
        [COMMAND, "up", "--data", str(tmp_path / "data"), "--port", "0", "--registry",
         "--registry-port", "0"],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode == 1
    assert "apt-get install docker-registry" in done.stderr
