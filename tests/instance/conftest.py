"""An S3 server, a handler image, and instances as real processes over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.instance.running import Running, S3Server
from tests.support.models import ECHO_HANDLER, make_image

# A model whose weights are "sleep S" takes S seconds to load, one with "until PATH" until there is
# such a file, and then echoes.
SLOW_LOAD = """
    if data is None:
        words = Path("weights.txt").read_text().split()
        if words[0] == "sleep":
            time.sleep(float(words[1]))
        while words[0] == "until" and not os.path.exists(words[1]):
            time.sleep(0.01)
        if words[0] == "refuse":
            raise ValueError("the weights are refused")
"""
HANDLER = ECHO_HANDLER.replace(
    "def handle(data, context):\n", f"def handle(data, context):{SLOW_LOAD}", 1
)

StartInstance = Callable[..., Running]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """rclone over a folder; a bucket is a folder in it."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The echo handler, run by this Python: no environment of its own is needed."""
    return make_image(tmp_path_factory.mktemp("image"), HANDLER)


@pytest.fixture
async def start_instance(tmp_path: Path, s3: S3Server, image: Path) -> AsyncIterator[StartInstance]:
    """A maker of instances, `start_instance(**changes_of_the_spec)`; all are stopped afterwards."""
    started: list[Running] = []

    def start(**changes: object) -> Running:
        running = Running(tmp_path, s3, image, changes)
        started.append(running)
        running.start()
        return running

    yield start
    for running in started:
        await running.leave()
        running.stop()


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server, image: Path
) -> Iterator[Running]:
    """One instance for all tests of a module that leave it as it was."""
    running = Running(tmp_path_factory.mktemp("shared"), s3, image, {})
    running.start()
    yield running
    running.stop()


@pytest.fixture
async def instance(shared: Running) -> AsyncIterator[Running]:
    """The shared instance, healthy, with a client of this test's event loop."""
    yield await shared.healthy()
    await shared.leave()
