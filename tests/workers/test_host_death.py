"""The host is killed with SIGKILL: nothing that it started may survive, not even hung code."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import uuid

import pytest

HOST = """
import asyncio, sys
from pathlib import Path
import uvloop
from modelplex.workers.image import ImageSpec
from modelplex.workers.model import ModelSpec
from modelplex.workers.pool import Pool
from modelplex.workers.worker import Invocation

async def main(root, mark):
    image = ImageSpec(root, Path(sys.executable), "model_handler.py")
    name, _, value = mark.partition("=")
    pool = Pool(image, {name: value}, lambda *_: None)
    await pool.start()
    for code in sys.argv[3:]:
        worker = await pool.load(ModelSpec("m", root), 60)
        asyncio.ensure_future(worker.invoke(Invocation([], code.encode()), 600))
    await asyncio.sleep(0.3)
    print("ready", flush=True)
    await asyncio.sleep(600)

uvloop.run(main(Path(sys.argv[1]), sys.argv[2]))
"""
HANDLER = """
import ctypes, os, signal, subprocess, time
libc = ctypes.CDLL(None)
def handle(data, context):
    if data is not None:
        exec(data[0]["body"].decode())
    return [b""]
"""
HANGS = [
    "pass",
    "while True: pass",
    "time.sleep(600)",
    "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); libc.sleep(600)",
    "for s in (15, 2, 29): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
    "subprocess.run(['sleep', '600'])",
    "os.fork() or os.setsid()\nwhile True: pass",
]


@pytest.mark.parametrize("zygote_first", [False, True])
async def test_nothing_outlives_the_host(tmp_path, tools, zygote_first):
    """Whether the handler is idle, busy, asleep in C, deaf to signals, or has children."""
    mark = f"MODELPLEX_TEST={uuid.uuid4().hex}"
    (tmp_path / "model_handler.py").write_text(textwrap.dedent(HANDLER))
    host = subprocess.Popen(  # noqa: ASYNC220  returns at once
        [sys.executable, "-c", HOST, str(tmp_path), mark, *HANGS], stdout=subprocess.PIPE
    )
    try:
        assert host.stdout is not None
        assert await asyncio.to_thread(host.stdout.readline) == b"ready\n"
        alive = tools.living(mark)
        assert len(alive) >= len(HANGS) + 1
        if zygote_first:
            zygotes = [p for p in alive if os.stat(f"/proc/{p}") and parent(p) == host.pid]
            for zygote in zygotes:
                os.kill(zygote, signal.SIGKILL)
            await tools.eventually(lambda: not set(zygotes) & set(tools.living(mark)))
            assert len(tools.living(mark)) >= len(HANGS)
    finally:
        host.kill()
        host.wait()
        assert host.stdout is not None
        host.stdout.close()
    await tools.eventually(lambda: not tools.living(mark))


def parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[1])
