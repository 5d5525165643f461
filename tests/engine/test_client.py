"""An engine that cannot be spoken to, and what is said about it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelplex.engine import EngineError, NoEngine, find, reachable
from modelplex.engine.client import TEXT_MAX, brief


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """The URL of a socket that takes questions and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        yield f"unix://{tmp_path}/s"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "switched off by the setting container_engine"),
        ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375 is no Unix socket"),
        ("unix:///nowhere/docker.sock", "at unix:///nowhere/docker.sock: there is no such socket"),
    ],
)
def test_an_address_without_an_engine(url: str, said: str) -> None:
    """The sentence names the place and the setting."""
    assert said in reachable(url)
    with pytest.raises(NoEngine, match="container_engine"):
        find(url, "x")


def test_without_the_sdk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else works without it."""
    monkeypatch.setitem(sys.modules, "docker", None)
    assert "pip install 'modelplex[oci]'" in reachable("unix:///nowhere/docker.sock")


def test_a_socket_that_nobody_listens_at(tmp_path: Path) -> None:
    """As a killed engine leaves it."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    assert "nobody listens at that socket" in reachable(f"unix://{tmp_path}/s")


def test_a_silent_engine_costs_as_long_as_it_may(silent: str) -> None:
    """`reachable` says so; `find` raises it."""
    assert "did not answer within 0.1 s" in reachable(silent, 0.1)
    with pytest.raises(EngineError, match=r"did not answer within 0\.1 s"):
        find(silent, "x", 0.1)


def test_an_explanation_is_one_bounded_line() -> None:
    """Engines answer with anything."""
    assert brief("a\n  b. ") == "a b"
    assert len(brief("x" * 9999)) == TEXT_MAX
