"""The metrics object of a handler's context: collects, and writes lines as Multi Model Server does.

One line per metric, after each request: `[METRICS]Name.Unit:value|#dims|#hostname:h,time,request`.
Source of names, units and format: multi-model-server, mms/metrics.
"""

from __future__ import annotations

import os
import time
from typing import Any

UNITS = {
    "ms": "Milliseconds",
    "s": "Seconds",
    "percent": "Percent",
    "count": "Count",
    "MB": "Megabytes",
    "GB": "Gigabytes",
    "kB": "Kilobytes",
    "B": "Bytes",
    None: "unit",
}


class Dimension:
    """A key and a value that tell metrics of one name apart."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.value = value

    def __str__(self) -> str:
        return f"{self.name}:{self.value}"

    def to_dict(self) -> dict[str, Any]:
        return {"Name": self.name, "Value": self.value}


class Metric:
    """One measured value."""

    def __init__(
        self, name: str, value: Any, unit: str | None, dimensions: list[Any], request_id: str | None
    ) -> None:
        self.name = name
        self.value = value
        self.unit = UNITS.get(unit, unit)
        self.dimensions = dimensions
        self.request_id = request_id

    def __str__(self) -> str:
        dimensions = ",".join(str(dimension) for dimension in self.dimensions)
        text = f"{self.name}.{self.unit}:{self.value}|#{dimensions}"
        text += f"|#hostname:{os.uname().nodename},{int(time.time())}"
        return f"{text},{self.request_id}" if self.request_id else text


class MetricsStore:
    """The metrics of one request, or of one load. The methods are those handlers know from MMS."""

    def __init__(self, request_ids: dict[int, str] | None, model_name: str) -> None:
        self.request_ids = request_ids
        self.model_name = model_name
        self.store: list[Metric] = []
        self.cache: dict[str, Metric] = {}

    def add_counter(
        self, name: str, value: Any, idx: int | None = None, dimensions: list[Any] | None = None
    ) -> None:
        """Adds to a counter; counters of one name and dimensions are summed within a request."""
        self._add(name, value, self._request(idx), "count", dimensions, counts=True)

    def add_time(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: list[Any] | None = None,
    ) -> None:
        """Notes a duration in `ms` or `s`."""
        self._check_unit(unit, ("ms", "s"))
        self._add(name, value, self._request(idx), unit, dimensions)

    def add_size(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: list[Any] | None = None,
    ) -> None:
        """Notes a size in `B`, `kB`, `MB` or `GB`."""
        self._check_unit(unit, ("MB", "kB", "GB", "B"))
        self._add(name, value, self._request(idx), unit, dimensions)

    def add_percent(
        self, name: str, value: Any, idx: int | None = None, dimensions: list[Any] | None = None
    ) -> None:
        self._add(name, value, self._request(idx), "percent", dimensions)

    def add_error(self, name: str, value: Any, dimensions: list[Any] | None = None) -> None:
        """Notes an error; its value is a text."""
        self._add(name, value, None, "", dimensions)

    def add_metric(
        self,
        name: str,
        value: Any,
        idx: int | None = None,
        unit: str | None = None,
        dimensions: list[Any] | None = None,
    ) -> None:
        """Notes any other value in any unit."""
        self._add(name, value, self._request(idx), unit, dimensions)

    def emit(self) -> None:
        """Writes one line per metric to standard output, which is the model's log."""
        for metric in self.store:
            try:
                print(f"[METRICS]{metric}")
            except Exception as error:  # a value or dimension of the handler's own making
                print(f"the metric {metric.name!r} cannot be written: {type(error).__name__}")

    @staticmethod
    def _check_unit(unit: str, allowed: tuple[str, ...]) -> None:
        if unit not in allowed:
            raise ValueError(f"the unit {unit!r} is not one of {', '.join(allowed)}")

    def _request(self, idx: int | None) -> str | None:
        ids = self.request_ids or {}
        return ids[idx] if idx in ids else ",".join(ids.values())

    def _add(  # noqa: PLR0917  private, and all of it is the metric
        self,
        name: str,
        value: Any,
        request_id: str | None,
        unit: str | None,
        dimensions: list[Any] | None,
        counts: bool = False,
    ) -> None:
        if dimensions is not None and not isinstance(dimensions, list):
            raise ValueError("Please provide a list of dimensions")
        whose = [] if request_id is None else [Dimension("ModelName", self.model_name)]
        level = Dimension("Level", "Error" if request_id is None else "Model")
        every = [*(dimensions or []), *whose, level]
        key = "-".join([name, str(unit), str(request_id), *map(str, every)])
        known = self.cache.get(key)
        if known is None:
            self.cache[key] = Metric(name, value, unit, every, request_id)
            self.store.append(self.cache[key])
        else:
            known.value = known.value + value if counts else value
