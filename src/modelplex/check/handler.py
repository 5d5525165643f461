"""The model that the checker loads into containers: it does what the request says.

This file is copied into model folders and runs in the container's Python (3.6 or newer), by itself.
`check.json` beside it says what loading does. As it stands it is a class-style handler; with
`samples.FUNCTION` at its end it is a function-style one.
"""

import json
import os
import time
from typing import Any

_SETTINGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "check.json")


class Service:
    """Echoes, sleeps, runs out of memory or exits."""

    def __init__(self) -> None:
        self.held: Any = None

    def initialize(self, context: Any) -> None:
        """Load as `check.json` says: after `sleep` seconds, holding `hold` bytes, or not at all."""
        with open(_SETTINGS) as file:
            settings = json.load(file)
        time.sleep(settings["sleep"])
        self.held = bytearray(b"x") * settings["hold"]
        if settings["fail"] == "memory":
            raise MemoryError("asked to run out of memory while loading")
        if settings["fail"]:
            raise ValueError("asked to fail while loading")

    def handle(self, data: Any, context: Any) -> Any:
        """One answer for each request of the batch."""
        return [self._answer(index, row, context) for index, row in enumerate(data)]

    def _answer(self, index: int, row: Any, context: Any) -> Any:
        body = row.get("body", row.get("data"))
        kind = str(context.get_request_header(index, "content-type")).lower()
        if kind == "application/x-size":
            return str(len(body))
        if kind != "application/json":
            context.set_response_content_type(index, kind)
            return body
        order = body if isinstance(body, dict) else json.loads(body)
        return self._obey(order, index, context)

    def _obey(self, order: Any, index: int, context: Any) -> Any:
        if order["do"] == "sleep":
            time.sleep(order["seconds"])
        elif order["do"] == "headers":
            return json.dumps(dict(context.get_all_request_header(index)))
        elif order["do"] == "memory":
            raise MemoryError("asked to run out of memory")
        elif order["do"] == "exit":
            os._exit(3)
        return "done"
