"""One container of the engine: made, started, looked at. Functions of an open conversation."""

from __future__ import annotations

import ipaddress
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelplex.engine.client import explanation
from modelplex.engine.errors import EngineError
from modelplex.engine.leftovers import LABEL
from modelplex.engine.network import isolated_network

PORT = 8080  # SageMaker's, inside the container
SAFE_PORTS = "8081-8999"  # for what the container wants to listen on beside it
LOG_FILES = {"max-size": "16m", "max-file": "2"}  # what the engine itself keeps of the output
_NAME_TRIES, _NAME_PAUSE_S = 25, 0.2  # while an earlier container of that name is being removed


@dataclass(frozen=True, slots=True)
class Plan:
    """A container to be. `mounts`: folders of this machine by where the container sees them."""

    instance: str
    image: str
    environment: dict[str, str]
    mounts: dict[str, Path]  # read-only
    memory_bytes: int
    vcpus: float
    isolated: bool  # no way out of it, and none to another container

    @property
    def name(self) -> str:
        return f"modelplex-{self.instance}"


def create(client: Any, plan: Plan) -> str:
    """Make the container as SageMaker runs one, argument `serve`; its id. Raises what the SDK does.

    The ports are the container's own, so that nothing depends on what else the machine runs.
    """
    from docker.errors import APIError  # noqa: PLC0415 (an extra)

    settings = {
        "image": plan.image,
        "command": ["serve"],
        "name": plan.name,
        "labels": {LABEL: plan.instance},
        "environment": {
            **plan.environment,
            "SAGEMAKER_BIND_TO_PORT": str(PORT),
            "SAGEMAKER_SAFE_PORT_RANGE": SAFE_PORTS,
        },
        "ports": [PORT],
        "host_config": _host_config(client, plan),
    }
    for _ in range(_NAME_TRIES):
        try:
            return str(client.create_container(**settings)["Id"])
        except APIError as error:
            if error.status_code != 409 and "in use" not in explanation(error):
                raise
        time.sleep(_NAME_PAUSE_S)
    raise EngineError(f"Another container is named {plan.name}; remove it with docker rm.")


def _host_config(client: Any, plan: Plan) -> Any:
    from docker.types import LogConfig, Mount  # noqa: PLC0415 (an extra)

    information = client.info()
    cores = float(information.get("NCPU") or plan.vcpus)  # more is refused
    network: dict[str, Any] = {"port_bindings": {PORT: ("127.0.0.1", None)}}
    if plan.isolated:
        network = {"network_mode": isolated_network(client)}
    return client.create_host_config(
        mounts=[
            Mount(target, str(source), type="bind", read_only=True)
            for target, source in plan.mounts.items()
        ],
        mem_limit=plan.memory_bytes,
        memswap_limit=plan.memory_bytes,  # memory and swap together: no swap
        nano_cpus=int(min(plan.vcpus, cores) * 1e9),
        init=False,
        log_config=LogConfig(type="json-file", config=LOG_FILES),
        **network,
    )


def address(document: dict[str, Any]) -> str:
    """Where a running container answers, "tcp:HOST:PORT", out of its inspection.

    The engine publishes its port on loopback, at a number of its choice. An isolated one has no
    published port: it is spoken to at its own address. Raises EngineError where that is not one of
    this machine's own networks, since requests would then leave the machine.
    """
    network = document["NetworkSettings"]
    if published := (network["Ports"] or {}).get(f"{PORT}/tcp"):
        return f"tcp:127.0.0.1:{published[0]['HostPort']}"
    for each in network["Networks"].values():
        if each["IPAddress"] and _is_here(each["IPAddress"], each["IPPrefixLen"]):
            return f"tcp:{each['IPAddress']}:{PORT}"
    raise EngineError(
        "This container engine's isolated containers cannot be reached from this machine (those of "
        "Podman with CNI networks and of rootless engines cannot). EnableNetworkIsolation needs "
        "Docker, or Podman with netavark, run as root."
    )


def _is_here(address: str, prefix_length: int) -> bool:
    """Whether this machine would speak to an address from one of the same network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, PORT))  # of a datagram socket: nothing is sent
        except OSError:
            return False
        own = ipaddress.ip_address(probe.getsockname()[0])
    return own in ipaddress.ip_network(f"{address}/{prefix_length}", strict=False)


def is_podman(client: Any) -> bool:
    """Whether the engine behind the Docker API is Podman."""
    components = client.version().get("Components") or ()
    return any("Podman" in each.get("Name", "") for each in components)
