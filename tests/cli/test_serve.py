"""`modelplex serve`: models from anywhere on one port, in the foreground."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelplex.cli.serve import _placed, serve
from modelplex.server.start.resolve import model
from tests.support.processes import eventually, free_port

HANDLER = """
def handle(data, context):
    return [bytes(data[0]["body"]).upper()] if data else None
"""


@pytest.mark.parametrize("port_by_option", [True, False])
def test_models_are_served_from_where_they_are(port_by_option: bool, tmp_path: Path) -> None:
    """Two folders, one port, until SIGINT; a variable of SageMaker's names the port."""
    for name in ("here/a", "there/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "h.py").write_text(HANDLER)
    port = free_port()
    words = ["--models", "first=here/a", str(tmp_path / "there/b")]
    words += ["--handler", "h.py:handle"]
    variables = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_BIND_TO_PORT": str(port)}
    if port_by_option:
        words += ["--port", str(port)]
        variables = {}
    process = subprocess.Popen(
        [sys.executable, "-m", "modelplex", "serve", *words],
        cwd=tmp_path,
        env={**os.environ, **variables, "LOG_LOCATION": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answered(name: str) -> bool:
        url = f"http://127.0.0.1:{port}/models/{name}/invoke"
        request = urllib.request.Request(url, b"x", {"Content-Type": "image/x"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return bool(answer.read() == b"X")
        except OSError:
            return False

    try:
        eventually(lambda: answered("first") and answered("b"), 60)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_the_store_is_the_smallest_folder_that_holds_all(tmp_path: Path) -> None:
    """Nothing beside it can be loaded later; archives are named after themselves."""
    for name in ("x/m/1", "x/n-1.5.tar.gz"):
        (tmp_path / name).mkdir(parents=True)
    given = [model(f"a={tmp_path}/x/m/1"), model(f"{tmp_path}/x/n-1.5.tar.gz"), model("s3://h/m")]
    assert _placed(given) == (f"{tmp_path}/x", ("a=m/1", "n-1.5=n-1.5.tar.gz", "s3://h/m"))
    assert _placed([model("b=s3://x/y")]) == (None, ("b=s3://x/y",))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/nowhere/model"], "There is no model at /nowhere/model."),
        (["--port", "0"], "0 is not in the range"),
        (["--config", "/nowhere/config"], "does not exist"),
    ],
)
def test_wrong_words_are_refused(words: list[str], message: str) -> None:
    """With what was wrong."""
    done = CliRunner().invoke(serve, words)
    assert done.exit_code
    assert message in done.output
