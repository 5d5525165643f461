"""The logs: Multi Model Server's formats, every line once and in order, files rolled by size."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelplex.http.messages import Body, Request
from modelplex.server.config import Config
from modelplex.server.logs import lines
from modelplex.server.logs.host import Host
from modelplex.server.logs.journal import Journal
from modelplex.server.logs.rotation import RolledFile

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3}"
HOST = re.escape(os.uname().nodename)
Make = Callable[..., Journal]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Journals whose logs are in two folders; closed at the end."""
    made: list[Journal] = []

    def make(**settings: Any) -> Journal:
        places = {"log_location": tmp_path / "logs", "metrics_location": tmp_path / "metrics"}
        made.append(Journal(Config(**places, **settings)))
        made[-1].open()
        return made[-1]

    yield make
    for journal in made:
        journal.close()


def read(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_the_access_log(make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """MMS's line, also in mms_log and on the console."""
    journal = make()
    journal.access("127.0.0.1:64003", "POST", b"/predictions/x?a=\xff", 200, 0.1184)
    journal.close()
    line = '/127.0.0.1:64003 "POST /predictions/x?a=ÿ HTTP/1.1" 200 118'
    (access,) = read(tmp_path / "logs/access_log.log")
    assert re.fullmatch(f"{TIME} - {re.escape(line)}", access)
    full = f"{TIME} \\[INFO \\] main ACCESS_LOG - {re.escape(line)}"
    assert any(re.fullmatch(full, each) for each in read(tmp_path / "logs/mms_log.log"))
    assert any(re.fullmatch(full, each) for each in capfd.readouterr().out.splitlines())


def test_the_servers_own_log(make: Make, tmp_path: Path) -> None:
    """log4j's names of levels, the event and its keys; with debug also what is below info."""
    journal = make(debug=True)
    logger = logging.getLogger("modelplex.server.x")
    logger.warning("model.odd", extra={"model": "a b", "seconds": 0.12345, "none": ""})
    logger.debug("detail")
    try:
        raise RuntimeError("oh")
    except RuntimeError:
        logger.exception("failed")
    journal.close()
    logger.warning("after the end")
    own = [each for each in read(tmp_path / "logs/mms_log.log") if "_METRICS" not in each]
    head = f"{TIME} \\[WARN \\] main modelplex.server.x - "
    assert re.fullmatch(head + "model.odd model='a b' seconds=0.123 none=''", own[0])
    assert re.fullmatch(f"{TIME} \\[DEBUG\\] main modelplex.server.x - detail", own[1])
    assert own[-1] == "RuntimeError: oh"


def test_what_handlers_print(make: Make, tmp_path: Path) -> None:
    """In model_log and mms_log, in one order with the rest; "" is what workers are forked from."""
    journal = make()
    journal.model_output("m", "hello")
    journal.access("h:1", "GET", b"/ping", 200, 0)
    journal.model_output("", "warming")
    journal.close()
    printer = "com.amazonaws.ml.mms.wlm.WorkerLifeCycle"
    first, second = read(tmp_path / "logs/model_log.log")
    assert re.fullmatch(f"{TIME} \\[INFO \\] W-m-stdout {printer} - hello", first)
    assert second.endswith(f"W-zygote-stdout {printer} - warming")
    own = [each for each in read(tmp_path / "logs/mms_log.log") if "_METRICS" not in each]
    assert [each.split(" - ")[1].split()[0] for each in own] == ["hello", "/h:1", "warming"]


@pytest.mark.parametrize("log_metrics", [True, False])
def test_a_served_prediction_is_an_access_and_a_prediction(
    make: Make, tmp_path: Path, log_metrics: bool
) -> None:
    """Both lines and both counts, as of two calls; also where only one of the logs is kept."""
    kept = f"""<Configuration><Appenders><File name="a" fileName="{tmp_path}/a.log"/></Appenders>
        <Loggers><Logger name="ACCESS_LOG" level="info"><AppenderRef ref="a"/></Logger>
        <Logger name="MODEL_METRICS" level="{"info" if log_metrics else "warn"}">
        <AppenderRef ref="a"/></Logger><Root level="warn"/></Loggers></Configuration>"""
    config = tmp_path / "log4j2.xml"
    config.write_text(kept)
    journal = make(log_config=config)
    request = Request("POST", b"/predictions/m", [], Body.of(b""), "h:1")
    journal.served(request, "m", b"id-1", 0.045, 200)
    assert journal._metrics.answers[2] == journal._metrics._series["m"].statuses[2] == 1
    journal.close()
    found = read(tmp_path / "a.log")
    assert len(found) == 1 + log_metrics
    assert '/h:1 "POST /predictions/m HTTP/1.1" 200 45' in found[0]
    assert all("requestID:id-1" in line for line in found[1:])


def test_the_model_metrics(make: Make, tmp_path: Path) -> None:
    """PredictionTime, and the metrics of handlers' contexts in the form that MMS gives them."""
    journal = make()
    journal.predicted("m", b"id-1", 0.04521)
    journal.model_output("m", "[METRICS]Size.Megabytes:1.5|#a:b,Level:Model|#hostname:h,17,id-2")
    journal.model_output("m", "[METRICS]Loads.Count:1|#Level:Model|#hostname:h,17")
    journal.model_output("m", "[METRICS]no metric")
    journal.close()
    found = [each.split(" - ")[1] for each in read(tmp_path / "metrics/model_metrics.log")]
    predicted = "PredictionTime.Milliseconds:45.21|#ModelName:m,Level:Model"
    assert re.fullmatch(
        f"{re.escape(predicted)}\\|#hostname:{HOST},requestID:id-1,timestamp:\\d+", found[0]
    )
    assert found[1:] == [
        "Size.Megabytes:1.5|#a:b,Level:Model|#hostname:h,requestID:id-2,timestamp:17",
        "Loads.Count:1|#Level:Model|#hostname:h,timestamp:17",
    ]
    assert read(tmp_path / "logs/model_log.log")[0].endswith("[METRICS]no metric")


def test_the_server_metrics(make: Make, tmp_path: Path) -> None:
    """Answers by class as sums, loads, and the machine's figures."""
    journal = make(metric_time_interval_s=0.001)
    for status in (200, 201, 404, 500, 507, 302):
        journal.access("h:1", "GET", b"/", status, 0)
    journal.worker_loaded("m", 0.1234)
    journal.close()
    journal._measure()
    journal._outlets.lines.flush()
    found = {}
    for line in read(tmp_path / "metrics/mms_metrics.log"):
        match = re.fullmatch(
            f"{TIME} - (\\w+)\\.(\\w+):([\\d.]+)\\|#(.*)\\|#hostname:{HOST},timestamp:\\d+", line
        )
        assert match, line
        found[match[1]] = (match[2], match[3], match[4])
    assert found["Requests2XX"] == ("Count", "2", "Level:Host")
    assert found["Requests4XX"] == ("Count", "1", "Level:Host")
    assert found["Requests5XX"] == ("Count", "2", "Level:Host")
    assert found["WorkerLoadTime"] == ("Milliseconds", "123", "ModelName:m,Level:Host")
    assert {name for name, (unit, _, _) in found.items() if unit != "Count"} - {
        "WorkerLoadTime"
    } == {
        "CPUUtilization",
        "DiskAvailable",
        "DiskUsage",
        "DiskUtilization",
        "MemoryAvailable",
        "MemoryUsed",
        "MemoryUtilization",
    }


def test_without_async_logging_a_line_is_written_at_once(make: Make, tmp_path: Path) -> None:
    """Not only at the end."""
    journal = make(async_logging=False)
    journal.access("h:1", "GET", b"/", 200, 0)
    assert len(read(tmp_path / "logs/access_log.log")) == 1


def test_a_log_config_decides(make: Make, tmp_path: Path) -> None:
    """The toolkit's kind of file: metrics are off, output stays on the console's log."""
    config = tmp_path / "log4j2.xml"
    config.write_text(
        f"""<Configuration><Appenders>
        <RollingFile name="access" fileName="{tmp_path}/here/a.log">
          <PatternLayout pattern="%d{{ISO8601}} - %m%n"/></RollingFile>
        <RollingFile name="mms" fileName="{tmp_path}/here/b.log"/>
        <RollingFile name="model" fileName="{tmp_path}/here/c.log"/>
        </Appenders><Loggers>
        <Logger name="ACCESS_LOG" level="info"><AppenderRef ref="access"/></Logger>
        <Logger name="MODEL_LOG" level="warn"><AppenderRef ref="model"/></Logger>
        <Logger name="MODEL_METRICS" level="warn"/><Logger name="MMS_METRICS" level="warn"/>
        <Logger name="com.amazonaws.ml.mms" level="info"><AppenderRef ref="mms"/></Logger>
        <Root level="warn"><AppenderRef ref="mms"/></Root></Loggers></Configuration>"""
    )
    journal = make(log_config=config)
    journal.access("h:1", "GET", b"/", 200, 0)
    journal.predicted("m", b"", 0)
    journal.model_output("m", "hello")
    journal.close()
    assert len(read(tmp_path / "here/a.log")) == 1
    assert [each.rpartition(" ")[2] for each in read(tmp_path / "here/b.log")] == ["0", "hello"]
    assert not read(tmp_path / "here/c.log")
    assert not (tmp_path / "logs").exists()


def test_waiting_lines_are_bounded(make: Make) -> None:
    """What is too much is dropped and counted; a long line is cut."""
    journal = make()
    journal._stop.set()
    journal._thread.join()
    queue, text = journal._outlets.lines, "x" * lines.LINE_MAX * 2
    for _ in range(lines.CHARACTERS_MAX // len(text) + 11):
        journal.model_output("m", text)
    assert queue.dropped == 10
    queue.flush()
    journal.model_output("m", "x")
    assert queue.dropped == 10


def test_a_file_that_cannot_be_written_hurts_nobody(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is said once, and the console still has everything."""
    (tmp_path / "logs").write_text("no folder")
    journal = make()
    for _ in range(2):
        journal.access("h:1", "GET", b"/here", 200, 0)
        journal._outlets.lines.flush()
    journal.close()
    said = capfd.readouterr()
    assert said.out.count("/here") == 2
    assert said.err.count("access_log.log") == 1


def test_files_are_rolled_by_size(tmp_path: Path) -> None:
    """The newest has number 1, and only so many are kept."""
    path = tmp_path / "x.log"
    for count in range(5):
        file = RolledFile(path, 10, 2)
        file.write(b"line %d\n" % count)
        file.close()
    contents = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert contents == {"x.log": "line 4\n", "x.log.1": "line 3\n", "x.log.2": "line 2\n"}


def test_the_machines_figures(tmp_path: Path) -> None:
    """Out of /proc, by psutil's arithmetic."""
    (tmp_path / "stat").write_text("cpu  100 0 100 800 0 0 0 0 0 0\n")
    sizes = {"MemTotal": 1000, "MemFree": 200, "MemAvailable": 600, "Buffers": 50, "Cached": 350}
    (tmp_path / "meminfo").write_text("".join(f"{k}: {v} kB\n" for k, v in sizes.items()))
    host = Host(tmp_path)
    (tmp_path / "stat").write_text("cpu  150 0 125 825 0 0 0 0 0 0\n")
    figures = host.measure()
    assert figures.cpu_percent == 75.0
    assert (figures.memory_used, figures.memory_available) == (400 * 1024, 600 * 1024)
    assert figures.memory_percent == 40.0
    assert json.dumps([value for _, _, value in figures.metrics()])
