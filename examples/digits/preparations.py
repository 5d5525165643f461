"""What has to be there before the demo's story can begin: a running platform, an image, models.

Everything is kept in one folder, so that the second time only the platform has to be started.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

HERE = Path(__file__).resolve().parent
MODELPLEX = str(Path(sys.executable).with_name("modelplex"))
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
WITH_ME = ("setpriv", "--pdeathsig", "TERM")  # the kernel stops it even when the demo is killed


class Broken(Exception):
    """Something that the demo cannot go on without did not work; the text says what and why."""


@dataclass(frozen=True, slots=True)
class Platform:
    """The demo's own `modelplex up`."""

    url: str
    log: Path

    def ask(self, path: str) -> Any:
        """A signed GET of what AWS has no call for; `modelplex models` asks in the same way."""
        session = Session()
        request = AWSRequest("GET", f"{self.url}/modelplex/{path}")
        region = session.get_config_variable("region")
        SigV4Auth(session.get_credentials(), "modelplex", region).add_auth(request)
        plain = urllib.request.Request(str(request.url), headers=dict(request.headers.items()))
        with urllib.request.urlopen(plain, timeout=30) as response:
            return json.load(response)


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[Platform]:
    """`modelplex up` on `folder`/platform and a free port, for as long as the block lasts.

    The environment of this process is then what `eval "$(modelplex env)"` would make it.
    """
    for name in [name for name in os.environ if name.startswith(("AWS_", "MODELPLEX_"))]:
        del os.environ[name]  # whatever the shell is set to: this is another platform
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    platform = Platform(f"http://127.0.0.1:{port}", folder / "platform.log")
    os.environ["MODELPLEX_DATA"] = str(folder / "platform")
    with platform.log.open("wb") as log:
        up = subprocess.Popen(
            [*WITH_ME, MODELPLEX, "up", "--port", str(port), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the platform
        )
    try:
        wait_until_up(platform, up)
        exports = subprocess.run(
            [MODELPLEX, "env", "--shell", "json"], stdout=subprocess.PIPE, check=True
        )
        os.environ.update(json.loads(exports.stdout))
        yield platform
    finally:
        up.terminate()
        up.wait(timeout=STOP_TIMEOUT_S)


def wait_until_up(platform: Platform, up: subprocess.Popen[bytes]) -> None:
    """Return when the platform answers. Raises Broken with its last words if it does not."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and up.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{platform.url}/ping", timeout=5).close()
            return
        time.sleep(0.1)
    last_words = platform.log.read_text(errors="replace")[-3000:]
    raise Broken(f"the platform did not come up. The end of {platform.log}:\n{last_words}")


def build_image(name: str) -> Path:
    """`modelplex build`, which shows its own progress; the image's Python."""
    command = [MODELPLEX, "build", "-t", name, str(HERE / "container")]
    if subprocess.run(command, check=False).returncode != 0:
        raise Broken(f"the image {name} could not be built: see above")
    listed = subprocess.run([MODELPLEX, "images", "--json"], stdout=subprocess.PIPE, check=True)
    images = {image["name"]: image.get("interpreter") for image in json.loads(listed.stdout)}
    return Path(images[f"{name}:latest"])


def train(python: Path, folder: Path) -> None:
    """Train the classifiers with the libraries that will serve them, unless that was done."""
    if (folder / "done").exists():
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [str(python), str(HERE / "train.py"), str(folder)]
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise Broken("the classifiers could not be trained: see above")
