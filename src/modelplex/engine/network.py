"""The network of containers with EnableNetworkIsolation: nothing leaves it."""

from __future__ import annotations

from typing import Any

from modelplex.engine.errors import EngineError

NAME = "modelplex-isolated"


def isolated_network(client: Any) -> str:
    """The id of the network, made if there is none yet. Raises EngineError and what the SDK does.

    It is internal, so there is no route out of it, and containers in it do not hear each other.
    What listens on all of this machine's addresses can be reached from it.
    """
    from docker.errors import APIError  # noqa: PLC0415 (an extra)

    if not (known := _known(client)):
        options = {"com.docker.network.bridge.enable_icc": "false"}
        try:
            client.create_network(NAME, driver="bridge", internal=True, options=options)
        except APIError as error:
            if error.status_code != 409:  # somebody else has just made it
                raise
        known = _known(client)
    if not known or not known[0]["Internal"]:
        raise EngineError(
            f"The container engine's network {NAME} is not an internal one: remove it with "
            f"docker network rm {NAME}, and it will be made anew."
        )
    return str(known[0]["Id"])


def _known(client: Any) -> list[dict[str, Any]]:
    """Networks of that very name, the oldest first: engines allow several."""
    found = [each for each in client.networks(names=[NAME]) if each["Name"] == NAME]
    return sorted(found, key=lambda each: str(each.get("Created", "")))
