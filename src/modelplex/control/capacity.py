"""How large instances are on this machine, and whether there is room: `core.sizing`, applied."""

from __future__ import annotations

from collections.abc import Iterable

from modelplex.control.deployments import Deployment
from modelplex.control.records import Document
from modelplex.core import sizing
from modelplex.core.sizing import Size
from modelplex.settings import MIB, Settings


def of(settings: Settings, instance_type: str) -> Size:
    """What an instance of a known type gets here."""
    memory, disk = settings.memory_mib * MIB, settings.disk_mib * MIB
    return sizing.size(instance_type, memory, disk, settings.instance_scale)


def shortage(settings: Settings, others: Iterable[Deployment], wanted: Deployment) -> str:
    """Why there is no room for one more endpoint, in the words of a FailureReason; "" if there is.

    Memory counts, since it is what instances reserve; disk is shared in its proportion.
    """
    used, more, limit = _used(settings, others), _used(settings, [wanted]), settings.memory_mib
    if used + more <= limit * MIB:
        return ""
    return (
        "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity "
        f"error. The endpoint's instances need {more / 2**30:.2f} GiB of memory here; "
        f"{used / 2**30:.2f} of {limit / 1024:.2f} GiB are in use. Use smaller or fewer instances, "
        "delete an endpoint, or start modelplex with more memory_mib or a smaller instance_scale."
    )


def describe(settings: Settings, deployments: list[Deployment]) -> Document:
    """The rule, its numbers and what of them is in use."""
    memory = settings.memory_mib * MIB
    return {
        "rule": sizing.describe_rule(memory, settings.instance_scale),
        "memory_bytes": memory,
        "disk_bytes": settings.disk_mib * MIB,
        "memory_bytes_used": _used(settings, deployments),
        "instances": sum(len(each.instances) for each in deployments),
        "instances_max": settings.instances_max,
    }


def _used(settings: Settings, deployments: Iterable[Deployment]) -> int:
    """The memory of all their instances, in bytes."""
    return sum(
        of(settings, variant.instance_type).memory_bytes * len(variant.instances)
        for deployment in deployments
        for variant in deployment.variants
    )
