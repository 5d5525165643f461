"""Built-in images at work: models of the real frameworks, loaded by the platform's own workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelplex.images.store import BuiltImage
from tests.support import builtin

MakeImage = Callable[[str], BuiltImage]
Serve = Callable[..., builtin.Served]


@pytest.fixture(scope="session")
def image() -> MakeImage:
    """`image("sklearn")`: built once; the test is skipped where its packages cannot be had."""
    return builtin.image


@pytest.fixture(scope="module")
def host() -> Iterator[builtin.Host]:
    """The module's zygotes and workers; none is left behind."""
    host = builtin.Host()
    yield host
    host.close()


@pytest.fixture(scope="module")
def served(host: builtin.Host) -> Serve:
    """`served("sklearn", folder, VARIABLE="value")`: the model in a folder, loaded."""

    def serve(name: str, folder: Path, **environment: str) -> builtin.Served:
        return host.load(builtin.image(name), folder, **environment)

    return serve
