"""An artifact that is overwritten under load: no failed request, and no mixed answer.

`python -m tests.e2e.test_refresh VERSIONS` does it longer, by hand, and prints what happened.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from modelplex.cli import target as targets
from tests.conftest import StartPlatform
from tests.support.models import make_archive, make_image
from tests.support.platform import Deployed, Platform
from tests.support.processes import eventually

pytestmark = pytest.mark.e2e

CLIENTS = 4
MODEL = "m.tar.gz"
# Every answer says its version twice: from a file read at load, and from one read at prediction.
HANDLER = """
import json
from pathlib import Path

LOADED = {}


def handle(data, context):
    if data is None:
        LOADED["version"] = Path("at_load.txt").read_text()
        if LOADED["version"].startswith("broken"):
            raise ValueError("these weights are no good: " + LOADED["version"])
        return None
    return [json.dumps([LOADED["version"], Path("at_predict.txt").read_text()])]
"""


def archive(version: str) -> bytes:
    return make_archive({"at_load.txt": version, "at_predict.txt": version})


class Clients:
    """Ask one model without a pause; what was answered, when, and what went wrong."""

    def __init__(self, deployed: Deployed) -> None:
        self.deployed = deployed
        self.answers: list[tuple[float, list[str]]] = []
        self.errors: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        runtime = self.deployed.platform.client("sagemaker-runtime")
        while not self.stop.is_set():
            try:
                answer = runtime.invoke_endpoint(
                    EndpointName=self.deployed.name, TargetModel=MODEL, Body=b"x"
                )
                pair = json.loads(answer["Body"].read())
                self.answers.append((time.monotonic(), pair))
            except Exception as error:
                self.errors.append(repr(error))

    def answer(self, version: str) -> bool:
        """Whether they were answered by this version last."""
        return bool(self.answers) and self.answers[-1][1][0] == version

    def first(self, version: str, after: float = 0.0) -> float:
        return next(at for at, pair in self.answers if pair[0] == version and at > after)


@contextmanager
def asking(deployed: Deployed) -> Iterator[Clients]:
    """Clients for as long as this lasts; an exception in one of them is raised here."""
    clients = Clients(deployed)
    with ThreadPoolExecutor(CLIENTS) as pool:
        running: list[Future[None]] = [pool.submit(clients.run) for _ in range(CLIENTS)]
        try:
            yield clients
        finally:
            clients.stop.set()
    for each in running:
        each.result()


def row(deployed: Deployed) -> dict[str, Any]:
    """Of the version that serves."""
    path = f"/modelplex/endpoints/{deployed.name}/models"
    rows: list[dict[str, Any]] = deployed.platform.get(path)["models"]
    return next(each for each in rows if each["standing"] == "serving")


def has_rejected_more(deployed: Deployed, count: int) -> bool:
    return len(row(deployed)["rejected"]) > count


def overwrite(deployed: Deployed, clients: Clients, versions: list[str]) -> list[float]:
    """Overwrite the artifact with one after the other; seconds until each answered."""
    store, took = deployed.platform.client("s3"), []
    for version in versions:
        store.put_object(Bucket=deployed.name, Key=f"models/{MODEL}", Body=archive(version))
        began, known = time.monotonic(), len(row(deployed)["rejected"])
        if version.startswith("broken"):
            eventually(partial(has_rejected_more, deployed, known))
        else:
            eventually(partial(clients.answer, version))
            took.append(clients.first(version, began) - began)
    return took


def play(platform: Platform, versions: list[str]) -> dict[str, Any]:
    """Overwrite and go back under load; what came of it."""
    image = make_image(platform.data.with_name("refresh-image"), HANDLER)
    platform.cli("build", "-t", "versions", str(image))
    deployed = platform.deploy({MODEL: archive("v0")}, image="versions")
    target, door = targets.of_folder(platform.data), f"/modelplex/endpoints/{deployed.name}"
    target.send("PUT", f"{door}/rules", {"rules": [{"pattern": "m*", "refresh": True}]})
    good = ["v0", *(each for each in versions if not each.startswith("broken"))]
    with asking(deployed) as clients:
        eventually(partial(clients.answer, "v0"))
        took = overwrite(deployed, clients, versions)
        newest = row(deployed)
        began = time.monotonic()
        said = target.send("POST", f"{door}/models/{MODEL}/rollback")
        eventually(partial(clients.answer, good[-2]))
        back_s = clients.first(good[-2], began) - began
    after = row(deployed)
    deployed.delete()
    return {
        "requests": len(clients.answers) + len(clients.errors),
        "errors": clients.errors,
        "mixed": [pair for _, pair in clients.answers if len(set(pair)) > 1],
        "by_version": Counter(pair[0] for _, pair in clients.answers),
        "seconds_to_serve": [round(each, 3) for each in took],
        "rollback_s": round(back_s, 3),
        "rolled_back": said,
        "newest": newest,
        "after": after,
    }


def test_an_artifact_is_overwritten_under_load(start_platform: StartPlatform) -> None:
    """The newest good version serves, the bad one is rejected with its reason, going back works."""
    platform = start_platform("--refresh-interval-s", "0.1")
    found = play(platform, ["v1", "broken2", "v3"])
    assert found["errors"] == []
    assert found["mixed"] == []
    assert set(found["by_version"]) == {"v0", "v1", "v3"}
    (why,) = found["newest"]["rejected"].values()
    assert "these weights are no good: broken2" in why
    assert found["newest"]["previous"] == found["after"]["version"]
    assert found["newest"]["version"] in found["after"]["rejected"]
    assert found["rolled_back"]["pending"] == []


def main() -> None:
    """Overwrite as often as the command line says, every fifth time with a broken version."""
    count = int(sys.argv[1])
    versions = [f"{'v' if n % 5 else 'broken'}{n}" for n in range(1, count + 1)]
    versions.append("v.last")
    with tempfile.TemporaryDirectory() as folder:
        platform = Platform(Path(folder) / "data", "--refresh-interval-s", "0.5")
        platform.start()
        try:
            found = play(platform, versions)
        finally:
            platform.stop()
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
