"""Freed memory goes back to the kernel."""

from __future__ import annotations

import os

from modelplex.toolkit import memory
from modelplex.workers.process import private_bytes

MIB = 1024 * 1024


def test_what_was_freed_between_things_that_stay_goes_back():
    """The last allocation stays, so the C library keeps what lies before it."""
    blocks = [bytes(2048) for _ in range(32 * 1024)]  # 64 MiB, each below the size of a mapping
    held = private_bytes(os.getpid())
    blocks[:-1] = []
    memory.trim()
    assert held - private_bytes(os.getpid()) > 32 * MIB
