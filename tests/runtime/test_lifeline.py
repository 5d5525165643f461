"""The lifeline kills a process when its holder goes, whatever the process is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from modelplex.runtime import lifeline

CHILD = """
import os, signal, sys, time
from modelplex.runtime import lifeline
os.setsid()
lifeline.attach(int(sys.argv[1]))
print("attached", flush=True)
"""


def start(pipe: int, code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, str(pipe)], pass_fds=[pipe], stdout=subprocess.PIPE
    )


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "time.sleep(600)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwhile True: pass",
        "os.kill(os.getpid(), signal.SIGSTOP)",
    ],
)
def test_the_end_of_the_holder_kills(code):
    """Busy, asleep, deaf, or stopped."""
    read, write = os.pipe()
    with start(read, code) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"attached\n"
        os.close(read)
        assert child.poll() is None
        os.close(write)
        assert child.wait(30) == -signal.SIGKILL


def test_a_holder_that_is_already_gone_kills():
    """There is no moment between fork and attach in which the holder may go unnoticed."""
    read, write = os.pipe()
    os.close(write)
    with start(read, "time.sleep(600)") as child:
        assert child.wait(30) == -signal.SIGKILL
    os.close(read)


def test_without_a_lifeline_forked_children_have_none():
    """The hook for forks does nothing in a process that was never attached."""
    assert lifeline._held is None
    lifeline.attach_forked_child()
    assert lifeline._held is None
