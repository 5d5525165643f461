"""Which inflate unpacks gzip streams: zlib-ng's where it is installed, else Python's own zlib.

Both are asked for the same things and answer the same (docs/decisions/0020-zlib-ng.md). The model
server in somebody's container may have to live on the standard library alone.
"""

from __future__ import annotations

import importlib
import zlib
from typing import Any


def _found() -> Any:
    try:
        return importlib.import_module("zlib_ng.zlib_ng")
    except ImportError:
        return zlib


_LIBRARY = _found()
NAME: str = _LIBRARY.__name__.rpartition(".")[2]
InflateError: type[Exception] = _LIBRARY.error


def inflate() -> Any:
    """A decompressor of one gzip member, as `zlib.decompressobj` makes it; checks its CRC-32."""
    return _LIBRARY.decompressobj(zlib.MAX_WBITS | 16)
