"""Containers of an engine that cannot serve: what their endpoint's FailureReason says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError, WaiterError

from tests.conftest import StartPlatform
from tests.support.base_images import BIND_TO_PORT, MULTI_MODEL, add_busybox
from tests.support.engine import Engine, missing
from tests.support.platform import ROLE, Platform
from tests.support.processes import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

HEALTH_TIMEOUT_S = "4"
OPTIONS = ("--memory-mib", "1024", "--instance-scale", "0.005")  # 82 MiB for an ml.m5.xlarge
LABELS = (f"LABEL {MULTI_MODEL}", f"LABEL {BIND_TO_PORT}")


@pytest.fixture(scope="module")
def containers(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that runs the engine's images, and waits four seconds for a container's health."""
    options = (*OPTIONS, "--startup-timeout-s", HEALTH_TIMEOUT_S)
    platform = Platform(
        tmp_path_factory.mktemp("containers") / "data", *options, "--container-engine", engine.url
    )
    try:
        platform.start()
        platform.client("s3").create_bucket(
            Bucket="models", CreateBucketConfiguration={"LocationConstraint": platform.region}
        )
        yield platform
    finally:
        platform.stop()


def image(engine: Engine, name: str, script: str, *changes: str) -> str:
    """An image whose container runs a line of shell."""
    entry = json.dumps(["sh", "-c", script])
    return add_busybox(engine, f"{name}:1", *(changes or LABELS), f"ENTRYPOINT {entry}")


def own_containers(engine: Engine, image: str) -> list[str]:
    """The ids of an image's containers."""
    return engine.docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}").split()


def make_model(platform: Platform, name: str, image: str) -> None:
    """CreateModel with that image."""
    container = {"Image": image, "Mode": "MultiModel", "ModelDataUrl": "s3://models/"}
    platform.client("sagemaker").create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container
    )


def make_endpoint(platform: Platform, name: str) -> None:
    """CreateEndpoint of one instance, and the configuration for it."""
    sagemaker = platform.client("sagemaker")
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InstanceType": "ml.m5.xlarge",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def failure(platform: Platform, name: str, image: str) -> str:
    """The reason for which an endpoint with that image fails."""
    make_model(platform, name, image)
    make_endpoint(platform, name)
    return failure_of(platform, name)


def failure_of(platform: Platform, name: str) -> str:
    """The reason for which an endpoint fails."""
    sagemaker = platform.client("sagemaker")
    with pytest.raises(WaiterError):
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
    found = sagemaker.describe_endpoint(EndpointName=name)
    assert found["EndpointStatus"] == "Failed", found
    reason: str = found["FailureReason"]
    return reason


def test_an_image_without_the_label(containers: Platform, engine: Engine) -> None:
    name = image(engine, "unlabelled", "sleep 60", f"LABEL {BIND_TO_PORT}")
    reason = failure(containers, "unlabelled", name)
    assert "does not contain required com.amazonaws.sagemaker.capabilities.multi-models" in reason


def test_a_container_that_exits(containers: Platform, engine: Engine) -> None:
    """With its exit code, and the last that it said."""
    name = image(engine, "exits", "echo there are no weights; exit 3")
    reason = failure(containers, "exits", name)
    assert "exit code 3" in reason
    assert "there are no weights" in reason


def test_a_container_that_never_becomes_healthy(containers: Platform, engine: Engine) -> None:
    reason = failure(containers, "silent", image(engine, "silent", "sleep 600"))
    assert "did not pass the ping health check" in reason


def test_a_container_that_runs_out_of_memory(containers: Platform, engine: Engine) -> None:
    """Killed by the kernel for its limit, which is told apart from every other SIGKILL."""
    script = "a=0123456789; while :; do a=$a$a; done"
    reason = failure(containers, "hungry", image(engine, "hungry", script))
    assert "memory" in reason


def test_an_image_without_its_program(containers: Platform, engine: Engine) -> None:
    name = add_busybox(engine, "programless:1", *LABELS, 'ENTRYPOINT ["/no/such/program"]')
    assert "/no/such/program" in failure(containers, "programless", name)


def test_an_image_that_no_registry_has(containers: Platform) -> None:
    """A name with a registry's host is asked for when the instance starts."""
    assert "127.0.0.1:9/nothing" in failure(containers, "absent", "127.0.0.1:9/nothing:1")


def test_an_image_that_the_engine_lacks(containers: Platform) -> None:
    """Without a registry's host there is nobody else to ask: CreateModel refuses."""
    with pytest.raises(ClientError, match=r"Requested image nowhere:1 not found\."):
        failure(containers, "nowhere", "nowhere:1")


def test_without_an_engine(start_platform: StartPlatform) -> None:
    """CreateModel says where it was looked for; of an image with a registry, the endpoint does."""
    platform = start_platform(*OPTIONS, "--container-engine", "unix:///no/such/engine.sock")
    missed = r"/no/such/engine\.sock: there is no such socket"
    with pytest.raises(ClientError, match=missed):
        make_model(platform, "engineless", "busybox:static")
    assert re.search(missed, failure(platform, "engineless", "127.0.0.1:9/nothing:1"))


def test_an_engine_that_ends_while_the_endpoint_is_created(start_platform: StartPlatform) -> None:
    """CreateModel still found it: now it is the endpoint that says what is missing."""
    if reason := missing():
        pytest.skip(reason)
    own = Engine()
    try:
        own.start()
        platform = start_platform(*OPTIONS, "--container-engine", own.url)
        make_model(platform, "orphaned", image(own, "orphaned", "sleep 600"))
        make_endpoint(platform, "orphaned")
    finally:
        own.stop()
    reason = failure_of(platform, "orphaned")
    assert "engine" in reason


def test_no_container_outlives_a_killed_platform(
    start_platform: StartPlatform, engine: Engine
) -> None:
    """kill -9 of the parent of all: they are the engine's children, and go all the same."""
    platform = start_platform(*OPTIONS, "--container-engine", engine.url)
    make_model(platform, "outlived", image(engine, "outlived", "sleep 600"))
    make_endpoint(platform, "outlived")
    eventually(lambda: own_containers(engine, "outlived:1"), what="the container runs")
    platform.kill()
    eventually(lambda: not own_containers(engine, "outlived:1"), what="the container is removed")
