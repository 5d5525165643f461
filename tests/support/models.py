"""Artifacts and handler images for tests: small, and made on the spot."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

IMAGE_TOML = 'handler = "model_handler.py:handle"\n'

# The answer tells which model answered, in which process, with which state: enough to see that no
# request went to a wrong model and no state leaked. Bodies of the form "crash", "exit", "sleep 3",
# "until PATH" (there is such a file), "raise" or "hog 64" (MiB) make it misbehave.
ECHO_HANDLER = """
import json
import os
import time
from pathlib import Path

STATE = {"answered": 0}


def handle(data, context):
    if data is None:
        STATE["weights"] = Path("weights.txt").read_text()
        if STATE["weights"].startswith("hog"):
            STATE["hog"] = bytearray(os.urandom(1024)) * (int(STATE["weights"].split()[1]) * 1024)
        return None
    body = bytes(data[0]["body"])
    STATE["answered"] += 1
    misbehave(body.decode(errors="replace").split())
    answer = {"weights": STATE["weights"], "pid": os.getpid(), "answered": STATE["answered"]}
    print("answering", answer["answered"])
    return [json.dumps({**answer, "bytes": len(body), "body": body[:100].decode("latin-1")})]


def misbehave(words):
    match words:
        case ["crash"]:
            os.kill(os.getpid(), 11)
        case ["exit"]:
            os._exit(3)
        case ["raise"]:
            raise ValueError("the handler was asked to raise")
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["until", path]:
            while not os.path.exists(path):
                time.sleep(0.01)
        case ["hog", mebibytes]:
            STATE["hog"] = bytearray(os.urandom(1024)) * (int(mebibytes) * 1024)
"""


def make_archive(files: dict[str, bytes | str]) -> bytes:
    """A `.tar.gz` of the given files, packed as the notebook packs them (`arcname="."`)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def make_image(folder: Path, handler: str = ECHO_HANDLER, toml: str = IMAGE_TOML) -> Path:
    """The source folder of a handler image without requirements, for `modelplex build`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "image.toml").write_text(toml)
    (folder / "model_handler.py").write_text(handler)
    return folder
