"""Where model data lies: the forms of `ModelDataUrl`, and a target model's place in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from modelplex.aws.errors import ValidationException

KEY_BYTES_MAX = 1024  # S3's limit for an object's key

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", re.ASCII)
# s3.amazonaws.com, s3-REGION…, s3.REGION…, s3.dualstack.REGION…; or BUCKET. before any of them
_HOST = re.compile(
    r"((?P<bucket>.+)\.)?s3([.-](dualstack\.)?(?P<region>[a-z0-9-]+))?\.amazonaws\.com(\.cn)?"
)
_FORMS = (
    "s3://BUCKET/PREFIX/, https://s3-REGION.amazonaws.com/BUCKET/PREFIX/, "
    "https://BUCKET.s3.REGION.amazonaws.com/PREFIX/ or file:///FOLDER/"
)


class BadLocation(ValidationException, ValueError, status=400, code="ValidationException"):
    """A URL that names no place, or a target model that leads out of it; the text says why."""


@dataclass(frozen=True, slots=True)
class S3Location:
    """An object, or a prefix of objects where `key` ends in a slash or is empty."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class FileLocation:
    """A file or folder on the platform's own machine, an absolute path without dot segments."""

    path: PurePosixPath


Location = S3Location | FileLocation


def parse_model_data_url(url: str) -> Location:
    """The place that a ModelDataUrl names; raises BadLocation."""
    if "\0" in url or any(char.isspace() and char != " " for char in url):
        raise BadLocation(f"{url!r} contains control characters")
    scheme, _, rest = url.partition("://")
    match scheme:
        case "s3":
            bucket, _, key = rest.partition("/")
            return _s3(url, bucket, key)
        case "https":
            return _https(url)
        case "file":
            return _file(url, rest)
        case _:
            raise BadLocation(f"{url!r} is no place for model data; it looks like {_FORMS}")


def _https(url: str) -> S3Location:
    """S3's own addresses alone; the path is percent-encoded, as in any such URL."""
    host_part, _, path = url.removeprefix("https://").partition("/")
    host = _HOST.fullmatch(host_part.removesuffix(":443"))
    if host is None or "?" in path or "#" in path:
        raise BadLocation(f"{url!r} is no address of an S3 object; it looks like {_FORMS}")
    path = unquote(path)
    if host["bucket"]:
        return _s3(url, host["bucket"], path)
    bucket, _, key = path.partition("/")
    return _s3(url, bucket, key)


def _s3(url: str, bucket: str, key: str) -> S3Location:
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise BadLocation(f"{bucket!r} in {url!r} is no bucket name; the URL looks like {_FORMS}")
    return S3Location(bucket, _short_enough(key))


def _short_enough(key: str) -> str:
    if len(key.encode(errors="replace")) > KEY_BYTES_MAX:
        raise BadLocation(f"the S3 key {key!r} is longer than {KEY_BYTES_MAX} bytes")
    return key


def _file(url: str, path: str) -> FileLocation:
    path = unquote(path)
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise BadLocation(f"{url!r} is no folder; it looks like file:///FOLDER/, without '..'")
    return FileLocation(PurePosixPath("/" + path.lstrip("/")))


def join(location: Location, target_model: str) -> Location:
    """The place of a target model: the endpoint's location, a slash if it has none, and the name.

    Raises BadLocation for a name that could lead out of the location, on disk or in S3.
    """
    segments = target_model.split("/")
    if not target_model.isprintable() or "\\" in target_model:
        raise BadLocation(
            f"target model {target_model!r} contains a backslash or control characters"
        )
    if any(segment in ("", ".", "..") for segment in segments):
        raise BadLocation(
            f"target model {target_model!r} is no path below the endpoint's model data: "
            "it must not begin or end with '/', nor contain '//', '.' or '..' as a folder"
        )
    match location:
        case S3Location(bucket, key):
            slash = "/" if key and not key.endswith("/") else ""
            return S3Location(bucket, _short_enough(f"{key}{slash}{target_model}"))
        case FileLocation(path):
            return FileLocation(path / target_model)
