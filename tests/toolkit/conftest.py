"""Models with user code, run by the toolkit inside the test's own process."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelplex.toolkit.default_handler_service import DefaultHandlerService


class Context:
    """What Multi Model Server's context gives to handlers, as far as the toolkit uses it."""

    def __init__(self, model_dir: Path) -> None:
        self.system_properties = {"model_dir": str(model_dir)}
        self.headers: list[dict[str, str]] = []
        self.statuses: dict[int, tuple[int, str]] = {}
        self.content_types: dict[int, str] = {}

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        return self.headers[idx]

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self.statuses[idx] = (code, phrase)

    def get_response_content_type(self, idx: int) -> str | None:
        return self.content_types.get(idx)

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.content_types[idx] = value


class Model:
    """A model's folder and the service that has loaded it."""

    def __init__(self, folder: Path, service: Any) -> None:
        self.context = Context(folder)
        self.service = service
        service.initialize(self.context)

    def ask(self, body: Any = b"", **headers: str) -> Any:
        """The answer to one request; header names with _ for -."""
        return self.ask_all((body, headers))[0]

    def ask_all(self, *requests: tuple[Any, dict[str, str]]) -> list[Any]:
        """The answers to a batch."""
        self.context.headers = [
            {name.replace("_", "-"): value for name, value in headers.items()}
            for _, headers in requests
        ]
        self.context.statuses.clear()
        self.context.content_types.clear()
        answers: list[Any] = self.service.handle([{"body": b} for b, _ in requests], self.context)
        return answers

    @property
    def status(self) -> tuple[int, str] | None:
        """The status that was set for the first request."""
        return self.context.statuses.get(0)

    @property
    def content_type(self) -> str | None:
        return self.context.content_types.get(0)


MakeModel = Callable[..., Model]


@pytest.fixture
def make_model(tmp_path: Path) -> Iterator[MakeModel]:
    """Loads models with this text as `code/inference.py`; what they import is forgotten after."""
    path, modules = list(sys.path), dict(sys.modules)

    def make(
        text: str, files: dict[str, str] | None = None, service: Any = None, name: str = "m"
    ) -> Model:
        folder = tmp_path / name
        for file, content in {"code/inference.py": text, **(files or {})}.items():
            place = folder / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(textwrap.dedent(content))
        return Model(folder, service or DefaultHandlerService())

    yield make
    sys.path[:] = path
    for module in set(sys.modules) - set(modules):
        del sys.modules[module]
    sys.modules.update(modules)
