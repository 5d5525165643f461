"""Zip files are unpacked exactly, or refused by name and reason with nothing written outside."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.archives import unzip as module
from modelplex.archives.tree import Bounds, Overran, Refused
from modelplex.archives.unzip import unzip

WIDE = Bounds(disk_bytes=10**8, entries=1000, unpacked_bytes=10**8)


def zipped(*entries: tuple[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of the entries, names exactly as given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, packing)
    return buffer.getvalue()


def with_mode(name: str, mode: int, data: bytes = b"x") -> bytes:
    """A zip of one entry with a Unix mode."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr, info.create_system = mode << 16, 3
        archive.writestr(info, data)
    return buffer.getvalue()


def run(data: bytes, folder: Path, bounds: Bounds = WIDE) -> int:
    return unzip(io.BytesIO(data), folder, bounds)


def refused(data: bytes, tmp_path: Path, bounds: Bounds = WIDE) -> str:
    """Why it is refused; what was written lies in the folder, and nothing beside it."""
    with pytest.raises(Refused) as caught:
        run(data, tmp_path / "m", bounds)
    assert {path.name for path in tmp_path.iterdir()} <= {"m"}
    return str(caught.value)


def test_a_mar_is_unpacked(tmp_path: Path) -> None:
    """Files, folders and the right to execute come out; setuid does not."""
    entries = [("MAR-INF/MANIFEST.json", b"{}"), ("empty/", b""), ("a/b/c.txt", b"hello" * 9999)]
    run(zipped(*entries), tmp_path / "m")
    assert (tmp_path / "m/a/b/c.txt").read_bytes() == b"hello" * 9999
    assert (tmp_path / "m/empty").is_dir()
    run(with_mode("run.sh", stat.S_IFREG | 0o4755), tmp_path / "n")
    assert stat.S_IMODE((tmp_path / "n/run.sh").stat().st_mode) & 0o4100 == 0o100


def test_the_bytes_on_the_disk_are_counted(tmp_path: Path) -> None:
    """Whole blocks; beyond the bounds it overruns."""
    assert run(zipped(("a", b"x"), ("d/b", b"y" * 4097)), tmp_path / "m") == 4096 * 4
    with pytest.raises(Overran):
        run(zipped(("a", b"x" * 9000)), tmp_path / "n", Bounds(8192, 10, 10**6))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil", "leads out"),
        ("a/../../evil", "leads out"),
        ("/etc/evil", "absolute path"),
        ("a/" * 101 + "b", "deeper than 100"),
        ("x" * 300, "impossible name"),
        (".", "has no name"),
    ],
)
def test_names_that_lead_astray_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    """Zip-slip in all its forms: MMS would have written there."""
    assert reason in refused(zipped((name, b"x")), tmp_path)


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    """`zipfile` would cut the name there."""
    data = zipped(("aXb.txt", b"x")).replace(b"aXb.txt", b"a\0b.txt")
    assert "NUL" in refused(data, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_names_that_collide_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    """A file is created and never opened."""
    data = zipped(*((name, b"x") for name in names))
    assert "appears twice" in refused(data, tmp_path)


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    """Only files and folders."""
    assert "is a link" in refused(with_mode("l", stat.S_IFLNK | 0o777, b"/etc"), tmp_path)
    (tmp_path / "m").rmdir()
    assert "unknown type" in refused(with_mode("f", stat.S_IFIFO | 0o644), tmp_path)


def test_encrypted_entries_and_rare_packings_are_refused(tmp_path: Path) -> None:
    """What Java's reader cannot read either."""
    data = bytearray(zipped(("a", b"x" * 100)))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(bytes(data), tmp_path)
    (tmp_path / "m").rmdir()
    assert "packed by neither" in refused(zipped(("a", b"x"), packing=zipfile.ZIP_LZMA), tmp_path)


def test_bombs_are_refused(tmp_path: Path) -> None:
    """By what is announced, and by the sum of what comes out."""
    narrow = Bounds(10**9, 10, 100_000)
    assert "more than 100000 bytes" in refused(zipped(("a", bytes(200_000))), tmp_path, narrow)
    (tmp_path / "m").rmdir()
    many = zipped(*((f"f{n}", bytes(60_000)) for n in range(3)))
    assert "more than 100000 bytes" in refused(many, tmp_path, narrow)


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    """By count, and by the length of their list before it is read."""
    few = Bounds(10**9, 2, 10**6)
    data = zipped(*((f"f{n}", b"") for n in range(3)))
    assert "more than 2 entries" in refused(data, tmp_path, few)
    with pytest.raises(Refused, match="list of entries"):
        module._Metered(io.BytesIO(data)).read(module.DIRECTORY_BYTES_MAX + 1)


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_truncated_archives_are_refused(tmp_path: Path, cut: int) -> None:
    """Wherever it ends."""
    data = zipped(("a", b"hello" * 1000), ("b", b"x" * 100))
    assert "damaged" in refused(data[:-cut], tmp_path)


def test_a_lie_about_the_content_is_refused(tmp_path: Path) -> None:
    """A wrong checksum, and a size larger than what is there."""
    data = bytearray(zipped(("a", b"hello"), packing=zipfile.ZIP_STORED))
    data[data.index(b"hello")] ^= 1
    assert "damaged" in refused(bytes(data), tmp_path)
    data = bytearray(zipped(("a", b"hello" * 10)))
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, 60)
    assert not (tmp_path / "m/a").read_bytes().startswith(b"hello")
    (tmp_path / "m/a").unlink()
    (tmp_path / "m").rmdir()
    assert refused(bytes(data), tmp_path)


def test_an_empty_archive_is_refused(tmp_path: Path) -> None:
    """There is no model in it."""
    assert refused(zipped(), tmp_path) == "it is an empty archive"


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6))
def test_any_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    """Whatever the bytes: Refused, Overran, or unpacked; never another error."""
    data = bytearray(zipped(("a/b.txt", b"hello" * 50), ("c", b"x" * 300)))
    for place, value in changes:
        data[place % len(data)] = value
    folder = tmp_path_factory.mktemp("fuzz")
    with contextlib.suppress(Refused, Overran):
        run(bytes(data), folder / "m")
    assert [path.name for path in folder.iterdir()] == ["m"]
