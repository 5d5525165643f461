"""Requests out of a CSV file: `time_s,model[,size_bytes,load_s,handle_s]`, in order of time."""

from __future__ import annotations

import csv
import gzip
import lzma
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from modelplex.sim.population import Kind, Named
from modelplex.sim.traffic import Arrival

COLUMNS = ("time_s", "model", "size_bytes", "load_s", "handle_s")
_ERRORS = "surrogatepass"  # as the names in fact logs are written


class BadTrace(ValueError):
    """A line that cannot be played; says which and why."""


def open_text(path: Path) -> TextIO:
    """A text file that may be packed, by its name: .gz or .xz. Raises OSError."""
    match path.suffix:
        case ".gz":
            return gzip.open(path, "rt", encoding="utf-8", errors=_ERRORS, newline="")
        case ".xz":
            return lzma.open(path, "rt", encoding="utf-8", errors=_ERRORS, newline="")
    return path.open(encoding="utf-8", errors=_ERRORS, newline="")


def read(path: Path, kind: Kind) -> tuple[Named, Iterator[Arrival]]:
    """The models and the requests. Models become known with their first request.

    What the trace does not tell of a model is as `kind` has it. Time begins with the first request.
    Raises BadTrace or OSError while it is read.
    """
    models = Named()
    return models, _arrivals(path, models, kind)


def _arrivals(path: Path, models: Named, kind: Kind) -> Iterator[Arrival]:
    start: float | None = None
    last = 0.0
    with open_text(path) as file:
        columns: tuple[str, ...] = COLUMNS
        for number, row in enumerate(csv.reader(file), 1):
            if number == 1 and "model" in row:
                columns = _columns(row, path)
            elif row:
                try:
                    at, index = _request(dict(zip(columns, row, strict=False)), models, kind)
                except (ValueError, KeyError) as error:
                    raise BadTrace(f"line {number} of {path} cannot be read: {error}") from None
                start = at if start is None else start
                if at - start < last:
                    raise BadTrace(f"line {number} of {path} is earlier than the one before it")
                last = at - start
                yield last, index


def _columns(row: list[str], path: Path) -> tuple[str, ...]:
    """The header's names."""
    names = tuple(name.strip() for name in row)
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or "time_s" not in names:
        raise BadTrace(f"the columns of {path} are {','.join(names)}; can be {','.join(COLUMNS)}")
    return names


def _request(row: dict[str, str], models: Named, kind: Kind) -> Arrival:
    name = row["model"]
    index = models.find(name)
    if index is None:
        truth = kind.truth(int(float(row.get("size_bytes") or kind.size_bytes)))
        load_s = float(row.get("load_s") or truth.load_s)
        handle_s = float(row.get("handle_s") or truth.handle_s)
        index = models.add(name, replace(truth, load_s=load_s, handle_s=handle_s))
    return float(row["time_s"]), index
