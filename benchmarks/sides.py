"""What is measured: a platform with one echo endpoint, and a load generator."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.platform import Platform
from tests.support.processes import processes_of

_RATE = re.compile(rb"Requests/sec:\s+([\d.]+)")
_PERCENTILE = re.compile(rb"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)\s*$", re.MULTILINE)
_MS = {b"us": 0.001, b"ms": 1.0, b"s": 1000.0, b"m": 60_000.0}
_FAILED = re.compile(rb"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")


@contextmanager
def running_platform() -> Iterator[Platform]:
    """`modelplex up` in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="modelplex-bench-") as folder:
        platform = Platform(Path(folder) / "data")
        platform.start()
        try:
            yield platform
        finally:
            platform.stop()


def cpu_seconds(platform: Platform) -> dict[str, float]:
    """What the processes on a request's way have spent since they began; workers count as one."""
    spent = dict.fromkeys(("gateway", "instance", "worker"), 0.0)
    for pid, argv in processes_of(platform.data).items():
        is_worker = Path(f"/proc/{pid}/comm").read_text().startswith("mp:")
        role = "worker" if is_worker else argv.partition("-m modelplex.")[2].partition(" ")[0]
        if role in spent:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                spent[role] += int((thread / "schedstat").read_text().split()[0]) / 1e9
    return spent


def signed_headers(
    platform: Platform, path: str, headers: dict[str, str], body: bytes
) -> list[str]:
    """Headers of one POST, signed once: the signature holds for five minutes of repetition."""
    request = AWSRequest("POST", platform.endpoint + path, data=body, headers=headers)
    credentials = Credentials(platform.keys["access_key"], platform.keys["secret_key"])
    SigV4Auth(credentials, "sagemaker", platform.region).add_auth(request)
    return [f"{name}: {value}" for name, value in request.headers.items()]


class Load(NamedTuple):
    """What `wrk` saw: answers per second, and the median and 99th percentile of their times."""

    rate: float
    p50_ms: float
    p99_ms: float


def wrk(url: str, headers: list[str], body: bytes, connections: int, seconds: int) -> Load:
    """Keeps `connections` busy by `wrk -t1`; AssertionError if any answer was not a success."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        script = Path(folder) / "post.lua"
        lines = ["wrk.method = 'POST'", f"wrk.body = io.open('{folder}/body', 'rb'):read('*a')"]
        for header in headers:
            name, value = header.split(": ", 1)
            lines.append(f"wrk.headers[{name!r}] = {value!r}")
        script.write_text("\n".join(lines))
        return parsed(replay(url, script, connections, seconds))


def replay(url: str, script: Path, connections: int, seconds: int) -> bytes:
    """What `wrk -t1` printed, asking as a Lua script says."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    argv += ["-s", str(script), url]
    return subprocess.run(argv, capture_output=True, check=True).stdout


def parsed(output: bytes) -> Load:
    """What `wrk` saw; AssertionError with all it printed if any answer was not a success."""
    rate = _RATE.search(output)
    assert rate is not None, output
    assert not _FAILED.search(output), output.decode()
    times = {which: float(value) * _MS[unit] for which, value, unit in _PERCENTILE.findall(output)}
    return Load(float(rate[1]), times[b"50"], times[b"99"])
