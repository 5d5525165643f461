"""A real S3: Ceph's radosgw on one node, in a temporary folder, on free ports of loopback.

One monitor, one object store daemon on a 4 GiB sparse file, one gateway; no authentication between
them and no manager. About 6 s to start, 150 MB of memory and 50 MB of disk.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from tests.support.processes import free_port, tail

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
START_TIMEOUT_S = 120.0

# "crc" instead of the secure mode: without keys the daemons would wait for each other for ever.
# The three times are for the start: each of the gateway's pools waits for the monitor, and who
# asked for one too early asks again at the objecter's next tick, by default after 5 s.
# A monitor stops when the disk it is on has less than a twentieth free ("mon data avail crit"): 12
# GB of 252, on a machine where the tests need a hundredth of that.
CONFIG = """[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms client mode = crc
ms cluster mode = crc
ms service mode = crc
mon allow pool size one = true
paxos propose interval = 0.05
paxos min wait = 0.01
objecter tick interval = 0.5
mon data avail warn = -1
mon data avail crit = -1
mon data = {folder}/mon
osd data = {folder}/osd
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd crush chooseleaf type = 0
bluestore block size = 4294967296
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
keyring = {folder}/keyring
pid file =
"""


def missing_programs() -> list[str]:
    """What of Ceph is not installed on this machine; empty when radosgw can run."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


class Radosgw:
    """One running gateway: `endpoint`, `access_key`, `secret_key` and `region` are for its clients.

    `region` is its only location: buckets can be created with this LocationConstraint.
    """

    def __init__(self, folder: Path, region: str = "us-west-2") -> None:
        self.folder = folder
        self.region = region
        self.access_key = "AKIARADOSGWTEST2"
        self.secret_key = uuid.uuid4().hex
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._daemons: list[subprocess.Popen[bytes]] = []

    @property
    def options(self) -> list[str]:
        """The flags of `modelplex up` that make this its store."""
        keys = ["--s3-access-key", self.access_key, "--s3-secret-key", self.secret_key]
        return ["--s3-endpoint", self.endpoint, *keys]

    def start(self) -> None:
        """Bring it up; raises RuntimeError with the logs' ends when it does not answer in time."""
        try:
            self._start_cluster()
            self._make_user()
            self._name_region()
            self._spawn(
                *("radosgw", "-n", "client.rgw", "-f"),
                *("--rgw-frontends", f"beast endpoint=127.0.0.1:{self.port}"),
            )
            self._wait_until_answering()
        except (OSError, subprocess.SubprocessError, TimeoutError) as problem:
            logs = "\n".join(tail(path) for path in self._logs())
            self.stop()
            raise RuntimeError(f"radosgw did not start: {problem}\n{logs}") from problem

    def _logs(self) -> list[Path]:
        """What the commands printed, then what the daemons wrote."""
        return sorted(self.folder.glob("*.out")) + sorted(self.folder.glob("*.log"))

    def stop(self) -> None:
        """Kill the daemons and wait for them; the data is of no more use."""
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGKILL)
            daemon.wait(timeout=30)
        self._daemons.clear()

    def _start_cluster(self) -> None:
        fsid, osd, mon_port = str(uuid.uuid4()), str(uuid.uuid4()), free_port()
        for name in ("mon", "osd"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "keyring").touch()
        config = CONFIG.format(fsid=fsid, mon_port=mon_port, folder=self.folder)
        (self.folder / "ceph.conf").write_text(config)
        address = f"[v2:127.0.0.1:{mon_port}/0]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, "monmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap")
        self._spawn("ceph-mon", "-i", "a", "-f")
        self._run("ceph", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._spawn("ceph-osd", "-i", "0", "-f", "--crush-location", "root=default host=local")

    def _make_user(self) -> None:
        self._run(
            *("radosgw-admin", "user", "create", "--uid", "test", "--display-name", "test"),
            *("--access-key", self.access_key, "--secret", self.secret_key),
        )

    def _name_region(self) -> None:
        """Call the only zone group by the region, so that LocationConstraint names something."""
        group = json.loads(self._run("radosgw-admin", "zonegroup", "get"))
        group["api_name"] = self.region
        document = json.dumps(group).encode()
        self._run("radosgw-admin", "zonegroup", "set", "--rgw-zonegroup", "default", stdin=document)

    def _wait_until_answering(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(self.endpoint, timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise TimeoutError(f"no answer at {self.endpoint} within {START_TIMEOUT_S:.0f} s")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf")}

    def _run(self, *command: str, stdin: bytes = b"") -> bytes:
        """What one command printed; ChildProcessError as soon as a daemon ends, whose client would
        wait for it until the limit."""
        deadline = time.monotonic() + START_TIMEOUT_S
        with (self.folder / f"{command[0]}.out").open("ab") as errors:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        with process:
            try:
                return self._output(process, stdin, deadline)
            except BaseException:
                process.kill()
                raise

    def _output(self, process: subprocess.Popen[bytes], stdin: bytes, deadline: float) -> bytes:
        while True:
            try:
                printed, _ = process.communicate(stdin, timeout=0.5)
            except subprocess.TimeoutExpired:
                for daemon in self._daemons:
                    if daemon.poll() is not None:
                        raise ChildProcessError(
                            f"{daemon.args} ended with {daemon.returncode}"
                        ) from None
                if time.monotonic() > deadline:
                    raise
            else:
                if process.returncode:
                    raise subprocess.CalledProcessError(process.returncode, process.args)
                return printed

    def _spawn(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("ab") as output:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *command],
                    cwd=self.folder,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
