"""A web server for tests that hands out archives, and notes what it was asked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What one path answers."""

    body: bytes = b""
    status: int = 200
    etag: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None  # bytes after which the connection is closed
    dribbles: bool = False  # a hundred bytes in a second
    held: threading.Event | None = None  # waited for before the body is sent


@dataclass
class ArchiveHost:
    """The server: its address, its pages by path, and (path, status) of every answer."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)


@contextlib.contextmanager
def archive_host() -> Iterator[ArchiveHost]:
    """A server on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = host.pages.get(self.path, Page(status=404))
            known = bool(page.etag) and self.headers["If-None-Match"] == page.etag
            status = 304 if known else page.status
            host.asked.append((self.path, status))
            self.send_response(status)
            headers = {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", **page.headers}
            if page.etag:
                headers["ETag"] = page.etag
            if status != 304:
                headers.setdefault("Content-Length", str(len(page.body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if page.held is not None:
                self.wfile.flush()
                page.held.wait(30)
            if status != 304:
                with contextlib.suppress(ConnectionError):
                    self._send(page)

        def _send(self, page: Page) -> None:
            body = page.body[: page.sent]
            step = 1 if page.dribbles else len(body) or 1
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                if page.dribbles:
                    time.sleep(0.01)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    host = ArchiveHost(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
