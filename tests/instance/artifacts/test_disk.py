"""The disk of an instance, and the stores behind it: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import socketserver
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from modelplex.archives.tree import Overran
from modelplex.aws.errors import InternalDependencyException, InternalFailure, ValidationError
from modelplex.aws.locations import FileLocation, Location, S3Location, join, parse_model_data_url
from modelplex.core.keys import key_of
from modelplex.instance.artifacts import places
from modelplex.instance.artifacts.disk import Artifacts, Prepare, Unprepared
from modelplex.instance.artifacts.download import Download, Stopped
from modelplex.instance.artifacts.store import FetchFailure, Store
from modelplex.instance.spec import StoreKeys
from modelplex.settings import Settings
from tests.instance.archives import Entry, targz
from tests.instance.running import KEYS, MIB, S3Server

Make = Callable[..., Artifacts]


BIG = targz(*(Entry(f"{n}", os.urandom(100_000)) for n in range(10)))


def store_at(endpoint: str, **keys: str) -> Store:
    """A store over an S3 endpoint."""
    return Store(StoreKeys(endpoint, "us-west-2", **(KEYS | keys)), ())


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A maker of disks whose models lie in `tmp_path/models`, or in a bucket of a given store."""
    (tmp_path / "models").mkdir()

    def build(
        store: Store | None = None,
        url: str = "",
        share: bool = True,
        prepare: Prepare | None = None,
        **limits: object,
    ) -> Artifacts:
        location = parse_model_data_url(url or f"file://{tmp_path}/models/")

        def locate(model: str) -> Location:
            return join(location, model)

        files = Store(StoreKeys("http://127.0.0.1:1", "us-west-2", **KEYS), (tmp_path,))
        settings = Settings.from_document(limits)
        disk = tmp_path / "disk"
        artifacts = Artifacts(disk, store or files, locate, settings, share=share, prepare=prepare)
        artifacts.recover()
        return artifacts

    return build


def test_an_artifact_is_fetched_found_again_and_dropped(make: Make, tmp_path: Path) -> None:
    """It appears whole under an opaque name, a later life recovers it, and a drop removes it."""
    (tmp_path / "models/a.tar.gz").write_bytes(targz(Entry("f", b"x" * 5000)))
    artifacts = make()
    found = artifacts.fetch("a.tar.gz", MIB, Download())
    assert found.disk_bytes == 8192
    assert (artifacts.layout.folder("a.tar.gz") / "f").read_bytes() == b"x" * 5000
    assert "a.tar.gz" not in str(artifacts.layout.folder("a.tar.gz"))
    assert artifacts.recover() == {"a.tar.gz": found}
    artifacts.drop("a.tar.gz")
    assert artifacts.recover() == {}
    assert not artifacts.layout.folder("a.tar.gz").exists()


@pytest.mark.parametrize("record", ["", "{}", '{"model": "a.tar.gz", "disk_bytes": "?"}', "[]"])
def test_what_has_no_good_record_is_removed(make: Make, tmp_path: Path, record: str) -> None:
    """A record that was cut short, or is another model's, makes its folder worthless."""
    (tmp_path / "models/a.tar.gz").write_bytes(targz(Entry("f", b"x")))
    artifacts = make()
    artifacts.fetch("a.tar.gz", MIB, Download())
    place = artifacts.layout.folder("a.tar.gz").parent
    (place / "record.json").write_text(record)
    assert artifacts.recover() == {}
    assert not place.exists()


def test_an_endpoint_with_other_model_data_recovers_nothing(make: Make, tmp_path: Path) -> None:
    """What was fetched from elsewhere under the same name is another model."""
    (tmp_path / "models/a.tar.gz").write_bytes(targz(Entry("f", b"x")))
    make().fetch("a.tar.gz", MIB, Download())
    assert make(url="s3://bucket/elsewhere/").recover() == {}


def test_an_overrun_leaves_nothing_and_guesses_the_rest(make: Make, tmp_path: Path) -> None:
    """The next limit is larger by what the rest should come to, within a factor of four."""
    files = [Entry(f"{n}", os.urandom(100_000)) for n in range(50)]
    (tmp_path / "models/a.tar.gz").write_bytes(targz(*files))
    artifacts, limit = make(), 2 * MIB
    with pytest.raises(Overran) as overran:
        artifacts.fetch("a.tar.gz", limit, Download())
    assert 1.25 * limit <= overran.value.needed_bytes <= 4 * limit
    assert not list((tmp_path / "disk/tmp").iterdir())
    artifacts.fetch("a.tar.gz", overran.value.needed_bytes * 2, Download())


