"""Containers without an instance, removed from an engine that is a test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from modelplex.engine import sweep
from modelplex.engine.leftovers import Watch
from tests.engine.fake import Fake, listening


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    """Listening."""
    with listening(tmp_path / "s") as server:
        yield server


@pytest.fixture
def platform() -> Iterator[subprocess.Popen[bytes]]:
    """A process to belong to, until it is killed."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=-1) as process:
        yield process
        process.kill()


def test_an_instances_own_are_removed_and_no_others(fake: Fake) -> None:
    """Told by the label alone."""
    fake.containers = {"a": ["modelplex.instance=i-1"], "b": ["modelplex.instance=i-2"], "c": []}
    assert sweep(fake.url, "i-1") == ["a"]
    assert set(fake.containers) == {"b", "c"}


def test_an_engine_that_fails_is_told_of(fake: Fake, tmp_path: Path) -> None:
    """And so is one that is not there."""
    fake.broken = True
    with pytest.raises(HTTPException, match="500"):
        sweep(fake.url, "i-1")
    with pytest.raises(OSError, match="No such file"):
        sweep(f"unix://{tmp_path}/none", "i-1")


def watch(fake: Fake, platform: subprocess.Popen[bytes]) -> Watch:
    """Over a container of i-1."""
    fake.containers = {"a": ["modelplex.instance=i-1"]}
    pidfd = os.pidfd_open(platform.pid)
    try:
        return Watch(fake.url, "i-1", pidfd)
    finally:
        os.close(pidfd)


def test_the_watch_ends_in_peace(fake: Fake, platform: subprocess.Popen[bytes]) -> None:
    """When its instance has removed the container."""
    watch(fake, platform).close(removed=True)
    assert fake.containers == {"a": ["modelplex.instance=i-1"]}


def test_the_watch_removes_what_its_instance_leaves(
    fake: Fake, platform: subprocess.Popen[bytes]
) -> None:
    """The end of the pipe without a word is what the instance's death looks like."""
    watch(fake, platform).close(removed=False)
    assert not fake.containers


def test_the_watch_removes_what_a_dead_platform_leaves(
    fake: Fake, platform: subprocess.Popen[bytes]
) -> None:
    """While the instance still lives."""
    watching = watch(fake, platform)
    platform.kill()
    assert fake.removed.wait(10)
    watching.close(removed=True)
