"""Archives are unpacked exactly, or refused by name and reason with nothing written outside."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelplex.archives.tree import Bounds, Overran, Refused
from modelplex.archives.unpack import unpack
from tests.instance.archives import Entry, hard_link, symlink, tar, targz

WIDE = Bounds(disk_bytes=10**8, entries=1000, unpacked_bytes=10**8)


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    """The archive as it arrives."""
    return (data[start : start + size] for start in range(0, len(data), size))


def tree(folder: Path) -> dict[str, str | bytes]:
    """What lies below a folder: name -> content, "folder", or where a link leads."""
    found: dict[str, str | bytes] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = "-> " + os.readlink(path)
        else:
            found[name] = "folder" if path.is_dir() else path.read_bytes()
    return found


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_common_format_is_unpacked(tmp_path: Path, form: int) -> None:
    """GNU, pax and ustar archives with long names come out as they went in."""
    long = "/".join(["folder" * 8] * 4) + "/file"
    data = tar(Entry("a.txt", b"hello" * 1000), Entry(long, b"x"), form=form)
    unpack(pieces(gzip.compress(data)), tmp_path / "m", WIDE)
    assert (tmp_path / "m/a.txt").read_bytes() == b"hello" * 1000
    assert (tmp_path / "m" / long).read_bytes() == b"x"


def test_the_notebooks_way_of_packing(tmp_path: Path) -> None:
    """`tar.add(folder, arcname='.')` makes entries named "." and "./…"; both are understood."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "synset.txt").write_text("cat")
    (source / "sub" / "handler.py").write_text("pass")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(source, arcname=".")
    unpack(pieces(buffer.getvalue()), tmp_path / "m", WIDE)
    assert tree(tmp_path / "m") == tree(source)


def test_bytes_on_the_disk_are_counted_in_blocks(tmp_path: Path) -> None:
    """A small file takes a block, a folder too, and the sum is returned."""
    data = targz(Entry("a", b"1"), Entry("f/b", b"2" * 4097))
    assert unpack(pieces(data), tmp_path / "m", WIDE) == 4096 * (1 + 1 + 2)


def test_modes_are_reduced(tmp_path: Path) -> None:
    """Only the owner's right to execute survives: no setuid, nothing writable by others."""
    data = targz(Entry("run", mode=0o6777), Entry("data", mode=0o666), Entry("shut", mode=0))
    unpack(pieces(data), tmp_path / "m", WIDE)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "m").iterdir()}
    assert modes == {"run": 0o755, "data": 0o644, "shut": 0o644}


def test_links_inside_are_kept(tmp_path: Path) -> None:
    """A library's usual links work: to a sibling, up and down again, and hard ones."""
    data = targz(
        Entry("lib/so.1", b"code"),
        symlink("lib/so", "so.1"),
        symlink("bin/so", "../lib/so"),
        hard_link("lib/so.hard", "lib/so.1"),
    )
    unpack(pieces(data), tmp_path / "m", WIDE)
    for name in ("lib/so", "bin/so", "lib/so.hard"):
        assert (tmp_path / "m" / name).read_bytes() == b"code"


@pytest.mark.parametrize(
    "name", ["white space", "new\nline", "ünïcödé", "a'\"\\b", "-rf", "a" * 255]
)
def test_odd_names_are_just_names(tmp_path: Path, name: str) -> None:
    """Whatever a file system can hold is unpacked under its own name."""
    unpack(pieces(targz(Entry(name, b"x"))), tmp_path / "m", WIDE)
    assert tree(tmp_path / "m") == {name: b"x"}


