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
from modelplex.control.records import Document, Record
from modelplex.settings import Settings

_INSTANCE_ID = re.compile(r"i-[0-9a-f]{17}")


@dataclass(frozen=True, slots=True)
class Variant:
    """One production variant of an endpoint, in our words and units."""

    name: str
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
    startup_timeout_s: float  # of an instance, until it is healthy
    instances: tuple[str, ...]  # ids, one per slot


@dataclass(frozen=True, slots=True)
class Deployment:
    """One endpoint as it is wanted. Times are Unix seconds."""

    name: str
    arn: str
    config_name: str
    status: str
    reason: str
    created_at: float
    modified_at: float
    variants: tuple[Variant, ...]

    @property
    def instances(self) -> list[str]:
        """The ids of all variants' instances."""
        return [instance for variant in self.variants for instance in variant.instances]


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


def read(record: Record, settings: Settings) -> Deployment:
    """A record of an endpoint as a deployment."""
    deployed = record.document["Deployed"]
    return Deployment(
        name=record.name,
        arn=record.arn,
        config_name=record.document["EndpointConfigName"],
        status=record.status,
        reason=record.reason,
        created_at=record.created_at,
        modified_at=record.modified_at,
        variants=tuple(
            _variant(record, deployed, asked, settings)
            for asked in deployed["Config"]["ProductionVariants"]
        ),
    )


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
    return Variant(
        name=asked["VariantName"],
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
        # A single model is loaded before the first healthy ping; SageMaker starts the ping's clock
        # when the download is over.
        startup_timeout_s=float(healthy_s if multi_model else healthy_s + load_s),
        instances=tuple(
            instance_id(record.arn, record.created_at, asked["VariantName"], slot)
            for slot in range(asked["InitialInstanceCount"])
        ),
    )
