"""The cold path: a first answer from the platform, against a fresh Python process per model.

The other side is what a server without a zygote pays at the least: start an interpreter, import
what the handler imports, load the model, answer once. Fetching is left out of it, and in ours.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.sides import running_platform
from tests.support.models import make_archive, make_image

MODELS = 20
HANDLERS = {
    "echo": """
def handle(data, context):
    return None if data is None else [data[0]["body"]]
""",
    # As heavy to import as a small framework, from the standard library alone.
    "echo, 100 modules imported": """
import asyncio, concurrent.futures, decimal, email.mime.multipart, http.server, multiprocessing
import pydoc, sqlite3, unittest.mock, urllib.request, xml.dom.minidom, xmlrpc.client, zipfile


def handle(data, context):
    return None if data is None else [data[0]["body"]]
""",
}


def run() -> str:
    """Measure; a Markdown section."""
    rows = ["| handler | fresh process ms | platform: answer ms (client) | fetch | load | ratio |"]
    rows.append("|---|--:|--:|--:|--:|--:|")
    with running_platform() as platform:
        for number, (name, handler) in enumerate(HANDLERS.items()):
            image = make_image(platform.data.with_name(f"image{number}"), handler)
            platform.cli("build", "-t", f"cold{number}", str(image))
            archives = {f"m{n}.tar.gz": make_archive({"a": "b"}) for n in range(MODELS)}
            endpoint = platform.deploy(archives, image=f"cold{number}")
            runtime = platform.client("sagemaker-runtime")
            pairs = []
            for model in archives:
                fresh = _fresh_process_ms(image)
                pairs.append((fresh, *_first_answer_ms(runtime, endpoint.name, model)))
            rows.append(_row(name, pairs))
    method = (
        f"{MODELS} models each, sides in turn, medians; ratio: platform's answer ÷ fresh process."
    )
    return "\n".join(["## Cold path", "", method, "", *rows, ""])


def _fresh_process_ms(image: Path) -> float:
    code = "import model_handler as m; m.handle(None, None); m.handle([{'body': b'x'}], None)"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=image, check=True)
    return (time.perf_counter() - began) * 1000


def _first_answer_ms(runtime: Any, endpoint: str, model: str) -> tuple[float, float, float]:
    """Milliseconds of the whole call as the client saw it, and the platform's fetch and load."""
    began = time.perf_counter()
    answer = runtime.invoke_endpoint(EndpointName=endpoint, TargetModel=model, Body=b"x")
    took = (time.perf_counter() - began) * 1000
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-modelplex-start"] == "cold", headers
    timing = dict(part.strip().split(";dur=") for part in headers["server-timing"].split(","))
    return took, float(timing["fetch"]), float(timing["load"])


def _row(name: str, pairs: list[tuple[float, ...]]) -> str:
    fresh, answer, fetch, load = (median(column) for column in zip(*pairs, strict=True))
    ratio = answer / fresh
    return f"| {name} | {fresh:.1f} | {answer:.1f} | {fetch:.1f} | {load:.1f} | {ratio:.2f} |"
