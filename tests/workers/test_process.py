"""Exit statuses in words, and the memory of a process."""

from __future__ import annotations

import os

import pytest

from modelplex.runtime.frames import EXIT_OUT_OF_MEMORY
from modelplex.workers.process import ExitStatus, private_bytes, pss_bytes


@pytest.mark.parametrize(
    ("code", "reason", "text", "out_of_memory"),
    [
        (0, "", "exit code 0", False),
        (3, "", "exit code 3", False),
        (-11, "", "killed by SIGSEGV", False),
        (-9, "", "killed by SIGKILL (out of memory?)", True),
        (-9, "unloaded", "killed: unloaded", False),
        (-99, "", "killed by signal 99", False),
        (EXIT_OUT_OF_MEMORY, "", "out of memory", True),
        (None, "", "ended, its status is lost", False),
    ],
)
def test_statuses_are_told_in_words(code, reason, text, out_of_memory):
    """Users read them, and the lack of memory is recognised."""
    status = ExitStatus.of(code, reason)
    assert str(status) == text
    assert status.out_of_memory is out_of_memory


def test_pss_is_measured():
    """For a living process; a dead one has none."""
    assert pss_bytes(os.getpid()) >= private_bytes(os.getpid()) > 1_000_000
    pid = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(pid, 0)
    assert pss_bytes(pid) == 0
