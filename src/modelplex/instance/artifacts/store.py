"""Reads artifacts out of S3 or an allowed folder: blocking, streamed, in the caller's thread."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Generator, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from modelplex.aws.errors import InternalDependencyException, ServiceError, ValidationError
from modelplex.aws.locations import FileLocation, S3Location
from modelplex.instance.spec import StoreKeys

T = TypeVar("T")

CHUNK_BYTES = 256 * 1024
BUCKETS_MAX = 16  # stores (each with its connections) that are kept
READ_TIMEOUT_S = 10  # without a byte
RETRIES_MAX = 3  # per request; a broken stream is resumed where it broke
RETRY_TIMEOUT_S = 30


def reach_loopback_directly(environ: MutableMapping[str, str] = os.environ) -> None:
    """Exempt this machine from the proxy that the environment may name: the embedded store is here.

    obstore heeds the environment alone, so it is changed, before the first store is made.
    """
    given = environ.get("NO_PROXY") or environ.get("no_proxy", "")
    hosts = ",".join(filter(None, [given, "127.0.0.1", "::1", "localhost"]))
    environ["NO_PROXY"] = environ["no_proxy"] = hosts


class Unavailable(Exception):
    """The store did not answer, or broke off; another try may help. The message says what."""


class FetchFailure(Exception):
    """The artifact cannot be had now; `.error` is the client's answer.

    `passing`: the archive itself is not at fault, as far as is known.
    """

    def __init__(self, error: ServiceError, *, passing: bool = True) -> None:
        super().__init__(error.message)
        self.error = error
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Artifact:
    """An open archive: its length, its bytes, and which one it is.

    `version` is another one for every change of the archive, and "" where the store has none.
    Within one `bucket` equal versions and lengths mean equal bytes; "" where they do not.
    """

    size: int
    chunks: Generator[bytes, None, None]  # to be closed by who opened it
    version: str = ""
    bucket: str = ""


class Store:
    """Where archives come from."""

    def __init__(self, keys: StoreKeys, file_roots: tuple[Path, ...]) -> None:
        """`file_roots`: the folders that `file://` archives may lie under."""
        self._keys = keys
        self._roots = tuple(root.resolve() for root in file_roots)
        self._buckets: OrderedDict[str, S3Store] = OrderedDict()

    def open(self, location: S3Location | FileLocation) -> Artifact:
        """Start reading. Raises Unavailable and FetchFailure; so does the iterator of chunks."""
        match location:
            case S3Location():
                return self._open_s3(location)
            case FileLocation():
                return self._open_file(location)

    def version(self, location: S3Location | FileLocation) -> str:
        """The version that `open` would find, without its bytes. Raises as `open` does."""
        match location:
            case S3Location():
                return _etag(self._asked(location, obstore.head))
            case FileLocation():
                return _file_version(self._file(location)[1])

    # -- S3 -----------------------------------------------------------------------------------

    def _open_s3(self, location: S3Location) -> Artifact:
        result = self._asked(location, obstore.get)
        meta = result.meta
        return Artifact(meta["size"], _s3_chunks(result), _etag(meta), location.bucket)

    def _asked(self, location: S3Location, ask: Callable[[S3Store, str], T]) -> T:
        try:
            return ask(self._bucket(location.bucket), location.key)
        except (
            FileNotFoundError,
            PermissionDeniedError,
            UnauthenticatedError,
            ValueError,
        ) as error:
            raise FetchFailure(_not_there(location, error)) from None
        except BaseError as error:
            raise Unavailable(_cause(error)) from None

    def _bucket(self, name: str) -> S3Store:
        store = self._buckets.pop(name, None) or self._connect(name)
        self._buckets[name] = store
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        return store

    def _connect(self, bucket: str) -> S3Store:
        return S3Store(
            bucket,
            endpoint=self._keys.endpoint,
            region=self._keys.region,
            access_key_id=self._keys.access_key,
            secret_access_key=self._keys.secret_key,
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=5),
                "read_timeout": timedelta(seconds=READ_TIMEOUT_S),
                "timeout": timedelta(hours=1),  # the whole body; the load's own limit is shorter
            },
            retry_config={
                "max_retries": RETRIES_MAX,
                "retry_timeout": timedelta(seconds=RETRY_TIMEOUT_S),
                "backoff": {"max_backoff": timedelta(seconds=2)},
            },
        )

    # -- file:// ------------------------------------------------------------------------------

    def _open_file(self, location: FileLocation) -> Artifact:
        path, facts = self._file(location)
        return Artifact(facts.st_size, _file_chunks(path, location), _file_version(facts))

    def _file(self, location: FileLocation) -> tuple[Path, os.stat_result]:
        """Only under the allowed folders, after all links have been followed."""
        path = Path(location.path).resolve()
        if not any(path.is_relative_to(root) for root in self._roots):
            raise FetchFailure(_not_allowed(location))
        try:
            if not path.is_file():
                raise FileNotFoundError("there is no such file")
            return path, path.stat()
        except OSError as error:
            raise FetchFailure(_not_there(location, error)) from None


def _etag(meta: obstore.ObjectMeta) -> str:
    """The object's ETag without its quotation marks."""
    return (meta["e_tag"] or "").strip('"')


