"""Where the container engine listens: the setting `container_engine`, made a URL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

AUTO, OFF = "auto", "off"
SCHEME = "unix://"
DOCKER = "/var/run/docker.sock"


def locate(
    setting: str,
    environ: Mapping[str, str] = os.environ,
    usable: Callable[[str], bool] = lambda path: os.access(path, os.W_OK),
) -> str:
    """The engine's URL: what is set, else $DOCKER_HOST, else the first usable socket of Docker or
    Podman; "" for `off`.

    With none, Docker's own, so that the sentence about its absence names a place.
    """
    if setting == OFF:
        return ""
    if setting != AUTO:
        return setting
    if host := environ.get("DOCKER_HOST"):
        return host
    return SCHEME + next(filter(usable, _sockets(environ)), DOCKER)


def _sockets(environ: Mapping[str, str]) -> Iterator[str]:
    """The system's before the user's own, Docker before Podman."""
    yield DOCKER
    own = environ.get("XDG_RUNTIME_DIR")
    if own:
        yield f"{own}/docker.sock"
    yield "/run/podman/podman.sock"
    if own:
        yield f"{own}/podman/podman.sock"
