"""Many at once: 200 first requests for one model, and 300 models where fifty have room."""

from __future__ import annotations

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import StartPlatform
from tests.support.models import make_archive, make_image
from tests.support.platform import Deployed, Platform

pytestmark = pytest.mark.e2e


def events(deployed: Deployed, kind: str) -> list[dict[str, object]]:
    told = deployed.platform.get(f"/modelplex/endpoints/{deployed.name}/events?after=")["events"]
    return [event for event in told if event["event"] == kind]


def test_two_hundred_first_requests_make_one_fetch_and_one_load(platform: Platform) -> None:
    """However many wait for a cold model: one fetch, one load, and all are answered."""
    deployed = platform.deploy(
        {"cold.tar.gz": make_archive({"weights.txt": "cold.tar.gz"})}, image="echo", instances=2
    )
    runtime = platform.client("sagemaker-runtime")

    def ask(number: int) -> str:
        answer = runtime.invoke_endpoint(
            EndpointName=deployed.name, TargetModel="cold.tar.gz", Body=str(number).encode()
        )
        return str(answer["Body"].read().decode())

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(ask, range(200)))
    assert all(f'"body": "{number}"' in answer for number, answer in enumerate(answers))
    assert len(events(deployed, "fetched")) == 1
    assert len(events(deployed, "loaded")) == 1
    deployed.delete()


def test_three_hundred_models_answer_from_room_for_fifty(start_platform: StartPlatform) -> None:
    """Every answer comes from the right model while most have to be fetched, loaded and evicted.

    `benchmarks/crowd.py` is the same with ten thousand, for ten minutes.
    """
    platform = start_platform("--memory-mib", "512", "--instance-scale", "0.009")
    image = make_image(platform.data.with_name("image"))
    platform.cli("build", "-t", "echo", str(image))
    names = [f"customer_{n // 100}/m{n}.tar.gz" for n in range(300)]
    folder = platform.data / "s3" / "fleet" / "models"
    for name in names:  # the embedded store's objects are plain files; 300 PUTs would be slow
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_archive({"weights.txt": name}))
    container = {"Image": "echo", "Mode": "MultiModel", "ModelDataUrl": "s3://fleet/models/"}
    deployed = platform.serve("fleet", container)
    order = [*names, *random.Random(0).choices(names, k=100)]
    random.Random(1).shuffle(order)
    runtime = platform.client("sagemaker-runtime")

    def ask(name: str) -> str:
        answer = runtime.invoke_endpoint(EndpointName="fleet", TargetModel=name, Body=b"x")
        return str(json.loads(answer["Body"].read())["weights"])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, order))
    assert answers == order
    rows = platform.get(f"/modelplex/endpoints/{deployed.name}/models")["models"]
    states = Counter(row["state"] for row in rows)
    assert states["loaded"] <= 60
    assert states["on_disk"] >= 200
