"""How large an `ml.*` instance is, at AWS and here."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import botocore
import pytest

from modelplex.core import sizing
from modelplex.core.sizing import GIB


def known_to_aws() -> list[str]:
    folder = Path(botocore.__file__).parent / "data/sagemaker/2017-07-24"
    with gzip.open(folder / "service-2.json.gz") as file:
        return json.load(file)["shapes"]["ProductionVariantInstanceType"]["enum"]


def test_every_type_that_aws_hosts_on_is_known() -> None:
    """Whatever a request may name has a size."""
    assert [name for name in known_to_aws() if not sizing.is_known(name)] == []


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gib"),
    [
        ("ml.t2.medium", 2, 4),
        ("ml.m4.xlarge", 4, 16),
        ("ml.m5.large", 2, 8),
        ("ml.c4.8xlarge", 36, 60),
        ("ml.c5.9xlarge", 36, 72),
        ("ml.r5.24xlarge", 96, 768),
        ("ml.r8g.medium", 1, 8),
        ("ml.c7i.48xlarge", 192, 384),
        ("ml.p3.2xlarge", 8, 61),
        ("ml.g4dn.xlarge", 4, 16),
        ("ml.inf1.6xlarge", 24, 48),
        ("ml.trn1.32xlarge", 128, 512),
    ],
)
def test_sizes_are_those_of_aws(name: str, vcpus: int, memory_gib: float) -> None:
    """Rules and exceptions give the numbers of AWS's price list."""
    assert sizing.instance_type(name) == sizing.InstanceType(name, vcpus, memory_gib)


@pytest.mark.parametrize(
    "name", ["", "m5.large", "ml.m5", "ml.m5.huge", "ml.x9.large", "ml..large"]
)
def test_other_names_are_not_known(name: str) -> None:
    """A type that does not exist is an error, not a guess."""
    assert not sizing.is_known(name)
    with pytest.raises(KeyError, match=repr(name)):
        sizing.instance_type(name)


def test_instances_shrink_with_the_platform() -> None:
    """With 16 GiB for all, everything is a quarter of what AWS gives, though never below a vCPU."""
    size = sizing.size("ml.m4.xlarge", 16 * GIB, 100 * GIB)
    assert size == sizing.Size(4 * GIB, 25 * GIB, 1.0)
    assert sizing.size("ml.m5.4xlarge", 16 * GIB, 100 * GIB).vcpus == 4.0


def test_a_large_platform_gives_full_size_and_no_more() -> None:
    """A platform of 64 GiB or more gives what AWS gives."""
    assert sizing.size("ml.m5.large", 256 * GIB, 512 * GIB) == sizing.Size(8 * GIB, 16 * GIB, 2.0)


def test_a_set_scale_wins() -> None:
    """The operator's own scale is taken as it is, and no disk is larger than the platform's."""
    assert sizing.size("ml.m5.large", 4 * GIB, GIB, 0.25) == sizing.Size(2 * GIB, GIB // 2, 1.0)
    assert sizing.size("ml.m5.large", 4 * GIB, GIB, 1.0).disk_bytes == GIB


def test_the_rule_is_told_with_its_numbers() -> None:
    """The operator sees the share, where it comes from, and an example."""
    assert sizing.describe_rule(16 * GIB) == (
        "An instance gets 25.0% of its type's memory and vCPUs (16.0 GiB for all instances, of the "
        "64 GiB that count as full size): an ml.m5.xlarge has 4.0 GiB and 1.0 vCPUs."
    )
    assert "50.0% of its type's memory and vCPUs (as set)" in sizing.describe_rule(GIB, 0.5)
