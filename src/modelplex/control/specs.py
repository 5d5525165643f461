"""The documents that instances start from: everything one has to know, in one file."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from modelplex import engine
from modelplex.aws import arns
from modelplex.control import capacity
from modelplex.control.deployments import Deployment, Variant
from modelplex.control.provider import CannotStart, ProviderFailed
from modelplex.control.records import Document
from modelplex.ecr import names, tokens
from modelplex.images.catalogue import OCI
from modelplex.images.store import HANDLER, BuiltImage, ImageStore
from modelplex.settings import Settings


@dataclass(frozen=True, slots=True)
class Specs:
    """Writes an instance's document of internal-api.md."""

    settings: Settings
    images: ImageStore

    def socket(self, instance: str) -> str:
        """Where an instance listens."""
        return str(self.settings.data / "run" / f"{instance}.sock")

    def document(self, deployment: Deployment, variant: Variant, instance: str) -> Document:
        """Everything one instance is told. Raises ProviderFailed when its image is gone."""
        settings, data = self.settings, self.settings.data
        image, defaults = self._image(variant)
        size = capacity.of(settings, variant.instance_type)
        group = arns.log_group(deployment.name)
        return {
            "id": instance,
            "endpoint": deployment.name,
            "variant": variant.name,
            "account": settings.account,
            "region": settings.region,
            "socket": self.socket(instance),
            "folder": str(data / "instances" / instance),
            "log_group": group,
            "log_stream": f"{variant.name}/{instance}",
            "log_folder": f"{data / 'logs'}{group}",
            "image": image,
            "environment": {**defaults, **variant.environment},
            "mode": "MultiModel" if variant.multi_model else "SingleModel",
            "cache": variant.cache,
            "model_data_url": variant.model_data_url,
            "memory_bytes": size.memory_bytes,
            "disk_bytes": size.disk_bytes,
            "vcpus": size.vcpus,
            "s3": self._store(),
            "file_roots": list(settings.file_roots),
            "health_timeout_s": variant.health_timeout_s,
            "limits": {**settings.public(), "model_load_timeout_s": variant.load_timeout_s},
        }

    def _image(self, variant: Variant) -> tuple[Document, dict[str, str]]:
        """What the instance is told of its image, and the image's own environment variables."""
        if variant.image.kind == OCI:
            return self._oci(variant), {}
        image = self.images.read(variant.image.hash, variant.image.name)
        if image is None:
            raise CannotStart(
                f"The image {variant.image.name} ({variant.image.hash[:12]}) is no longer built. "
                "Build it again with modelplex build."
            )
        return (_handler(image) if image.kind == HANDLER else _command(image)), image.environment

    def _oci(self, variant: Variant) -> Document:
        """An image of the engine; one of our registry comes with a password that lasts hours."""
        settings, reference = self.settings, variant.image.reference
        local = names.local(settings, reference)
        password, _ = tokens.issue(settings.secret_key, time.time())
        return {
            "kind": OCI,
            "name": variant.image.name,
            "reference": local or reference,
            "engine": engine.locate(settings.container_engine),
            "pull": False,  # what was found when the endpoint was created, or is there since
            "credentials": {"username": tokens.USER, "password": password} if local else None,
            "isolated": variant.isolated,
            "needs_label": variant.multi_model,
        }

    def _store(self) -> Document:
        settings = self.settings
        if settings.s3_endpoint:
            return {
                "endpoint": settings.s3_endpoint,
                "region": settings.s3_region or settings.region,
                "access_key": settings.s3_access_key,
                "secret_key": settings.s3_secret_key,
            }
        return {
            "endpoint": _embedded(settings.data / "run" / "s3.json"),
            "region": settings.region,
            "access_key": settings.access_key,
            "secret_key": settings.secret_key,
        }


def _handler(image: BuiltImage) -> Document:
    return {
        "kind": image.kind,
        "name": image.name,
        "folder": str(image.folder),
        "python": str(image.python),
        "handler": image.handler,
        "preload": list(image.preload),
        "models_per_worker": image.models_per_worker,
        "share_identical": image.share_identical,
        "batch_max": image.batch_max,
        "prepare": image.prepare,
    }


def _command(image: BuiltImage) -> Document:
    return {
        "kind": image.kind,
        "name": image.name,
        "folder": str(image.folder),
        "python": str(image.python),
        "command": list(image.command),
    }


def _embedded(path: Path) -> str:
    """The URL of the embedded store. Raises ProviderFailed while it has none."""
    try:
        address = str(json.loads(path.read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProviderFailed(f"The embedded store's address cannot be read: {error!r}") from error
    return "http://" + address.removeprefix("tcp:")
