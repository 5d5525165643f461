"""What the server writes down: Multi Model Server's five logs in its formats, and the counters.

    access_log     host:port "POST /predictions/x HTTP/1.1" 200 118      (milliseconds)
    mms_log        this process's own logging, and what handlers print
    model_log      what handlers print
    mms_metrics    the machine's figures, counts of answers, times of loads
    model_metrics  PredictionTime, and the metrics of handlers' contexts

Which of them goes where is `log_config.py`'s to say. A request only puts down what its lines will
say; a thread makes and writes them every 100 ms, sooner if they are many. With `async_logging` off
each is written at once. Answers are counted over a second (`Requests2XX:57`) where Multi Model
Server writes a line of value 1 for each: the sum is the same, and the log is not longer than the
access log.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from typing import TYPE_CHECKING

from modelplex.server.config import Config
from modelplex.server.logs.host import Host
from modelplex.server.logs.log_config import default, read
from modelplex.server.logs.metrics import Metrics
from modelplex.server.logs.outlets import Handler, Outlets

if TYPE_CHECKING:
    from modelplex.http.messages import Request
    from modelplex.server.serving.models import Models

log = logging.getLogger(__name__)

FLUSH_S = 0.1
COUNT_S = 1.0  # between two lines of Requests2XX
CLOSE_S = 2.0  # for what still waits, should nobody read the console
PRINTER = "com.amazonaws.ml.mms.wlm.WorkerLifeCycle"  # the logger of handlers' output in MMS
HEADS = {  # log -> level, thread and logger of its lines
    "access_log": "[INFO ] main ACCESS_LOG",
    "mms_metrics": "[INFO ] main MMS_METRICS",
    "model_metrics": "[INFO ] main MODEL_METRICS",
}
_Access = tuple[str, str, bytes, int, float]  # the arguments of `access_line`
_Prediction = tuple[str, bytes, float]  # the last arguments of `prediction_line`
METRIC = re.compile(r"\s*([^|]*)\|#([^|]*)\|#hostname:([^,|]*),([^,|]*)(?:,(.*))?")


class Journal:
    """The logs and counters of one server. What a request calls costs well below 1 µs."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError if `config.log_config` cannot be used."""
        self._logs = (
            read(config.log_config)
            if config.log_config
            else default(config.log_location, config.metrics_location)
        )
        self._outlets = Outlets(self._logs, config.async_logging)
        self._lines = self._outlets.lines
        self._put = self._lines.put
        self._later = self._lines.later
        self._routes = self._outlets.routes
        self._access = self._routes["access_log"]
        self._logs_access = self._access.wanted
        self._predictions = self._routes["model_metrics"]
        self._logs_predictions = self._predictions.wanted
        self._logs_both = self._logs_access and self._logs_predictions
        self._debug = config.debug
        self._interval_s = config.metric_time_interval_s
        self._metrics = Metrics()
        self._counted = list(self._metrics.answers)  # at the last line of Requests2XX
        self._hostname = os.uname().nodename
        self._hosts = Host(), Host()  # for the log and for /metrics: each has its own last time
        self._handler = Handler(self._outlets)
        self._ours = logging.getLogger("modelplex")
        self._level_before = self._ours.level
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)

    def open(self) -> None:
        """Begin: from now on this process's logging goes to mms_log."""
        logging.getLogger().addHandler(self._handler)
        level = logging.DEBUG if self._debug else self._outlets.level
        self._level_before = self._ours.level
        self._ours.setLevel(level)
        self._thread.start()
        for warning in self._logs.warnings:
            log.warning("log_config.ignored", extra={"warning": warning})

    def close(self) -> None:
        """Write what still waits, for at most two seconds, and end."""
        self._stop.set()
        self._lines.many.set()
        self._thread.join(CLOSE_S)
        logging.getLogger().removeHandler(self._handler)
        self._ours.setLevel(self._level_before)
        if not self._thread.is_alive():
            self._outlets.close()

    # -- what happened --------------------------------------------------------------------------

    def access(self, peer: str, method: str, target: bytes, status: int, took_s: float) -> None:
        """A request was answered; `peer` is HOST:PORT."""
        self._metrics.answers[status // 100 & 15] += 1
        if self._logs_access:
            self._later(self._write_access, ((peer, method, target, status, took_s),))

    def predicted(self, model: str, request_id: bytes, took_s: float, status: int = 200) -> None:
        """A model answered a request, with this `status`, after waiting and predicting."""
        self._metrics.predicted(model, took_s, status)
        if self._logs_predictions:
            self._later(self._write_prediction, ((model, request_id, took_s),))

    def served(
        self, request: Request, model: str, identity: bytes, took_s: float, status: int
    ) -> None:
        """Both of these, of a request that was a prediction and no more: one entry, one call."""
        if not self._logs_both:
            self.access(request.peer, request.method, request.target, status, took_s)
            self.predicted(model, identity, took_s, status)
            return
        metrics = self._metrics
        metrics.answers[status // 100 & 15] += 1
        metrics.predicted(model, took_s, status)
        access = (request.peer, request.method, request.target, status, took_s)
        self._later(self._write_served, (access, (model, identity, took_s)), 2)

    def worker_loaded(self, model: str, took_s: float) -> None:
        """A worker has loaded its model. (In MMS the metric's name is the worker's own.)"""
        self._metrics.loaded(model, took_s)
        value = f"WorkerLoadTime.Milliseconds:{took_s * 1000:.0f}"
        self._measured(value, f"ModelName:{model},Level:Host")

    def model_output(self, model: str, line: str) -> None:
        """A line that a handler printed; model "" is what workers are forked from."""
        if line.startswith("[METRICS]") and (found := METRIC.fullmatch(line, 9)):
            self._write("model_metrics", metric_line(*found.groups("")))
        else:
            head = f"[INFO ] W-{model or 'zygote'}-stdout {PRINTER}"
            self._put(self._routes["model_log"], head, line)

    def prometheus(self, models: Models) -> bytes:
        """The counters and what the models are now, in Prometheus's text format."""
        return self._metrics.exposition(models, self._hosts[1].measure(), self._lines.dropped)

    # -- inside -----------------------------------------------------------------------------

    def _measured(self, value: str, dimensions: str) -> None:
        """One line of mms_metrics, about this machine and moment."""
        now = str(int(time.time()))
        self._write("mms_metrics", metric_line(value, dimensions, self._hostname, now))

    def _write_access(self, at: float, access: _Access) -> None:
        self._lines.write(at, self._access, HEADS["access_log"], access_line(*access))

    def _write_prediction(self, at: float, prediction: _Prediction) -> None:
        line = prediction_line(at, self._hostname, *prediction)
        self._lines.write(at, self._predictions, HEADS["model_metrics"], line)

    def _write_served(self, at: float, access: _Access, prediction: _Prediction) -> None:
        self._write_access(at, access)
        self._write_prediction(at, prediction)

    def _write(self, name: str, text: str) -> None:
        self._put(self._routes[name], HEADS[name], text)

    def _work(self) -> None:
        """The thread: writes lines, counts answers, measures the machine."""
        started = time.monotonic()
        count_at, measure_at = started + COUNT_S, started
        lines = self._lines
        while not self._stop.is_set():
            # Soon when many wait: the interpreter is this thread's while it makes them, and a
            # request should not find it taken for long.
            lines.many.wait(FLUSH_S)
            lines.many.clear()
            now = time.monotonic()
            if now >= count_at:
                count_at = now + COUNT_S
                self._count()
            if now >= measure_at:
                measure_at = now + self._interval_s
                self._measure()
            lines.flush()
        self._count()
        lines.flush()

    def _count(self) -> None:
        """The answers since the last time, by their class."""
        before, self._counted = self._counted, list(self._metrics.answers)
        for kind in (2, 4, 5):
            if more := self._counted[kind] - before[kind]:
                self._measured(f"Requests{kind}XX.Count:{more}", "Level:Host")

    def _measure(self) -> None:
        try:
            figures = self._hosts[0].measure().metrics()
        except (OSError, ValueError, KeyError) as error:
            log.warning("host.unreadable", extra={"error": str(error)})
            return
        for name, unit, value in figures:
            self._measured(f"{name}.{unit}:{value}", "Level:Host")


def access_line(peer: str, method: str, target: bytes, status: int, took_s: float) -> str:
    """An answered request as Multi Model Server writes it; the last figure is milliseconds."""
    path = target.decode("latin-1")
    return f'/{peer} "{method} {path} HTTP/1.1" {status} {took_s * 1000:.0f}'


def prediction_line(at: float, hostname: str, model: str, request_id: bytes, took_s: float) -> str:
    """How long a prediction took, waiting included."""
    value = f"PredictionTime.Milliseconds:{took_s * 1000:.2f}|#ModelName:{model},Level:Model"
    where = f"|#hostname:{hostname},requestID:{request_id.decode('latin-1')}"
    return f"{value}{where},timestamp:{int(at)}"


def metric_line(value: str, dimensions: str, hostname: str, at: str, request_id: str = "") -> str:
    """A metric as Multi Model Server writes it; `value` is NAME.UNIT:VALUE, `at` Unix seconds."""
    request = f",requestID:{request_id}" if request_id else ""
    return f"{value}|#{dimensions}|#hostname:{hostname}{request},timestamp:{at}"