HOSTILE = {
    "absolute": ([Entry("/etc/evil")], "'/etc/evil' has an absolute path"),
    "upwards": ([Entry("../evil")], "'../evil' leads out"),
    "upwards later": ([Entry("a/../../evil")], "leads out"),
    "upwards inside": ([Entry("a/../b")], "leads out"),
    "link out": ([symlink("l", "../evil")], "'l' is a link to the outside, '../evil'"),
    "link out below": ([symlink("a/l", "../../evil")], "link to the outside"),
    "absolute link": ([symlink("l", "/etc/passwd")], "'/etc/passwd'"),
    "link around": ([symlink("a", "."), symlink("l", "a/../evil")], "turns around"),
    "hard link out": ([hard_link("l", "../evil")], "hard link to no file before it"),
    "hard link absolute": ([hard_link("l", "/etc/passwd")], "'/etc/passwd'"),
    "hard link to link": ([symlink("s", "x"), hard_link("l", "s")], "hard link to no file"),
    "hard link ahead": ([hard_link("l", "later"), Entry("later")], "hard link to no file"),
    "through a link": ([symlink("d", "."), Entry("d/evil")], "appears twice, or lies below"),
    "through a file": ([Entry("d"), Entry("d/evil")], "appears twice, or lies below"),
    "twice": ([Entry("a", b"1"), Entry("./a", b"2")], "'./a' appears twice"),
    "over a link": ([symlink("a", "b"), Entry("a", b"2")], "appears twice"),
    "over a folder": ([Entry("a/b"), Entry("a", b"2")], "appears twice"),
    "character device": ([Entry("d", type=tarfile.CHRTYPE)], "'d' is a character device"),
    "block device": ([Entry("d", type=tarfile.BLKTYPE)], "'d' is a block device"),
    "named pipe": ([Entry("p", type=tarfile.FIFOTYPE)], "'p' is a named pipe"),
    "unknown type": ([Entry("u", type=b"Z")], "'u' is of unknown type"),
    "sparse": ([Entry("s", type=tarfile.GNUTYPE_SPARSE)], "'s' is a sparse file"),
    "name too long": ([Entry("n" * 256)], "has an impossible name"),
    "too deep": ([Entry("d/" * 101 + "f")], "lies deeper than 100 folders"),
    "no name": ([Entry(".", b"x")], "has no name"),
    "nul": ([Entry("x", also={"pax_headers": {"path": "a\0b"}})], "has a NUL in its path"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_entries_are_refused_by_name(tmp_path: Path, case: str) -> None:
    """Each refusal names the entry and the reason, and nothing outside has changed."""
    entries, reason = HOSTILE[case]
    outside = tree(tmp_path)
    with pytest.raises(Refused) as refused:
        unpack(pieces(targz(Entry("first", b"1"), *entries)), tmp_path / "m", WIDE)
    assert reason in str(refused.value)
    assert {k: v for k, v in tree(tmp_path).items() if not k.startswith("m")} == outside


GOOD = targz(Entry("a", os.urandom(5000)), Entry("b", b"2"))
PLAIN = gzip.decompress(GOOD)
DAMAGED = {
    "empty file": (b"", "it is an empty file"),
    "no gzip": (PLAIN, "it is not a gzip file"),
    "truncated gzip": (GOOD[:-20], "it is truncated"),
    "one byte short": (GOOD[:-1], "it is truncated"),
    "bad checksum": (GOOD[:-8] + b"\0\0\0\0" + GOOD[-4:], "its gzip stream is damaged"),
    "flipped": (GOOD[:2500] + bytes([GOOD[2500] ^ 255]) + GOOD[2501:], "damaged"),
    "trailing garbage": (GOOD + b"garbage", "garbage follows the end of its gzip stream"),
    "no tar": (gzip.compress(b"no tar at all" * 100), "it is not a tar archive inside"),
    "empty": (gzip.compress(b""), "it is not a tar archive inside"),
    "only zeros": (gzip.compress(bytes(10240)), "it is an empty archive"),
    "truncated tar": (gzip.compress(PLAIN[:700]), "'a' is truncated"),
    "damaged header": (gzip.compress(PLAIN[:5632] + b"!" * 512), "damaged after entry 1"),
    "data behind": (gzip.compress(PLAIN + b"x"), "other data follows the end"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_archives_are_refused(tmp_path: Path, case: str) -> None:
    """A download that is not whole, or not an archive, never passes as one."""
    data, reason = DAMAGED[case]
    with pytest.raises(Refused, match=reason):
        unpack(pieces(data), tmp_path / "m", WIDE)


def test_gzip_members_in_a_row_are_one_stream(tmp_path: Path) -> None:
    """What parallel compressors write, members and zero padding, is read as gzip reads it."""
    data = gzip.compress(PLAIN[:700]) + gzip.compress(PLAIN[700:]) + bytes(100)
    for size in (1, 7, 100_000):
        unpack(pieces(data, size), tmp_path / str(size), WIDE)
        assert tree(tmp_path / str(size)).keys() == {"a", "b"}


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """More unpacked bytes than the bound are refused, in a file or behind the end."""
    narrow = Bounds(disk_bytes=10**9, entries=10, unpacked_bytes=1_000_000)
    with pytest.raises(Refused, match="unpacks to more than 1000000 bytes"):
        unpack(pieces(targz(Entry("zeros", bytes(2_000_000)))), tmp_path / "a", narrow)
    padded = gzip.compress(tar(Entry("a")) + bytes(2_000_000))
    with pytest.raises(Refused, match="unpacks to more than 1000000 bytes"):
        unpack(pieces(padded), tmp_path / "b", narrow)


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    """The number of entries has a bound of its own."""
    with pytest.raises(Refused, match="more than 1000 entries"):
        unpack(pieces(targz(*[Entry(f"{n}") for n in range(1001)])), tmp_path / "m", WIDE)


def test_metadata_without_end_is_refused(tmp_path: Path) -> None:
    """Neither one huge pax header nor a chain of them is collected in memory."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 3_000_000
    huge = header.tobuf(tarfile.USTAR_FORMAT) + b"a" * 3_000_000
    with pytest.raises(Refused, match="metadata of one entry is longer"):
        unpack(pieces(gzip.compress(huge)), tmp_path / "a", WIDE)
    header.size = 12
    link = header.tobuf(tarfile.USTAR_FORMAT) + b"12 path=abc\n".ljust(512, b"\0")
    with pytest.raises(Refused, match="not a tar archive inside"):
        unpack(pieces(gzip.compress(link * 2000)), tmp_path / "b", WIDE)


def test_an_overrun_says_how_much_was_needed(tmp_path: Path) -> None:
    """The disk's limit is met before the bytes are written."""
    narrow = Bounds(disk_bytes=8192, entries=10, unpacked_bytes=10**8)
    with pytest.raises(Overran) as overran:
        unpack(pieces(targz(Entry("a", b"1"), Entry("b", bytes(20_000)))), tmp_path / "m", narrow)
    assert overran.value.needed_bytes == 4096 + 20480
    assert tree(tmp_path / "m") == {"a": b"1"}


names = st.text(st.sampled_from("ab./\\~ \n"), min_size=1, max_size=12)
targets = st.one_of(names, st.sampled_from(["/etc", "..", "../..", "a/..", ".", "../outside"]))
kinds = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"7"]
)
entries = st.builds(Entry, names, st.binary(max_size=20), kinds, targets, st.integers(0, 0o7777))


@settings(max_examples=150, deadline=None)
@given(st.lists(entries, max_size=12), st.data())
def test_no_archive_reaches_outside(packed: list[Entry], draw: st.DataObject) -> None:
    """Random trees of odd names and links, some with flipped bytes: outside, nothing changes; and
    no link that was made leads there.
    """
    plain = bytearray(tar(*packed))
    for _ in range(draw.draw(st.integers(0, 2))):
        plain[draw.draw(st.integers(0, len(plain) - 1))] ^= draw.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as home:
        root = Path(home)
        (root / "outside").write_text("as it was")
        with contextlib.suppress(Refused, Overran):
            unpack(pieces(gzip.compress(bytes(plain))), root / "m", WIDE)
        assert {path.name for path in root.iterdir()} == {"outside", "m"}
        assert (root / "outside").read_text() == "as it was"
        for path in (root / "m").rglob("*"):
            assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root / "m"))
