"""How a container ended, read out of what the engine says of it."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KILLED = 128 + signal.SIGKILL  # the exit code that engines make of a SIGKILL
_NOT_FOUND = "executable file not found"
_FORMAT = "exec format error"


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a container: for people, and whether it was for lack of memory."""

    text: str
    out_of_memory: bool


def read(state: Mapping[str, Any], *, quiet: bool, killed_by_us: bool, hint: str = "") -> Ending:
    """The end out of the `State` of an inspected container.

    Docker says when the kernel killed something in it for lack of memory. Podman 4.3 never does: of
    such a `quiet` engine, a SIGKILL that we did not send is taken for that. `hint` goes with a
    failure.
    """
    code = int(state.get("ExitCode") or 0)
    starved = bool(state.get("OOMKilled")) or (quiet and code == KILLED and not killed_by_us)
    if starved and not killed_by_us:
        return Ending(f"out of memory ({_code(code)})", True)
    text = _code(code)
    if problem := str(state.get("Error") or ""):
        text += f": {problem}"
    return Ending(f"{text}; {hint}" if hint and code else text, False)


def refusal(image: str, said: str, hint: str) -> str:
    """A sentence for a container that the engine could not start, from the engine's own words."""
    if _NOT_FOUND in said:
        said += (
            ". An image is run as `docker run IMAGE serve`: it needs an ENTRYPOINT, or a program "
            "named serve on its PATH"
        )
    elif _FORMAT in said and hint:
        said += f"; {hint}"
    return f"The container of image {image} could not be started: {said}."


def platform_hint(image: str, engine: str) -> str:
    """What to say about an image's platform and an engine's ("linux/amd64"); "" if they agree."""
    if image == engine or not image.strip("/"):
        return ""
    return f"the image is built for {image} and the container engine runs {engine}"


def _code(code: int) -> str:
    try:
        name = signal.Signals(code - 128).name if code > 128 else ""
    except ValueError:
        name = ""
    return f"exit code {code}, as after {name}" if name else f"exit code {code}"
