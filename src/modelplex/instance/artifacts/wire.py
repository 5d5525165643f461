"""What the instance and the process that fetches for it say to each other: JSON, one line each.

First the instance says what the disk is (`Storage`), and hears what an earlier life has left there:

    STORAGE                                 -> {"found": [MODEL, FOUND]} …, {"ready": true}

Then come orders, of which many are under way at once, each with a number of its own:

    {"id": N, "fetch": MODEL, "limit": BYTES}   -> {"id": N, "fetched": FOUND, "steps": {…}}
    {"id": N, "drop": MODEL}                    -> {"id": N, "dropped": true}
    {"id": N, "version": MODEL}                 -> {"id": N, "version": VERSION}
    {"serves": MODEL}                           -> nothing
    {"stop": N}                                 the fetch ends sooner, with its own answer
    {"prepared": N, "problem": MESSAGE or ""}   -> nothing; it answers
                                                {"prepare": N, "model": NAME, "folder": FOLDER}

Any answer may be {"error": …} instead; {"error": …} without a number ends it all.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelplex.archives.tree import Overran
from modelplex.aws import errors
from modelplex.aws.errors import ServiceError
from modelplex.instance.artifacts.download import Stopped
from modelplex.instance.artifacts.store import FetchFailure, Unavailable
from modelplex.instance.spec import Spec, StoreKeys
from modelplex.settings import Settings

LINE_BYTES_MAX = 64 * 1024  # names, folders and messages are far shorter

Document = dict[str, Any]
_LIMITS = ("archive_entries_max", "archive_ratio_max", "archive_ratio_floor_bytes")


@dataclass(frozen=True, slots=True)
class Storage:
    """An instance's disk: where it is, and where the models on it come from."""

    folder: Path
    keys: StoreKeys
    file_roots: tuple[Path, ...]
    model_data_url: str
    multi_model: bool
    share: bool  # byte-identical artifacts lie there once
    prepares: bool  # the image adds to what an archive held
    at_once: int  # fetches
    limits: Settings

    @classmethod
    def of(cls, spec: Spec, prepares: bool) -> Storage:
        """An instance's."""
        return cls(
            folder=spec.folder / "disk",
            keys=spec.s3,
            file_roots=spec.file_roots,
            model_data_url=spec.model_data_url,
            multi_model=spec.multi_model,
            share=spec.shares_identical,
            prepares=prepares,
            at_once=spec.limits.fetches_max,
            limits=spec.limits,
        )

    def document(self) -> Document:
        """As JSON holds it; `storage_from` reads it. Of the limits those of archives."""
        return {
            "folder": str(self.folder),
            "keys": asdict(self.keys),
            "file_roots": [str(root) for root in self.file_roots],
            "model_data_url": self.model_data_url,
            "multi_model": self.multi_model,
            "share": self.share,
            "prepares": self.prepares,
            "at_once": self.at_once,
            "limits": {name: getattr(self.limits, name) for name in _LIMITS},
        }


def storage_from(told: Document) -> Storage:
    """The storage of which `Storage.document` is this."""
    known = {
        "folder": Path(told["folder"]),
        "keys": StoreKeys(**told["keys"]),
        "file_roots": tuple(map(Path, told["file_roots"])),
        "limits": Settings.from_document(told["limits"]),
    }
    return Storage(**{**told, **known})


def line(document: Document) -> bytes:
    """A document as it is sent."""
    return json.dumps(document).encode() + b"\n"


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
        case Unavailable() | Stopped():
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
        case "Unavailable":
            return Unavailable(told["message"])
        case "Stopped":
            return Stopped()
    return RuntimeError(f"the fetching process failed: {told['message']}")


def _named(error: Exception, message: str) -> Document:
    kinds = (FetchFailure, Overran, OSError, Unavailable, Stopped)
    name = next(kind.__name__ for kind in kinds if isinstance(error, kind))
    return {"kind": name, "message": message}