def test_a_stopped_download_leaves_nothing(make: Make, tmp_path: Path) -> None:
    """Cancel is heard between two chunks."""
    (tmp_path / "models/a.tar.gz").write_bytes(targz(Entry("f", b"x")))
    download = Download()
    download.stop.set()
    with pytest.raises(Stopped):
        make().fetch("a.tar.gz", MIB, download)
    assert not list((tmp_path / "disk/tmp").iterdir())


def test_a_disk_that_fails_is_not_the_callers_fault(make: Make, tmp_path: Path) -> None:
    """The operating system's refusal becomes an InternalFailure that names the model."""
    (tmp_path / "models/a.tar.gz").write_bytes(targz(Entry("f", b"x")))
    artifacts = make()
    (tmp_path / "disk/tmp").rmdir()
    (tmp_path / "disk/tmp").write_text("no folder")
    with pytest.raises(FetchFailure) as failure:
        artifacts.fetch("a.tar.gz", MIB, Download())
    assert isinstance(failure.value.error, InternalFailure)
    assert "model data of a.tar.gz" in failure.value.error.message


def test_a_bomb_is_judged_by_the_archives_size(make: Make, tmp_path: Path) -> None:
    """Above the floor, so many times the archive's size is too much."""
    (tmp_path / "models/a.tar.gz").write_bytes(targz(Entry("f", bytes(3 * MIB))))
    narrow = make(archive_ratio_floor_bytes=MIB, archive_ratio_max=200)
    with pytest.raises(FetchFailure, match="no honest archive of its size does"):
        narrow.fetch("a.tar.gz", 10 * MIB, Download())
    wide = make(archive_ratio_floor_bytes=MIB, archive_ratio_max=2000)
    wide.fetch("a.tar.gz", 10 * MIB, Download())


@pytest.mark.parametrize(
    ("keys", "cause"),
    [
        ({"access_key": "AKIANOBODYKNOWS1"}, "InvalidAccessKeyId"),
        ({"secret_key": "not-the-secret"}, "SignatureDoesNotMatch"),
    ],
)
def test_a_store_that_refuses_is_named(s3: S3Server, keys: dict[str, str], cause: str) -> None:
    """Access denied is final, and S3's own code is passed on."""
    s3.put("denied", "m.tar.gz", b"x")
    with pytest.raises(FetchFailure, match=cause) as refused:
        store_at(s3.endpoint, **keys).open(S3Location("denied", "m.tar.gz"))
    assert isinstance(refused.value.error, ValidationError)


def test_a_missing_bucket_is_named(s3: S3Server) -> None:
    """Bucket and key are in the message."""
    with pytest.raises(FetchFailure, match=r"bucket: nowhere, key: m\.tar\.gz.*NoSuchBucket"):
        store_at(s3.endpoint).open(S3Location("nowhere", "m.tar.gz"))


def test_odd_keys_arrive_as_they_are(s3: S3Server) -> None:
    """Blanks, percent signs and letters beyond ASCII are part of a key's name."""
    for key in ("a b/ü.tar.gz", "100%41.tar.gz", "plus+~tilde.tar.gz"):
        s3.put("odd", key, key.encode())
        artifact = store_at(s3.endpoint).open(S3Location("odd", key))
        assert b"".join(artifact.chunks) == key.encode()


def test_a_folder_is_no_archive(tmp_path: Path) -> None:
    """`file://` needs a regular file."""
    store = Store(StoreKeys("", "", "", ""), (tmp_path,))
    with pytest.raises(FetchFailure, match="there is no such file"):
        store.open(FileLocation(tmp_path))  # type: ignore[arg-type]


# -- byte-identical archives ----------------------------------------------------------------------


def blocks(folder: Path) -> int:
    """The bytes that files take on the disk, those of several names once."""
    facts = {path.lstat().st_ino: path.lstat() for path in folder.rglob("*")}
    return sum(each.st_blocks * 512 for each in facts.values() if not stat.S_ISDIR(each.st_mode))


def contents(tmp_path: Path) -> list[str]:
    """What is in the folder of contents."""
    return [path.name for path in (tmp_path / "disk/contents").iterdir()]


def test_copies_share_the_disk_until_the_last_one_goes(make: Make, tmp_path: Path) -> None:
    """Also over a restart. What a model does in its own folder is its own affair."""
    data = targz(Entry("weights", os.urandom(MIB)), Entry("code/run", b"x", mode=0o755))
    artifacts, names = make(), [f"{n}.tar.gz" for n in range(10)]
    for name in names:
        (tmp_path / "models" / name).write_bytes(data)
    found = [artifacts.fetch(name, 2 * MIB, Download()) for name in names]
    assert len({each.content for each in found}) == 1
    assert blocks(tmp_path / "disk") < 1.2 * MIB
    one, other = artifacts.layout.folder(names[0]), artifacts.layout.folder(names[1])
    (one / "weights").unlink()
    (one / "cache").write_text("mine")
    assert sorted(os.listdir(other)) == ["code", "weights"]
    assert stat.S_IMODE((other / "weights").stat().st_mode) == 0o444
    assert stat.S_IMODE((other / "code/run").stat().st_mode) == 0o555
    artifacts = make()
    assert artifacts.recover() == dict(zip(names, found, strict=True))
    for name in names:
        assert contents(tmp_path) == [found[0].content]
        assert (artifacts.layout.original(found[0].content) / "weights").stat().st_size == MIB
        artifacts.drop(name)
    assert contents(tmp_path) == []
    assert blocks(tmp_path / "disk") == 0


