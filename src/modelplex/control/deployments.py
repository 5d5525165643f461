"""What an endpoint's record asks for, as plain values: variants, their models and instances.

An endpoint's document holds, under `Deployed`, copies of its configuration, its models and the
hashes of its images as they were when it was created. Deleting or re-making any of them afterwards
changes nothing for the endpoint, also across restarts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from modelplex.control import models
from modelplex.control.records import Document, Kind, Record, Records
from modelplex.core import reconcile
from modelplex.images import catalogue
from modelplex.images.catalogue import OCI, Named
from modelplex.images.store import HANDLER
from modelplex.settings import Settings

CREATING, IN_SERVICE, DELETING, FAILED = "Creating", "InService", "Deleting", "Failed"
IN_TRANSITION = frozenset({CREATING, DELETING})
# An instance says better than control why its container does not become healthy: it has the word.
_CONTAINER_MARGIN_S = 15.0
_INSTANCE_ID = re.compile(r"i-[0-9a-f]{17}")


@dataclass(frozen=True, slots=True)
class Variant(reconcile.Variant):
    """One production variant of an endpoint, in our words and units."""

    weight: float
    instance_type: str
    multi_model: bool
    cache: str  # "Enabled" or "Disabled": SageMaker's ModelCacheSetting
    model_data_url: str
    environment: dict[str, str]  # the model's own
    specified_image: str  # as CreateModel was given it
    image: Named  # what that was when the endpoint was created
    isolated: bool  # EnableNetworkIsolation
    health_timeout_s: float  # for a container's first good ping
    load_timeout_s: float  # of one model, fetching included


@dataclass(frozen=True, slots=True)
class Deployment(reconcile.Endpoint):
    """One endpoint as it is wanted, and the record that says so."""

    variants: tuple[Variant, ...]
    record: Record

    @property
    def is_alive(self) -> bool:
        """Whether it has, or is getting, instances."""
        return self.status not in (DELETING, FAILED)


async def snapshot(
    config: Record,
    model_of: Callable[[str], Record],
    image_of: Callable[[Document], Awaitable[Named]],
) -> Document:
    """The copies that an endpoint keeps: its configuration's, models' and images'.

    `image_of` says what the image of a model's document is now.
    """
    variants = config.document["ProductionVariants"]
    names = {variant["ModelName"] for variant in variants}
    found = {name: model_of(name).document for name in sorted(names)}
    isolated = [name for name, each in found.items() if each.get("EnableNetworkIsolation")]
    return {
        "Config": config.document,
        "Containers": {name: models.container(each) for name, each in found.items()},
        "Images": {name: (await image_of(each)).document() for name, each in found.items()},
        "Isolated": isolated,
    }


def all_of(records: Records, settings: Settings) -> list[Deployment]:
    """Every endpoint, whatever its status."""
    return [read(record, settings) for record in records.all(Kind.ENDPOINT)]


def read(record: Record, settings: Settings) -> Deployment:
    """A record of an endpoint as a deployment."""
    deployed = record.document["Deployed"]
    asked = deployed["Config"]["ProductionVariants"]
    variants = tuple(_variant(record, deployed, each, settings) for each in asked)
    return Deployment(record.name, record.status, variants, record)


def instance_id(arn: str, created_at: float, variant: str, slot: int) -> str:
    """`i-` and 17 hexadecimal digits, like an EC2 instance's.

    A function of the slot, so that what replaces a dead instance finds its folder and artifacts;
    and of the endpoint's creation, so that one of the same name does not.
    """
    text = f"{arn}\n{created_at}\n{variant}\n{slot}"
    return "i-" + hashlib.sha256(text.encode()).hexdigest()[:17]


def is_instance(name: str) -> bool:
    """Whether a process's name is an instance's id."""
    return _INSTANCE_ID.fullmatch(name) is not None


def _variant(record: Record, deployed: Document, asked: Document, settings: Settings) -> Variant:
    container = deployed["Containers"][asked["ModelName"]]
    image = catalogue.read(deployed["Images"][asked["ModelName"]])
    multi_model = models.is_multi_model(container)
    load_s = asked.get("ModelDataDownloadTimeoutInSeconds", settings.model_load_timeout_s)
    healthy_s = asked.get("ContainerStartupHealthCheckTimeoutInSeconds", settings.startup_timeout_s)
    name = asked["VariantName"]
    return Variant(
        name=name,
        instances=tuple(
            instance_id(record.arn, record.created_at, name, slot)
            for slot in range(asked["InitialInstanceCount"])
        ),
        startup_timeout_s=_startup_s(image, healthy_s, 0.0 if multi_model else load_s, settings),
        weight=asked["InitialVariantWeight"],
        instance_type=asked["InstanceType"],
        multi_model=multi_model,
        cache=container.get("MultiModelConfig", {}).get("ModelCacheSetting", "Enabled"),
        model_data_url=models.data_url(container) or "",
        environment=container.get("Environment", {}),
        specified_image=container["Image"],
        image=image,
        isolated=asked["ModelName"] in deployed.get("Isolated", []),
        health_timeout_s=float(healthy_s),
        load_timeout_s=float(load_s),
    )


def _startup_s(image: Named, healthy_s: float, load_s: float, settings: Settings) -> float:
    """How long an instance may take from its start to its first healthy ping, all together.

    A single model is loaded before that (`load_s`, else 0); SageMaker starts the ping's clock when
    the download is over.
    """
    pull_s = settings.image_pull_timeout_s if image.kind == OCI else 0.0
    margin_s = 0.0 if image.kind == HANDLER else _CONTAINER_MARGIN_S
    return float(healthy_s + load_s + pull_s + margin_s)
