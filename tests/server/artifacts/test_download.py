"""Archives are fetched whole, within limits, and only from where they may come."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelplex.server.artifacts import download
from modelplex.server.artifacts.download import Bounds, Stopped, ambiguity, fetch
from modelplex.server.errors import DownloadFailed
from tests.server.archive_host import ArchiveHost, Page, archive_host


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveHost]:
    """A web server, reached without the proxy that the environment may name."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with archive_host() as running:
        yield running


def allow(url: str) -> None:
    """Everything but what is forbidden by name."""
    if "forbidden" in url:
        raise DownloadFailed(f"{url} is not allowed")


def get(
    url: str, target: Path, etag: str = "", bytes_max: int = 10**6, timeout_s: float = 30
) -> str | None:
    return fetch(url, etag, target, Bounds(bytes_max, timeout_s, threading.Event()), allow)


def failure(url: str, target: Path, **limits: float) -> str:
    with pytest.raises(DownloadFailed) as caught:
        get(url, target, **limits)  # type: ignore[arg-type]
    return str(caught.value)


def test_an_archive_is_streamed_to_the_disk(host: ArchiveHost, tmp_path: Path) -> None:
    """With its ETag; asked again with that, nothing is sent."""
    host.pages["/a.mar"] = Page(b"x" * 700_000, etag='"one"')
    assert get(f"{host.url}/a.mar", tmp_path / "a") == '"one"'
    assert (tmp_path / "a").read_bytes() == b"x" * 700_000
    assert get(f"{host.url}/a.mar", tmp_path / "b", etag='"one"') is None
    assert not (tmp_path / "b").exists()


def test_s3_is_read_with_the_machines_keys(
    host: ArchiveHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the endpoint of the environment; ETags and failures are those of http."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", host.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    host.pages["/models-of-test/a/b.tar.gz"] = Page(b"x" * 300_000, etag='"two"')
    url = "s3://models-of-test/a/b.tar.gz"
    assert get(url, tmp_path / "a") == '"two"'
    assert (tmp_path / "a").stat().st_size == 300_000
    assert get(url, tmp_path / "b", etag='"two"') is None
    assert f"Failed to download model from: {url}x" in failure(f"{url}x", tmp_path / "c")


def test_failures_of_the_server_name_the_url(host: ArchiveHost, tmp_path: Path) -> None:
    """MMS's text, with the status or the reason."""
    url = f"{host.url}/nowhere"
    assert failure(url, tmp_path / "a") == f"Failed to download model from: {url}, code: 404"
    assert "refused" in failure("http://127.0.0.1:1/x", tmp_path / "b")


def test_a_broken_off_body_is_noticed(host: ArchiveHost, tmp_path: Path) -> None:
    """Fewer bytes than announced are no archive."""
    host.pages["/a"] = Page(b"x" * 1000, sent=400)
    assert "400 of 1000 bytes" in failure(f"{host.url}/a", tmp_path / "a")


def test_size_and_time_have_limits(
    host: ArchiveHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is announced, and by what comes."""
    host.pages["/a"] = Page(b"x" * 1000)
    assert "download_bytes_max=999" in failure(f"{host.url}/a", tmp_path / "a", bytes_max=999)
    host.pages["/b"] = Page(b"x" * 1000, headers={"Content-Length": "no number"})
    assert "download_bytes_max=999" in failure(f"{host.url}/b", tmp_path / "b", bytes_max=999)
    host.pages["/c"] = Page(b"x", held=threading.Event())
    assert "timed out" in failure(f"{host.url}/c", tmp_path / "c", timeout_s=0.2)
    host.pages["/d"] = Page(b"x" * 100_000, dribbles=True)
    hours = itertools.count(step=3600.0)  # between two looks at the clock
    monkeypatch.setattr(download, "time", SimpleNamespace(monotonic=lambda: next(hours)))
    assert "download_timeout_s=30" in failure(f"{host.url}/d", tmp_path / "d", timeout_s=30)


def test_a_download_can_be_stopped(host: ArchiveHost, tmp_path: Path) -> None:
    """At the next piece."""
    host.pages["/a"] = Page(b"x" * 1000)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        fetch(f"{host.url}/a", "", tmp_path / "a", Bounds(10**6, 30, stop), allow)


def test_every_redirect_is_checked(host: ArchiveHost, tmp_path: Path) -> None:
    """One that is allowed is followed; others, other schemes and circles are not."""
    host.pages["/a"] = Page(b"found")
    for path, target in {
        "/good": "/a",
        "/bad": "/forbidden",
        "/file": "file:///etc/passwd",
        "/round": "/round",
    }.items():
        host.pages[path] = Page(status=302, headers={"Location": target})
    get(f"{host.url}/good", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"found"
    assert "/forbidden is not allowed" in failure(f"{host.url}/bad", tmp_path / "b")
    assert ("/forbidden", 200) not in host.asked
    assert "Failed to download" in failure(f"{host.url}/file", tmp_path / "c")
    assert "Failed to download" in failure(f"{host.url}/round", tmp_path / "d")


@pytest.mark.parametrize(
    "url",
    [
        "https://good.example\\@evil.example/x",
        "https://user:word@good.example/x",
        "https://good.example/a/../secret",
        "https://good.example/a/%2e%2e/secret",
        "https://good.example/x#y",
        "https://good.example/a b",
        "https://good.example/\n",
        "https:///x",
        "https://good.example:port/x",
        "https://[good/x",
        "https://good.example%2f.evil.example/x",
        "https://gööd.example/x",
    ],
)
def test_urls_that_may_be_read_in_two_ways_are_named(url: str) -> None:
    """So that the pattern and the client speak of the same server and path."""
    assert ambiguity(url)


def test_common_urls_are_plain() -> None:
    """Signed ones too."""
    assert not ambiguity("https://b.s3.amazonaws.com/a%20b.mar?X-Amz-Signature=0a&x=%2F..")
    assert not ambiguity("http://127.0.0.1:8080/models/a.mar")
    assert not ambiguity("s3://bucket/a/b.tar.gz")