def test_what_the_store_calls_the_same_is_not_downloaded(
    make: Make, tmp_path: Path, s3: S3Server
) -> None:
    """Equal in ETag and length, in one bucket. After the last one is gone it has to be."""
    for name in ("a.tar.gz", "b.tar.gz", "c.tar.gz"):
        s3.put("same", f"models/{name}", targz(Entry("f", b"x" * 5000)))
    artifacts = make(store_at(s3.endpoint), "s3://same/models/")
    first = artifacts.fetch("a.tar.gz", MIB, Download())
    download = Download()
    assert artifacts.fetch("b.tar.gz", MIB, download) == first
    assert download.received_bytes == 0
    assert (artifacts.layout.folder("b.tar.gz") / "f").read_bytes() == b"x" * 5000
    for name in ("a.tar.gz", "b.tar.gz"):
        artifacts.drop(name)
    assert artifacts.fetch("c.tar.gz", MIB, download) == first
    assert download.received_bytes > 0


def test_a_version_is_that_one_or_none(make: Make, tmp_path: Path) -> None:
    """Two versions of a name lie beside each other; a replaced one cannot be had any more."""
    path, store = tmp_path / "models/a.tar.gz", Store(StoreKeys("", "", "", ""), (tmp_path,))
    location = FileLocation(PurePosixPath(path))
    path.write_bytes(targz(Entry("f", b"old")))
    artifacts = make()
    old = artifacts.fetch("a.tar.gz", MIB, Download())
    assert old.version == store.version(location)
    path.write_bytes(targz(Entry("f", b"brand new")))
    key = key_of("a.tar.gz", store.version(location))
    new = artifacts.fetch(key, MIB, Download())
    assert (artifacts.layout.folder("a.tar.gz") / "f").read_bytes() == b"old"
    assert (artifacts.layout.folder(key) / "f").read_bytes() == b"brand new"
    with pytest.raises(FetchFailure, match=r"is not the version .* any more"):
        artifacts.fetch(key_of("a.tar.gz", old.version), MIB, Download())
    assert artifacts.recover() == {"a.tar.gz": old, key: new}


def test_an_s3_object_has_its_etag_as_version(s3: S3Server) -> None:
    """Asked for alone, or with the bytes."""
    s3.put("versions", "m.tar.gz", b"x")
    store, location = store_at(s3.endpoint), S3Location("versions", "m.tar.gz")
    assert store.version(location) == hashlib.md5(b"x").hexdigest()
    assert store.open(location).version == store.version(location)
    with pytest.raises(FetchFailure, match=r"NoSuchKey|404|there is an object"):
        store.version(S3Location("versions", "none"))


def test_leftovers_of_sharing_are_removed(make: Make, tmp_path: Path) -> None:
    """A content without a model, and a model without its content."""
    for name in ("a.tar.gz", "b.tar.gz"):
        (tmp_path / "models" / name).write_bytes(targz(Entry("f", name.encode())))
    artifacts = make()
    found = {n: artifacts.fetch(n, MIB, Download()) for n in ("a.tar.gz", "b.tar.gz")}
    (artifacts.layout.folder("a.tar.gz").parent / "record.json").unlink()
    places.remove(tmp_path / "disk/contents" / found["b.tar.gz"].content)
    assert artifacts.recover() == {}
    assert contents(tmp_path) == []
    assert not list((tmp_path / "disk/models").iterdir())


def test_concurrent_fetches_of_one_content_end_in_one(make: Make, tmp_path: Path) -> None:
    """Each unpacks; whoever is first is shared by all."""
    names = [f"{n}.tar.gz" for n in range(8)]
    for name in names:
        (tmp_path / "models" / name).write_bytes(BIG)
    artifacts = make()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: artifacts.fetch(n, 10 * MIB, Download()), names))
    assert contents(tmp_path) == [found[0].content]
    assert blocks(tmp_path / "disk") < 1.2 * MIB
    assert not list((tmp_path / "disk/tmp").iterdir())
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(artifacts.drop, names))
    assert contents(tmp_path) == []


