"""Fetches archives over http(s) and from S3 to the disk: blocking, streamed, in a caller's thread.

Every wait has a limit: of each read, and of the whole. Who may be asked is the caller's to say, for
the first address and for every redirect.
"""

from __future__ import annotations

import contextlib
import email.message
import functools
import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from modelplex.server.errors import DownloadFailed

CHUNK_BYTES = 256 * 1024
READ_TIMEOUT_S = 10.0  # without a byte; also how long a stopped download may take to notice
CONNECT_TIMEOUT_S = 5.0
ABSENT = -1  # a length that the server did not announce


class Stopped(Exception):
    """The download was stopped from outside."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one download may take, and the switch that stops it."""

    bytes_max: int
    timeout_s: float
    stop: threading.Event


@dataclass(frozen=True, slots=True)
class Remote:
    """An open archive: the server's mark for this content, "" if none, its length, its bytes."""

    etag: str
    size: int
    chunks: Iterator[bytes]


def fetch(
    url: str, etag: str, target: Path, bounds: Bounds, allow: Callable[[str], None]
) -> str | None:
    """Write what is at `url` to `target`, which must not exist; returns its ETag, or "".

    With the `etag` of an earlier fetch, None if the server says that it still holds. `allow` raises
    for a redirect that must not be followed. Raises DownloadFailed, Stopped, OSError (the disk).
    """
    with contextlib.ExitStack() as stack:
        if urlsplit(url).scheme == "s3":
            remote = _start_s3(url, etag, bounds.timeout_s)
        else:
            remote = _start_http(url, etag, bounds.timeout_s, allow, stack)
        if remote is None:
            return None
        _save(remote, target, bounds, url)
        return remote.etag


def ambiguity(url: str) -> str:
    """What two programs could read differently in a remote URL, so that it is refused; or ""."""
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        return "it holds characters that must be percent-encoded"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"its host or port is invalid ({error})"
    if not host or "@" in parts.netloc or "%" in parts.netloc:
        return "it must name a host, and no user or password"
    if "#" in url:
        return "it has a fragment (#)"
    if ".." in unquote(parts.path).split("/"):
        return "its path climbs with '..'"
    return ""


def _save(remote: Remote, target: Path, bounds: Bounds, url: str) -> None:
    deadline, received = time.monotonic() + bounds.timeout_s, 0
    _check_size(remote.size, bounds, url)
    with target.open("xb") as file:
        for chunk in remote.chunks:
            if bounds.stop.is_set():
                raise Stopped
            if time.monotonic() > deadline:
                raise _failed(url, f"not finished after download_timeout_s={bounds.timeout_s:g}")
            received += len(chunk)
            _check_size(received, bounds, url)
            file.write(chunk)
    if remote.size not in (ABSENT, received):
        raise _failed(url, f"broken off after {received} of {remote.size} bytes")


def _check_size(size: int, bounds: Bounds, url: str) -> None:
    if size > bounds.bytes_max:
        raise _failed(url, f"larger than download_bytes_max={bounds.bytes_max}")


# -- http -------------------------------------------------------------------------------------


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows few redirects, and only where `allow` lets them lead."""

    max_redirections = 5

    def __init__(self, allow: Callable[[str], None]) -> None:
        self._allow = allow

    def redirect_request(  # noqa: PLR0917  urllib's signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            if urlsplit(newurl).scheme.lower() not in ("http", "https"):
                raise _failed(req.full_url, f"redirected to {newurl}, which is not http or https")
            self._allow(newurl)
        except BaseException:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _start_http(
    url: str,
    etag: str,
    timeout_s: float,
    allow: Callable[[str], None],
    stack: contextlib.ExitStack,
) -> Remote | None:
    request = urllib.request.Request(url, headers={"If-None-Match": etag} if etag else {})
    opener = urllib.request.build_opener(_Redirects(allow))
    try:
        response = opener.open(request, timeout=min(READ_TIMEOUT_S, timeout_s))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 304:
            return None
        raise DownloadFailed(f"Failed to download model from: {url}, code: {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(url, _cause(error)) from None
    stack.enter_context(response)
    return Remote(
        response.headers.get("ETag", ""), _length(response.headers), _http_chunks(response, url)
    )


def _length(headers: email.message.Message) -> int:
    given = headers.get("Content-Length", "")
    return int(given) if given.isdecimal() else ABSENT


def _http_chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    try:
        while chunk := response.read1(CHUNK_BYTES):
            yield chunk
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(url, _cause(error)) from None


# -- S3 ---------------------------------------------------------------------------------------


def _start_s3(url: str, etag: str, timeout_s: float) -> Remote | None:
    """Keys, region and endpoint are those of the AWS_* variables, or the machine's role."""
    try:
        import obstore  # noqa: PLC0415  # only who uses S3 needs it
        from obstore.exceptions import BaseError, NotModifiedError  # noqa: PLC0415
    except ImportError:
        raise _failed(url, "s3:// needs the package obstore: pip install obstore") from None
    parts = urlsplit(url)
    try:
        bucket = _bucket(parts.netloc, timeout_s)
        conditions: Any = {"if_none_match": etag} if etag else {}
        result = obstore.get(bucket, unquote(parts.path).lstrip("/"), options=conditions)
    except NotModifiedError:
        return None
    except (BaseError, OSError, ValueError) as error:
        raise _failed(url, _cause(error)) from None
    meta = result.meta
    return Remote(meta["e_tag"] or "", meta["size"], _s3_chunks(result, BaseError, url))


@functools.lru_cache(maxsize=16)  # stores, each with its connections
def _bucket(name: str, timeout_s: float) -> Any:
    from obstore.store import S3Store  # noqa: PLC0415

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return S3Store(
        name,
        endpoint=endpoint,
        client_options={
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            "read_timeout": timedelta(seconds=READ_TIMEOUT_S),
            "timeout": timedelta(seconds=timeout_s),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
    )


def _s3_chunks(result: Any, error_type: type[Exception], url: str) -> Iterator[bytes]:
    try:
        for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)
    except error_type as error:
        raise _failed(url, _cause(error)) from None


# -- errors -----------------------------------------------------------------------------------


def _failed(url: str, reason: str) -> DownloadFailed:
    return DownloadFailed(f"Failed to download model from: {url} ({reason})")


def _cause(error: Exception) -> str:
    """One line of what urllib or obstore says, at most 200 characters."""
    reason = getattr(error, "reason", None) or error
    return (str(reason).strip() or type(error).__name__).split("\n", 1)[0][:200]
