"""How large an `ml.*` instance is, at AWS and here.

Sizes of AWS's types follow from their names, since nearly every family has a fixed amount of memory
per vCPU, and a fixed number of vCPUs per size; the rest is listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

GIB = 1024**3
FULL_SIZE_BYTES = 64 * GIB  # a platform with this much memory gives instances their full size
VCPUS_MIN = 1.0

_GIB_PER_VCPU = {
    1.875: "c4",
    2.0: "c5 c5d c6g c6gd c6gn c6i c6in c7g c7i c8g inf1",
    4.0: "t2 m4 m5 m5d m6g m6gd m6i m7i m8g g4dn g5 g6 g7 inf2 trn1 trn1n",
    7.625: "p3",
    8.0: "r5 r5d r6g r6gd r6i r7gd r7i r8g dl1 g6e g7e",
    32 / 3: "p5 p5e p5en p6-b200 trn2",
    12.0: "p4d p4de",
    15.25: "p2",
    64 / 3: "p6-b300",
}
_PER_VCPU = {family: gib for gib, names in _GIB_PER_VCPU.items() for family in names.split()}
_EXACT: dict[str, tuple[int, float]] = {  # vCPUs, GiB: where a size is not as its family
    "t2.medium": (2, 4),
    "c4.8xlarge": (36, 60),
    "p2.16xlarge": (64, 732),
    "p5.4xlarge": (16, 256),
    "p6e-gb200.36xlarge": (144, 960),
    "g7e.12xlarge": (48, 512),
    "g7e.24xlarge": (96, 1024),
    "g7e.48xlarge": (192, 2048),
}
_SIZES = {"medium": 1, "large": 2, "xlarge": 4}  # vCPUs; an Nxlarge has 4 N


@dataclass(frozen=True, slots=True)
class InstanceType:
    """What AWS gives."""

    name: str
    vcpus: int
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Size:
    """What one instance gets here."""

    memory_bytes: int
    disk_bytes: int
    vcpus: float


@lru_cache(maxsize=1024)
def instance_type(name: str) -> InstanceType:
    """The type of this name, such as "ml.m5.large". Raises KeyError for one that is not known."""
    prefix, _, short = name.partition(".")
    if prefix != "ml":
        raise KeyError(name)
    if short in _EXACT:
        vcpus, memory_gib = _EXACT[short]
        return InstanceType(name, vcpus, memory_gib)
    family, _, size = short.partition(".")
    try:
        vcpus = _SIZES[size] if size in _SIZES else 4 * int(size.removesuffix("xlarge"))
        return InstanceType(name, vcpus, vcpus * _PER_VCPU[family])
    except (KeyError, ValueError):
        raise KeyError(name) from None


def is_known(name: str) -> bool:
    try:
        instance_type(name)
    except KeyError:
        return False
    return True


def scale(platform_memory_bytes: int, instance_scale: float = 0.0) -> float:
    """The share of its type's memory and vCPUs that an instance gets: the setting, if it is set."""
    return instance_scale or min(1.0, platform_memory_bytes / FULL_SIZE_BYTES)


def size(
    type_name: str,
    platform_memory_bytes: int,
    platform_disk_bytes: int,
    instance_scale: float = 0.0,
) -> Size:
    """What an instance of this type gets; of the disk the same share as of the memory.

    Raises KeyError for a type that is not known.
    """
    kind, share = instance_type(type_name), scale(platform_memory_bytes, instance_scale)
    memory = int(kind.memory_gib * GIB * share)
    disk = int(platform_disk_bytes * min(1.0, memory / platform_memory_bytes))
    return Size(memory, disk, max(VCPUS_MIN, kind.vcpus * share))


def describe_rule(platform_memory_bytes: int, instance_scale: float = 0.0) -> str:
    """The rule and its numbers on this platform, in a sentence for its operator."""
    share = scale(platform_memory_bytes, instance_scale)
    origin = (
        "as set"
        if instance_scale
        else f"{platform_memory_bytes / GIB:.1f} GiB for all instances, of the "
        f"{FULL_SIZE_BYTES // GIB} GiB that count as full size"
    )
    example = size("ml.m5.xlarge", platform_memory_bytes, 0, instance_scale)
    return (
        f"An instance gets {share:.1%} of its type's memory and vCPUs ({origin}): "
        f"an ml.m5.xlarge has {example.memory_bytes / GIB:.1f} GiB and {example.vcpus:.1f} vCPUs."
    )
