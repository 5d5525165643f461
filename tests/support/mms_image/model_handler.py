"""A handler for Multi Model Server whose models do what their `weights.txt` says at load.

"once" lacks memory the first time that it is loaded on an instance. "forever" as a request is never
answered.
"""

import hashlib
import os
import tempfile
import time
from pathlib import Path

loaded = {}


def handle(data, context):
    if data is None:
        loaded["weights"] = Path("weights.txt").read_text()
        if loaded["weights"] == "once":
            lack_memory_once()
        return None
    body = bytes(data[0]["body"])
    if body == b"forever":
        time.sleep(3600)
    return [{"weights": loaded["weights"], "body": body.decode(), "pid": os.getpid()}]


def lack_memory_once():
    """Raises MemoryError, and leaves a mark by which the next load knows that it did."""
    name = hashlib.sha256(os.getcwd().encode()).hexdigest()[:16]
    mark = Path(tempfile.gettempdir(), f"once-{name}")
    if not mark.exists():
        mark.touch()
        raise MemoryError("the first time there is none")
