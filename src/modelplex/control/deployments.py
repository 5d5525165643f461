"""What an endpoint's record asks for, as plain values: variants, their models and instances.

An endpoint's document holds, under `Deployed`, copies of its configuration, its models and the
hashes of its images as they were when it was created. Deleting or re-making any of them afterwards
changes nothing for the endpoint, also across restarts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from modelplex.control import models
from modelplex.control.records import Document, Kind, Record, Records
from modelplex.core import reconcile
from modelplex.settings import Settings

CREATING, IN_SERVICE, DELETING, FAILED = "Creating", "InService", "Deleting", "Failed"
IN_TRANSITION = frozenset({CREATING, DELETING})
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
    image: str  # as CreateModel was given it
    image_name: str  # NAME:TAG that it resolved to when the endpoint was created
    image_hash: str
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


def snapshot(
    config: Record, model_of: Callable[[str], Record], image_of: Callable[[str], Document]
) -> Document:
    """The copies that an endpoint keeps: its configuration's, models' and images'."""
    variants = config.document["ProductionVariants"]
    names = {variant["ModelName"] for variant in variants}
    found = {name: models.container(model_of(name).document) for name in sorted(names)}
    return {
        "Config": config.document,
        "Containers": found,
        "Images": {name: image_of(each["Image"]) for name, each in found.items()},
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
    image = deployed["Images"][asked["ModelName"]]
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
        # A single model is loaded before the first healthy ping; SageMaker starts the ping's clock
        # when the download is over.
        startup_timeout_s=float(healthy_s if multi_model else healthy_s + load_s),
        weight=asked["InitialVariantWeight"],
        instance_type=asked["InstanceType"],
        multi_model=multi_model,
        cache=container.get("MultiModelConfig", {}).get("ModelCacheSetting", "Enabled"),
        model_data_url=models.data_url(container) or "",
        environment=container.get("Environment", {}),
        image=container["Image"],
        image_name=image["Name"],
        image_hash=image["Hash"],
        load_timeout_s=float(load_s),
    )
