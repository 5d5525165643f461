"""Multi Model Server 1.1.11 behind the endpoint API, as a command image and as an engine's image.

It is the hardest server to be a platform for: it keeps models whose load it refused, and some of
its answers never come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support import mms_images
from tests.support.models import make_archive
from tests.support.platform import Deployed, Platform

pytestmark = [pytest.mark.e2e, pytest.mark.mms]

TIMEOUT_S = "5"  # of an invocation
OPTIONS = ("--memory-mib", "4096", "--instance-scale", "0.25", "--invocation-timeout-s", TIMEOUT_S)
MODELS = {f"{name}.tar.gz": make_archive({"weights.txt": name}) for name in ("a", "b", "once")}


def as_command(platform: Platform, request: pytest.FixtureRequest, folder: Path) -> str:
    """Built by `modelplex build`; its name."""
    platform.cli("build", "-t", "mms", str(mms_images.command_image(folder / "image")))
    return "mms"


def as_engine_image(platform: Platform, request: pytest.FixtureRequest, folder: Path) -> str:
    """Built by `docker build` into the engine; its name."""
    mms_images.add_engine_image(request.getfixturevalue("engine"), folder / "image", "mms:oci")
    return "mms:oci"


KINDS = [as_command, pytest.param(as_engine_image, marks=pytest.mark.engine)]


@pytest.fixture(scope="module", params=KINDS)
def endpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """Three models in service; "once" is refused for lack of memory when it is first loaded."""
    folder = tmp_path_factory.mktemp("mms")
    make: Callable[..., str] = request.param
    options = OPTIONS
    if make is as_engine_image:
        options += ("--container-engine", request.getfixturevalue("engine").url)
    platform = Platform(folder / "data", *options)
    try:
        platform.start()
        yield platform.deploy(MODELS, image=make(platform, request, folder))
    finally:
        platform.stop()  # which also sees that Java and its workers are gone


def reports(endpoint: Deployed) -> list[dict[str, Any]]:
    """What the platform did with models, oldest first."""
    found: list[dict[str, Any]] = endpoint.platform.get(
        f"/modelplex/endpoints/{endpoint.name}/events"
    )["events"]
    return found


def printed(endpoint: Deployed, pattern: str) -> list[str]:
    """The lines of the server's own log that CloudWatch Logs finds."""
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
    found = endpoint.platform.client("logs").filter_log_events(
        logGroupName=group, filterPattern=pattern
    )
    return [each["message"] for each in found["events"]]


def test_models_answer_each_in_a_process_of_its_own(endpoint: Deployed) -> None:
    """Loaded by the platform, invoked with what the client sent."""
    first = endpoint.invoke("a.tar.gz", b"x", ContentType="text/plain")
    second = endpoint.invoke("b.tar.gz", b"y", ContentType="text/plain")
    assert (first["weights"], first["body"]) == ("a", "x")
    assert (second["weights"], second["body"]) == ("b", "y")
    assert first["pid"] != second["pid"]


def test_a_model_it_keeps_after_507_is_deleted_and_loaded_again(endpoint: Deployed) -> None:
    """The client waits for one answer; the zombie is deleted, so the second load is no 409."""
    endpoint.invoke("a.tar.gz", b"x")
    assert endpoint.invoke("once.tar.gz", b"x")["weights"] == "once"
    story = [each["event"] for each in reports(endpoint) if each["model"] == "once.tar.gz"]
    assert story == ["fetched", "failed", "loaded", "invoked"]
    assert any('"DELETE /models/' in line for line in printed(endpoint, "DELETE"))
    assert endpoint.invoke("a.tar.gz", b"x")["weights"] == "a"


def test_an_answer_that_never_comes_is_timed_out(endpoint: Deployed) -> None:
    """In SageMaker's words; the next request finds the model again, and others never left."""
    other = endpoint.invoke("b.tar.gz", b"x")["pid"]
    begun = time.monotonic()
    with pytest.raises(ClientError) as caught:
        endpoint.invoke("a.tar.gz", b"forever")
    error = caught.value.response
    assert error["Error"]["Code"] == "ModelError"
    assert error["OriginalStatusCode"] == 0
    assert "Your invocation timed out" in error["Error"]["Message"]
    assert time.monotonic() - begun >= float(TIMEOUT_S)
    assert endpoint.invoke("a.tar.gz", b"x")["weights"] == "a"
    assert endpoint.invoke("b.tar.gz", b"x")["pid"] == other
