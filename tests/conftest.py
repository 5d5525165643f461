"""Fixtures that start real things: the platform, and a real S3 where it is installed."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.engine import Engine, missing
from tests.support.models import make_image
from tests.support.platform import Platform
from tests.support.radosgw import Radosgw, missing_programs

# Room for a handful of small models on each of two instances, on a machine that others use too.
SMALL = ("--memory-mib", "1024", "--disk-mib", "1024")

StartPlatform = Callable[..., Platform]

# Packages that tests install are compiled when they are imported, once, since compiling all of
# them takes longer than unpacking them.
os.environ["PIP_COMPILE"] = "0"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture
def start_platform(tmp_path: Path) -> Iterator[StartPlatform]:
    """A maker of platforms: `start_platform(*options_of_up)`; all are stopped after the test."""
    names = (f"data{number}" for number in itertools.count())
    with contextlib.ExitStack() as stops:

        def start(*options: str) -> Platform:
            platform = Platform(tmp_path / next(names), *(options or SMALL))
            stops.callback(platform.stop)
            platform.start()
            return platform

        yield start


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One running platform with the image `echo`, shared by all tests that do not harm it."""
    folder = tmp_path_factory.mktemp("platform")
    shared = Platform(folder / "data", *SMALL)
    try:
        shared.start()
        shared.cli("build", "-t", "echo", str(make_image(folder / "echo")))
        yield shared
    finally:
        shared.stop()


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine of the tests' own; skipped with the reason where none can be started."""
    if reason := missing():
        pytest.skip(reason)
    own = Engine()
    try:
        own.start()
        yield own
    finally:
        own.stop()


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Radosgw]:
    """A real S3, started once; skipped with the reason where Ceph is not installed."""
    if missing := missing_programs():
        pytest.skip(
            f"not installed: {', '.join(missing)} (apt-get install ceph-mon ceph-osd radosgw)"
        )
    gateway = Radosgw(tmp_path_factory.mktemp("radosgw"))
    gateway.start()
    yield gateway
    gateway.stop()
