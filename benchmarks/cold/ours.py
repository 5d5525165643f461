"""The platform's side: a request for a model that is nowhere, and for one that is on disk only."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obstore.store import S3Store

from benchmarks.cold.cases import Case, make_image
from benchmarks.sides import signed_headers
from tests.support.platform import Deployed, Platform
from tests.support.processes import eventually

Steps = dict[str, float]  # milliseconds, by name


@dataclass
class Ours:
    """One running platform over one store, with an endpoint for each kind of model."""

    platform: Platform
    endpoints: dict[str, Deployed]
    sockets: dict[str, Path]  # of their instances

    def put(self, case: Case, key: str, archive: bytes) -> None:
        """Upload an archive to where the case's endpoint finds it."""
        self.endpoints[case.kind].add(key, archive)

    def bucket(self, case: Case) -> S3Store:
        """The same store, for whoever wants its bytes; an archive's key is below `models/`."""
        environment = self.platform.environment()
        return S3Store(
            self.endpoints[case.kind].name,
            prefix="models",
            endpoint=self.store_endpoint(),
            region=self.platform.region,
            access_key_id=self.keys()[0],
            secret_access_key=self.keys()[1],
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "proxy_excludes": environment.get("NO_PROXY", "*")},
        )

    def store_endpoint(self) -> str:
        """Where the instances of this platform fetch from."""
        if "--s3-endpoint" in self.platform.options:
            return self.platform.options[self.platform.options.index("--s3-endpoint") + 1]
        document = json.loads((self.platform.data / "run" / "s3.json").read_text())
        return str(document["address"]).replace("tcp:", "http://")

    def keys(self) -> tuple[str, str]:
        """The store's access key and secret."""
        options = self.platform.options
        if "--s3-access-key" in options:
            places = (options.index("--s3-access-key"), options.index("--s3-secret-key"))
            return options[places[0] + 1], options[places[1] + 1]
        return self.platform.keys["access_key"], self.platform.keys["secret_key"]

    def ask(self, case: Case, model: str, start: str) -> Steps:
        """One request, which must start as expected: all of it, and where the time went."""
        endpoint = self.endpoints[case.kind].name
        path = f"/endpoints/{endpoint}/invocations"
        given = {"X-Amzn-SageMaker-Target-Model": model}
        lines = signed_headers(self.platform, path, given, case.body)
        headers = dict(line.split(": ", 1) for line in lines)
        connection = http.client.HTTPConnection("127.0.0.1", self.platform.port, timeout=120)
        try:
            began = time.perf_counter()
            connection.request("POST", path, case.body, headers)
            response = connection.getresponse()
            text = response.read()
            took = (time.perf_counter() - began) * 1000
        finally:
            connection.close()
        assert response.status == 200, text
        assert response.getheader("x-modelplex-start") == start, response.getheaders()
        timing = dict(
            part.strip().split(";dur=") for part in response.headers["server-timing"].split(",")
        )
        server = {name: float(value) for name, value in timing.items()}
        return _steps(took, server, self._events(case, model))

    def forget(self, case: Case, model: str) -> None:
        """Take the model out of memory, but not from the disk: its process is killed."""
        os.kill(int(self._events(case, model)["loaded"]["pid"]), signal.SIGKILL)
        eventually(lambda: "crashed" in self._events(case, model), 10.0)

    def _events(self, case: Case, model: str) -> dict[str, Any]:
        """The newest event of each sort since the model was last loaded."""
        connection = http.client.HTTPConnection("instance", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.sockets[case.kind]))
        try:
            connection.request("GET", "/events?after=0")
            events = json.load(connection.getresponse())["events"]
        finally:
            connection.close()
        newest: dict[str, Any] = {}
        for event in events:
            if event["model"] == model:
                if event["event"] == "loaded":
                    newest.pop("crashed", None)
                newest[event["event"]] = event
        return newest


def _steps(took: float, server: Steps, events: dict[str, Any]) -> Steps:
    """The parts of a request; `hops` and `other` are what is left of the whole and of a load."""
    fetch = dict.fromkeys(("open", "arrive", "inflate", "write"), 0.0)
    if server["fetch"]:
        fetch = dict(events["fetched"]["steps"])
    fetch["place"] = server["fetch"] - sum(fetch.values())
    load = {"import": 0.0, "initialize": 0.0, **events["loaded"]["steps"]}
    load["other"] = server["load"] - sum(load.values())
    whole = {"queue": server["queue"], **fetch, **load, "handle": server["handle"]}
    return {"all": took, **whole, "hops": took - sum(whole.values())}


@contextmanager
def running(home: Path, kinds: list[str], options: list[str]) -> Iterator[Ours]:
    """A platform with an endpoint for each kind, whose zygotes are ready."""
    platform = Platform(home / "data", *options)
    platform.start()
    try:
        endpoints, sockets = {}, {}
        for kind in kinds:
            platform.cli("build", "-t", kind, str(make_image(home / kind, kind)), timeout_s=900)
            before = set((platform.data / "run").glob("i-*.sock"))
            endpoints[kind] = platform.deploy({}, image=kind)
            (sockets[kind],) = set((platform.data / "run").glob("i-*.sock")) - before
        yield Ours(platform, endpoints, sockets)
    finally:
        platform.stop()
