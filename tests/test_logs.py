"""Logging: one line per event, for people or for programs."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from modelplex.logs import Human, Json


def record(message: str, **keys: Any) -> logging.LogRecord:
    """A record as `log.warning(message, extra=keys)` makes it."""
    made = logging.makeLogRecord({"msg": message, "levelname": "WARNING", "created": 0.25})
    made.name = "modelplex.control.app"
    made.__dict__.update(keys)
    return made


def test_json_lines_have_the_keys() -> None:
    """Time, level, logger and event, and the event's own keys as they are."""
    line = json.loads(Json().format(record("load.complete", model="a\nb", seconds=1.5)))
    assert (
        line.items()
        >= {
            "time": "1970-01-01T00:00:00.250Z",
            "level": "warning",
            "logger": "modelplex.control.app",
            "event": "load.complete",
            "model": "a\nb",
            "seconds": 1.5,
        }.items()
    )


def test_the_name_of_a_process_is_said_where_there_are_several() -> None:
    """As a key of its own, or before the logger's name."""
    assert json.loads(Json("gateway-2").format(record("a")))["process"] == "gateway-2"
    assert "process" not in json.loads(Json().format(record("a")))
    assert " gateway-2 control.app  a" in Human(False, "gateway-2").format(record("a"))


def test_a_key_cannot_hide_the_event() -> None:
    """A key of an event that is called as one of ours is left out."""
    assert json.loads(Json().format(record("real", event="fake")))["event"] == "real"


def test_people_read_one_line() -> None:
    """Keys as name=value; what has blanks or line ends is quoted."""
    line = Human(colours=False).format(record("load.failed", model="a", reason="b\nc d"))
    assert line == '00:00:00.250 warning control.app  load.failed model=a reason="b\\nc d"'


@pytest.mark.parametrize("json_logs", ["True", "False"])
def test_configure_sends_ours_to_stderr(json_logs: str) -> None:
    """Our events from the level on, other people's warnings only, an exception with its trace."""
    code = (
        "import logging\n"
        "from modelplex import logs\n"
        "from modelplex.settings import Settings\n"
        f"logs.configure(Settings(log_level='info', json_logs={json_logs}))\n"
        "logging.getLogger('modelplex.x').info('ours', extra={'n': 1})\n"
        "logging.getLogger('modelplex.x').debug('hidden')\n"
        "logging.getLogger('other').info('hidden')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('modelplex.x').exception('oops')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ours" in done.stderr
    assert "hidden" not in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert done.stdout == ""
