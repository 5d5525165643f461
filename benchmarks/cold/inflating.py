"""How fast either inflate unpacks the archives, by the CPU time that it takes."""

from __future__ import annotations

import importlib
import time
import zlib
from statistics import median
from typing import Any

from benchmarks.cold.cases import MB, Archives, Case

LIBRARIES = ("zlib", "zlib_ng.zlib_ng")
CHUNK_BYTES = 256 * 1024
ROUNDS = 5


def speeds(archives: dict[Case, Archives]) -> str:
    """Markdown: unpacked megabytes per CPU second, libraries in turn."""
    rows = [f"| archive | {' | '.join(LIBRARIES)} |", "|:--|" + "--:|" * len(LIBRARIES)]
    libraries = [importlib.import_module(name) for name in LIBRARIES]
    for case, made in archives.items():
        if not case.large:
            continue
        packed = made.another()
        rounds = [[_speed(library, packed) for library in libraries] for _ in range(ROUNDS)]
        cells = " | ".join(f"{median(column):,.0f}" for column in zip(*rounds, strict=True))
        rows.append(f"| {case.name} | {cells} |")
    title = f"Inflate alone: unpacked MB per CPU second, medians of {ROUNDS}, in turn."
    return "\n".join([title, "", *rows, ""]) if len(rows) > 2 else ""


def _speed(library: Any, packed: bytes) -> float:
    began, unpacked, left = time.process_time(), 0, memoryview(packed)
    while left:  # one member after the other
        inflate = library.decompressobj(zlib.MAX_WBITS | 16)
        while not inflate.eof:
            given = inflate.unconsumed_tail or left[:CHUNK_BYTES]
            if not inflate.unconsumed_tail:
                left = left[len(given) :]
            unpacked += len(inflate.decompress(given, CHUNK_BYTES))
        if inflate.unused_data:
            left = memoryview(inflate.unused_data + bytes(left))
    return unpacked / MB / (time.process_time() - began)
