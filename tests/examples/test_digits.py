"""The demo, whole, as `make demo` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import processes_of

DEMO = Path(__file__).parents[2] / "examples" / "digits" / "demo.py"


@pytest.mark.e2e
def test_the_demo_tells_its_story(tmp_path: Path) -> None:
    """It succeeds; models were cold, came back from disk and were warm; memory forced some out;
    the predictions are right; nothing goes on running.
    """
    command = [sys.executable, str(DEMO), "--folder", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    for heading in ("Requests, and where", "Evictions: ", "Memory of the instances", "Models"):
        assert heading in done.stdout
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    answered = [event for event in report["events"] if event["event"] == "invoked"]
    assert {event["start"] for event in answered} == {"cold", "disk", "warm"}
    evicted = [event for event in report["events"] if event["event"] == "unloaded"]
    assert any(event["reason"] == "memory" and event["for_model"] for event in evicted)
    assert all(row["memory"]["used"] <= row["memory"]["budget"] for row in report["after"])
    assert len({row["model"] for row in report["models"]}) == 14
    assert report["right"] > 0.85
    assert processes_of(tmp_path) == {}
