"""A model's URL becomes a folder, or an error that says why not; nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import json
import os
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelplex.server.artifacts import unpacked
from modelplex.server.artifacts.sources import Manifest, Sources, default_name, disk_failure
from modelplex.server.config import Config
from modelplex.server.errors import (
    BadRequest,
    DownloadFailed,
    InvalidModel,
    ModelNotFound,
    OutOfResources,
    ServerError,
)
from tests.instance.archives import Entry, targz
from tests.server.archive_host import ArchiveHost, Page, archive_host

Make = Callable[..., Sources]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A model store with one of everything."""
    folder = tmp_path / "store"
    (folder / "plain").mkdir(parents=True)
    (folder / "plain/service.py").write_text("x")
    (folder / "m.mar").write_bytes(mar())
    (folder / "m.tar.gz").write_bytes(targz(Entry("service.py", b"x")))
    (folder / "garbage.mar").write_bytes(b"no archive")
    (folder / ".hidden").mkdir()
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture
async def make(store: Path, tmp_path: Path) -> AsyncIterator[Make]:
    """Sources with that store; after the test nothing is left of what was unpacked."""
    made: list[Sources] = []

    def make(**settings: Any) -> Sources:
        given = {"model_store": store, "work_folder": tmp_path / "work", **settings}
        made.append(Sources(Config(**given)))
        return made[-1]

    yield make
    for sources in made:
        await sources.close()
    assert not list((tmp_path / "work").rglob("*"))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveHost]:
    """A web server, reached without the proxy that the environment may name."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with archive_host() as running:
        yield running


def mar(name: str = "m", **files: str) -> bytes:
    """A .mar of a model of that name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        manifest = {"model": {"modelName": name, "handler": "service:handle"}}
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        for path, content in {"service.py": "x", **files}.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def work(tmp_path: Path) -> list[Path]:
    """What is unpacked at the moment."""
    return list((tmp_path / "work/models").iterdir())


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, at most 20 s."""
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


async def refused(sources: Sources, url: str, error: type[ServerError]) -> str:
    with pytest.raises(error) as caught:
        await sources.obtain(url)
    return str(caught.value)


async def test_a_folder_is_served_in_place(make: Make, store: Path) -> None:
    """And stays when the model goes. An absolute path is below the store, too, as in MMS."""
    for url in ("plain", "/plain", "file://" + str(store / "plain")):
        artifact = await make().obtain(url)
        assert artifact.folder == store / "plain"
        assert artifact.manifest == Manifest()
        artifact.release()
    assert (store / "plain/service.py").exists()


@pytest.mark.parametrize("url", ["m.mar", "m.tar.gz", "file://{store}/m.mar"])
async def test_an_archive_is_unpacked_until_it_is_released(
    make: Make, store: Path, tmp_path: Path, url: str
) -> None:
    """Each time into a folder of its own; its release may be called twice."""
    sources = make()
    first, second = [await sources.obtain(url.format(store=store)) for _ in range(2)]
    assert first.folder != second.folder
    assert (first.folder / "service.py").read_text() == "x"
    first.release()
    first.release()
    assert [folder.name for folder in work(tmp_path)] == [second.folder.parent.name]
    second.release()
    assert not work(tmp_path)


async def test_the_manifest_is_read(make: Make) -> None:
    """Of an archive, after it has been unpacked."""
    artifact = await make().obtain("m.mar")
    assert artifact.manifest.model_name == "m"
    assert artifact.manifest.handler == "service:handle"
    artifact.release()


async def test_what_is_not_in_the_store(make: Make, tmp_path: Path) -> None:
    """MMS's statuses and texts."""
    assert await refused(make(), "/banana", ModelNotFound) == (
        "Model not found in model store: /banana"
    )
    assert await refused(make(), "../x", ModelNotFound) == (
        "Relative path is not allowed in url: ../x"
    )
    assert "configured" in await refused(make(model_store=None), "x", ModelNotFound)
    assert "not found" in await refused(make(), "x" * 300, ModelNotFound)
    for url in ("", "a\0b", "\ud800", "x" * 5000, "ftp://host/x", "file://host/x"):
        await refused(make(), url, BadRequest)


async def test_what_is_no_model(make: Make, store: Path, tmp_path: Path) -> None:
    """400 with the reason, and nothing stays on the disk (MMS: 200)."""
    assert "neither a zip file nor" in await refused(make(), "garbage.mar", InvalidModel)
    (store / "evil.mar").write_bytes(mar(**{"../evil": "x"}))
    assert "leads out" in await refused(make(), "evil.mar", InvalidModel)
    (store / "bad.mar").write_bytes(mar()[:-30])
    assert "damaged" in await refused(make(), "bad.mar", InvalidModel)
    (store / "plain/MAR-INF").mkdir()
    (store / "plain/MAR-INF/MANIFEST.json").write_text("[]")
    assert "MANIFEST" in await refused(make(), "plain", InvalidModel)
    os.mkfifo(store / "pipe.mar")
    assert "neither a folder nor" in await refused(make(), "pipe.mar", InvalidModel)
    assert not work(tmp_path)


