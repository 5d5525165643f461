"""What a request of the registry's API is about, by its method and path alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

# As the distribution project's grammar has them; a path written in another way is nobody's.
_PART = rb"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rb"(?P<repository>" + _PART + rb"(?:/" + _PART + rb")*)"
_MANIFEST = rb"manifests/(?P<reference>[A-Za-z0-9_][A-Za-z0-9._:+-]{0,255})"
_BLOB = rb"blobs/(?:uploads/[A-Za-z0-9-]*|[a-z0-9]+:[a-f0-9]+)"
_PATH = re.compile(rb"/v2/" + _NAME + rb"/(?:tags/list|" + _MANIFEST + rb"|" + _BLOB + rb")")
_WHOLE = (b"/v2/", b"/v2", b"/v2/_catalog")


@dataclass(frozen=True, slots=True)
class Asked:
    """`repository` "": the registry as a whole. `pushed_tag`: the tag that the request sets."""

    repository: str
    pushed_tag: str = ""


def read(method: str, path: bytes) -> Asked | None:
    """What a request is about; None for a path that the API does not have."""
    if path in _WHOLE:
        return Asked("")
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    reference = (found["reference"] or b"").decode()
    is_tag = method == "PUT" and ":" not in reference
    return Asked(found["repository"].decode(), reference if is_tag else "")
