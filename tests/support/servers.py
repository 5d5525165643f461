"""A running model server of either kind, and models for it, for tests that compare the two."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelplex.check.command import Command
from modelplex.check.wire import Answer, Caller
from tests.support.containers import modelplex
from tests.support.mms import mms

STARTS = {"modelplex": modelplex, "mms": mms}
JSON = {"content-type": "application/json"}

HANDLER = """
import json, os, time
from mms.service import PredictionException

def answer(row, index, context):
    order = row.get("body")
    order = order.decode() if isinstance(order, (bytes, bytearray)) else order
    types = {name: type(value).__name__ for name, value in row.items()}
    if not isinstance(order, str):
        return types
    if order == "raise":
        raise ValueError("asked to")
    if order == "memory":
        raise MemoryError("asked to")
    if order == "prediction":
        raise PredictionException("a teapot", 418)
    if order == "exit":
        os._exit(3)
    if order == "sleep":
        time.sleep(1)
    if order.startswith("hold "):
        folder = order.partition(" ")[2]
        open(os.path.join(folder, "held"), "w").close()
        while not os.path.exists(os.path.join(folder, "go")):
            time.sleep(0.01)
    if order == "status":
        context.set_response_status(201, "Made", index)
        context.set_response_header(index, "x-mine", "yes")
        context.set_response_content_type(index, "text/mine")
    values = {"bytes": b"\\x00\\xff", "json": {"b": [1, 2]}}
    values["types"] = types
    values["row"] = {name: str(value, "utf-8") for name, value in row.items() if name != "body"}
    return values.get(order, order)

class Handler:
    def initialize(self, context):
        how = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "how")).read()
        if how == "memory":
            raise MemoryError("asked to")
        if how == "raise":
            raise ValueError("asked to")
        time.sleep(float(how))

    def handle(self, data, context):
        order = data[0].get("body")
        if order in (b"none", b"two"):
            return None if order == b"none" else [1, 2]
        return [answer(row, index, context) for index, row in enumerate(data)]
"""
FUNCTION = """
it = Handler()
def handle(data, context):
    return it.initialize(context) if data is None else it.handle(data, context)
"""


class Server:
    """One running server, and models for it."""

    def __init__(self, kind: str, folder: Path, **changes: str) -> None:
        self.kind = kind
        self.folder = folder
        self.command = Command(STARTS[kind](folder / "server", **changes), folder / "output")
        self._caller = Caller(self.command.url, 20.0)

    def either(self, *, ours: Any, theirs: Any) -> Any:
        """What is expected of this one of the two."""
        return ours if self.kind == "modelplex" else theirs

    async def call(
        self, method: str, target: str, body: bytes = b"", headers: Any = None, limit_s: float = 20
    ) -> Answer:
        return await self._caller.call(method, target, body, headers, limit_s)

    async def load(self, name: str, how: str = "0", style: str = "function", **more: Any) -> Answer:
        """POST /models of a model whose load sleeps for `how` seconds or fails as it says."""
        order = {"model_name": name, "url": str(self.model(how, style)), **more}
        return await self.call("POST", "/models", json.dumps(order).encode(), JSON)

    def model(self, how: str = "0", style: str = "function") -> Path:
        folder = self.folder / f"{style}-{how}"
        (folder / "MAR-INF").mkdir(parents=True, exist_ok=True)
        manifest = {"runtime": "python", "model": {"handler": "my_handler.py:handle"}}
        (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
        (folder / "my_handler.py").write_text(HANDLER + (FUNCTION if style == "function" else ""))
        (folder / "how").write_text(how)
        return folder

    async def invoke(self, name: str, order: str, **arguments: Any) -> Answer:
        return await self.call("POST", f"/models/{name}/invoke", order.encode(), **arguments)

    async def empty(self) -> None:
        """Delete every model; in MMS one whose load failed may come back while it goes."""
        async with asyncio.timeout(60):
            while models := (await self.call("GET", "/models")).document()["models"]:
                for each in models:
                    await self.call("DELETE", f"/models/{each['modelName']}")


def lifetime(server: Server) -> Iterator[Server]:
    """The body of a fixture: started before, and no process left after."""
    try:
        asyncio.run(server.command.up())
        yield server
    finally:
        asyncio.run(server.command.stop())