async def test_an_archive_has_limits(make: Make, store: Path, tmp_path: Path) -> None:
    """Of what it may take on the disk, and of what is left there."""
    (store / "big.mar").write_bytes(mar(big="x" * 50_000))
    assert "download_bytes_max" in await refused(
        make(download_bytes_max=30_000), "big.mar", InvalidModel
    )
    bomb = gzip.compress(bytes(2 * unpacked.RATIO_FLOOR_BYTES))
    (store / "bomb.tar.gz").write_bytes(bomb)
    assert await refused(make(), "bomb.tar.gz", InvalidModel)
    assert not work(tmp_path)


def test_a_full_disk_is_507() -> None:
    """The platform may unload something and try again; other troubles of a file are the model's."""
    assert isinstance(disk_failure("m", OSError(errno.ENOSPC, "No space left")), OutOfResources)
    assert isinstance(disk_failure("m", OSError(errno.EACCES, "Not permitted")), InvalidModel)


async def test_remote_urls_are_closed_by_default(make: Make, host: ArchiveHost) -> None:
    """A pattern must match the whole URL."""
    host.pages["/m.mar"] = Page(mar())
    url = f"{host.url}/m.mar"
    for patterns in ((), ("http://127.0.0.1",), ("https://.*",), (f"{host.url}/m.ma",)):
        assert "allowed_urls" in await refused(make(allowed_urls=patterns), url, DownloadFailed)
    assert "allowed_urls" in await refused(make(), "s3://bucket/m.mar", DownloadFailed)
    assert not host.asked
    await refused(make(allowed_urls=(".*",)), f"{host.url}/a/../m.mar", BadRequest)


async def test_a_file_url_needs_the_store_or_a_pattern(make: Make, tmp_path: Path) -> None:
    """After links and '..' have been followed."""
    (tmp_path / "other").mkdir()
    url = f"file://{tmp_path}/other"
    assert "allowed_urls" in await refused(make(), url, DownloadFailed)
    climbing = f"file://{tmp_path}/store/../other"
    assert "allowed_urls" in await refused(make(), climbing, DownloadFailed)
    pattern = f"file://{tmp_path}/oth.*"
    assert (await make(allowed_urls=(pattern,)).obtain(url)).folder == tmp_path / "other"


async def test_a_remote_archive_is_fetched_once(
    make: Make, host: ArchiveHost, tmp_path: Path
) -> None:
    """For all models that are made of it at a time, also when they begin together."""
    host.pages["/m.mar"] = Page(mar(), etag='"1"')
    url, sources = f"{host.url}/m.mar", make(allowed_urls=("http://127.0.0.1.*",))
    artifacts = await asyncio.gather(*(sources.obtain(url) for _ in range(3)))
    assert len({artifact.folder for artifact in artifacts}) == 1
    assert sorted(status for _, status in host.asked) == [200, 304, 304]
    host.pages["/m.mar"] = Page(mar("new"), etag='"2"')
    new = await sources.obtain(url)
    assert new.manifest.model_name == "new"
    assert len(work(tmp_path)) == 2
    for artifact in artifacts:
        assert (artifact.folder / "service.py").exists()
        artifact.release()
    assert work(tmp_path) == [new.folder.parent]
    new.release()
    assert not work(tmp_path)


async def test_a_cancelled_obtain_leaves_nothing(
    make: Make, host: ArchiveHost, tmp_path: Path
) -> None:
    """It stops at the next piece, and what it had is removed."""
    held = threading.Event()
    host.pages["/m.mar"] = Page(mar(), held=held)
    sources = make(allowed_urls=("http://.*",))
    task = asyncio.create_task(sources.obtain(f"{host.url}/m.mar"))
    await until(lambda: bool(host.asked))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.set()
    await until(lambda: not work(tmp_path))


async def test_what_an_earlier_life_left_is_removed(make: Make, tmp_path: Path) -> None:
    """A killed server could not do it itself."""
    (tmp_path / "work/models/old/model").mkdir(parents=True)
    make()
    assert not work(tmp_path)


async def test_start_up_models(make: Make, store: Path) -> None:
    """--models wins over load_models, which is ALL of the store, or a list."""
    every = [("", name) for name in ("garbage.mar", "m.mar", "m.tar.gz", "plain")]
    assert make(load_models="all").startup() == every
    listed = make(load_models="m.mar, a=plain,b=https://host/x?y=z,https://host/x?y=z,,c=")
    assert listed.startup() == [
        ("", "m.mar"),
        ("a", "plain"),
        ("b", "https://host/x?y=z"),
        ("", "https://host/x?y=z"),
    ]
    assert make(load_models="ALL", models=(("x", "m.mar"),)).startup() == [("x", "m.mar")]
    assert make(load_models="ALL", model_store=store / "nowhere").startup() == []
    assert make().startup() == []


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("resnet-18.mar", "resnet_18"),
        ("/opt/ml/model", "model"),
        ("https://host/a/b.c.tar.gz", "b_c"),
        ("old.model", "old"),
    ],
)
def test_default_names(url: str, name: str) -> None:
    """MMS's: of the file, with "_" for what is neither letter nor digit."""
    assert default_name(url) == name


def test_a_bad_pattern_is_an_error_at_start() -> None:
    """Not at the first load."""
    with pytest.raises(ValueError, match="allowed_urls: '\\('"):
        Sources(Config(allowed_urls=("(",)))
