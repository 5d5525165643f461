"""What a body's memory costs a process, before and after."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from modelplex.http import heap
{keep}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        body = bytearray(3_000_000)
        copy = bytes(body)
        del body, copy
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(keep: str) -> int:
    """Page faults of a hundred bodies, one after the other."""
    told = subprocess.run(
        [sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return int(told.stdout)


def test_bodies_one_after_the_other_cost_no_page_faults() -> None:
    """The memory of one serves the next."""
    if faults("") < 1000:
        pytest.skip("this C library keeps freed memory by itself")
    assert faults("heap.keep_freed()") < 100
