"""Request paths, read as Multi Model Server reads them: segments, and what they invoke."""

from __future__ import annotations

from urllib.parse import unquote


def segments(path: bytes) -> list[str]:
    """The percent-decoded parts of a path; empty ones at its end do not count.

    Split before decoding, so that a model's name may have a slash in it.
    """
    parts = path[1:].split(b"/")
    while parts and not parts[-1]:
        parts.pop()
    return [unquote(part.decode("latin-1"), errors="replace") for part in parts]


def invoked(parts: list[str]) -> str | None:
    """The model that a path invokes, "" when it names none; None: the path invokes nothing."""
    match parts:
        case ["invocations"]:
            return ""
        case ["models", name, "invoke"]:
            return name
        case ["predictions", name, *_]:
            return name
        case [name, "predict"] if name != "models":
            return name
    return None
