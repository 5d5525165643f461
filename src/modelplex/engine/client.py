"""One conversation with the engine: opened with a limit, its failures turned into sentences.

Everything here blocks; call it in a thread. The `docker` SDK is imported when it is first needed:
the platform runs without it as long as nobody names a container image.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

from modelplex.engine.errors import EngineError, NoEngine
from modelplex.engine.where import SCHEME

QUESTION_TIMEOUT_S = 2.0  # of a question that somebody waits for
TEXT_MAX = 500  # characters of an engine's explanation

_SET = "the setting container_engine says where it is"
_REASONS = {
    errno.ENOENT: f"there is no such socket. Start Docker or Podman; {_SET}.",
    errno.ECONNREFUSED: f"nobody listens at that socket. Start Docker or Podman; {_SET}.",
    errno.EACCES: "permission denied. The user who runs modelplex must be allowed to write to the "
    "socket, as members of the group docker are.",
}


def reachable(url: str, timeout_s: float = QUESTION_TIMEOUT_S) -> str:
    """A sentence why the engine cannot be used; "" when it can."""
    try:
        with connected(url, timeout_s):
            return ""
    except EngineError as error:
        return str(error)


@contextlib.contextmanager
def connected(url: str, timeout_s: float) -> Iterator[Any]:
    """A `docker.APIClient` for the block, in which its failures become EngineErrors.

    `timeout_s` is how long any one answer may take. Raises NoEngine.
    """
    client = connect(url, timeout_s)
    try:
        with spoken(url, timeout_s):
            yield client
    finally:
        client.close()


def connect(url: str, timeout_s: float) -> Any:
    """The client, which the caller closes. Raises NoEngine."""
    path = _path(url)
    try:
        import docker  # noqa: PLC0415 (an extra, and slow to import)
    except ImportError:
        raise NoEngine(
            "Container images need the Python package docker: pip install 'modelplex[oci]'."
        ) from None
    with spoken(url, timeout_s):
        _knock(path, timeout_s)
        return docker.APIClient(base_url=SCHEME + path, version="auto", timeout=timeout_s)


@contextlib.contextmanager
def spoken(url: str, timeout_s: float) -> Iterator[None]:
    """Turn what the SDK and the socket raise into EngineError and NoEngine."""
    from docker import errors  # noqa: PLC0415 (as above)

    try:
        yield
    except errors.APIError as error:
        raise EngineError(f"The container engine answered: {explanation(error)}.") from error
    except errors.DockerException as error:
        raise NoEngine(unanswered(url, timeout_s, error.__context__ or error)) from error
    except OSError as error:  # the errors of requests are OSErrors too
        raise NoEngine(unanswered(url, timeout_s, error)) from error


def unanswered(url: str, timeout_s: float, error: BaseException) -> str:
    """Why nothing came back from the engine, as a sentence."""
    known = _REASONS.get(getattr(error, "errno", None) or 0)
    if known is None and ("timed out" in str(error) or isinstance(error, TimeoutError)):
        known = f"it did not answer within {timeout_s:g} s."
    return f"No container engine at {url}: {known or brief(error)}"


def explanation(error: Any) -> str:
    """What the engine says about an APIError."""
    return brief(error.explanation or error)


def brief(text: object) -> str:
    """One line of bounded length, without a stop at its end."""
    line = " ".join(str(text).split())
    return (line if len(line) <= TEXT_MAX else line[: TEXT_MAX - 1] + "…").rstrip(". ")


def _path(url: str) -> str:
    if not url:
        raise NoEngine("Container images are switched off by the setting container_engine.")
    if not url.startswith(SCHEME + "/"):
        raise NoEngine(
            f"The container engine's address {url} is no Unix socket. Models' folders can only be "
            "shared with an engine on this machine: set container_engine to unix:///PATH."
        )
    return url.removeprefix(SCHEME)


def _knock(path: str, timeout_s: float) -> None:
    """Raises OSError with the number that says why, which the SDK would wrap out of sight."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(timeout_s)
        caller.connect(path)
