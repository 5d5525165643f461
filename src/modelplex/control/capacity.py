"""How large instances are on this machine, and whether there is room: `core.sizing`, applied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from functools import cache

from modelplex.control.deployments import Deployment
from modelplex.control.records import Document
from modelplex.core import sizing
from modelplex.core.sizing import Size
from modelplex.settings import MIB, Settings


def of(settings: Settings, instance_type: str) -> Size:
    """What an instance of a known type gets here."""
    memory, disk = memory_bytes(settings), disk_bytes(settings)
    return sizing.size(instance_type, memory, disk, settings.instance_scale)


def shortage(settings: Settings, others: Iterable[Deployment], wanted: Deployment) -> str:
    """Why there is no room for one more endpoint, in the words of a FailureReason; "" if there is.

    Memory counts, since it is what instances reserve; disk is shared in its proportion.
    """
    used, more = _sizes(settings, others), _sizes(settings, [wanted])
    if sizing.fits(used + more, memory_bytes(settings)):
        return ""
    asked, taken = _gib(more), _gib(used)
    return (
        "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity "
        f"error. The endpoint's instances need {asked:.2f} GiB of memory here; {taken:.2f} of "
        f"{memory_bytes(settings) / 2**30:.2f} GiB are in use. Use smaller or fewer instances, "
        "delete an endpoint, or start modelplex with more memory_mib or a smaller instance_scale."
    )


def describe(settings: Settings, deployments: Iterable[Deployment]) -> Document:
    """The rule, its numbers and what of them is in use."""
    sizes = _sizes(settings, deployments)
    memory = memory_bytes(settings)
    return {
        "rule": sizing.describe_rule(memory, settings.instance_scale),
        "memory_bytes": memory,
        "disk_bytes": disk_bytes(settings),
        "memory_bytes_used": sum(size.memory_bytes for size in sizes),
        "instances": len(sizes),
        "instances_max": settings.instances_max,
    }


def memory_bytes(settings: Settings) -> int:
    """The memory of all instances together: the setting, or three quarters of the machine's."""
    return settings.memory_mib * MIB or _machine_memory_bytes() * 3 // 4


def disk_bytes(settings: Settings) -> int:
    """The disk of all instances' artifacts: the setting, or half of what was free at start."""
    return settings.disk_mib * MIB or _free_disk_bytes(str(settings.data)) // 2


@cache
def _machine_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def _free_disk_bytes(path: str) -> int:
    return shutil.disk_usage(path).free


def _sizes(settings: Settings, deployments: Iterable[Deployment]) -> list[Size]:
    return [
        of(settings, variant.instance_type)
        for deployment in deployments
        for variant in deployment.variants
        for _ in variant.instances
    ]


def _gib(sizes: list[Size]) -> float:
    return sum(size.memory_bytes for size in sizes) / 2**30