def test_nothing_is_shared_where_that_is_not_wanted(make: Make, tmp_path: Path) -> None:
    """Each has files of its own then, which it may write to; what was shared is fetched again."""
    for name in ("a.tar.gz", "b.tar.gz"):
        (tmp_path / "models" / name).write_bytes(targz(Entry("f", b"x")))
    make().fetch("a.tar.gz", MIB, Download())
    artifacts = make(share=False)
    assert artifacts.recover() == {}
    for name in ("a.tar.gz", "b.tar.gz"):
        assert artifacts.fetch(name, MIB, Download()).content == ""
    (artifacts.layout.folder("a.tar.gz") / "f").write_text("changed")
    assert (artifacts.layout.folder("b.tar.gz") / "f").read_text() == "x"
    assert set(artifacts.recover()) == {"a.tar.gz", "b.tar.gz"}


# -- a store that breaks off ----------------------------------------------------------------------


@contextmanager
def breaking_store(data: bytes, breaks: int) -> Iterator[str]:
    """An S3 of one object that breaks off in the middle of its first `breaks` answers."""
    left = breaks

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            nonlocal left
            while self.rfile.readline().strip():
                pass
            left -= 1
            head = f'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: {len(data)}\r\n'
            date = "Last-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\nConnection: close\r\n\r\n"
            sent = data if left < 0 else data[: len(data) // 2]
            self.wfile.write((head + date).encode() + sent)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_download_that_breaks_off_is_tried_again(make: Make) -> None:
    """Half an archive is never used; the next try fetches all of it."""
    with breaking_store(BIG, breaks=1) as endpoint:
        artifacts = make(store_at(endpoint), "s3://bucket/models/")
        artifacts.fetch("a.tar.gz", 10 * MIB, Download())
        names = {path.name for path in artifacts.layout.folder("a.tar.gz").iterdir()}
    assert names == {str(n) for n in range(10)}


def test_a_store_that_always_breaks_off_is_unavailable(make: Make, tmp_path: Path) -> None:
    """Tries are bounded, and in the end the store is to blame: 530."""
    with breaking_store(BIG, breaks=1000) as endpoint:
        artifacts = make(store_at(endpoint), "s3://bucket/models/")
        with pytest.raises(FetchFailure) as failure:
            artifacts.fetch("a.tar.gz", 10 * MIB, Download())
    assert isinstance(failure.value.error, InternalDependencyException)
    assert "bucket: bucket, key: models/a.tar.gz" in failure.value.error.message
    assert not list((tmp_path / "disk/tmp").iterdir())


@pytest.mark.parametrize("share", [True, False])
def test_what_an_image_adds_is_part_of_the_artifact(
    make: Make, tmp_path: Path, share: bool
) -> None:
    """It is done once for a content, counted on the disk, and there after a restart."""
    for name in ("a.tar.gz", "b.tar.gz"):
        (tmp_path / "models" / name).write_bytes(targz(Entry("f", b"x" * 5000)))
    asked: list[str] = []

    def prepare(model: str, folder: Path) -> None:
        asked.append(model)
        (folder / "made").mkdir()
        (folder / "made/it").write_bytes((folder / "f").read_bytes() * 2)

    artifacts = make(share=share, prepare=prepare)
    found = artifacts.fetch("a.tar.gz", MIB, Download())
    assert found.disk_bytes == 8192 + 4096 + 12288
    assert (artifacts.layout.folder("a.tar.gz") / "made/it").stat().st_size == 10_000
    assert artifacts.recover() == {"a.tar.gz": found}
    artifacts.fetch("b.tar.gz", MIB, Download())
    assert asked == ["a.tar.gz"] if share else ["a.tar.gz", "b.tar.gz"]


def test_what_an_image_adds_is_bounded(make: Make, tmp_path: Path) -> None:
    """More than the disk has is an overrun, as if the archive had held it."""
    (tmp_path / "models/a.tar.gz").write_bytes(targz(Entry("f", b"x")))

    def prepare(_: str, folder: Path) -> None:
        (folder / "large").write_bytes(b"x" * 2 * MIB)

    with pytest.raises(Overran):
        make(prepare=prepare).fetch("a.tar.gz", MIB, Download())
    assert not list((tmp_path / "disk/tmp").iterdir())


def test_what_cannot_be_prepared_is_the_models_fault(make: Make, tmp_path: Path) -> None:
    """The client reads why; nothing is left."""
    (tmp_path / "models/a.tar.gz").write_bytes(targz(Entry("f", b"x")))

    def prepare(model: str, folder: Path) -> None:
        raise Unprepared("there is no network in it.")

    with pytest.raises(FetchFailure) as failure:
        make(prepare=prepare).fetch("a.tar.gz", MIB, Download())
    assert failure.value.error.message.endswith("cannot be used: there is no network in it.")
    assert not failure.value.passing
    assert not list((tmp_path / "disk/tmp").iterdir())
