"""The data folder: private, locked, with keys that stay."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
from pathlib import Path

import pytest

from modelplex.settings import Settings
from modelplex.supervisor import folder
from tests.supervisor.conftest import Supervisor, bury, is_alive


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings over a prepared data folder."""
    folder.prepare(tmp_path / "data")
    return Settings(data=tmp_path / "data")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_for_its_owner_alone(settings: Settings) -> None:
    """Mode 0700, also when it was there with more."""
    settings.data.chmod(0o755)
    folder.prepare(settings.data)
    assert mode(settings.data) == 0o700
    assert mode(settings.data / "run") == 0o700


def test_keys_are_made_once(settings: Settings) -> None:
    """They look like AWS's, are readable by the owner alone, and stay the same."""
    first = folder.with_keys(settings)
    assert re.fullmatch("AKIA[A-Z2-7]{16}", first.access_key)
    assert re.fullmatch("[A-Za-z0-9/+]{40}", first.secret_key)
    assert mode(settings.data / "credentials.json") == 0o600
    assert folder.with_keys(settings) == first


def test_given_keys_replace_kept_ones(settings: Settings) -> None:
    """Keys from the settings are written down, so that `modelplex env` tells them."""
    folder.with_keys(settings)
    given = Settings(data=settings.data, access_key="mykey", secret_key="mysecret")
    assert folder.with_keys(given) == given
    assert folder.read_keys(settings.data) == ("mykey", "mysecret")


def test_damaged_keys_are_not_overwritten(settings: Settings) -> None:
    """Clients hold those keys: the user decides what to do about the file."""
    (settings.data / "credentials.json").write_text("{")
    with pytest.raises(folder.FolderError, match=r"credentials\.json"):
        folder.with_keys(settings)


def test_a_second_lock_says_who_holds_the_first(settings: Settings) -> None:
    """The message has the process id and the address, and what to do."""
    first = folder.lock(settings)
    try:
        with pytest.raises(folder.FolderError, match=rf"process {os.getpid()}, http.*:8321"):
            folder.lock(settings)
        holder = folder.running(settings.data)
        assert holder == folder.Running(os.getpid(), settings.host, settings.port)
    finally:
        os.close(first)
    assert folder.running(settings.data) is None


def test_cleaning_keeps_objects(settings: Settings) -> None:
    """Sockets and unfinished uploads go; whole objects stay."""
    bucket = settings.data / "s3" / "bucket"
    bucket.mkdir()
    (bucket / "model.tar.gz").write_bytes(b"x")
    (bucket / ".rclone_temp_put_1").write_bytes(b"x")
    (settings.data / "run" / "control.sock").write_bytes(b"")
    folder.clean_run(settings.data)
    assert [each.name for each in bucket.iterdir()] == ["model.tar.gz"]
    assert list((settings.data / "run").iterdir()) == []


async def test_the_lock_outlives_a_killed_supervisor_until_its_processes_end(
    supervisor: Supervisor,
) -> None:
    """The next start waits for the old processes instead of meeting them."""
    old = await supervisor.stubborn("one")
    supervisor.end(signal.SIGKILL)
    assert folder.running(supervisor.data) is not None
    await supervisor.client.close()
    second = await asyncio.to_thread(Supervisor, supervisor.data)
    try:
        assert (await second.rows())["processes"] == {}
        assert not is_alive(old)
    finally:
        await second.client.close()
        bury(second)
