"""Speaks to a local container engine, Docker or Podman, over its Docker API socket.

All functions block and have time limits: call them in threads. `locate` makes a URL of the setting;
`reachable` and `find` are what control asks; the rest is for instances.
"""

from modelplex.engine.client import reachable
from modelplex.engine.errors import EngineError, NoEngine, PullFailed
from modelplex.engine.images import Found, find, missing_label
from modelplex.engine.leftovers import sweep
from modelplex.engine.where import locate

__all__ = [
    "EngineError",
    "Found",
    "NoEngine",
    "PullFailed",
    "find",
    "locate",
    "missing_label",
    "reachable",
    "sweep",
]
