"""The supervisor's API: what it refuses, and how it holds a question."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from tests.supervisor.conftest import Supervisor


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([], "object"),
        ({}, "argv is missing"),
        ({"argv": []}, "argv = []"),
        ({"argv": "sleep 1"}, "argv = 'sleep 1'"),
        ({"argv": ["x"], "env": {"A": 1}}, "env"),
        ({"argv": ["x"], "cwd": "relative"}, "cwd"),
        ({"argv": ["x"], "grace_s": -1}, "grace_s"),
        ({"argv": ["x"], "nonsense": 1}, "nonsense"),
        ({"argv": ["/no/such/program"]}, "cannot be started"),
        ({"argv": ["/bin/true"], "cwd": "/no/such/folder"}, "cannot be started"),
    ],
)
async def test_a_bad_document_is_refused(
    supervisor: Supervisor, document: Any, complaint: str
) -> None:
    """400, naming what is wrong; nothing is started or listed."""
    status, answer = await supervisor.client.json("PUT", "/processes/one", document)
    assert status == 400
    assert complaint in answer["message"]
    assert (await supervisor.rows())["processes"] == {}


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("DELETE", "/processes/unknown", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/processes/..%2Fx", 404),
        ("POST", "/processes/one", 405),
        ("DELETE", "/processes/own", 403),
        ("PUT", "/processes/own", 403),
        ("GET", "/processes?after=soon", 400),
    ],
)
async def test_doors_that_are_not_there(
    supervisor: Supervisor, method: str, target: str, status: int
) -> None:
    """Unknown paths, names and methods, and the platform's own processes."""
    assert (await supervisor.client.json(method, target))[0] == status


async def test_a_question_is_held_until_something_changes(supervisor: Supervisor) -> None:
    """`after` the current version waits for the next one."""
    _, row = await supervisor.put("one", ["/bin/sleep", "600"])
    version = (await supervisor.rows())["version"]
    held = asyncio.create_task(supervisor.rows(f"?after={version}&wait_s=60"))
    await asyncio.sleep(0.05)
    assert not held.done()
    os.kill(row["pid"], signal.SIGKILL)
    answer = await held
    assert answer["version"] > version
    assert answer["processes"]["one"]["state"] == "exited"


async def test_a_held_question_is_answered_in_the_end(supervisor: Supervisor) -> None:
    """Without a change the answer comes after `wait_s`, with the same version."""
    version = (await supervisor.rows())["version"]
    assert (await supervisor.rows(f"?after={version}&wait_s=0.01"))["version"] == version
