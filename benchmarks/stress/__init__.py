"""Stress: a flood on one slow model beside quick ones, and more requests than a model can answer.

`python -m benchmarks stress` takes about five minutes; with a name ("modelplex" or "MMS") only that
side is measured. The two sides are measured one after the other in every step.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks import model_server
from benchmarks.stress import flood, overload
from benchmarks.stress.sides import ours, theirs


def run(arguments: Sequence[str] = ()) -> str:
    """Measure; a Markdown section."""
    if not arguments and (shutil.which("java") is None or not model_server.PEERS.is_dir()):
        return "## Stress\n\nNot measured: needs java and make peers.\n"
    made = {"modelplex": ours, "MMS": theirs}
    with ExitStack() as stack:
        sides = [stack.enter_context(made[name]()) for name in arguments or made]
        return "\n".join(["## Stress", "", flood.measure(sides), overload.measure(sides)])