def _file_version(facts: os.stat_result) -> str:
    return f"{facts.st_ino:x}-{facts.st_mtime_ns:x}-{facts.st_size:x}"


def _s3_chunks(result: obstore.GetResult) -> Generator[bytes, None, None]:
    """The object's bytes, all of them: a stream that is shorter or longer counts as broken off."""
    expected, received = result.meta["size"], 0
    try:
        for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
            received += len(chunk)
            yield bytes(chunk)
    except BaseError as error:
        raise Unavailable(f"{_cause(error)} after {received} of {expected} bytes") from None
    if received != expected:
        raise Unavailable(f"the store sent {received} bytes and had announced {expected}")


def _file_chunks(path: Path, location: FileLocation) -> Generator[bytes, None, None]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise FetchFailure(_not_there(location, error)) from None


def _not_there(location: S3Location | FileLocation, error: Exception) -> ServiceError:
    """SageMaker's own text, and the store's reason behind it."""
    return ValidationError(
        f"Failed to download model data({_named(location)}). Please ensure that there is an object "
        "located at the URL and that the role passed to CreateModel has permissions to download "
        f"the model. ({_cause(error)})"
    )


def _not_allowed(location: FileLocation) -> ServiceError:
    return ValidationError(
        f"Failed to download model data({_named(location)}). The operator has not allowed this "
        "folder: it must lie under one of the platform's file_roots."
    )


def _named(location: S3Location | FileLocation) -> str:
    match location:
        case S3Location():
            return f"bucket: {location.bucket}, key: {location.key}"
        case FileLocation():
            return f"file: {location.path}"


def unavailable(location: S3Location | FileLocation, reason: str) -> ServiceError:
    """What the client is told when the store stays away.

    InternalDependencyException (530) is the one of InvokeEndpoint's errors that says that something
    behind the endpoint is at fault: neither the request, nor the model, nor the instance.
    """
    return InternalDependencyException(
        f"Failed to download model data({_named(location)}): {reason}. The store did not answer; "
        "try again when it does."
    )


def _cause(error: Exception) -> str:
    """One line of what obstore says in twenty: S3's error code, the HTTP status, or the first."""
    text = str(error)
    if code := re.search(r"<Code>(\w+)</Code>", text):
        return code.group(1)
    if status := re.search(r"status code: (\d+ [\w ]*)", text):
        return f"HTTP {status.group(1).strip()}"
    if http := re.search(r"HTTP error: ([^\n]*)", text):
        return http.group(1)
    return text.split("\n", 1)[0].rstrip(".")
