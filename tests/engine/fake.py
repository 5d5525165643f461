"""As much of an engine as removing containers takes, in the test's own process."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Fake(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The three calls of an engine that are made here. `containers`: id -> labels."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Calls)
        self.url = f"unix://{path}"
        self.containers: dict[str, list[str]] = {}
        self.removed = threading.Event()
        self.broken = False


class Calls(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        wanted = json.loads(parse_qs(urlsplit(self.path).query)["filters"][0])["label"]
        found = [k for k, labels in self.server.containers.items() if set(wanted) <= set(labels)]
        self.answer(500 if self.server.broken else 200, [{"Id": each} for each in found])

    def do_DELETE(self) -> None:
        each = urlsplit(self.path).path.rpartition("/")[2]
        known = self.server.containers.pop(each, None)
        self.server.removed.set()
        self.answer(404 if known is None else 204, None)

    def answer(self, status: int, document: object) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a socket has none"

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def listening(path: Path) -> Iterator[Fake]:
    """One that answers at a socket."""
    with Fake(path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
