"""A container that does everything wrong: `python bad_container.py serve`, standard library only.

It does one thing at a time, finds everything, forgets nothing, and leaves a process behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

held = []
asked = []


class Bad(BaseHTTPRequestHandler):
    """200 for all, after whatever it was asked to wait for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Load or invoke."""
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        with contextlib.suppress(ValueError, TypeError, OSError):
            self.obey(json.loads(body))
        self.say(200)

    def do_GET(self) -> None:
        """Nothing at first, for a while."""
        asked.append(self.path)
        self.say(404 if self.path == "/models" and asked.count("/models") < 3 else 200)

    do_DELETE = do_GET

    def obey(self, order: Any) -> None:
        """Sleep and hold what the checker's models would."""
        if "url" in order:
            loading = json.loads(Path(order["url"], "check.json").read_text())
            held.append(b"x" * loading["hold"])
            time.sleep(loading["sleep"])
        time.sleep(order.get("seconds", 0))

    def say(self, status: int) -> None:
        """No body."""
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


if __name__ == "__main__":
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sys.exit(
        HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Bad).serve_forever()
    )
