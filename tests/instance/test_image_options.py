"""What an image says of itself at an instance: requests answered together, artifacts prepared."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.instance.running import Running, S3Server
from tests.support.models import make_image

# Each answer tells the size of its batch, and what the image has made of the artifact.
HANDLER = """
import json
import os
import time
from pathlib import Path


def prepare(model_dir):
    weights = Path(model_dir, "weights.txt").read_text()
    if weights == "bad":
        raise ValueError("the weights are bad")
    Path(model_dir, "prepared.txt").write_text(f"{weights} by {os.getpid()}")


def handle(data, context):
    if data is None:
        return None
    time.sleep(0.1)
    made = Path("prepared.txt").read_text()
    bodies = [bytes(each["body"]).decode() for each in data]
    return [json.dumps({"batch": len(data), "body": body, "made": made}) for body in bodies]
"""


async def test_images_answer_together_and_prepare(tmp_path: Path, s3: S3Server) -> None:
    """As many go at once as `batch_max` says; `prepare` ran once, in a process of its own."""
    running = Running(tmp_path / "home", s3, make_image(tmp_path / "image", HANDLER), {})
    running.home.mkdir()
    running.spec["image"] |= {"batch_max": 4, "prepare": "model_handler.py:prepare"}
    running.put("m", "w")
    running.put("broken", "bad")
    running.start()
    try:
        await running.healthy()
        first = (await running.invoke("m", b"warm")).document
        replies = await asyncio.gather(*(running.invoke("m", b"%d" % n) for n in range(9)))
        answers = [reply.document for reply in replies]
        assert [each["body"] for each in answers] == [str(n) for n in range(9)]
        assert max(each["batch"] for each in answers) in (3, 4)
        assert {each["made"] for each in answers} == {first["made"]}
        broken = await running.invoke("broken")
        assert (broken.status, broken.error) == (400, "ValidationError")
        assert "cannot be used: ValueError: the weights are bad" in broken.body.decode()
        await running.leave()
    finally:
        running.stop()
