"""A Docker engine of the tests' own: Debian's dockerd on a socket in a temporary folder.

It has its own bridge, data and sockets, so it neither sees nor disturbs an engine of the machine.
Needs root and the packages that `missing` names; tests that want it are skipped without.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.processes import tail

WITH_ME = ("setpriv", "--pdeathsig", "TERM")  # dockerd ends its containers on SIGTERM
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
_NUMBERS = itertools.count()
_PROGRAMS = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "iptables": "iptables",
    "ip": "iproute2",
    "setpriv": "util-linux",
}


def missing() -> str:
    """Why no engine can be started here; empty if one can."""
    if os.getuid() != 0:
        return "dockerd needs root"
    absent = sorted(name for name in _PROGRAMS if shutil.which(name) is None)
    packages = " ".join(sorted({_PROGRAMS[name] for name in absent}))
    return f"not installed: {', '.join(absent)} (apt-get install {packages})" if absent else ""


class Engine:
    """One dockerd. Its folder is short, since sockets below it have at most 107 bytes."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="engine-"))
        self.url = f"unix://{self.folder}/docker.sock"
        self._log = self.folder / "dockerd.log"
        self._number = next(_NUMBERS)
        self._bridge = f"mp{os.getpid()}-{self._number}"  # at most 15 characters
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; AssertionError with its log if it does not."""
        self._make_bridge()
        with self._log.open("ab") as log:
            self._daemon = subprocess.Popen(
                [*WITH_ME, *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which stop it in order
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._ask("version").returncode:
            assert self._daemon.poll() is None, f"dockerd ended\n{tail(self._log)}"
            assert time.monotonic() < deadline, f"dockerd does not answer\n{tail(self._log)}"
            time.sleep(0.1)

    def stop(self) -> None:
        """End it with all of its containers; its folder and its bridge are gone afterwards."""
        if self._daemon is not None:
            if left := self.containers():  # faster than dockerd's way, which asks them to go
                self.docker("rm", "--force", *left)
            self._ask("network", "prune", "--force")  # their bridges would stay, and their pools
            self._daemon.send_signal(signal.SIGTERM)
            self._daemon.wait(timeout=STOP_TIMEOUT_S)
            self._daemon = None
        subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """What the docker command needs to speak to it, and to keep its logins to itself."""
        return {"DOCKER_HOST": self.url, "DOCKER_CONFIG": str(self.folder / "client")}

    def docker(self, *words: str, stdin: str = "", timeout_s: float = 300.0) -> str:
        """The docker command; its stdout. AssertionError with both outputs when it fails."""
        done = self._ask(*words, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, f"docker {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def add(self, rootfs: Path, name: str, *changes: str) -> str:
        """An image of a root file system's tar file, with Dockerfile lines; its id."""
        options = [word for change in changes for word in ("--change", change)]
        return self.docker("import", *options, str(rootfs), name).strip()

    def has(self, name: str) -> bool:
        """Whether there is an image of this name."""
        return self._ask("image", "inspect", name).returncode == 0

    def containers(self) -> list[str]:
        """The ids of all containers, running or not."""
        return self.docker("ps", "--all", "--quiet", "--no-trunc").split()

    def _ask(
        self, *words: str, stdin: str = "", timeout_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**os.environ, **self.environment},
        )

    def _command(self) -> list[str]:
        folder = self.folder
        return [
            *("dockerd", "--host", self.url, "--pidfile", f"{folder}/dockerd.pid"),
            *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
            *("--bridge", self._bridge, "--shutdown-timeout", "5"),
        ]

    def _make_bridge(self) -> None:
        """A network of its own: by its default name it would be that of the machine's engine."""
        address = f"10.{200 + self._number % 50}.{os.getpid() % 250}.1/24"
        for words in (
            ("link", "add", self._bridge, "type", "bridge"),
            ("address", "add", address, "dev", self._bridge),
            ("link", "set", self._bridge, "up"),
        ):
            done = subprocess.run(["ip", *words], capture_output=True, text=True)
            assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
