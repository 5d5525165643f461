"""What the instance and the process that fetches for it say to each other: JSON, one line each.

    {"open": LOCATION}                      -> {"opened": {size, version, bucket}}
    {"unpack": FOLDER, "bounds": […]}       -> {"unpacked": BYTES, "content": …, "received": …,
                                                "times": {…}}
    {"close": true}                         -> {"closed": true}
    {"stop": true}, during an unpacking: it ends sooner, with its own answer

Any answer may be {"error": …, "received": …} instead.
"""

from __future__ import annotations

import json
import socket
from pathlib import PurePosixPath
from typing import Any

from modelplex.archives.tree import Overran, Refused
from modelplex.aws import errors
from modelplex.aws.errors import ServiceError
from modelplex.aws.locations import FileLocation, Location, S3Location
from modelplex.instance.artifacts.opening import Stopped
from modelplex.instance.artifacts.store import FetchFailure, Unavailable

LINE_BYTES_MAX = 64 * 1024  # locations, folders and messages are far shorter

Document = dict[str, Any]


class Tube:
    """One connection: documents in turn, each a line. For one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._lines = b""

    def send(self, document: Document) -> None:
        """Raises OSError when nobody is there."""
        self.sock.sendall(json.dumps(document).encode() + b"\n")

    def has_more(self) -> bool:
        """Whether the other side has said something, or has ended. Takes nothing."""
        if self._lines:
            return True
        try:
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def receive(self) -> Document | None:
        """The next document; None when the other side has ended. Raises TimeoutError, if the socket
        has a time limit, after which this may be called again."""
        while b"\n" not in self._lines:
            try:
                data = self.sock.recv(LINE_BYTES_MAX)
            except ConnectionError:
                data = b""
            if not data or len(self._lines) > LINE_BYTES_MAX:
                return None
            self._lines += data
        line, _, self._lines = self._lines.partition(b"\n")
        document: Document = json.loads(line)
        return document


def location_to(location: Location) -> list[str]:
    """A location as JSON holds it; `location_from` reads it."""
    match location:
        case S3Location(bucket, key):
            return ["s3", bucket, key]
        case FileLocation(path):
            return ["file", str(path)]


def location_from(parts: list[str]) -> Location:
    """The location of which `location_to` made these parts."""
    match parts:
        case ["s3", bucket, key]:
            return S3Location(bucket, key)
        case [_, path]:
            return FileLocation(PurePosixPath(path))
    raise ValueError(f"no location: {parts!r}")


def error_to(error: Exception) -> Document:
    """An error as JSON holds it; `error_from` makes it again on the other side."""
    match error:
        case FetchFailure():
            told = {"code": type(error.error).__name__, "passing": error.passing}
            return _named(error, error.error.message) | told | {"members": error.error.members}
        case Overran():
            return _named(error, "") | {"needed": error.needed_bytes}
        case OSError():
            return _named(error, str(error.strerror)) | {"errno": error.errno}
        case Refused() | Unavailable() | Stopped():
            return _named(error, str(error))
        case _:
            return {"kind": "Defect", "message": repr(error)}


def error_from(told: Document) -> Exception:
    """The error that the other side met. One that it could not foresee is a RuntimeError."""
    match told["kind"]:
        case "FetchFailure":
            kind: type[ServiceError] = getattr(errors, told["code"])
            error = kind(told["message"], **told["members"])
            return FetchFailure(error, passing=told["passing"])
        case "Overran":
            return Overran(told["needed"])
        case "OSError":
            return OSError(told["errno"], told["message"])
        case "Refused":
            return Refused(told["message"])
        case "Unavailable":
            return Unavailable(told["message"])
        case "Stopped":
            return Stopped()
    return RuntimeError(f"the fetching process failed: {told['message']}")


def _named(error: Exception, message: str) -> Document:
    kinds = (FetchFailure, Overran, OSError, Refused, Unavailable, Stopped)
    name = next(kind.__name__ for kind in kinds if isinstance(error, kind))
    return {"kind": name, "message": message}
